"""How much room text takes, and text broken to fit: figures are laid out before any browser sees them."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from html import escape, unescape

LINE_HEIGHT = 1.3

# Advance widths of ASCII 32 to 126 in thousandths of the font size, measured on DejaVu Sans: the widest of the
# fonts the house style falls back on, so that what fits by this table fits everywhere.
_FIRST = 32
_WIDTHS = (
    *(318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337),
    *(636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531),
    *(1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787),
    *(603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500),
    *(500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612),
    *(635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838),
)
_OTHER, _WIDE, _COMBINING = 700, 1000, 0
_TAG = re.compile(r"<[^>]*>")


def text_width(text: str, size: float) -> float:
    """Width in pixels of the longest line of `text` at font `size`; tags take no room.

    Examples:
        >>> round(text_width("pirate", 10), 1), text_width("<b>pirate</b>", 10) == text_width("pirate", 10)
        (29.4, True)
    """
    lines = text.replace("<br>", "\n").split("\n")
    return max(sum(map(_advance, unescape(_TAG.sub("", line)))) for line in lines) * size / 1000


def text_height(text: str, size: float) -> float:
    """Height in pixels of all lines of `text`."""
    return (1 + text.count("<br>")) * size * LINE_HEIGHT


def wrap(text: str, width: float, size: float) -> str:
    """Break `text` at spaces into lines of at most `width` pixels, joined by `<br>`.

    Examples:
        >>> wrap("one two three", 60, 12)
        'one two<br>three'
    """
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "<br>".join(lines)


def shown(name: str) -> str:
    """A name as figures show it: no underscores, and nothing plotly would take for a tag.

    Examples:
        >>> shown("devils_advocate"), shown("a<b")
        ('devils advocate', 'a&lt;b')
    """
    return escape(name.replace("_", " "), quote=False)


def joined(*parts: str, by: str = "<br>") -> str:
    """Those of the parts that say something, as lines.

    Examples:
        >>> joined("first", "", "second")
        'first<br>second'
    """
    return by.join(part for part in parts if part)


def paragraph(text: str, columns: int = 52) -> str:
    """Prose for a hover label, broken at `columns` characters."""
    return "<br>".join(escape(line, quote=False) for line in textwrap.wrap(text, columns))


def _advance(character: str) -> int:
    place = ord(character) - _FIRST
    if 0 <= place < len(_WIDTHS):
        return _WIDTHS[place]
    if unicodedata.combining(character):
        return _COMBINING
    return _WIDE if unicodedata.east_asian_width(character) in "WF" else _OTHER
