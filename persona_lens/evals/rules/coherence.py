"""Replies that say nothing: empty, without words, too short, or caught in a loop.

>>> incoherent(""), incoherent("no no no no no no"), incoherent("I may not tell."), incoherent("?!?")
('empty', 'loop', '', 'no words')
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from persona_lens.evals.rules.reading import tokens

_SAME, _LONGEST, _STRETCH, _SHARE = 5, 30, 10, 0.5
_RUN = re.compile(r"([^\s\-_=*.~])\1{11,}")


def incoherent(text: str, fewest: int = 1) -> str:
    """Why a reply says nothing; empty if it says something.

    Args:
        text: The reply.
        fewest: Words that it should have.

    Returns:
        `empty`, `no words`, `too short` or `loop`: a word five times in a row, a character twelve times, or a
        phrase of up to thirty words three times in a row that makes half of the reply.
    """
    if not text.strip():
        return "empty"
    spoken = tokens(text)
    if not spoken:
        return "no words"
    if len(spoken) < fewest:
        return "too short"
    return "loop" if _RUN.search(text) or _loops(spoken) else ""


def _loops(spoken: Sequence[str]) -> bool:
    for period in range(1, min(_LONGEST, len(spoken) // 3) + 1):
        longest = run = 0
        for before, after in zip(spoken, spoken[period:], strict=False):
            run = run + 1 if before == after else 0
            longest = max(longest, run)
        stretch = longest + period
        if period == 1 and stretch >= _SAME:
            return True
        thrice = longest >= 2 * period and stretch >= _STRETCH
        if thrice and stretch >= _SHARE * len(spoken):
            return True
    return False
