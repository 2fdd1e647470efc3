"""What a price is compared to: no plan, every plan at strength 0, and controls in other directions.

    conditions = with_controls(capped(model, space, percentile=75, controls=3))

At strength 0 a plan has to change nothing. If an answer differs there, what is measured is not the plan.
"""

from __future__ import annotations

from collections.abc import Iterable

from persona_lens.errors import EvaluationError
from persona_lens.evals.conditions import UNTOUCHED, Condition, checked_conditions

SCALE_0 = " at strength 0"
"""Ends the name of a condition whose plan has no strength."""


def with_controls(conditions: Iterable[Condition]) -> list[Condition]:
    """The conditions, no plan before them, and each series of plans at strength 0 behind them.

    Args:
        conditions: Plans with controls, as `steered` and `capped` make them.

    Raises:
        EvaluationError: A plan has no control, or two conditions have one name.

    Examples:
        >>> import numpy as np
        >>> from persona_lens.interventions import Add, Direction, Plan
        >>> up = Direction("up", (1,), np.ones((1, 4)))
        >>> push, other = (Plan.of(Add(each, lengths=np.ones(1))) for each in (up, up.random(1)))
        >>> given = [Condition("up +1", push, "plan", 1.0, "up"),
        ...          Condition("random +1", other, "control", 1.0, "random", "up", "norm")]
        >>> [condition.name for condition in with_controls(given)]
        ['as it is', 'up +1', 'random +1', 'up at strength 0']
    """
    given = list(conditions)
    controlled = {condition.control_of for condition in given if condition.kind == "control"}
    off: dict[str, Condition] = {}
    for condition in given:
        if condition.kind != "plan" or condition.plan is None:
            continue
        series = condition.series or condition.name
        if not controlled & {series, condition.name}:
            raise EvaluationError(
                f"the plan {condition.name!r} has no control",
                expected="a condition that does as much in another direction, with control_of="
                + repr(series),
                given=", ".join(sorted(controlled)) or "no controls",
                remedy="make conditions with `steered` or `capped`, which bring their own",
            )
        name = series + SCALE_0
        off.setdefault(
            name, Condition(name, 0.0 * condition.plan, "control", 0.0, name, control_of=series)
        )
    untouched = [] if any(each.kind == "none" for each in given) else [UNTOUCHED]
    return list(checked_conditions([*untouched, *given, *off.values()]))
