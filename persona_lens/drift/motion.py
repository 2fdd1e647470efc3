"""How far a conversation wanders: its path, its largest jump, its speed, and where it ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

COLUMNS = (
    "conversation",
    "turns",
    "lowest",
    "path",
    "largest_jump",
    "velocity",
    "net",
    "slope",
)


def motion(rows: pd.DataFrame, directions: Sequence[str]) -> pd.DataFrame:
    """One row a conversation.

    Args:
        rows: Of one layer and reading: `conversation`, `turn`, `direction`, `projection`.
        directions: Coordinates of the path. With several it runs through all of them at once, and `net` and
            `slope` are those of the first.

    Returns:
        `conversation`, `turns`; `lowest` (smallest projection on the first direction), `path` (length of all
        steps together), `largest_jump` (longest step), `velocity` (path a step), `net` (last minus first) and
        `slope` (a turn, by least squares), in the units of the projections. Turns without a token are passed
        over. NaN where there are no two turns.

    Source: path length and largest jump are the conversation statistics of the paper's research code.

    Examples:
        >>> rows = pd.DataFrame({"conversation": "a", "turn": [0, 1, 2], "direction": "axis",
        ...                      "projection": [3.0, 0.0, 1.0]})
        >>> motion(rows, ["axis"])[["path", "largest_jump", "velocity", "net", "slope"]].values.tolist()
        [[4.0, 3.0, 2.0, -2.0, -1.0]]
    """
    chosen = rows[rows["direction"].isin(directions)]
    found = []
    for name, own in chosen.groupby("conversation", sort=False):
        table = own.pivot(index="turn", columns="direction", values="projection")
        table = table[list(directions)].dropna().sort_index()
        values = table.to_numpy(dtype=np.float64)
        if len(values) < 2:
            lowest = float(values[0, 0]) if len(values) else np.nan
            found.append({"conversation": name, "turns": len(values), "lowest": lowest})
            continue
        steps = np.linalg.norm(np.diff(values, axis=0), axis=1)
        found.append(
            {
                "conversation": name,
                "turns": len(values),
                "lowest": float(values[:, 0].min()),
                "path": float(steps.sum()),
                "largest_jump": float(steps.max()),
                "velocity": float(steps.mean()),
                "net": float(values[-1, 0] - values[0, 0]),
                "slope": round(float(np.polyfit(table.index, values[:, 0], 1)[0]), 12),
            }
        )
    return pd.DataFrame(found, columns=[*COLUMNS])
