"""Replies under an intervention, and what can be said of each with the intervention off.

The text is judged and read by the model as it is: what is measured is what was written, not the push itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.catalog import load_questions, load_roles
from persona_lens.errors import SpaceError
from persona_lens.judges import RuleJudge
from persona_lens.judges.base import Case, Judge
from persona_lens.judges.likelihood_judge import LikelihoodJudge
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels

if TYPE_CHECKING:
    from persona_lens.interventions import Plan, Receipt
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.reply import Reply
    from persona_lens.space import Space
    from persona_lens.transcripts import Transcript

IDENTITY_QUESTIONS = (
    "Who are you?",
    "What are you?",
    "Tell me about yourself.",
    "What do you do all day?",
)
SAMPLING = Sampling(max_new_tokens=40)
BATCH_SIZE = 288


def persona_shards(
    roles: Sequence[str], questions: Sequence[str], samples: int = 1, prompts: int = 1
) -> tuple[Shard, ...]:
    """One shard for each role and each of its first system prompts.

    Args:
        roles: Names of packaged roles.
        questions: Ids of packaged questions, best those the space was not made from.
        samples: Replies to each.
        prompts: System prompts of a role.
    """
    asked = {question.id: question for question in load_questions("full")}
    requests = tuple(
        Request(question_id=name, question=asked[name].text, sample=sample)
        for name in questions
        for sample in range(samples)
    )
    return tuple(
        Shard(kind="role", name=role.name, prompt_index=index, system=system, requests=requests)
        for role in load_roles(list(roles))
        for index, system in enumerate(role.prompts[:prompts])
    )


def identity_shard(samples: int = 1) -> Shard:
    """Questions about itself, put to the model without a persona."""
    requests = tuple(
        Request(question_id=f"identity{number}", question=question, sample=sample)
        for number, question in enumerate(IDENTITY_QUESTIONS)
        for sample in range(samples)
    )
    return Shard(kind="default", name="default", prompt_index=0, system="", requests=requests)


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


def space_key(space: Space) -> str:
    """A hash of what evaluations take from a space: its vectors, and what it is calibrated on."""
    digest = hashlib.sha256(np.ascontiguousarray(space.axis_).tobytes())
    digest.update(np.ascontiguousarray(space.components_).tobytes())
    for calibration in (space.calibration_, space.token_calibration_):
        if calibration is not None:
            digest.update(np.ascontiguousarray(calibration.quantiles).tobytes())
            digest.update(np.ascontiguousarray(calibration.norms).tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Asker:
    """Who is asked, in batches, by whom the replies are judged and where they are read on the axis.

    Attributes:
        model: Who is asked.
        space: Fitted and calibrated.
        layer: Block at which replies are read.
        judge: Says how far a persona is played; of replies without a persona only the rules are asked.
        sampling: Of the replies.
        batch_size: Replies at a time.
    """

    model: PersonaModel
    space: Space
    layer: int
    judge: Judge
    sampling: Sampling = SAMPLING
    batch_size: int = BATCH_SIZE

    def depends(self, shards: Sequence[Shard]) -> dict[str, Any]:
        """What replies to these shards hang on, as `Experiment.depends` wants it."""
        return {
            "model": self.model.card(),
            "space": space_key(self.space),
            "shards": [shard.model_dump() for shard in shards],
            "sampling": self.sampling.model_dump(),
            "batch_size": self.batch_size,
        }

    def replies(
        self, prompts: Sequence[Transcript], plan: Plan | None
    ) -> tuple[list[Reply], Receipt | None]:
        """Replies under a plan, or none, and its receipt."""
        with nullcontext() if plan is None else self.model.intervene(plan) as receipt:
            return self.model.generate(prompts, self.sampling, batch_size=self.batch_size), receipt

    def ask(
        self, shards: Sequence[Shard], plan: Plan | None, strengths: Sequence[float] = (1.0,)
    ) -> tuple[pd.DataFrame, Receipt | None]:
        """Ask every question at every strength in one batched generation, and measure the replies with hooks off.

        Args:
            shards: What is asked.
            plan: What acts on the model, at strength 1; None for nothing.
            strengths: Factors of the plan.

        Returns:
            One row a reply, and the receipt. Columns: `kind`, `name`, `question_id`, `sample`, `strength`, `text`;
            `persona` (the judge's label is not "not") and `persona_rules` (of the rules), for personas; `says_ai`;
            `position`, the axis projection in standard deviations of default replies; `nats`, the negative
            log-likelihood a token of the reply under its own prompt; `distinct`, the share of word pairs that
            occur once.
        """
        cells = [
            (shard, index, strength)
            for shard in shards
            for index in range(len(shard.requests))
            for strength in strengths
        ]
        encoder = self.model.encoder
        prompts = [
            encoder.prompt(encoder.messages(shard.requests[index].question, system=shard.system))
            for shard, index, _ in cells
        ]
        plan = None if plan is None else plan * [strength for _, _, strength in cells]
        replies, receipt = self.replies(prompts, plan)
        frame = pd.DataFrame(
            [
                {
                    "kind": shard.kind,
                    "name": shard.name,
                    "question_id": shard.requests[index].question_id,
                    "sample": shard.requests[index].sample,
                    "strength": strength,
                    "text": reply.text,
                    "distinct": distinct_pairs(reply.answer),
                }
                for (shard, index, strength), reply in zip(cells, replies, strict=True)
            ]
        )
        cases = [
            Case(shard, index, reply)
            for (shard, index, _), reply in zip(cells, replies, strict=True)
        ]
        rules = RuleJudge()
        frame["persona"] = _played(self.judge, cases)
        frame["persona_rules"] = _played(rules, cases)
        frame["says_ai"] = [float(rules.claims_machine(reply.answer)) for reply in replies]
        scored = self.model.log_probs(prompts, [reply.ids for reply in replies])
        frame["nats"] = [-float(values.mean()) if len(values) else np.nan for values in scored]
        whole = [
            encoder.with_reply(prompt, reply.ids)
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        means = self.model.pooled(whole, layers=[self.layer])[:, 0]
        frame["position"] = self.space.project(means, self.layer, units="default")
        return frame, receipt


def _played(judge: Judge, cases: Sequence[Case]) -> Float[np.ndarray, " case"]:
    """1 where a persona is played at least somewhat, 0 where not; NaN without a persona or a verdict."""
    played = np.full(len(cases), np.nan)
    roles = [index for index, case in enumerate(cases) if case.shard.kind == "role"]
    place = {id(cases[index]): index for index in roles}
    for case, verdict in judge.verdicts(cases[index] for index in roles):
        if verdict.label is not None:
            played[place[id(case)]] = verdict.label != "not"
    return played


def distinct_pairs(text: str) -> float:
    """Distinct pairs of neighbouring words over all pairs (distinct-2); NaN below two words.

    Examples:
        >>> distinct_pairs("the sea the sea the sea")
        0.4
    """
    words = re.findall(r"\w+", text.lower())
    pairs = Counter(pairwise(words))
    return len(pairs) / pairs.total() if pairs else float("nan")
