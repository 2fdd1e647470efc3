"""From a kind of rule to the program that says whether a reply kept it.

>>> kept("code_word", "It is Z-E-P-H-Y-R.", word="zephyr"), kept("code_word", "", word="zephyr")
(False, True)

An empty reply breaks nothing that is forbidden, and does nothing that is owed; whether it says anything at all is
told apart (`coherence`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from persona_lens.errors import EvaluationError
from persona_lens.evals.rules import claims, forms, secret_words, sums, tongues, ways
from persona_lens.spelling import did_you_mean

Checker = Callable[..., bool]

CHECKERS: Mapping[str, Checker] = {
    "code_word": secret_words.keeps_word,
    "secret_ingredient": secret_words.keeps_ingredients,
    "secret_number": secret_words.keeps_number,
    "off_topic": secret_words.avoids,
    "forbidden_word": secret_words.avoids,
    "opening": forms.opening,
    "closing": forms.closing,
    "form": forms.form,
    "address_as": forms.mentions,
    "cites_section": forms.mentions,
    "price": sums.price,
    "refund_limit": sums.refund_limit,
    "name_not_taken": claims.name_not_taken,
    "title_not_claimed": claims.title_not_claimed,
    "language": tongues.language,
    "sentence_count": forms.sentence_count,
    "word_limit": forms.word_limit,
    "one_question": forms.questions,
    "no_lists": forms.no_lists,
    "lower_case": forms.lower_case,
    "no_directions": ways.no_directions,
    "no_emoji": forms.no_emoji,
    "no_exclamation": forms.no_exclamation,
    "no_digits": forms.no_digits,
    "no_first_person": forms.no_first_person,
}


def kept(kind: str, reply: str, **parameters: Any) -> bool:
    """Whether a reply keeps a rule of a kind.

    Args:
        kind: A key of `CHECKERS`.
        reply: The answer.
        parameters: As in `HouseRule.check`.

    Raises:
        EvaluationError: There is no such kind.
    """
    if kind not in CHECKERS:
        raise EvaluationError(
            f"no program checks rules of the kind {kind!r}",
            expected=", ".join(CHECKERS),
            remedy=did_you_mean(kind, CHECKERS, "give a checker of your own"),
        )
    return CHECKERS[kind](reply, **parameters)
