"""The strip of a finding: what was published, our null and our interval on one line, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 46
_LEFT, _RIGHT = 10, WIDTH - 10
_PUBLISHED_AT, _OURS_AT = 13, 29
_PERCENT = ("share", "share of range", "relative change")


@dataclass(frozen=True)
class Scale:
    """Numbers to places on the strip.

    Attributes:
        low, high: Ends of the strip.
    """

    low: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float | None]) -> Scale:
        """A scale that holds all finite numbers, with some room.

        Examples:
            >>> Scale.of([0.0, 1.0, None, float("inf")])
            Scale(low=-0.08, high=1.08)
        """
        known = [each for each in numbers if each is not None and math.isfinite(each)]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        return cls(low - room, high + room)

    def __call__(self, number: float | None, otherwise: float) -> float:
        """The place of a number; of what is not finite, another place."""
        if number is None or not math.isfinite(number):
            return otherwise
        share = (number - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_RIGHT - _LEFT), 1)


def strip(row: Mapping[str, Any], stated: Sequence[Mapping[str, Any]]) -> Markup:
    """The strip of a finding.

    Args:
        row: Of ours: `value`, `low`, `high`, `null_low`, `null_high`, `unit`, `quantity`.
        stated: What was published: `model`, `low`, `high`, None where a side has no end.

    Examples:
        >>> row = {"value": 0.6, "low": 0.5, "high": 0.7, "null_low": 0.0, "null_high": 0.3, "unit": "cosine",
        ...        "quantity": "cosine of PC1 with the axis"}
        >>> "<svg" in strip(row, [{"model": "all three", "low": 0.71, "high": 1.0}])
        True
    """
    names = ("value", "low", "high", "null_low", "null_high")
    numbers = [row[name] for name in names]
    numbers += [each[end] for each in stated for end in ("low", "high")]
    if row["unit"] not in ("components",):
        numbers += [0.0] if any(_is_sign(each) for each in stated) else []
    at = Scale.of(numbers)
    parts = [_axis(at, str(row["unit"]))]
    if row["null_low"] is not None:
        first, last = at(row["null_low"], _LEFT), at(row["null_high"], _RIGHT)
        width = max(last - first, 2.0)
        parts.append(_shape("rect", "null", x=first, y=5, width=width, height=HEIGHT - 17))
    for each in stated:
        parts.append(_published(at, each, str(row["unit"])))
    if row["value"] is not None:
        parts.append(_ours(at, row))
    label = f"{row['quantity']}: ours {told(row['value'], str(row['unit']))}"
    head = Markup('<svg class="strip" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, label
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def told(number: float | None, unit: str) -> str:
    """A number as the page has it.

    Examples:
        >>> told(0.613, "cosine"), told(-0.5, "relative change"), told(18.0, "components"), told(None, "cosine")
        ('0.61', '−50 %', '18', 'not known')
    """
    if number is None or not math.isfinite(number):
        return "not known"
    if unit in _PERCENT:
        points = 100 * number
        text = f"{points:.1f}" if abs(points) < 9.95 and points % 1 else f"{points:.0f}"
        return f"{_signed(text)} %"
    if number == round(number) and unit in ("components", "points"):
        return _signed(f"{number:,.0f}")
    return _signed(f"{number:.2f}" if abs(number) < 100 else f"{number:,.0f}")


def told_range(low: float | None, high: float | None, unit: str) -> str:
    """A range, a value or a half-line.

    Examples:
        >>> told_range(0.71, 1.0, "cosine"), told_range(None, 0.0, "share"), told_range(4, 4, "components")
        ('0.71 to 1.00', 'below 0 %', '4')
    """
    if low is None or not math.isfinite(low):
        return f"below {told(high, unit)}"
    if high is None or not math.isfinite(high):
        return f"above {told(low, unit)}"
    return told(low, unit) if low == high else f"{told(low, unit)} to {told(high, unit)}"


def _signed(text: str) -> str:
    return text.replace("-", "−")


def _is_sign(stated: Mapping[str, Any]) -> bool:
    return stated["low"] is None or stated["high"] is None


def _axis(at: Scale, unit: str) -> Markup:
    line = _shape("line", "axis", x1=_LEFT, x2=_RIGHT, y1=HEIGHT - 12, y2=HEIGHT - 12)
    ends = Markup("").join(
        _text(told(round(number) if unit == "components" else number, unit), x, anchor)
        for number, x, anchor in ((at.low, _LEFT, "start"), (at.high, _RIGHT, "end"))
    )
    zero = Markup("")
    if at.low < 0 < at.high:
        x = at(0.0, _LEFT)
        zero = _shape("line", "zero", x1=x, x2=x, y1=4, y2=HEIGHT - 12)
        if _LEFT + 60 < x < _RIGHT - 60:
            zero += _text("0", x, "middle")
    return line + ends + zero


def _published(at: Scale, stated: Mapping[str, Any], unit: str) -> Markup:
    first, last = at(stated["low"], _LEFT), at(stated["high"], _RIGHT)
    title = f"{stated['model']}: {told_range(stated['low'], stated['high'], unit)}"
    if first == last:
        y = _PUBLISHED_AT
        points = f"{first},{y - 6} {first + 6},{y} {first},{y + 6} {first - 6},{y}"
        return _shape("polygon", "published", title, points=points)
    look = "published open" if _is_sign(stated) else "published"
    return _shape(
        "rect", look, title, x=first, y=_PUBLISHED_AT - 3, width=max(last - first, 2), height=6
    )


def _ours(at: Scale, row: Mapping[str, Any]) -> Markup:
    unit, x = str(row["unit"]), at(row["value"], _LEFT)
    ends = Markup("")
    if row["low"] is not None and row["high"] is not None:
        first, last = at(row["low"], _LEFT), at(row["high"], _RIGHT)
        ends = _shape("line", "interval", x1=first, x2=last, y1=_OURS_AT, y2=_OURS_AT)
    title = (
        f"ours: {told(row['value'], unit)} [{told(row['low'], unit)}, {told(row['high'], unit)}]"
    )
    return ends + _shape("circle", "ours", title, cx=x, cy=_OURS_AT, r=5)


def _shape(kind: str, look: str, title: str = "", **places: Any) -> Markup:
    told_places = " ".join(f'{name}="{escape(place)}"' for name, place in places.items())
    inner = Markup("<title>{}</title>").format(title) if title else ""
    return Markup(f'<{kind} class="{look}" {told_places}>{inner}</{kind}>')


def _text(text: str, x: float, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        x, HEIGHT - 1, anchor, text
    )
