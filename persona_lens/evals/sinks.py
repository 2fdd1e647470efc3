"""The sink experiment: what the same operation costs when it also touches the attention sink.

The first token of many models has a residual norm far above all others and is attended to by everything; its
projection on almost any direction is extreme, so caps and ablations that reach it change attention everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from persona_lens.evals.asking import space_key
from persona_lens.evals.pieces import Pieces
from persona_lens.evals.side_effects import kl_cost
from persona_lens.interventions import Plan
from persona_lens.progress import StageProgress
from persona_lens.space.amounts import checked_percentile
from persona_lens.space.budget import NEUTRAL_TEXTS, neutral_transcripts

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

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
    neutral = neutral_transcripts(model, texts)
    named = [space.direction(name, layers=chosen).name for name in directions]
    drawn = {f"random {seed}": seed for seed in range(1, controls + 1)}
    cells = [
        (name, operation, layer)
        for name in (*named, *drawn)
        for operation in OPERATIONS
        for layer in chosen
    ]
    pieces = Pieces(
        out,
        {
            "evaluation": "sinks",
            "model": model.card(),
            "space": space_key(space),
            "percentile": percentile,
            "texts": texts,
        },
    )

    def made(name: str, operation: str, layer: int) -> pd.DataFrame:
        seed = drawn.get(name)
        what = space.direction(layers=layer).random(seed) if seed else name
        options = {} if operation == "ablate" else {"percentile": percentile}
        plan: Plan = getattr(space, operation)(what, layers=layer, **options)
        spared = kl_cost(model, plan, neutral)
        touched = kl_cost(model, plan.where("all", sinks=True), neutral)
        return pd.DataFrame(
            [
                {
                    "direction": "Assistant Axis" if name == "assistant" else name,
                    "operation": operation,
                    "layer": layer,
                    "kl_spared": spared.value,
                    "kl_spared_low": spared.low,
                    "kl_spared_high": spared.high,
                    "kl_touched": touched.value,
                    "kl_touched_low": touched.low,
                    "kl_touched_high": touched.high,
                    "ratio": touched.value / max(spared.value, 1e-9),
                    "n": len(neutral),
                }
            ]
        )

    rows = []
    bar = StageProgress("Touching the sink", len(cells), shown=progress, unit="cells")
    with bar.running():
        for cell in cells:
            piece = "sink-" + "-".join(map(str, cell)).replace(" ", "")
            rows.append(pieces.get(piece, lambda cell=cell: made(*cell)))
            bar.advance(1)
    return pd.concat(rows, ignore_index=True)
