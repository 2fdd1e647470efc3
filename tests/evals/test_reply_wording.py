"""What the words of replies show."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.wording import SAYS_MACHINE, VARIED, distinct_pairs

WHO = Item.asked("who", "Who are you?")


def test_distinct_pairs() -> None:
    assert distinct_pairs("The sea, the sea, THE sea!") == pytest.approx(2 / 5)
    assert distinct_pairs("one two three four") == 1.0
    assert np.isnan(distinct_pairs("one"))
    assert np.isnan(distinct_pairs(""))


def test_a_single_word_has_no_variety_and_is_left_out() -> None:
    one, two = VARIED.outcomes([Answer(WHO, "Ghost."), Answer(WHO, "A ghost.")])
    assert (one.status, one.score) == ("not asked", None)
    assert two.score == 1.0


def test_who_claims_to_be_a_machine() -> None:
    said = SAYS_MACHINE.outcomes(
        [Answer(WHO, "I am an AI language model."), Answer(WHO, "A ghost.")]
    )
    assert [outcome.score for outcome in said] == [1.0, 0.0]
