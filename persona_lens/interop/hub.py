"""A fitted space on the Hugging Face hub, or as the folder one would put there.

    space.push_to_hub("me/persona-space-qwen3")              # private unless you say otherwise
    space = PersonaSpace.from_pretrained("me/persona-space-qwen3", revision="v1")

Login, cache and offline switch are those of `huggingface_hub`; no token passes through here.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from persona_lens.errors import SpaceError, first_line
from persona_lens.files import whole_or_nothing, write_json
from persona_lens.interop.hub_files import hub_folder, is_repo_id, without_path
from persona_lens.interop.model_card import model_card
from persona_lens.persona_space import PersonaSpace

FILES = ("card.json", "space.safetensors", "vectors.json", "vectors.safetensors")
"""What `PersonaSpace.load` needs."""


def save_pretrained(
    space: PersonaSpace,
    folder: str | Path,
    *,
    repo_id: str | None = None,
    base_model: str | None = None,
) -> Path:
    """Write a space as `space.save` does, with a README.md, and without the paths of this machine.

    Args:
        space: Fitted.
        folder: New, or one to write over.
        repo_id: Where it will lie; only the README's example names it.
        base_model: Hub name of the model it belongs to, for the README; found in the space where it can be.

    Raises:
        SpaceError: Not fitted.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8)), n_resamples=10).fit()
        >>> folder = save_pretrained(space, tempfile.mkdtemp())
        >>> from_pretrained(folder).axis_.shape
        (1, 8)
    """
    folder = space.save(folder)
    vectors = json.loads((folder / "vectors.json").read_text("utf-8"))
    write_json(folder / "vectors.json", {**vectors, "card": _without_paths(vectors["card"])})
    card = _without_paths(json.loads((folder / "card.json").read_text("utf-8")))
    write_json(folder / "card.json", {**card, "parameters": {**card["parameters"], "run": None}})
    with whole_or_nothing(folder / "README.md") as partial:
        partial.write_text(model_card(space, repo_id=repo_id, base_model=base_model), "utf-8")
    return folder


def push_to_hub(
    space: PersonaSpace,
    repo_id: str,
    *,
    private: bool = True,
    base_model: str | None = None,
    revision: str | None = None,
    commit_message: str = "Persona space",
) -> str:
    """Publish a space as a model repository; log in first with `hf auth login`.

    Args:
        space: Fitted.
        repo_id: Such as "me/persona-space-qwen3"; made if it is not there.
        private: For a repository that is made; an existing one stays as it is.
        base_model: As for `save_pretrained`.
        revision: Branch; the main one by default.
        commit_message: Of the upload.

    Returns:
        Address of the commit.

    Raises:
        SpaceError: Not fitted, no such name, or the hub refuses.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    if not is_repo_id(repo_id):
        raise SpaceError("no name for a repository", expected="owner/name", given=repr(repo_id))
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_pretrained(space, scratch, repo_id=repo_id, base_model=base_model)
        api = HfApi(library_name="persona-lens")
        try:
            api.create_repo(repo_id, repo_type="model", private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                repo_type="model",
                folder_path=folder,
                revision=revision,
                commit_message=commit_message,
                allow_patterns=[*FILES, "README.md"],
            )
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise SpaceError(
                f"cannot publish {repo_id}: {first_line(error)}",
                remedy="log in with `hf auth login`, and check that you may write there",
            ) from error
    return str(commit.commit_url)


def from_pretrained(source: str | Path, *, revision: str | None = None) -> PersonaSpace:
    """Open a space from a folder or from the hub; nothing is fitted again.

    Args:
        source: A folder, or the name of a repository.
        revision: Branch, tag or commit on the hub.

    Raises:
        SpaceError: No space there, or it cannot be downloaded.
    """
    folder = Path(source).expanduser()
    if not folder.is_dir():
        if not is_repo_id(str(source)):
            raise SpaceError(
                "no space there", expected="a folder, or owner/name on the hub", given=source
            )
        folder = hub_folder(str(source), repo_type="model", revision=revision, patterns=FILES)
    return PersonaSpace.load(folder)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_without_paths(held) for held in value]
    return without_path(value) if isinstance(value, str) else value
