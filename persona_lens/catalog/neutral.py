"""Plain questions with plain answers, on which the side effects of an intervention are measured.

A steered model should still find ordinary text as likely as before. These 32 exchanges are such
text: everyday and school knowledge, in which nobody plays a role and nobody speaks of themselves.
The answers are fixed, so the perplexity of a model on them, and the KL divergence from the same
model without the intervention, need no reply to be generated.

Examples:
    >>> exchanges = load_neutral()
    >>> len(exchanges), exchanges[1].question
    (32, 'Which countries does the Danube flow through?')
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Exchange:
    """One question of a user and the answer to it.

    Examples:
        >>> Exchange(question="What is 2 plus 2?", answer="It is 4.").answer
        'It is 4.'

    Attributes:
        question: What the user asks, in one or two sentences.
        answer: What the assistant replies; in the packaged ones 60 to 90 words of plain prose.
    """

    question: str
    answer: str


@cache
def load_neutral() -> tuple[Exchange, ...]:
    """Return the 32 packaged exchanges, in the order of their file.

    None of their questions is among the questions of the catalogue, so a vector made from replies
    to those is measured on text that it has not seen.

    Examples:
        >>> load_neutral()[2].answer[:30]
        'Fifteen percent of 240 is 36. '
    """
    source = files("persona_lens.catalog") / "data" / "neutral.json"
    return tuple(Exchange(**entry) for entry in json.loads(source.read_text("utf-8")))
