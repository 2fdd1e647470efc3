"""What is said of replies, and who says it."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals.asking import calibrated_judge, distinct_pairs


@pytest.mark.embedded
def test_the_judge_is_set_as_when_it_labelled_the_run(
    smol_auto: PersonaModel, judged_space: PersonaSpace
) -> None:
    assert calibrated_judge(smol_auto, judged_space).max_tokens == 7


def test_distinct_pairs() -> None:
    assert distinct_pairs("The sea, the sea, THE sea!") == pytest.approx(2 / 5)
    assert distinct_pairs("one two three four") == 1.0
    assert np.isnan(distinct_pairs("one"))
    assert np.isnan(distinct_pairs(""))
