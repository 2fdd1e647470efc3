"""Programs that say whether a text follows an instruction: one function a kind, no model and no doubt.

>>> follows("It rains; water falls.", "no_commas"), follows("First, water rises.", "no_commas")
(True, False)
>>> follows("- warm\\n- wet\\n- windy", "bullets", n=3), follows("", "no_commas")
(True, False)

A text of fewer than three words follows nothing: what says nothing breaks no rule either.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from persona_lens.errors import EvaluationError

LEAST_WORDS = 3

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)*]*(?=\s|$)")


def follows(text: str, kind: str, **args: Any) -> bool:
    """Whether a text follows an instruction of a kind.

    Args:
        text: The answer; white space around it does not count.
        kind: A key of `CHECKS`.
        args: What the kind needs: `n`, `word`, `phrase`.

    Raises:
        EvaluationError: There is no such kind.

    Examples:
        >>> follows("To put it simply: gravity.", "starts_with", phrase="To put it simply")
        True
    """
    if kind not in CHECKS:
        raise EvaluationError(
            "no such kind of instruction", expected=", ".join(CHECKS), given=repr(kind)
        )
    text = text.strip()
    return len(words(text)) >= LEAST_WORDS and CHECKS[kind](text, **args)


def words(text: str) -> list[str]:
    """The words of a text; numbers are words, signs are not.

    Examples:
        >>> words("It's 12 o'clock - **really**!")
        ["It's", '12', "o'clock", 'really']
    """
    return _WORD.findall(text)


def sentences(text: str) -> int:
    """How many sentences there are, counted by the signs that end them; a last one needs none.

    Examples:
        >>> sentences("Is it? Yes. It costs 3.50 euros"), sentences("")
        (3, 0)
    """
    parts = _SENTENCE_END.split(text)
    return sum(bool(words(part)) for part in parts)


def lines(text: str) -> list[str]:
    """Lines with something on them, without white space around."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def _cased(text: str, wanted: str) -> bool:
    return any(letter.isalpha() for letter in text) and text == wanted


def _bullets(text: str, n: int) -> bool:
    return sum(line.startswith(("- ", "* ")) for line in lines(text)) == n


def _numbered(text: str, n: int) -> bool:
    found = [re.match(r"(\d+)[.)]\s", line) for line in lines(text)]
    return [int(match[1]) for match in found if match] == list(range(1, n + 1))


def _paragraphs(text: str, n: int) -> bool:
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()]) == n


def _mentions(text: str, word: str, n: int) -> bool:
    return [found.lower() for found in words(text)].count(word.lower()) >= n


def _quoted(text: str) -> bool:
    return len(text) > 2 and text[0] in '"“' and text[-1] in '"”'


def _parts(text: str) -> bool:
    halves = re.split(r"^\s*\*\*\*\s*$", text, flags=re.MULTILINE)
    return len(halves) == 2 and all(words(half) for half in halves) and halves[0] != halves[1]


def _postscript(text: str) -> bool:
    last = lines(text)[-1].lstrip("*_ ")
    return last.startswith("P.S.") and len(lines(text)) > 1


CHECKS: dict[str, Callable[..., bool]] = {
    "no_commas": lambda text: "," not in text,
    "lowercase": lambda text: _cased(text, text.lower()),
    "uppercase": lambda text: _cased(text, text.upper()),
    "at_least_words": lambda text, n: len(words(text)) >= n,
    "at_most_words": lambda text, n: len(words(text)) <= n,
    "bullets": _bullets,
    "numbered": _numbered,
    "paragraphs": _paragraphs,
    "sentences": lambda text, n: sentences(text) == n,
    "starts_with": lambda text, phrase: text.lower().startswith(phrase.lower()),
    "ends_with": lambda text, phrase: text.lower().endswith(phrase.lower()),
    "mentions": _mentions,
    "avoids": lambda text, word: not _mentions(text, word, 1),
    "title": lambda text: bool(re.fullmatch(r"\[[^\[\]]+\]", lines(text)[0])),
    "quoted": _quoted,
    "no_digits": lambda text: not any(letter.isdigit() for letter in text),
    "digits": lambda text, n: len(re.findall(r"\d+(?:[.,]\d+)*", text)) >= n,
    "question_last": lambda text: text.rstrip('"”*_)').endswith("?"),
    "parts": _parts,
    "postscript": _postscript,
    "one_line": lambda text: "\n" not in text,
    "bold": lambda text, n: len(re.findall(r"\*\*[^*\n]+\*\*", text)) >= n,
}
"""From a kind to its program: text, and what the kind needs, to whether it is followed."""
