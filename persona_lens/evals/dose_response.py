"""Dose-response of additive steering along the Assistant Axis, against norm-matched random directions.

Personas are asked questions the space was not made from, and the model without a persona is asked who it is, at
every strength in one batched generation; a control pushes as far along a random direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from persona_lens.evals.asking import (
    BATCH_SIZE,
    SAMPLING,
    Asker,
    calibrated_judge,
    identity_shard,
    persona_shards,
)
from persona_lens.evals.experiment import Experiment
from persona_lens.evals.intervals import means_by_strength, sigmoid_fit
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

STRENGTHS = (-0.4, -0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.4)
ROLES = ("pirate", "vampire", "witch", "jester", "detective", "poet", "grandparent", "soldier")
QUESTIONS = ("q11", "q14", "q17", "q20")

MEASURES = {
    "Stays in the persona (likelihood)": ("role", "persona", "share"),
    "Stays in the persona (rules)": ("role", "persona_rules", "share"),
    "Says it is an AI, no persona given": ("default", "says_ai", "share"),
    "Place of the text on the axis (z)": ("role", "position", "z"),
    "Surprise of the text, nats a token": ("role", "nats", "nats"),
    "Distinct word pairs": ("role", "distinct", "ratio"),
}
"""Title of each measure, which replies it is about, its column, and its unit as figures know it."""

FITTED = ("persona", "persona_rules")
"""Columns a sigmoid is fitted to: those that should only fall as the model is pushed to the Assistant."""


@dataclass(frozen=True, eq=False)
class DoseResponse:
    """What steering did at each strength.

    Attributes:
        replies: One row a reply, with the `direction` and whether it is a `control`; see `asking.ask`.
        measures: `direction`, `control`, `measure`, `unit`, `strength`, `value`, `low`, `high`, `n`.
        curves: Fitted sigmoids of staying in the persona: `direction`, `control`, `measure`, `strength`, `value`,
            `low`, `high`.
        fits: Their slopes and midpoints with intervals.
    """

    replies: pd.DataFrame
    measures: pd.DataFrame
    curves: pd.DataFrame
    fits: pd.DataFrame


def dose_response(
    model: PersonaModel,
    space: Space,
    *,
    layer: int | None = None,
    strengths: Sequence[float] = STRENGTHS,
    roles: Sequence[str] = ROLES,
    questions: Sequence[str] = QUESTIONS,
    samples: int = 1,
    identity_samples: int = 8,
    controls: int = 3,
    sampling: Sampling = SAMPLING,
    batch_size: int = BATCH_SIZE,
    out: str | Path | None = None,
    progress: bool = True,
) -> DoseResponse:
    """Steer along the Assistant Axis and along random directions of the same length.

    Args:
        model: Who is steered.
        space: Its space, calibrated on tokens, with a run that the likelihood judge has labelled.
        layer: The middle one by default.
        strengths: Fractions of the mean residual norm; positive is towards the Assistant.
        roles: Personas asked for, which the run must hold.
        questions: What they are asked: ids, best of questions the run does not hold.
        samples: Replies of each persona to each question.
        identity_samples: Replies to each question about itself, without a persona.
        controls: Random directions.
        sampling: Of the replies.
        batch_size: Replies at a time.
        out: Keeps finished pieces there, so that the same call continues.
        progress: Show a progress bar.

    Source: paper section 3.2.1; the controls and intervals are ours.
    """
    axis = space.direction("assistant", layers=model.n_layers // 2 if layer is None else layer)
    directions = {"Assistant Axis": axis}
    directions |= {f"random {seed}": axis.random(seed) for seed in range(1, controls + 1)}
    shards = (*persona_shards(roles, questions, samples), identity_shard(identity_samples))
    judge = calibrated_judge(model, space, roles)
    asker = Asker(model, space, axis.layers[0], judge, sampling, batch_size)
    experiment = Experiment(
        "Steering",
        items={"questions": shards},
        conditions=directions,
        answer=lambda shards, direction: asker.ask(shards, space.add(direction), strengths)[0],
        depends=asker.depends(shards) | {"layer": axis.layers, "strengths": list(strengths)},
        out=out,
        unit="directions",
    )
    replies = experiment.run(progress=progress).drop(columns="item")
    replies["direction"] = replies.pop("condition")
    return _summary(replies.assign(control=replies["direction"] != "Assistant Axis"))


def _summary(replies: pd.DataFrame) -> DoseResponse:
    measures, curves, fits = [], [], []
    for name in replies["direction"].unique():
        some = replies.loc[replies["direction"] == name]
        control = bool(some["control"].iloc[0])
        for measure, (kind, column, unit) in MEASURES.items():
            about = {"direction": name, "control": control, "measure": measure}
            chosen = some.loc[some["kind"] == kind]
            measures.append(means_by_strength(chosen, column).assign(**about, unit=unit))
            if column in FITTED:
                fit, curve = sigmoid_fit(chosen, column)
                curves.append(curve.assign(**about))
                fits.append({**about, **fit})
    return DoseResponse(
        replies=replies,
        measures=pd.concat(measures, ignore_index=True),
        curves=pd.concat(curves, ignore_index=True),
        fits=pd.DataFrame(fits),
    )
