"""Capping across layer ranges and percentiles: how much persona is left, and what it costs.

Adoption is the share of persona replies that the likelihood judge still finds in the persona; the price is taken
on neutral text. Controls cap a random direction at the same percentile of its own projections, so that they engage
as often.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from persona_lens.evals.asking import (
    BATCH_SIZE,
    SAMPLING,
    Asker,
    calibrated_judge,
    persona_shards,
)
from persona_lens.evals.dose_response import QUESTIONS, ROLES
from persona_lens.evals.experiment import Experiment
from persona_lens.evals.intervals import means_by_strength
from persona_lens.evals.side_effects import kl_cost, perplexity_ratio
from persona_lens.interventions.layers import layers_at_depth
from persona_lens.rollouts.sampling import Sampling
from persona_lens.space.amounts import checked_percentile
from persona_lens.space.budget import NEUTRAL_TEXTS, neutral_prompts, neutral_transcripts

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.plan import Shard
    from persona_lens.space import Space

DEPTHS = ((0.2, 0.4), (0.4, 0.6), (0.7, 0.9), (0.2, 0.9))
PERCENTILES = (50.0, 75.0, 90.0)
_NO_CAP: dict[str, Any] = {
    "direction": "no cap",
    "control": False,
    "layers": "",
    "depth": np.nan,
    "percentile": np.nan,
}


def capping_sweep(
    model: PersonaModel,
    space: Space,
    *,
    depths: Sequence[tuple[float, float]] = DEPTHS,
    percentiles: Sequence[float] = PERCENTILES,
    roles: Sequence[str] = ROLES,
    questions: Sequence[str] = QUESTIONS,
    samples: int = 1,
    controls: int = 2,
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
        controls: Random directions.
        sampling: Of the replies.
        batch_size: Replies at a time.
        out: Keeps finished pieces there, so that the same call continues.
        progress: Show a progress bar.

    Returns:
        One row for each cap, and one without any: `direction`, `control`, `layers`, `depth`, `percentile`;
        `adoption` with `_low`, `_high` and `n`; `kl` (nats a token on neutral text) with `_low` and `_high`;
        `perplexity_ratio` on the same text; `distinct` word pairs; `engagement`, the share of tokens and layers
        changed, `change`, by how much of the residual norm on average.

    Source: paper section 5.1; the controls and intervals are ours.
    """
    percentiles = [checked_percentile(percentile) for percentile in percentiles]
    judge = calibrated_judge(model, space, roles)
    asker = Asker(model, space, model.n_layers // 2, judge, sampling, batch_size)
    shards = persona_shards(roles, questions, samples)
    texts = neutral_transcripts(model, NEUTRAL_TEXTS)
    prompts = neutral_prompts(model, NEUTRAL_TEXTS)
    answers = [text.ids[text.mask("assistant", turn=-1)] for text in texts]
    axis = space.direction("assistant")
    directions = {"Assistant Axis": axis}
    directions |= {f"random {seed}": axis.random(seed) for seed in range(1, controls + 1)}
    ranges = [layers_at_depth(depth, model.n_layers) for depth in depths]
    caps = {
        f"{name} p{percentile:g} {layers[0]}-{layers[-1]}": (name, percentile, layers)
        for name in directions
        for percentile in percentiles
        for layers in ranges
    }

    def capped(
        shards: tuple[Shard, ...], cap: tuple[str, float, tuple[int, ...]] | None
    ) -> pd.DataFrame:
        plan, about = None, _NO_CAP
        if cap is not None:
            name, percentile, layers = cap
            what = "assistant" if name == "Assistant Axis" else directions[name]
            plan = space.floor(what, percentile=percentile, layers=layers)
            about = {
                "direction": name,
                "control": name != "Assistant Axis",
                "layers": f"{layers[0]}-{layers[-1]}",
                "depth": float(np.mean(layers)) / model.n_layers,
                "percentile": percentile,
            }
        frame, receipt = asker.ask(shards, plan)
        adoption = means_by_strength(frame, "persona").iloc[0]
        row: dict[str, Any] = {
            "adoption": adoption["value"],
            "adoption_low": adoption["low"],
            "adoption_high": adoption["high"],
            "n": int(adoption["n"]),
            "distinct": float(frame["distinct"].mean()),
            **dict.fromkeys(("kl", "kl_low", "kl_high", "engagement", "change"), 0.0),
            "perplexity_ratio": 1.0,
        }
        if plan is not None and receipt is not None:
            did = receipt.frame()
            changed = max(1, int(did["changed"].sum()))
            row |= {
                **kl_cost(model, plan, texts).columns("kl"),
                "perplexity_ratio": perplexity_ratio(model, plan, prompts, answers),
                "engagement": did["changed"].sum() / did["seen"].sum(),
                "change": float((did["mean_change"] * did["changed"]).sum() / changed),
            }
        return pd.DataFrame([row | about])

    experiment = Experiment(
        "Capping",
        items={"personas": shards},
        conditions={"no cap": None, **caps},
        answer=capped,
        depends=asker.depends(shards),
        out=out,
        unit="caps",
    )
    return experiment.run(progress=progress).drop(columns=["item", "condition"])
