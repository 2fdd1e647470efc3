"""Spaces that come with the package: complete, real, and open at once, with no model loaded."""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).parent / "data"

REPLIES = "replies.parquet"
SHIPPED = ("smollm2-135m-instruct",)
"""Names that `PersonaSpace.load` knows."""


def shipped_folder(name: str | Path) -> Path | None:
    """The folder of a packaged space; None for any other name, and where a folder of that name lies here.

    Examples:
        >>> shipped_folder("smollm2-135m-instruct").name
        'smollm2-135m-instruct'
    """
    plain = str(name).rstrip("/")
    known = plain in SHIPPED and not (Path(name) / "card.json").is_file()
    return _DATA / plain if known else None
