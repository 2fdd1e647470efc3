"""What the items of this room are made of: JSON beside the code, read once."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).with_name("data")


@cache
def material(name: str) -> dict[str, Any]:
    """The content of a file of `data/`.

    Examples:
        >>> len(material("stories")["stories"])
        36
    """
    return json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
