"""What the words of a reply show, as judges of any evaluation: how varied they are, whether they name an AI."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np

from persona_lens.evals.outcomes import Answer, Exact, Outcome
from persona_lens.judges import RuleJudge


def distinct_pairs(text: str) -> float:
    """Distinct pairs of neighbouring words over all pairs (distinct-2); NaN below two words.

    Examples:
        >>> distinct_pairs("the sea the sea the sea")
        0.4
    """
    words = re.findall(r"\w+", text.lower())
    pairs = Counter(pairwise(words))
    return len(pairs) / pairs.total() if pairs else float("nan")


def _varied(answer: Answer) -> Outcome:
    value = distinct_pairs(answer.text)
    return Outcome(score=value) if np.isfinite(value) else Outcome(status="not asked")


def _says_machine(answer: Answer) -> Outcome:
    return Outcome(score=float(RuleJudge().claims_machine(answer.text)))


VARIED = Exact("varied", _varied)
"""Scores an answer by `distinct_pairs`; one of a single word has no score."""

SAYS_MACHINE = Exact("machine", _says_machine)
"""Scores 1 where an answer claims to be a machine, by the rules of `RuleJudge`; 0 where not."""
