"""What differs between the settings a folder was started with and those that are asked for now.

>>> [f"{name}: {old} here, {new} asked for" for name, old, new in leaves({"seed": 0}, {"seed": 1})]
['seed: 0 here, 1 asked for']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, old and new value of what differs, as deep as both are mappings."""
    for key in dict.fromkeys([*old, *new]):
        name = f"{prefix}.{key}" if prefix else key
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            yield from leaves(left, right, name)
        elif left != right:
            yield name, left, right


def brief(value: object) -> str:
    """A value as a short text.

    >>> brief("x" * 99)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
    """
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
