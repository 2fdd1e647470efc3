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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.analysis.composition import composed_direction
from persona_lens.catalog import load_questions, load_roles
from persona_lens.errors import SpaceError
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.evaluation import Evaluation, evaluate
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.personas import BATCH_SIZE, QUESTIONS, SAMPLING
from persona_lens.evals.price.play import InPersona
from persona_lens.evals.wording import VARIED
from persona_lens.interventions import Direction
from persona_lens.rollouts.sampling import Sampling
from persona_lens.statistics import crossed_means, interval_of
from persona_lens.statistics.pca import unit

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

STRENGTHS = (0.1, 0.2, 0.3)
CONDITIONS = ("traits", "role vector", "wrong traits", "random")
CONTRASTS = (("traits", "wrong traits"), ("traits", "random"), ("role vector", "traits"))

_WHERE = ["role", "question_id"]


@dataclass(frozen=True, eq=False)
class ComposedSteering:
    """What steering with compositions did.

    Attributes:
        replies: One row a reply: `role`, `condition` ("none" or one of `CONDITIONS`), `draw` (of the
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
    chosen = load_roles(list(dict.fromkeys(roles)))
    composed = {role.name: composed_direction(space, role.name, layer, k=k) for role in chosen}
    parts = []
    for role, other in zip(chosen, [*chosen[1:], chosen[0]], strict=True):
        target = space.direction(f"role:{role.name}", layers=composed[role.name].layers)
        directions = [
            ("traits", 0, composed[role.name]),
            ("role vector", 0, target),
            ("wrong traits", 0, composed[other.name]),
            *(("random", seed, target.random(seed)) for seed in range(1, controls + 1)),
        ]
        conditions, about = _conditions(space, directions, target, strengths)
        evaluated = evaluate(
            _asked(model, role.name, role.prompts[:prompts], questions),
            model,
            conditions,
            sampling=sampling,
            samples=samples,
            batch_size=batch_size,
            out=None if out is None else Path(out) / role.name,
            progress=progress,
        )
        parts.append(_tidy(evaluated.replies, about).assign(role=role.name))
    replies = pd.concat(parts, ignore_index=True).assign(k=k)
    columns = ["role", "condition", "draw", "direction", "cosine", "k", "strength", "question_id"]
    replies = replies.loc[:, [*columns, "sample", "score", "distinct", "text"]]
    return ComposedSteering(replies, *summary(replies))


def _conditions(
    space: Space,
    directions: Sequence[tuple[str, int, Direction]],
    target: Direction,
    strengths: Sequence[float],
) -> tuple[list[Condition], dict[str, dict[str, Any]]]:
    """No push and every push, and what the frame says of each."""
    nothing = {"condition": "none", "draw": 0, "direction": "", "cosine": np.nan, "strength": 0.0}
    conditions, about = [UNTOUCHED], {UNTOUCHED.name: nothing}
    for kind, draw, direction in directions:
        push = space.add(direction)
        series = f"{kind} {draw}" if draw else kind
        for strength in strengths:
            name = f"{series} {strength:+g}"
            played = "plan" if kind in ("traits", "role vector") else "control"
            conditions.append(Condition(name, strength * push, played, strength, series))
            about[name] = {
                "condition": kind,
                "draw": draw,
                "direction": direction.name,
                "cosine": float(unit(direction.values[0]) @ unit(target.values[0])),
                "strength": strength,
            }
    return conditions, about


def _asked(
    model: PersonaModel, role: str, systems: Sequence[str], questions: Sequence[str]
) -> Evaluation:
    """Questions without a system prompt, the replies scored as if they were the role's."""
    texts = {question.id: question.text for question in load_questions("full")}
    judge = InPersona(model, tuple(systems))
    return Evaluation(
        "composed steering",
        f"Steering to {role}",
        [Item.asked(name, texts[name]) for name in questions],
        [judge, VARIED],
        [Measure("likelihood of the role, nats a token", judge.name, unit="nats")],
        SAMPLING,
    )


def _tidy(replies: pd.DataFrame, about: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row a reply, with both scores."""
    keys = ["item", "condition", "sample"]
    scores = replies.pivot_table(index=keys, columns="judge", values="score", dropna=False)
    texts = replies.drop_duplicates(keys).set_index(keys)["text"]
    frame = scores.reindex(texts.index).assign(text=texts).reset_index()
    told = pd.DataFrame([about[name] for name in frame["condition"]])
    renamed = frame.drop(columns="condition").rename(
        columns={"item": "question_id", "in persona": "score", VARIED.name: "distinct"}
    )
    return pd.concat([renamed, told], axis=1)


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
