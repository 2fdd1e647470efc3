"""The sink experiment: what the same operation costs when it also touches the attention sink.

The first token of many models has a residual norm far above all others and is attended to by everything; its
projection on almost any direction is extreme, so caps and ablations that reach it change attention everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from persona_lens.evals.answering import space_key
from persona_lens.evals.experiment import Experiment
from persona_lens.evals.side_effects import kl_cost
from persona_lens.interventions import Plan
from persona_lens.space.amounts import checked_percentile
from persona_lens.space.budget import NEUTRAL_TEXTS, neutral_transcripts

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space
    from persona_lens.transcripts import Transcript

OPERATIONS = ("floor", "ceil", "ablate")


def sink_experiment(
    model: PersonaModel,
    space: Space,
    *,
    layers: Sequence[int] | None = None,
    directions: Sequence[str] = ("assistant", "pc1", "pc2"),
    controls: int = 2,
    percentile: float = 75,
    texts: int = NEUTRAL_TEXTS,
    out: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """KL on neutral text of floor, ceiling and ablation, with the sinks left alone and with them touched.

    Args:
        model: A model with sinks (`model.sinks`).
        space: Its space, with its run.
        layers: One at a time; the middle one by default.
        directions: Names.
        controls: Random directions.
        percentile: Of the floor and the ceiling, of all reply means.
        texts: Neutral texts.
        out: Keeps finished pieces there, so that the same call continues.
        progress: Show a progress bar.

    Returns:
        One row for each direction, operation and layer: `kl_spared` and `kl_touched` (nats a token) with `_low`
        and `_high`, their `ratio`, and `n`, the number of texts.
    """
    chosen = (model.n_layers // 2,) if layers is None else tuple(layers)
    percentile = checked_percentile(percentile)
    named = [space.direction(name, layers=chosen).name for name in directions]
    drawn = {f"random {seed}": seed for seed in range(1, controls + 1)}
    conditions = {
        f"{name} {operation} {layer}": (name, operation, layer)
        for name in (*named, *drawn)
        for operation in OPERATIONS
        for layer in chosen
    }

    def costs(neutral: list[Transcript], condition: tuple[str, str, int]) -> pd.DataFrame:
        name, operation, layer = condition
        seed = drawn.get(name)
        what = space.direction(layers=layer).random(seed) if seed else name
        options = {} if operation == "ablate" else {"percentile": percentile}
        plan: Plan = getattr(space, operation)(what, layers=layer, **options)
        spared = kl_cost(model, plan, neutral)
        touched = kl_cost(model, plan.where("all", sinks=True), neutral)
        row = {
            "direction": "Assistant Axis" if name == "assistant" else name,
            "operation": operation,
            "layer": layer,
            **spared.columns("kl_spared"),
            **touched.columns("kl_touched"),
            "ratio": touched.value / max(spared.value, 1e-9),
            "n": len(neutral),
        }
        return pd.DataFrame([row])

    experiment = Experiment(
        "Touching the sink",
        items={"neutral": neutral_transcripts(model, texts)},
        conditions=conditions,
        answer=costs,
        depends={
            "model": model.card(),
            "space": space_key(space),
            "percentile": percentile,
            "texts": texts,
        },
        out=out,
    )
    return experiment.run(progress=progress).drop(columns=["item", "condition"])
