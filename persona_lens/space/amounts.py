"""Amounts that are surely a slip: a percentile given as a fraction, a strength in another unit than its number."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float

from persona_lens.arrays import as_floats
from persona_lens.errors import PersonaLensError, SpaceError

STRONG = 2.0
"""Residual norms from which a push warns: of a token it moves, |cos| with the direction is then 0.9 and more."""

STRONGEST = 10.0
"""Residual norms beyond which a push is refused: nothing but the direction is left, |cos| above 0.995."""


def checked_percentile(value: object) -> float:
    """A percentile, from 0 to 100.

    Raises:
        SpaceError: It is no number, outside of that range, or above 0 and below 1: calibrations know whole
            percents, so that a fraction of the first one says nothing, and 0.75 nearly always stands for 75.

    Examples:
        >>> checked_percentile(75)
        75.0
        >>> checked_percentile(0.75)
        Traceback (most recent call last):
            ...
        persona_lens.errors.SpaceError: a percentile counts in percent
          expected 0, or 1 to 100, given 0.75
          did you mean 75?
    """
    number = _number(value)
    if 0 < number < 1:
        raise SpaceError(
            "a percentile counts in percent",
            expected="0, or 1 to 100",
            given=value,
            remedy=f"did you mean {100 * number:g}?",
        )
    if not 0 <= number <= 100:
        raise SpaceError("not a percentile", expected="0 to 100", given=repr(value))
    return number


def checked_strength(strength: object, norms: float | None) -> float | tuple[float, ...]:
    """A strength, or one a row, that does not drown the residual stream.

    Args:
        strength: A number, or a sequence of them.
        norms: Mean residual norms that strength 1 pushes by, the largest over layers; None where that is not
            known, or does not matter (raw vectors).

    Raises:
        SpaceError: No finite number, or a push of more than `STRONGEST` residual norms.

    Warns:
        UserWarning: A push of more than `STRONG`.

    Examples:
        >>> checked_strength([0.1, -0.2], 1.0), checked_strength(50, None)
        ((0.1, -0.2), 50.0)
        >>> checked_strength(50, 1.0)
        Traceback (most recent call last):
            ...
        persona_lens.errors.SpaceError: this push is 50 times the residual stream
          expected at most 10, mostly 0.05 to 0.5, given strength 50
          a fraction is meant: 50 % is 0.5; for a multiple of the stored vector take unit="raw"
    """
    try:
        values = as_floats(strength, dtype=np.float64, layers=())
    except PersonaLensError:
        values = np.array(np.nan)
    if values.ndim > 1 or not values.size or not np.isfinite(values).all():
        raise SpaceError(
            "no usable strength",
            expected="a finite number, or one for each row of the batch",
            given=repr(strength),
        )
    largest = float(values.flat[np.abs(values).argmax()])
    push = abs(largest) * (norms or 0.0)
    if push > STRONGEST:
        raise SpaceError(
            f"this push is {push:.3g} times the residual stream",
            expected=f"at most {STRONGEST:g}, mostly 0.05 to 0.5",
            given=f"strength {largest:g}",
            remedy=f"a fraction is meant: {abs(largest):g} % is {abs(largest) / 100:g}; for a multiple of the "
            'stored vector take unit="raw"',
        )
    if push > STRONG:
        warnings.warn(
            f"strength {largest:g} pushes by {push:.3g} times the residual stream, of which little is left; "
            "usual are 0.05 to 0.5",
            stacklevel=3,
        )
    return tuple(values.tolist()) if values.ndim else float(values)


def largest_push(
    lengths: Float[np.ndarray, " layer"], norms: Float[np.ndarray, " layer"] | None
) -> float | None:
    """Residual norms that lengths are, at the layer where they are most; None if the norms are not known."""
    return None if norms is None else float((lengths / norms).max())


def _number(value: object) -> float:
    if isinstance(value, bool | str):
        return float("nan")
    try:
        return float(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return float("nan")
