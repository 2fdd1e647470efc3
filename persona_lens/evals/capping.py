"""Capping across layer ranges and percentiles: how much persona is left, and what it costs.

Adoption is the share of persona replies that the likelihood judge still finds in the persona; the price is taken
on neutral text. Controls are matched to each cap in what it does: caps along random directions that engage as
often at each layer, and pushes along them that move tokens as far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from persona_lens.evals.answering import space_key
from persona_lens.evals.conditions import UNTOUCHED, Condition, capped
from persona_lens.evals.evaluation import Evaluated, evaluate
from persona_lens.evals.experiment import Experiment
from persona_lens.evals.personas import (
    BATCH_SIZE,
    DISTINCT,
    QUESTIONS,
    ROLES,
    SAMPLING,
    STAYS,
    personas,
)
from persona_lens.evals.side_effects import kl_cost, perplexity_ratio
from persona_lens.interventions.layers import layers_at_depth
from persona_lens.rollouts.sampling import Sampling
from persona_lens.space.amounts import checked_percentile
from persona_lens.space.budget import NEUTRAL_TEXTS, neutral_prompts, neutral_transcripts

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

DEPTHS = ((0.2, 0.4), (0.4, 0.6), (0.7, 0.9), (0.2, 0.9))
PERCENTILES = (50.0, 75.0, 90.0)


def capping_sweep(
    model: PersonaModel,
    space: Space,
    *,
    depths: Sequence[tuple[float, float]] = DEPTHS,
    percentiles: Sequence[float] = PERCENTILES,
    roles: Sequence[str] = ROLES,
    questions: Sequence[str] = QUESTIONS,
    samples: int = 1,
    controls: int = 1,
    sampling: Sampling = SAMPLING,
    batch_size: int = BATCH_SIZE,
    out: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Cap persona prompts with `space.floor` at every range of layers and every percentile.

    Args:
        model: Who is capped.
        space: Its space, with a run that the likelihood judge has labelled.
        depths: Ranges of layers.
        percentiles: Of all reply means.
        roles: Personas asked for, which the run must hold.
        questions: What they are asked: ids, best of questions the run does not hold.
        samples: Replies of each persona to each question.
        controls: Random directions of each kind, for each cap.
        sampling: Of the replies.
        batch_size: Replies at a time.
        out: Keeps finished pieces there, so that the same call continues.
        progress: Show a progress bar.

    Returns:
        One row for each cap and control, and one without any: `direction`, `control`, `matched`, `layers`,
        `depth`, `percentile`; `adoption` with `_low`, `_high` (roles resampled) and `n`; `kl` (nats a token on
        neutral text) with `_low` and `_high`; `perplexity_ratio` on the same text; `distinct` word pairs;
        `engagement`, the share of tokens and layers changed in the replies, `moved`, by how much of the residual
        norm on average, those not changed included.

    Source: paper section 5.1; the controls and intervals are ours.
    """
    ranges = [layers_at_depth(depth, model.n_layers) for depth in depths]
    conditions = [UNTOUCHED]
    about: dict[str, dict[str, Any]] = {UNTOUCHED.name: _about(UNTOUCHED, ())}
    for percentile in map(checked_percentile, percentiles):
        for layers in ranges:
            for each in capped(
                model, space, "assistant", percentile, layers=layers, controls=controls
            ):
                name = f"{each.name} layers {layers[0]}-{layers[-1]}"
                conditions.append(replace(each, name=name))
                about[name] = {**_about(each, layers), "depth": np.mean(layers) / model.n_layers}
    evaluated = evaluate(
        personas(
            model, space, roles, questions, samples=samples, identity_samples=0, sampling=sampling
        ),
        model,
        conditions,
        batch_size=batch_size,
        out=None if out is None else Path(out) / "personas",
        progress=progress,
    )
    costs = _costs(model, space, conditions, out, progress=progress).set_index("condition")
    rows = [
        {**about[name], **bought, **costs.loc[name].to_dict()}
        for name, bought in _bought(evaluated).items()
    ]
    return pd.DataFrame(rows)


def _about(condition: Condition, layers: Sequence[int]) -> dict[str, Any]:
    control = condition.kind == "control"
    capping = condition.plan is not None
    return {
        "direction": condition.series if control else "Assistant Axis" if capping else "no cap",
        "control": control,
        "matched": condition.matched,
        "layers": f"{layers[0]}-{layers[-1]}" if layers else "",
        "depth": np.nan,
        "percentile": condition.strength if capping else np.nan,
    }


def _bought(evaluated: Evaluated) -> dict[str, dict[str, float]]:
    """How much persona and variety is left under each condition, and how much was done for it."""
    measures = evaluated.measures
    distinct = measures.loc[measures["measure"] == DISTINCT.name].set_index("condition")["value"]
    return {
        row["condition"]: {
            "adoption": row["value"],
            "adoption_low": row["low"],
            "adoption_high": row["high"],
            "n": row["n"],
            "distinct": distinct[row["condition"]],
            "engagement": row["engaged"],
            "moved": row["moved"],
        }
        for row in measures.loc[measures["measure"] == STAYS.name].to_dict("records")
    }


def _costs(
    model: PersonaModel,
    space: Space,
    conditions: Sequence[Condition],
    out: str | Path | None,
    *,
    progress: bool,
) -> pd.DataFrame:
    """KL and perplexity on neutral text under each condition."""
    texts = neutral_transcripts(model, NEUTRAL_TEXTS)
    prompts = neutral_prompts(model, NEUTRAL_TEXTS)
    answers = [text.ids[text.mask("assistant", turn=-1)] for text in texts]

    def cost(_: str, condition: Condition) -> pd.DataFrame:
        if condition.plan is None:
            free = dict.fromkeys(("kl", "kl_low", "kl_high"), 0.0)
            return pd.DataFrame([{**free, "perplexity_ratio": 1.0}])
        kl = kl_cost(model, condition.plan, texts).columns("kl")
        ratio = perplexity_ratio(model, condition.plan, prompts, answers)
        return pd.DataFrame([{**kl, "perplexity_ratio": ratio}])

    experiment = Experiment(
        "Price on neutral text",
        items={"neutral": ""},
        conditions={condition.name: condition for condition in conditions},
        answer=cost,
        depends={
            "model": model.card(),
            "space": space_key(space),
            "conditions": [condition.depends() for condition in conditions],
            "texts": NEUTRAL_TEXTS,
        },
        out=None if out is None else Path(out) / "price",
        unit="caps",
    )
    return experiment.run(progress=progress).drop(columns="item")
