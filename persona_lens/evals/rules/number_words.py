"""Numbers in a text, in figures and in words.

>>> [each.value for each in figures("Forty-two crowns, or 1,250.5, or two thousand and eighty-five")]
[42.0, 1250.5, 2085.0]
>>> [each.digits for each in figures("nine oh seven")]
['9', '0', '7']
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from persona_lens.evals.rules.reading import folded

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: number for number, word in enumerate(_SMALL)} | {
    word: 10 * number for number, word in enumerate(_TENS, start=2)
}
_ZERO = ("oh", "o", "nought", "nil")
_SCALES = {"hundred": 100, "thousand": 1000}
_PIECE = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+")
_BETWEEN = re.compile(r"[\W_]{1,4}\Z")
_LINKS = ("and", "then")


@dataclass(frozen=True)
class Figure:
    """A number in a text.

    Attributes:
        value: Which.
        digits: As it would be keyed in: a number in words without its scales, one in figures as it stands.
        start: Where it begins in the folded text.
        end: Where it ends.
        follows: Whether nothing but marks, "and" or "then" is between it and the number before.
        comma: Whether a comma is.
    """

    value: float
    digits: str
    start: int
    end: int
    follows: bool = False
    comma: bool = False


def figures(text: str) -> Iterator[Figure]:
    """The numbers of a text in their order; "a hundred" is one, "twenty eighty-five" is two."""
    plain = folded(text)
    pieces = [(found[0], found.start(), found.end()) for found in _PIECE.finditer(plain)]
    place, last = 0, -1
    while place < len(pieces):
        value, after = _number(plain, pieces, place, in_run=last >= 0)
        if after == place:
            place += 1
            if pieces[place - 1][0] not in _LINKS:
                last = -1
            continue
        start, end = pieces[place][1], pieces[after - 1][2]
        between = plain[last:start] if last >= 0 else ""
        near = last >= 0 and re.fullmatch(r"(?:[\W_]|and|then){1,12}", between) is not None
        word = pieces[place][0]
        digits = re.sub(r"\D.*" if "." in word else r"\D", "", word) if word[0].isdigit() else ""
        yield Figure(value, digits or f"{value:g}", start, end, near, "," in between)
        place, last = after, end


def _number(
    plain: str, pieces: Sequence[tuple[str, int, int]], place: int, *, in_run: bool
) -> tuple[float, int]:
    """The number that begins at a piece, and the piece after it; the same piece if none begins."""
    word = pieces[place][0]
    if word[0].isdigit():
        value, place = float(word.replace(",", "")), place + 1
        if place < len(pieces) and pieces[place][0] in _SCALES:
            return value * _SCALES[pieces[place][0]], place + 1
        return value, place
    if word in _ZERO and in_run:
        return 0.0, place + 1
    article = word in ("a", "an") and place + 1 < len(pieces) and pieces[place + 1][0] in _SCALES
    if word not in _VALUES and not article:
        return 0.0, place
    total, group, place = 0.0, 1.0 if article else float(_VALUES[word]), place + 1
    room = 10.0 if group >= 20 else 1.0  # what may still be added: units to tens, nothing to units
    while place < len(pieces):
        word, before = pieces[place][0], pieces[place - 1][2]
        gap = plain[before : pieces[place][1]]
        linked = word == "and" and room >= 100 and place + 1 < len(pieces)
        if linked and pieces[place + 1][0] in _VALUES:
            place += 1
            continue
        if not _BETWEEN.fullmatch(gap) or ("," in gap and room < 100) or "." in gap:
            break
        if word == "hundred" and 0 < group < 100:
            group, room, place = group * 100, 100.0, place + 1
        elif word == "thousand" and 0 < group < 1000 and not total:
            total, group, room, place = group * 1000, 0.0, 1000.0, place + 1
        elif word in _VALUES and 0 < _VALUES[word] < room:
            added = _VALUES[word]
            group, room, place = group + added, (10.0 if added >= 20 else 1.0), place + 1
        else:
            break
    return total + group, place
