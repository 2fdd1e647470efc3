"""The run a saved space came from: where it was, or beside the space if both have been moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from persona_lens.errors import PersonaLensError
from persona_lens.runs.store.folder import RunFolder


def run_beside(folder: Path, recorded: str | None, reader_key: str | None) -> str | None:
    """The run of the space in `folder`; None if it is nowhere near.

    Looked for are the recorded path, the same path from each folder above the space, and every folder beside the
    space. Only a run with the activations the space was made of counts.

    Args:
        folder: Of the space.
        recorded: Where its run was; None for a space that never had one.
        reader_key: Of those activations.

    Examples:
        >>> run_beside(Path("spaces/first"), None, None) is None
        True
    """
    if not recorded:
        return None
    for place in _places(folder, Path(recorded)):
        if (place / "manifest.json").is_file() and _made_it(place, reader_key):
            return str(place)
    return None


def _places(folder: Path, recorded: Path) -> Iterator[Path]:
    yield recorded
    whole = folder.resolve()
    if not recorded.is_absolute():
        yield from (above / recorded for above in whole.parents)
    yield whole.parent / recorded.name
    if whole.parent.is_dir():
        yield from sorted(each for each in whole.parent.iterdir() if each.is_dir())


def _made_it(place: Path, reader_key: str | None) -> bool:
    try:
        return RunFolder(place).manifest().reader_key == reader_key
    except PersonaLensError:
        return False
