"""How far one reader leads another on the same replies: role by role, trait by trait, question by question."""

from __future__ import annotations

import numpy as np
import pandas as pd

from persona_lens.errors import SpaceError
from persona_lens.separability.result import Separability
from persona_lens.statistics import crossed_means, interval_of, known_mean, widened

N_DRAWS = 2000


def lead(
    one: Separability, other: Separability, metric: str, *, n_draws: int = N_DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Scores of one reader minus those of another, paired, such as a trained model and one with random weights.

    Intervals resample units and question folds, both, and are widened for how few the folds are; metrics without
    question folds (`fisher`, `reliability`) resample units alone, and theirs say nothing about other questions.

    Args:
        one: What leads, if values are positive.
        other: Of the same replies, layers, roles and traits.
        metric: One of `persona_lens.separability.METRICS`.
        n_draws: Bootstrap samples.
        seed: Of the samples.

    Returns:
        One row a kind and layer: `kind`, `layer`, `value`, `low`, `high` (95 %), `n` units.

    Raises:
        SpaceError: The two do not match, or have no such metric.

    Examples:
        >>> found = Separability(layers=(0, 1), names={"role": ("pirate", "ghost")},
        ...     scores={("auc", "role"): np.full((2, 3, 2), 0.75)}, shuffled={}, random={}, chance={},
        ...     counts={"role": np.array([8, 8])})
        >>> lead(found, found, "auc")["value"].tolist()
        [0.0, 0.0]
    """
    kinds = [
        kind
        for kind in one.names
        if (metric, kind) in one.scores and (metric, kind) in other.scores
    ]
    if not kinds:
        raise SpaceError(
            f"{metric!r} was not measured for both",
            expected=", ".join(sorted({name for name, _ in one.scores})),
        )
    frames = []
    for kind in kinds:
        mine, theirs = one.scores[metric, kind], other.scores[metric, kind]
        alike = (
            one.names[kind] == other.names[kind]
            and one.layers == other.layers
            and mine.shape == theirs.shape
            and np.array_equal(one.counts[kind], other.counts[kind])
        )
        if not alike:
            raise SpaceError(
                "the two readers were not measured alike",
                expected="the same layers, names, replies and question folds",
                remedy="read one run with both: persona-lens collect --fork ... --reader ...",
            )
        difference = mine - theirs
        draws = widened(crossed_means(difference, n_draws=n_draws, seed=seed), mine.shape[1])
        ends = np.array([interval_of(column) for column in draws.T])
        values = known_mean(known_mean(difference, axis=1), axis=0)
        columns = {
            "kind": kind,
            "layer": one.layers,
            "value": values,
            "low": ends[:, 0],
            "high": ends[:, 1],
        }
        frames.append(pd.DataFrame({**columns, "n": len(mine)}))
    return pd.concat(frames, ignore_index=True)
