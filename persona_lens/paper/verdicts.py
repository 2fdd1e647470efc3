"""The rule by which a report says "agrees", "differs" or "too small to tell".

Ours is a number with a 95 % interval and a count; beside it stand what was published, as a range over the models,
and our null: where 95 % of the numbers lie that chance or the controls give.

1. No interval, or fewer than `FEWEST` independent units: **too small to tell**.
2. The interval lies outside the published range: **differs**. A range of one value is a point.
3. It touches the published range and also the null: **too small to tell**, as chance would give as much.
4. It touches the published range and not the null: **agrees**.

Where nothing was expected to change there is no null to beat. For kinds "within" and "absence", an interval that
lies wholly within the range (of "absence": within the margin around no change) **agrees**, one wholly outside
**differs**, one that reaches over an end is **too small to tell**.

"Agrees" is not "the same": a wide interval touches much. The interval is always shown. Of twenty intervals of 95 %
one misses by chance; a page of them holds such a one.

    >>> verdict("amount", published=(0.71, 1.0), interval=(0.75, 0.9), null=(0.0, 0.6), n=275)
    'agrees'
    >>> verdict("amount", published=(0.71, 1.0), interval=(0.55, 0.67), null=(0.0, 0.77), n=275)
    'differs'
    >>> verdict("amount", published=(0.71, 1.0), interval=(0.65, 0.9), null=(0.0, 0.77), n=275)
    'too small to tell'
"""

from __future__ import annotations

import math
from typing import Literal

from persona_lens.paper.published import Kind

Verdict = Literal["agrees", "differs", "too small to tell"]
AGREES, DIFFERS, TOO_SMALL = "agrees", "differs", "too small to tell"

FEWEST = 10
"""Independent units (roles, conversations) below which nothing is told, as the paper's 10 replies a label."""

Range = tuple[float, float]


def verdict(
    kind: Kind,
    *,
    published: Range,
    interval: Range,
    null: Range | None,
    n: int,
    margin: float | None = None,
) -> Verdict:
    """What ours says of what was published; see above.

    Args:
        kind: Of the claim. "amount" and "sign" are held against a null, "within" and "absence" are not.
        published: Lowest and highest, infinite where only the side is known.
        interval: 95 %, ours.
        null: Where 95 % of the numbers lie that chance gives; a difference from controls has (0, 0).
        n: Independent units behind ours.
        margin: Of "absence": what counts as no change.
    """
    if n < FEWEST or not all(map(math.isfinite, interval)):
        return TOO_SMALL
    if kind in ("within", "absence"):
        wanted = published if margin is None else (-margin, margin)
        if wanted[0] <= interval[0] and interval[1] <= wanted[1]:
            return AGREES
        return TOO_SMALL if touches(interval, wanted) else DIFFERS
    if not touches(interval, published) or (kind == "sign" and _at_edge(interval, published)):
        return DIFFERS
    if null is None or not all(map(math.isfinite, null)) or touches(interval, null):
        return TOO_SMALL
    return AGREES


def because(
    kind: Kind,
    *,
    published: Range,
    interval: Range,
    null: Range | None,
    n: int,
    margin: float | None = None,
) -> str:
    """Why `verdict` says so, in a line; arguments as there.

    Examples:
        >>> because("amount", published=(0.7, 1.0), interval=(0.5, 0.6), null=(0.0, 0.4), n=30)
        'our interval lies outside what was published'
    """
    if not all(map(math.isfinite, interval)):
        return "there is no interval"
    if n < FEWEST:
        return f"{n} independent units; {FEWEST} are needed"
    said = verdict(kind, published=published, interval=interval, null=null, n=n, margin=margin)
    if kind in ("within", "absence"):
        what = "what was published" if margin is None else "the margin around no change"
        return {
            AGREES: f"our interval lies within {what}",
            DIFFERS: f"our interval lies outside {what}",
            TOO_SMALL: f"our interval reaches over an end of {what}",
        }[said]
    return {
        AGREES: "our interval touches what was published, and not our null",
        DIFFERS: "our interval lies outside what was published",
        TOO_SMALL: "our interval touches what was published, and our null as well",
    }[said]


def touches(one: Range, other: Range) -> bool:
    """Whether two closed ranges have a point in common.

    Examples:
        >>> touches((0.0, 1.0), (1.0, 2.0)), touches((0.0, 0.9), (1.0, 2.0))
        (True, False)
    """
    return one[0] <= other[1] and other[0] <= one[1]


def _at_edge(interval: Range, published: Range) -> bool:
    """Of a half-line the end itself is no part: an interval that only reaches it lies on the other side."""
    low, high = published
    return (interval[1] <= low and math.isfinite(low)) or (
        interval[0] >= high and math.isfinite(high)
    )
