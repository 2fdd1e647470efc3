"""`sweep`: every metric at every layer of a fitted space."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import gammaln
from threadpoolctl import threadpool_limits

from persona_lens.analysis.sweep.draws import NULL_DRAWS, Draws, LayerSweep
from persona_lens.analysis.sweep.folds import fold_rows
from persona_lens.analysis.sweep.lacking import has_folds, measured
from persona_lens.analysis.sweep.layers import Layers
from persona_lens.analysis.sweep.registry import (
    FOLD_METRICS,
    IMPOSTOR,
    RANDOM,
    find,
    known_metrics,
)
from persona_lens.analysis.sweep.replies import reply_rows
from persona_lens.analysis.sweep.result import COLUMNS, UNIT_COLUMNS, Sweep
from persona_lens.errors import SpaceError
from persona_lens.progress import StageProgress
from persona_lens.space import Space

KINDS = ("role", "trait")


def sweep(
    space: Space,
    *,
    metrics: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    n_draws: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> Sweep:
    """Measure a fitted space at every layer, each number with its interval and what chance gives.

    Roles are the vectors the axis is made of, one a role, centred on their mean; traits are one vector a trait,
    not centred. Metrics of single replies come from `space.separability_`, which is measured now if it is not
    there and the run of the space is at hand. What cannot be had is left out, and the card says why.

    Args:
        space: Fitted.
        metrics: Names, see `known_metrics()`; all by default.
        layers: Blocks; negative ones count from the last. All by default.
        n_draws: Random halves of the units, and bootstrap samples of replies, behind each interval.
        seed: Of all draws.
        progress: Show a progress bar.

    Raises:
        SpaceError: Not fitted, an unknown metric or layer, too few draws, or a metric asked for by name that this
            space cannot give, with what is missing and what would mend it.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(2, 8)) for i in range(10)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((2, 8))).fit()
        >>> found = sweep(space, metrics=["participation_ratio"], n_draws=20, progress=False)
        >>> found.frame[["metric", "kind", "null"]].iloc[0].tolist()
        ['participation_ratio', 'role', 'random directions']
    """
    reader = Layers(space, kept=2 * (os.cpu_count() or 1) + 2)
    if n_draws < 2:
        raise SpaceError("draws are too few", expected="at least 2", given=n_draws)
    asked = known_metrics() if metrics is None else _names(metrics)
    of_vectors = find(asked)
    lacking = measured(space, asked, progress=progress)
    separability = space.separability_
    left_out = lacking.checked(space, asked, named=metrics is not None)
    if layers is None:
        places = list(range(len(reader.numbers)))
    else:
        places = sorted({space.layer_index(layer) for layer in layers})

    kinds = [kind for kind in KINDS if reader.rows[kind]]
    seeds = np.random.SeedSequence(seed).spawn(len(reader.numbers) + 1)
    draws = Draws.make(reader, of_vectors, n_draws, np.random.default_rng(seeds[-1]))
    bar = StageProgress("Sweeping", len(places), shown=progress, unit="layers")

    def at(place: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        rows, units = (
            LayerSweep(reader, place, draws, kinds).rows(of_vectors) if of_vectors else ([], [])
        )
        rng = np.random.default_rng(seeds[place])
        for kind in kinds if has_folds(space) and set(asked) & set(FOLD_METRICS) else ():
            more = fold_rows(
                space.table,
                reader.rows[kind],
                place,
                kind,
                asked,
                n_null=min(n_draws, NULL_DRAWS),
                rng=rng,
            )
            rows, units = rows + more[0], units + more[1]
        if "axis_pc1" in asked:
            rows = rows + _role_axis_pc1(space, place)
        for unit in units:
            unit["name"] = reader.names(unit["kind"])[unit.pop("unit")]
        return rows, units

    # A thread a layer and one BLAS thread each: decompositions of this size do not scale over cores.
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(os.cpu_count()) as pool,
        bar.running(),
    ):
        found = list(bar.counted(pool.map(at, places)))
    chosen = [reader.numbers[place] for place in places]
    if separability is not None:
        found.append(reply_rows(separability, asked, chosen, n_draws=n_draws, seed=seed))
    frame = pd.DataFrame([row for rows, _ in found for row in rows], columns=list(COLUMNS))
    units = pd.DataFrame([row for _, rows in found for row in rows], columns=list(UNIT_COLUMNS))
    return Sweep(
        frame=_ordered(frame, asked),
        units=units.sort_values(["metric", "kind", "name", "layer"], ignore_index=True),
        card={
            **_card(space, reader, chosen),
            "metrics": [name for name in asked if name not in left_out],
            "help": {each.name: each.help for each in of_vectors},
            "left_out": {name: lack.reason for name, lack in left_out.items()},
            "n_draws": n_draws,
            "null_draws": min(n_draws, NULL_DRAWS),
            "seed": seed,
        },
        separability=separability,
    )


def _names(metrics: Sequence[str]) -> tuple[str, ...]:
    """Each once; a single one may come as it is."""
    return (metrics,) if isinstance(metrics, str) else tuple(dict.fromkeys(metrics))


def _role_axis_pc1(space: Space, place: int) -> list[dict[str, Any]]:
    """cos(PC1, axis) of the roles, as `space.stability_` has it: of all role vectors, in PCA coordinates."""
    entry = space.stability_.iloc[place]
    d_model = space.table.d_model
    # The mean of |cos| of a random direction: Γ(d/2) / (√π Γ((d + 1)/2)).
    mean = np.exp(gammaln(d_model / 2) - gammaln((d_model + 1) / 2)) / np.sqrt(np.pi)
    row = {
        "layer": space.table.layers[place],
        "metric": "axis_pc1",
        "kind": "role",
        "value": entry["cosine"],
        "low": entry["cosine_low"],
        "high": entry["cosine_high"],
        "n": len(space.table.indices(kind="role")),
    }
    return [
        {**row, "null": null, "null_mean": float(average), "null_95": entry[column]}
        for null, average, column in (
            (IMPOSTOR, entry["shuffled_mean"], "shuffled_95"),
            (RANDOM, mean, "random_95"),
        )
    ]


def _ordered(frame: pd.DataFrame, asked: Sequence[str]) -> pd.DataFrame:
    """By metric as asked for, then kind, null and layer."""
    place = {name: number for number, name in enumerate(asked)}
    order = frame.assign(place=frame["metric"].map(place)).sort_values(
        ["place", "kind", "null", "layer"], ignore_index=True
    )
    return order.drop(columns="place").astype({"layer": int, "n": int})


def _card(space: Space, reader: Layers, layers: Sequence[int]) -> dict[str, Any]:
    """What was swept, and how its intervals were made."""
    folds = {
        f"{metric}, {kind}": scores.shape[1]
        for (metric, kind), scores in getattr(space.separability_, "scores", {}).items()
    }
    return {
        "model": space.table.card.get("reader", {}).get("model"),
        "hook_point": space.table.card.get("hook_point"),
        "layers": list(layers),
        "d_model": space.table.d_model,
        "roles": len(reader.rows["role"]),
        "traits": len(reader.rows["trait"]),
        "question_folds": folds,
        "intervals": "95 %. Vectors: from random halves of the units. Split halves: units and question folds. "
        "Replies: bootstrap over units and question folds; with few folds rather too narrow.",
        "version": version("persona-lens"),
    }
