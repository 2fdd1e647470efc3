"""The number of a block, as people give it: whole, and not a depth, a name or a number in quotes."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

from persona_lens.errors import InterventionError, PersonaLensError


def block_number(layer: object, error: type[PersonaLensError] = InterventionError) -> int:
    """A layer as a plain integer; whole floats, as columns of a data frame hold them, are numbers too.

    Args:
        layer: What was given; may be negative.
        error: What to raise.

    Raises:
        PersonaLensError: It is no whole number.

    Examples:
        >>> block_number(20.0)
        20
        >>> block_number("20")
        Traceback (most recent call last):
            ...
        persona_lens.errors.InterventionError: a layer is the number of a block
          expected an integer, given '20'
          did you mean 20?
    """
    if not isinstance(layer, bool):
        try:
            return operator.index(layer)  # pyright: ignore[reportArgumentType]
        except TypeError:
            pass
        if isinstance(layer, float) and layer.is_integer():
            return int(layer)
    raise error(
        "a layer is the number of a block",
        expected="an integer",
        given=repr(layer),
        remedy=_meant(layer),
    )


def nearest_blocks(layer: int, known: Sequence[int]) -> str | None:
    """Which layers may have been meant instead of one that is not known.

    Examples:
        >>> nearest_blocks(30, range(30)), nearest_blocks(7, [3, 6, 9]), nearest_blocks(99, range(30))
        ('blocks are counted from 0: the last is 29', 'did you mean 6 or 9?', None)
    """
    listed = sorted(known)
    if not listed:
        return None
    if layer == listed[-1] + 1:
        return f"blocks are counted from 0: the last is {listed[-1]}"
    around = [
        *[each for each in listed if each < layer][-1:],
        *[each for each in listed if each > layer][:1],
    ]
    return f"did you mean {' or '.join(map(str, around))}?" if len(around) == 2 else None


def _meant(layer: object) -> str | None:
    if isinstance(layer, str):
        stripped = layer.strip()
        return f"did you mean {stripped}?" if stripped.lstrip("-").isdecimal() else None
    if not isinstance(layer, float) or not math.isfinite(layer):
        return None
    if 0 < layer < 1:
        return "a share of the depth goes into depth=(low, high), where there is one"
    return f"did you mean {math.floor(layer)} or {math.ceil(layer)}?"
