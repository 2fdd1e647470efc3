"""Forms a reply has to have, and marks it may not have.

>>> no_lists("First tea, then milk."), no_lists("1. Tea\\n2. Milk"), no_emoji("Hi \\U0001f600")
(True, False, False)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from persona_lens.evals.price.checks import lines, words
from persona_lens.evals.rules.reading import (
    begins_with,
    ends_with,
    folded,
    has_word,
    sentences,
    tokens,
)

_ITEM = re.compile(
    r"^\s*(?:[*•‣◦·▪●+]\s+|[①-⑳]|\(?\d{1,2}[.)]\s|\d\ufe0f?\u20e3|\(?[a-hA-H]\)\s)", re.M
)
_DASHED = re.compile(r"^\s*[-–—]\s+\S|^\s*\|.*\|", re.MULTILINE)
_INLINE = re.compile(r"(?:(?<=\s)|^)\(?\d{1,2}\)\s")
_SELF = re.compile(r"(?<![\w])(?:i|me|my|mine|myself)(?:'(?:m|ll|ve|d))?(?!\w)|\bim\b|\bive\b")
_SHORTCODE = re.compile(r":[a-z]+(?:_[a-z]+)*:")


def opening(reply: str, text: str) -> bool:
    """The reply begins with the text, whatever the case and the marks around it."""
    return begins_with(reply, text)


def closing(reply: str, text: str) -> bool:
    """The reply ends with the text."""
    return ends_with(reply, text)


def mentions(reply: str, text: str) -> bool:
    """Kinds `address_as` and `cites_section`: the text is in the reply."""
    return has_word(reply, text)


def form(reply: str, labels: Sequence[str]) -> bool:
    """Every line begins with a heading, each is there once, in order, and something stands behind it."""
    wanted = [tokens(label) for label in labels]
    found = [re.sub(r"^[\W_]+", "", line) for line in lines(reply)]
    if len(found) != len(wanted):
        return False
    return all(
        begins_with(line, label) and len(tokens(line)) > len(want)
        for line, label, want in zip(found, labels, wanted, strict=True)
    )


def sentence_count(reply: str, fewest: int, most: int | None = None) -> bool:
    """So many sentences."""
    return fewest <= sentences(reply) <= (most if most is not None else float("inf"))


def word_limit(reply: str, most: int) -> bool:
    """So many words at most."""
    return len(words(reply)) <= most


def questions(reply: str, fewest: int, most: int | None = None) -> bool:
    """So many questions, counted by their marks; `?!` and `??` are one."""
    count = len(re.findall(r"[!！]*[?？؟⁇⁈⁉][?？!！؟]*", reply))
    return fewest <= count <= (most if most is not None else float("inf"))


def no_lists(reply: str) -> bool:
    """No items with numbers or bullets; a single dash at the start of a line makes none, two do."""
    if _ITEM.search(reply) or len(_DASHED.findall(reply)) > 1:
        return False
    return len(_INLINE.findall(reply)) < 2


def lower_case(reply: str) -> bool:
    """No capital letters."""
    return not any(letter.isupper() or letter.istitle() for letter in reply)


def no_emoji(reply: str) -> bool:
    """No pictures among the characters, nor names of them between colons."""
    pictured = any(
        (
            unicodedata.category(each) == "So"
            and ord(each) >= 0x2300
            and not 0x2500 <= ord(each) < 0x2600
        )
        or each in "\ufe0f\u20e3"
        for each in reply
    )
    return not pictured and not _SHORTCODE.search(reply)


def no_exclamation(reply: str) -> bool:
    """No exclamation mark of any script."""
    return not re.search("[!！¡‼❗❕⁉⁈︕﹗]", reply)


def no_digits(reply: str) -> bool:
    """No figures of any script, raised ones and fractions included."""
    return not any(unicodedata.category(each) in ("Nd", "No") for each in reply)


def no_first_person(reply: str) -> bool:
    """Not I, me, my, mine or myself."""
    return not _SELF.search(folded(reply))
