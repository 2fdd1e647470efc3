"""What a batch is given, checked before it runs, so that nothing a row asks for can hold up the others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from persona_lens.errors import InterventionError, ModelError
from persona_lens.interventions.plan import checked_plan
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.model.checking import checked_layers, checked_units
from persona_lens.model.continuous.requests import Along, Request
from persona_lens.model.inputs import check_transcripts

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


def checked_rows(given: int) -> int:
    """How many rows run at a time.

    Raises:
        ModelError: None, or no whole number.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise ModelError("a batch needs rows", expected="at least 1", given=given)
    return given


def checked_along(along: Along | None, model: PersonaModel) -> Along | None:
    """Directions as they are used.

    Raises:
        ModelError: They do not fit the model, or are no unit vectors.
    """
    if along is None:
        return None
    layers = checked_layers(along.layers, model.n_layers)
    units = checked_units(along.units, len(layers), model.d_model)
    norms = np.linalg.norm(units, axis=-1)
    if units.shape[1] and not np.allclose(norms, 1.0, atol=1e-3):
        raise ModelError(
            "a direction to read along is no unit vector",
            expected="norm 1",
            given=f"norms of {norms.min():.4g} to {norms.max():.4g}",
            remedy="divide each by its norm; `Direction.units` has them so",
        )
    return Along(layers, units)


def check_request(request: Request, model: PersonaModel) -> None:
    """Refuse what cannot be answered.

    Raises:
        ModelError: The prompt, or settings.
        InterventionError: The plan, or one that is in force in this thread, whose rows nobody could tell.
    """
    check_transcripts([request.prompt], "prompt")
    model.check_room([request.prompt], request.sampling)
    model.refuse_interventions("rows with plans of their own cannot run")
    if isinstance(request.stop, str) or not all(
        isinstance(text, str) and text for text in request.stop
    ):
        raise ModelError(
            "a text at which the reply stops is none",
            expected='a tuple of texts with something in them, such as ("\\n\\n",)',
            given=repr(request.stop),
        )
    told = request.top_log_probs
    n_tokens = len(model.held.backend.embedding)
    if told is not None and not 0 <= told <= n_tokens:
        raise ModelError(
            "so many likeliest tokens cannot be told",
            expected=f"0 to {n_tokens}, or None",
            given=told,
        )
    for name in ("frequency_penalty", "presence_penalty"):
        if not math.isfinite(getattr(request, name)):
            raise ModelError(
                f"{name} is no number", expected="a finite number", given=getattr(request, name)
            )
    if request.plan is not None:
        _check_plan(request, model)


def _check_plan(request: Request, model: PersonaModel) -> None:
    plan = checked_plan(request.plan)
    plan.check(n_layers=model.n_layers, d_model=model.d_model)
    if plan.rows not in (None, 1):
        raise InterventionError(
            "the plan of a row is made for several",
            expected="one strength, or one mask",
            given=f"{plan.rows} of them",
        )
    tokens = BatchTokens.of_transcripts([request.prompt], padding_side="left", padded_masks=False)
    for step in plan.steps:
        tokens.chosen(step.where)
