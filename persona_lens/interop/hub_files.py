"""Files from the Hugging Face hub, by its own client: its cache, its login, its offline switch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from persona_lens.errors import SpaceError, first_line

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_repo_id(name: str) -> bool:
    """Whether a text has the shape of a hub name.

    Examples:
        >>> is_repo_id("lu-christina/assistant-axis-vectors"), is_repo_id("runs/a/b"), is_repo_id("/tmp")
        (True, False, False)
    """
    return _REPO_ID.fullmatch(name) is not None


def without_path(text: str) -> str:
    """The last part of an absolute path, anything else as it is.

    A folder on this machine tells other people nothing but who you are.

    Examples:
        >>> without_path("/home/me/models/qwen3"), without_path("Qwen/Qwen3-32B"), without_path("/no_think")
        ('qwen3', 'Qwen/Qwen3-32B', '/no_think')
    """
    for path in (PurePosixPath(text), PureWindowsPath(text)):
        if path.is_absolute() and len(path.parts) > 2 and "\n" not in text:
            return path.name
    return text


def hub_folder(
    repo_id: str, *, repo_type: str, revision: str | None, patterns: Sequence[str]
) -> Path:
    """Download some files of a repository, or find them in the cache.

    Args:
        repo_id: Such as "lu-christina/assistant-axis-vectors".
        repo_type: "model" or "dataset".
        revision: Branch, tag or commit; the main branch by default.
        patterns: Of the files wanted, such as "qwen-3-32b/*.pt"; a star crosses folders.

    Raises:
        SpaceError: No such repository, no access, or no network and not in the cache.
    """
    import huggingface_hub  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        return Path(
            huggingface_hub.snapshot_download(
                repo_id, repo_type=repo_type, revision=revision, allow_patterns=list(patterns)
            )
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise SpaceError(
            f"cannot get {repo_id} from the hub: {first_line(error)}",
            given=f"{repo_type} {repo_id}" + (f" at {revision}" if revision else ""),
            remedy="check the name and the network, or download it elsewhere and pass the folder",
        ) from error
