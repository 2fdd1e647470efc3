"""What really lies under a name, looked at before it is read: no folder, not nothing, no pointer to elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from persona_lens.errors import PersonaLensError

_POINTER = b"version https://git-lfs.github.com/spec/"
_ANNEX = (b"/annex/objects/", b"../.git/annex/objects/", b".git/annex/objects/")


def check_content(path: str | os.PathLike[str], error: type[PersonaLensError]) -> None:
    """Refuse a file that does not hold what its name says; one that is not there is left to whoever reads it.

    Args:
        path: A file somebody wants to read.
        error: What to raise.

    Raises:
        PersonaLensError: A folder, an empty file, or the pointer that git leaves where a file kept by Git LFS or
            git-annex was not fetched.

    Examples:
        >>> import tempfile
        >>> from persona_lens.errors import SpaceError
        >>> path = Path(tempfile.mkdtemp()) / "vectors.safetensors"
        >>> _ = path.write_text("version https://git-lfs.github.com/spec/v1")
        >>> check_content(path, SpaceError)
        Traceback (most recent call last):
            ...
        persona_lens.errors.SpaceError: .../vectors.safetensors is a Git LFS pointer and not the file itself
          run `git lfs pull` in its repository, or download the file
    """
    path = Path(path)
    if path.is_dir():
        raise error(f"{path} is a folder", expected="a file")
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except OSError:
        return
    if not head:
        raise error(f"{path} is empty", remedy="write or download it again")
    if head.startswith(_POINTER):
        raise error(
            f"{path} is a Git LFS pointer and not the file itself",
            remedy="run `git lfs pull` in its repository, or download the file",
        )
    if head.startswith(_ANNEX):
        raise error(
            f"{path} is a git-annex pointer and not the file itself",
            remedy="run `git annex get` in its repository, or download the file",
        )


def check_contents(
    folder: str | os.PathLike[str], suffixes: tuple[str, ...], error: type[PersonaLensError]
) -> None:
    """`check_content` of every file of these kinds in a folder, not below it."""
    for path in sorted(Path(folder).iterdir()):
        if path.suffix in suffixes and path.is_file():
            check_content(path, error)
