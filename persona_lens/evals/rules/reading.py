"""How a reply is read by checkers: one spelling for case, accents, look-alike letters and curly quotes.

>>> folded("ＺÉphyr’s “Wind”")
'zephyr\\'s "wind"'
>>> tokens("Z-e-p; don't_stop")
['z', 'e', 'p', 'don', 't', 'stop']
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import pairwise

from persona_lens.evals.price.checks import sentences as ended

_ALIKE = str.maketrans(
    {
        **dict(zip("аеорсхуікмтнвјѕԁ", "aeopcxyikmthbjsd", strict=True)),
        **dict(zip("αεοιυκρτνχ", "aeoiukptvx", strict=True)),
        **dict.fromkeys("‘’ʼ`´", "'"),
        **dict.fromkeys("“”„«»", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **{"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i"},
    }
)
"""Letters of other alphabets that look like Latin ones, and marks that people and models type differently."""

_ABBREVIATED = re.compile(
    r"\b(mr|mrs|ms|dr|prof|st|sr|jr|no|vs|etc|e\.g|i\.e|a\.m|p\.m|approx)\.", re.IGNORECASE
)
_DOTS = re.compile(r"(?:\.{2,}|…)(?=\s+[a-z])")
_NUMBERED = re.compile(r"^\s*\(?\d{1,2}[.)]\s+", re.MULTILINE)


def folded(text: str) -> str:
    """Lower case without accents and invisible characters, look-alike letters as the Latin ones."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_ALIKE)
    parts = unicodedata.normalize("NFKD", plain)
    return "".join(
        character
        for character in parts
        if not unicodedata.combining(character) and unicodedata.category(character) != "Cf"
    )


def tokens(text: str) -> list[str]:
    """Runs of letters and digits, folded."""
    return re.findall(r"[^\W_]+", folded(text))


def has_word(text: str, word: str) -> bool:
    """Whether a word, or several in a row, stands in a text as such.

    Examples:
        >>> has_word("The SEA-side inn", "sea"), has_word("I search", "sea"), has_word("Next\\nyear!", "next year")
        (True, False, True)
    """
    return _pattern(word).search(folded(text)) is not None


def begins_with(text: str, words: str) -> bool:
    """Whether a text begins with words; quotes and marks of Markdown before and among them do not count."""
    return re.match(rf"[\W_]*{_pattern(words).pattern}{_stop(words)}", folded(text)) is not None


def ends_with(text: str, words: str) -> bool:
    """Whether a text ends with words; marks after them do not count."""
    return re.search(rf"{_pattern(words).pattern}[\W_]*\Z", folded(text)) is not None


def sentences(text: str) -> int:
    """How many sentences there are: abbreviations, dots in mid-sentence and numbers of a list end none.

    Examples:
        >>> sentences("Dr. Fidget waits... for lunch. Is he late? Yes"), sentences("1. Tea.\\n\\nMilk")
        (3, 2)
    """
    cleared = _ABBREVIATED.sub(r"\1", _DOTS.sub(",", _NUMBERED.sub("", text)))
    return sum(ended(part) for part in re.split(r"\n\s*\n", cleared))


def clauses(text: str) -> Iterator[str]:
    """Sentences of a folded text, one after the other."""
    yield from (part for part in re.split(r"(?<=[.!?;])\s+|\n+", folded(text)) if part.strip())


NEGATED = re.compile(
    r"\b(not|no|never|cannot|nor|neither|without|refuse[ds]?|unable|\w+n't|cant|wont|dont)\b"
)
"""A clause with one of these says what is not so or not done."""


def asserted(text: str, patterns: Iterable[re.Pattern[str]]) -> bool:
    """Whether a clause without a negation has one of the patterns."""
    found = list(patterns)
    return any(
        pattern.search(clause)
        for clause in clauses(text)
        if not NEGATED.search(clause)
        for pattern in found
    )


def _pattern(words: str) -> re.Pattern[str]:
    """Words in a row with a few marks between them; before a number there may be none (K12, K-12)."""
    parts = [re.escape(part) for part in tokens(words)]
    joined = parts[0]
    for before, part in pairwise(parts):
        least = 0 if before[-1].isalpha() and part[0].isdigit() else 1
        joined += rf"[\W_]{{{least},4}}{part}"
    return re.compile(rf"(?<![^\W_]){joined}(?![^\W_])")


def _stop(words: str) -> str:
    return r"[\s*_\"']*:" if words.rstrip().endswith(":") else ""
