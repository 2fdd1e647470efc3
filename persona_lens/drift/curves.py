"""Groups of conversations, turn by turn: mean projection with a band over conversations.

The paper averages activations over the conversations at a turn and projects the average; a projection is linear,
so that is the average of the projections.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from persona_lens.statistics.resampling import draw_counts, interval_of

FEWEST = 10
"""Conversations a turn needs to be shown, as in the paper."""


def turn_curves(
    rows: pd.DataFrame,
    *,
    value: str = "projection",
    fewest: int = FEWEST,
    n_draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean of each group at each turn.

    Args:
        rows: `group`, `conversation`, `turn` and the value, one row a turn of each conversation.
        value: Column that is averaged.
        fewest: Turns of a group with fewer conversations are left out.
        n_draws: Bootstrap samples of whole conversations, whose turns go together.
        seed: Of the samples.

    Returns:
        `group`, `turn`, `mean`, `low`, `high` (95 %), `conversations`.

    Source: paper section 4.1 and appendix E.3.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> rows = pd.DataFrame({"group": "coding", "conversation": np.repeat(np.arange(40), 2),
        ...                      "turn": np.tile([0, 1], 40), "projection": rng.normal(5.0, 1.0, 80)})
        >>> curve = turn_curves(rows)
        >>> curve["conversations"].tolist(), bool((curve["low"] < 5.3).all() and (curve["high"] > 4.7).all())
        ([40, 40], True)
    """
    rng = np.random.default_rng(seed)
    parts = []
    for group, own in rows.groupby("group", sort=False):
        table = own.pivot(index="conversation", columns="turn", values=value)
        values = table.to_numpy(dtype=np.float64)
        known = np.isfinite(values)
        counts = draw_counts(len(values), n_draws, rng)
        weights = counts @ known
        drawn = np.where(
            weights > 0, counts @ np.where(known, values, 0.0) / np.maximum(weights, 1), np.nan
        )
        for place, turn in enumerate(table.columns):
            there = int(known[:, place].sum())
            if there < fewest:
                continue
            low, high = interval_of(drawn[:, place])
            mean = float(values[known[:, place], place].mean())
            parts.append((group, int(turn), mean, low, high, there))
    columns = ["group", "turn", "mean", "low", "high", "conversations"]
    return pd.DataFrame(parts, columns=columns)
