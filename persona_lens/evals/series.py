"""The directions of an evaluation's frames: each at its strengths, and no steering at strength 0 of all."""

from __future__ import annotations

import pandas as pd

from persona_lens.errors import EvaluationError


def by_direction(frame: pd.DataFrame) -> list[tuple[str, bool, pd.DataFrame]]:
    """Name, whether it is a control, and rows of each series of plans, with the rows of no plan at strength 0.

    Args:
        frame: `Evaluated.replies` or `Evaluated.measures`, or some of their rows.

    Raises:
        EvaluationError: Nothing is steered.

    Examples:
        >>> plan = {"condition": "up", "kind": "plan", "series": "up", "strength": 0.1}
        >>> none = {"condition": "as it is", "kind": "none", "series": "as it is", "strength": 0.0}
        >>> [(name, control, rows["strength"].tolist())
        ...  for name, control, rows in by_direction(pd.DataFrame([none, plan]))]
        [('up', False, [0.1, 0.0])]
    """
    steered = frame.loc[frame["kind"] != "none"]
    if steered.empty:
        raise EvaluationError(
            "nothing is steered, so that nothing changes with strength",
            expected="conditions with a plan",
            given=", ".join(dict.fromkeys(frame["condition"])),
            remedy="evaluate under [UNTOUCHED, *steered(space)]",
        )
    plain = frame.loc[frame["kind"] == "none"]
    plain = plain.loc[plain["condition"] == plain["condition"].iloc[0]] if len(plain) else plain
    found = []
    for name, rows in steered.groupby("series", sort=False):
        own = pd.concat([rows, plain.assign(strength=0.0)])
        found.append((str(name), bool((rows["kind"] == "control").all()), own))
    return found
