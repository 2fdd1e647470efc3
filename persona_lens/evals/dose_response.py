"""Dose-response of additive steering along the Assistant Axis, against norm-matched random directions.

    result = dose_response(model, space, out="dose")       # kill it: the same call continues
    result.fits

The evaluation is `persona_lens.evals.personas`; what is added are sigmoids, and frames for the figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from persona_lens.evals.conditions import UNTOUCHED, steered
from persona_lens.evals.evaluation import Evaluated, evaluate
from persona_lens.evals.intervals import sigmoid_fit
from persona_lens.evals.personas import (
    BATCH_SIZE,
    QUESTIONS,
    ROLES,
    SAMPLING,
    STAYS,
    STAYS_BY_RULES,
    personas,
)
from persona_lens.evals.series import by_direction
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

STRENGTHS = (-0.4, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.4)
AXIS = "Assistant Axis"

FITTED = (STAYS, STAYS_BY_RULES)
"""Measures a sigmoid is fitted to: those that should only fall as the model is pushed to the Assistant."""

_MEASURES = ("direction", "control", "measure", "unit", "strength", "value", "low", "high", "n")


@dataclass(frozen=True, eq=False)
class DoseResponse:
    """What steering did at each strength.

    Attributes:
        evaluated: Replies under no plan and every push, what judges say of each, and measures.
        measures: `direction`, `control`, `measure`, `unit`, `strength`, `value`, `low`, `high`, `n`; no push is at
            strength 0 of every direction.
        curves: Fitted sigmoids of staying in the persona: `direction`, `control`, `measure`, `strength`, `value`,
            `low`, `high`.
        fits: Their slopes and midpoints with intervals, roles resampled.
    """

    evaluated: Evaluated
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
    layer = model.n_layers // 2 if layer is None else layer
    evaluated = evaluate(
        personas(
            model,
            space,
            roles,
            questions,
            samples=samples,
            identity_samples=identity_samples,
            sampling=sampling,
        ),
        model,
        [UNTOUCHED, *steered(space, "assistant", strengths, layers=layer, controls=controls)],
        space=space,
        layer=layer,
        batch_size=batch_size,
        out=out,
        progress=progress,
    )
    curves, fits = [], []
    for measure in FITTED:
        outcomes = measure.values(evaluated.replies)
        told = evaluated.replies.loc[outcomes.index].assign(outcome=outcomes)
        for name, control, rows in by_direction(told):
            about = {"direction": _title(name), "control": control, "measure": measure.name}
            fit, curve = sigmoid_fit(rows, "outcome")
            curves.append(curve.assign(**about))
            fits.append({**about, **fit})
    return DoseResponse(
        evaluated,
        pd.concat(
            [
                rows.assign(direction=_title(name), control=control).loc[:, list(_MEASURES)]
                for name, control, rows in by_direction(evaluated.measures)
            ],
            ignore_index=True,
        ),
        pd.concat(curves, ignore_index=True),
        pd.DataFrame(fits),
    )


def _title(series: str) -> str:
    return AXIS if series == "assistant" else series
