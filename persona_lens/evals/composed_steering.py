"""Does a role's composition of traits do what the role does? Steering with the sum of a few traits, and controls.

Without any system prompt the model is pushed along the weighted sum of a role's k traits, along the role vector
itself, along the sum of another role's traits and along random directions, all by the same length. Then the model
as it is says how much likelier each reply is under the role's system prompt than without one (the score of
`persona_lens.judges.LikelihoodJudge`), against replies that nothing acted on.

    result = composed_steering(model, space, ["pirate", "ghost", "poet"], layer=15, out="composed")
    result.effects, result.contrasts

A sum of traits that only points to role-play in general moves every role's score: what tells is its lead over the
traits of another role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.analysis.composition import composed_direction
from persona_lens.catalog import load_roles
from persona_lens.errors import SpaceError
from persona_lens.evals.asking import BATCH_SIZE, SAMPLING, Asker, distinct_pairs, persona_shards
from persona_lens.evals.experiment import Experiment
from persona_lens.interventions import Direction, Plan
from persona_lens.judges.base import Case, Judge
from persona_lens.judges.likelihood_judge import LikelihoodJudge
from persona_lens.judges.null_thresholds import NullThresholds
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.statistics import crossed_means, interval_of
from persona_lens.statistics.pca import unit

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

STRENGTHS = (0.1, 0.2, 0.3)
QUESTIONS = ("q11", "q14", "q17", "q20")
CONDITIONS = ("traits", "role vector", "wrong traits", "random")
CONTRASTS = (("traits", "wrong traits"), ("traits", "random"), ("role vector", "traits"))

_WHERE = ["role", "question_id"]


@dataclass(frozen=True, eq=False)
class ComposedSteering:
    """What steering with compositions did.

    Attributes:
        replies: One row a reply and role: `role`, `condition` ("none" or one of `CONDITIONS`), `draw` (of the
            random directions; 0 else), `direction` (in words), `cosine` with the role vector, `k`, `strength`,
            `question_id`, `sample`, `score` (nats a token), `distinct` (share of word pairs that occur once),
            `text`.
        effects: `condition`, `strength`, `value`, `low`, `high`, `n`: the mean score less that of replies nothing
            acted on, same role and question, with 95 % intervals (roles and questions resampled, both).
        contrasts: `condition`, `minus`, and the same columns: the lead of one condition over another.
    """

    replies: pd.DataFrame
    effects: pd.DataFrame
    contrasts: pd.DataFrame


def composed_steering(
    model: PersonaModel,
    space: Space,
    roles: Sequence[str],
    layer: int,
    *,
    k: int = 5,
    strengths: Sequence[float] = STRENGTHS,
    questions: Sequence[str] = QUESTIONS,
    samples: int = 1,
    prompts: int = 2,
    controls: int = 2,
    sampling: Sampling = SAMPLING,
    batch_size: int = BATCH_SIZE,
    out: str | Path | None = None,
    progress: bool = True,
) -> ComposedSteering:
    """Steer with each role's few traits, with the role, with another role's traits and at random; score the role.

    Args:
        model: Who is steered, and who scores.
        space: Its space, with traits, calibrated on tokens.
        roles: At least two packaged roles of the space. The wrong traits of each are those of the next.
        layer: Block where vectors are taken and added.
        k: Traits of a composition.
        strengths: Fractions of the mean residual norm, the same for every condition.
        questions: Ids of packaged questions, best those the space was not made from.
        samples: Replies to each question.
        prompts: System prompts of a role that its score is the mean over.
        controls: Random directions.
        sampling: Of the replies.
        batch_size: Replies at a time.
        out: Keeps finished pieces there, so that the same call continues.
        progress: Show a progress bar.

    Raises:
        SpaceError: Fewer than two roles, an unknown role, no traits, or no calibration on tokens.
        CatalogError: A role or question is not packaged.

    Source: steering of paper section 3.2.1; the compositions, controls and intervals are ours.
    """
    if len(set(roles)) < 2:
        raise SpaceError(
            "wrong traits are those of another role",
            expected="at least 2 roles",
            given=", ".join(roles) or "none",
        )
    roles = tuple(role.name for role in load_roles(list(dict.fromkeys(roles))))
    asker = Asker(model, space, layer, _score_keeper(model, roles), sampling, batch_size)
    shards: dict[str, list[Shard]] = {role: [] for role in roles}
    for shard in persona_shards(roles, questions, samples, prompts):
        shards[shard.name].append(shard)
    composed = {role: composed_direction(space, role, layer, k=k) for role in roles}

    def untouched(requests: Sequence[Request]) -> pd.DataFrame:
        frame, replies = _ask(asker, requests, None)
        frame = frame.assign(condition="none", draw=0, direction="", cosine=np.nan, strength=0.0)
        scored = [
            frame.assign(role=role, score=_scores(asker.judge, shards[role], replies))
            for role in roles
        ]
        return pd.concat(scored, ignore_index=True)

    def steered(requests: Sequence[Request], role: str | None) -> pd.DataFrame:
        if role is None:
            return untouched(requests)
        target = space.direction(f"role:{role}", layers=composed[role].layers)
        wrong = composed[roles[(roles.index(role) + 1) % len(roles)]]
        directions = [("traits", 0, composed[role]), ("role vector", 0, target)]
        directions += [("wrong traits", 0, wrong)]
        directions += [("random", seed, target.random(seed)) for seed in range(1, controls + 1)]
        cells = [(place, strength) for place in range(len(directions)) for strength in strengths]
        plan = _rowwise(space, [direction for _, _, direction in directions], cells, len(requests))
        frame, replies = _ask(asker, [*requests] * len(cells), plan)
        rows = [
            {
                "role": role,
                "condition": directions[place][0],
                "draw": directions[place][1],
                "direction": directions[place][2].name,
                "cosine": float(unit(directions[place][2].values[0]) @ unit(target.values[0])),
                "strength": strength,
            }
            for place, strength in cells
            for _ in requests
        ]
        frame = pd.concat([pd.DataFrame(rows), frame], axis=1)
        return frame.assign(score=_scores(asker.judge, shards[role], replies))

    every = [shard for role in roles for shard in shards[role]]
    experiment = Experiment(
        "Steering",
        items={"questions": every[0].requests},
        conditions={"none": None, **{f"steered {role}": role for role in roles}},
        answer=steered,
        depends={
            **asker.depends(every),
            "judge": asker.judge.card(),
            "directions": [composed[role].values for role in roles],
            "layer": layer,
            "strengths": list(strengths),
            "controls": controls,
        },
        out=out,
        unit="pieces",
    )
    replies = experiment.run(progress=progress).assign(k=k)
    columns = ["role", "condition", "draw", "direction", "cosine", "k", "strength", "question_id"]
    replies = replies.loc[:, [*columns, "sample", "score", "distinct", "text"]]
    return ComposedSteering(replies, *summary(replies))


def summary(replies: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Effects and contrasts of `ComposedSteering.replies`.

    Examples:
        >>> rows = [("pirate", condition, strength, question, score) for question in ("q1", "q2")
        ...         for condition, strength, score in [("none", 0.0, 1.0), ("traits", 0.1, 3.0)]]
        >>> names = ["role", "condition", "strength", "question_id", "score"]
        >>> summary(pd.DataFrame(rows, columns=names))[0]["value"].tolist()
        [2.0]
    """
    base = replies.loc[replies["condition"] == "none"].groupby(_WHERE)["score"].mean().unstack()
    tables: dict[tuple[str, float], Float[np.ndarray, "role question"]] = {}
    acting = replies.loc[replies["condition"] != "none"]
    for (condition, strength), some in acting.groupby(["condition", "strength"]):
        table = some.groupby(_WHERE)["score"].mean().unstack()
        gained = table.reindex(index=base.index, columns=base.columns) - base
        tables[str(condition), float(strength)] = gained.to_numpy()  # pyright: ignore[reportArgumentType]
    used = sorted({strength for _, strength in tables})
    effects = [
        {"condition": condition, "strength": strength, **_mean(tables[condition, strength])}
        for condition in CONDITIONS
        for strength in used
        if (condition, strength) in tables
    ]
    contrasts = [
        {
            "condition": one,
            "minus": other,
            "strength": strength,
            **_mean(tables[one, strength] - tables[other, strength]),
        }
        for one, other in CONTRASTS
        for strength in used
        if {(one, strength), (other, strength)} <= set(tables)
    ]
    return pd.DataFrame(effects), pd.DataFrame(contrasts)


