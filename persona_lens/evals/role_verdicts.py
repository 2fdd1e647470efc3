"""Judges of roles, as judges of items: how far a reply plays the role that its item asks for.

    judge = RoleVerdicts(calibrated_judge(model, space, ["pirate"]))
    Evaluation(..., judges=[judge], measures=[Measure("in the persona", judge.name, ("somewhat", "fully"))])

The text is judged by the model as it is: what is measured is what was written, not the push itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.errors import SpaceError
from persona_lens.evals.outcomes import Answer, Outcome
from persona_lens.judges.base import Case, Judge
from persona_lens.judges.likelihood_judge import LikelihoodJudge
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

PLAYED = ("somewhat", "fully")
"""Labels of replies that are in their persona."""


@dataclass(frozen=True, eq=False)
class RoleVerdicts:
    """What a judge of roles says of answers to items that name a `role` in `about` and have its system prompt.

    Attributes:
        judge: As in `persona_lens.judges`.

    Examples:
        >>> from persona_lens.evals.items import Item
        >>> from persona_lens.judges import RuleJudge
        >>> item = Item.asked("a", "Who are you?", system="You are a pirate.", about={"role": "pirate"})
        >>> said = RoleVerdicts(RuleJudge()).outcomes([Answer(item, "As an AI, I have no ship.")])
        >>> said[0].label
        'not'
    """

    judge: Judge

    @property
    def name(self) -> str:
        """That of the judge."""
        return self.judge.name

    def card(self) -> dict[str, Any]:
        """That of the judge."""
        return {"name": self.name, **self.judge.card()}

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """Its label and score of each; of items without a role it is not asked."""
        found = [Outcome(status="not asked")] * len(answers)
        places, cases = {}, []
        for place, answer in enumerate(answers):
            if not answer.item.about.get("role"):
                continue
            if answer.finish == "length" and not answer.text.strip():
                found[place] = Outcome(status="failed", raw="cut before it said anything")
                continue
            cases.append(_case(answer))
            places[id(cases[-1])] = place
        for case, verdict in self.judge.verdicts(cases):
            said = Outcome(verdict.label, verdict.score, verdict.status, verdict.raw)
            found[places[id(case)]] = said
        return found


def _case(answer: Answer) -> Case:
    item = answer.item
    shard = Shard(
        kind="role",
        name=str(item.about["role"]),
        prompt_index=0,
        system=item.system,
        requests=(Request(question_id=item.id, question=item.question),),
    )
    reply = Reply(
        ids=np.zeros(0, dtype=np.int64),
        text=answer.text,
        finish="length" if answer.finish == "length" else "stop",
    )
    return Case(shard, 0, reply)


def calibrated_judge(
    model: PersonaModel, space: Space, roles: Sequence[str] = ()
) -> LikelihoodJudge:
    """The likelihood judge, set as when it labelled the run of a space, with the thresholds it learnt there.

    Args:
        model: Who wrote the run, and writes what will be judged.
        space: Of a run that this judge has labelled.
        roles: Those it will be asked about.

    Raises:
        SpaceError: The space has no run, or one without a role.
        RunError: The likelihood judge has not labelled the run.
    """
    if space.run is None:
        raise SpaceError("the space has no run", remedy="fit it from one, and keep the run")
    labels = Labels.find(RunFolder(space.run).opened(), LikelihoodJudge.name)
    calibration, card = labels.calibration(), labels.card()
    if calibration is None:
        raise SpaceError("the judge is not calibrated", remedy="persona-lens judge RUN")
    asked = [role.removeprefix("role:") for role in roles]
    missing = [role for role in asked if role not in calibration["thresholds"]]
    if missing:
        raise SpaceError(
            "the judge has no thresholds for some roles, which the run does not hold",
            expected=f"some of {', '.join(calibration['thresholds'])}",
            given=", ".join(missing),
        )
    judge = LikelihoodJudge(model, baseline=card["baseline"], max_tokens=card["max_tokens"])
    judge.restore(calibration)
    return judge
