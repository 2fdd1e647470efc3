"""Judges of roles as judges of items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.role_verdicts import RoleVerdicts, calibrated_judge
from persona_lens.judges.base import Case, Verdict

PIRATE = Item.asked(
    "a", "Who are you?", system="You are a pirate.", about={"role": "pirate", "task": "persona"}
)
NOBODY = Item.asked("b", "Who are you?", about={"role": "", "task": "bare"})


class Backwards:
    """Answers in another order than it was asked."""

    name = "backwards"

    def card(self) -> dict[str, Any]:
        return {}

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        for case in reversed(list(cases)):
            assert (case.shard.name, case.shard.system) == ("pirate", "You are a pirate.")
            yield case, Verdict(label="fully", score=float(len(case.reply.answer)))


def test_each_answer_gets_its_own_verdict_and_those_without_a_role_none() -> None:
    answers = [Answer(PIRATE, "Arr"), Answer(NOBODY, "An AI."), Answer(PIRATE, "Arr, mate")]
    said = RoleVerdicts(Backwards()).outcomes(answers)
    assert [outcome.score for outcome in said] == [3.0, None, 9.0]
    assert [outcome.status for outcome in said] == ["ok", "not asked", "ok"]


def test_a_reply_cut_before_it_said_anything_is_not_judged() -> None:
    cut, empty = RoleVerdicts(Backwards()).outcomes(
        [Answer(PIRATE, " ", "length"), Answer(PIRATE, "")]
    )
    assert (cut.label, cut.status) == (None, "failed")
    assert empty.status == "ok"


@pytest.mark.embedded
def test_the_judge_is_set_as_when_it_labelled_the_run(
    smol_auto: PersonaModel, judged_space: PersonaSpace
) -> None:
    judge = calibrated_judge(smol_auto, judged_space)
    assert judge.max_tokens == 7
    said = RoleVerdicts(judge).outcomes([Answer(PIRATE, "Arr, the sea!"), Answer(PIRATE, "")])
    assert said[0].label in ("not", "somewhat", "fully")
    assert said[0].score is not None
    assert said[1].label == "not"