def _mean(values: Float[np.ndarray, "role question"]) -> dict[str, float]:
    interval = interval_of(crossed_means(values))
    return {
        "value": float(np.nanmean(values)),
        "low": interval.low,
        "high": interval.high,
        "n": int(np.isfinite(values).sum()),
    }


def _rowwise(
    space: Space,
    directions: Sequence[Direction],
    cells: Sequence[tuple[int, float]],
    n_requests: int,
) -> Plan:
    """One plan for a batch whose rows go along different directions: each acts where its row says so."""
    steps = []
    for index, direction in enumerate(directions):
        strengths = [s if place == index else 0.0 for place, s in cells for _ in range(n_requests)]
        steps.extend(space.add(direction, strengths).steps)
    return Plan(tuple(steps))


def _ask(
    asker: Asker, requests: Sequence[Request], plan: Plan | None
) -> tuple[pd.DataFrame, list[Reply]]:
    """Every question, without a system prompt; a plan has a strength for each."""
    encoder = asker.model.encoder
    prompts = [encoder.prompt(encoder.messages(request.question)) for request in requests]
    replies, _ = asker.replies(prompts, plan)
    frame = pd.DataFrame(
        {
            "question_id": [request.question_id for request in requests],
            "sample": [request.sample for request in requests],
            "distinct": [distinct_pairs(reply.answer) for reply in replies],
            "text": [reply.text for reply in replies],
        }
    )
    return frame, replies


def _score_keeper(model: PersonaModel, roles: Sequence[str]) -> LikelihoodJudge:
    """A likelihood judge for its scores alone: without thresholds that any reply passes."""
    judge = LikelihoodJudge(model)
    never = {"fully": float("inf"), "somewhat": float("inf")}
    judge.restore(NullThresholds(dict.fromkeys(roles, never), {}, {}, 0).as_dict())
    return judge


def _scores(
    judge: Judge, shards: Sequence[Shard], replies: Sequence[Reply]
) -> Float[np.ndarray, " reply"]:
    """Log-likelihood ratio a token of each reply, mean over the role's system prompts; hooks are off.

    What was noted while sampling was under another prompt, and steered, so it is left out.
    """
    cases = [
        Case(shard, index % len(shard.requests), replace(reply, log_probs=None))
        for shard in shards
        for index, reply in enumerate(replies)
    ]
    scores = [verdict.score for _, verdict in judge.verdicts(cases)]
    found = np.array([np.nan if score is None else score for score in scores], dtype=np.float64)
    return found.reshape(len(shards), -1).mean(axis=0)
