"""What a plan does at each layer in the two words that serving engines have: pushes and clamps along a vector.

    h <- h + l v                        a push of length l
    h <- h + s (clamp(p, low, high) - p) v    a clamp, p = <h, v>, v of length one

Adding is a push. Floors, ceilings and bands are clamps with one end or two; setting a projection is a clamp whose
ends meet, and ablation one whose ends meet at 0. So an engine that knows nothing of ours can carry out most plans,
and `moves` says how. What is neither (rotations, gates, strengths by row, operations of a script's own) is refused
with the number of its step. `plan_of` is the way back.

Which tokens a step touches is another matter, and each format has its own words for it: the formats look at
`Step.where` themselves.

Examples:
    >>> from persona_lens.interventions import Ablate, Direction, Plan
    >>> plan = Plan.of(Ablate(Direction("ghost", (3, 4), np.eye(2, 8)), strength=0.5))
    >>> [(move.layer, move.low, move.high, move.strength) for move in moves(plan, "an engine")]
    [(3, 0.0, 0.0, 0.5), (4, 0.0, 0.0, 0.5)]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Float

from persona_lens.errors import InterventionError
from persona_lens.interventions import (
    Ablate,
    Add,
    Band,
    Ceil,
    Direction,
    Floor,
    Gate,
    Operation,
    Plan,
    Rotate,
    Set,
    Step,
    Where,
)


@dataclass(frozen=True, eq=False)
class Push:
    """`h <- h + length v`.

    Attributes:
        step: Number of the step it belongs to, from 1.
        layer: Block whose output is pushed.
        vector: The way, at the length it is stored; `v` is its unit vector.
        length: How far, in units of the residual stream.
    """

    step: int
    layer: int
    vector: Float[np.ndarray, " d_model"]
    length: float


@dataclass(frozen=True, eq=False)
class Clamp:
    """`h <- h + strength (clamp(p, low, high) - p) v`.

    Attributes:
        step: Number of the step it belongs to, from 1.
        layer: Block whose output is clamped.
        vector: The way, at the length it is stored; `v` is its unit vector, and `p = <h, v>`.
        low: Lower end, in units of the residual stream; infinite where there is none.
        high: Upper end, likewise.
        strength: Share of the gap that is closed.
    """

    step: int
    layer: int
    vector: Float[np.ndarray, " d_model"]
    low: float
    high: float
    strength: float = 1.0


Move = Push | Clamp


def moves(plan: Plan, engine: str) -> list[Move]:
    """All a plan does, step after step and layer after layer; what changes nothing is left out.

    Args:
        plan: What to carry out.
        engine: Who is to do it, for errors.

    Raises:
        InterventionError: A step is neither push nor clamp, has a strength for each row, or an end beyond all
            numbers; or steps are for models of different width.
    """
    widths = {step.operation.direction.d_model for step in plan.steps}
    if len(widths) > 1:
        raise InterventionError("steps belong to models of different width", given=sorted(widths))
    found: list[Move] = []
    for number, step in enumerate(plan.steps, 1):
        operation = step.operation
        if isinstance(operation, Gate | Rotate) or type(operation) not in _KINDS:
            why = _WHY.get(type(operation), "is an operation of its own making")
            refuse(engine, number, step, why, remedy="run this plan with our own hooks")
        if isinstance(operation.strength, tuple):
            refuse(
                engine,
                number,
                step,
                "has a strength for each row, and a request is one row",
                remedy="write one plan a strength, and send each with its own requests",
            )
        for place, layer in enumerate(operation.layers):
            move = _move(operation, operation.strength, number, place, layer)
            if isinstance(move, Clamp) and (move.low == math.inf or move.high == -math.inf):
                refuse(engine, number, step, f"has an infinite end at layer {layer}")
            if not _changes_nothing(move):
                found.append(move)
    return found


def refuse(
    engine: str, number: int, step: Step, why: str, *, remedy: str | None = None
) -> NoReturn:
    """Say that an engine cannot carry out a step, and why.

    Raises:
        InterventionError: Always.
    """
    raise InterventionError(
        f"{engine} cannot carry out step {number} of this plan: it {why}",
        given=str(step),
        remedy=remedy,
    )


@dataclass(frozen=True, eq=False)
class Read:
    """A move as it was found in a file.

    Attributes:
        move: Its `step` is ignored.
        slot: Its place among those of its layer: they run in this order.
        where: Which tokens.
    """

    move: Move
    slot: int
    where: Where


def plan_of(found: Iterable[Read], name: str) -> Plan:
    """Moves as a plan; moves of one kind in the same place at several layers become one step.

    Args:
        found: In any order; those of a layer keep the order of their slots.
        name: What the directions are called: such files do not say where a vector points.

    Examples:
        >>> read = [Read(Clamp(1, layer, np.ones(4), 2.0, math.inf), 0, Where()) for layer in (3, 4)]
        >>> plan_of(read, "assistant")
        Plan of 1 step
          1. floor 'assistant'; at layers 3-4; tokens all; at 2
    """
    groups: dict[tuple[object, ...], _Group] = {}
    for read in sorted(found, key=lambda read: read.slot):
        kind, strength = _kind(read.move), getattr(read.move, "strength", 1.0)
        key = (read.slot, kind, strength, str(read.where))
        group = groups.setdefault(key, _Group(kind, strength, read.where))
        group.moves.append(read.move)
    return Plan(tuple(group.step(name) for group in groups.values()))


@dataclass
class _Group:
    kind: type[Operation]
    strength: float
    where: Where
    moves: list[Move] = field(default_factory=list)

    def step(self, name: str) -> Step:
        held = sorted(self.moves, key=lambda move: move.layer)
        direction = Direction(
            name, tuple(move.layer for move in held), np.stack([move.vector for move in held])
        )
        numbers: dict[str, Any] = dict(
            zip(_FIELDS[self.kind], _columns(self.kind, held), strict=True)
        )
        return Step(self.kind(direction, strength=self.strength, **numbers), self.where)


_FIELDS: dict[type[Operation], tuple[str, ...]] = {
    Add: ("lengths",),
    Floor: ("thresholds",),
    Ceil: ("thresholds",),
    Band: ("low", "high"),
    Set: ("targets",),
    Ablate: (),
}
_KINDS = tuple(_FIELDS)
_WHY = {
    Rotate: "turns the residual vector, which no push and no clamp does",
    Gate: "acts where a projection passes a threshold, and has no words for a condition there",
}


def _columns(kind: type[Operation], held: Sequence[Move]) -> Iterator[np.ndarray]:
    attribute = {"lengths": "length", "low": "low", "high": "high", "targets": "low"}
    for name in _FIELDS[kind]:
        found = attribute.get(name, "low" if kind is Floor else "high")
        yield np.array([getattr(move, found) for move in held])


def _kind(move: Move) -> type[Operation]:
    if isinstance(move, Push):
        return Add
    if move.low == move.high:
        return Ablate if move.low == 0 else Set
    if math.isinf(move.high):
        return Floor
    return Ceil if math.isinf(move.low) else Band


def _move(operation: Operation, strength: float, number: int, place: int, layer: int) -> Move:
    vector = operation.direction.values[place]
    if isinstance(operation, Add):
        return Push(number, layer, vector, strength * float(operation.lengths[place]))
    low, high = -math.inf, math.inf
    if isinstance(operation, Floor):
        low = float(operation.thresholds[place])
    elif isinstance(operation, Ceil):
        high = float(operation.thresholds[place])
    elif isinstance(operation, Band):
        low, high = float(operation.low[place]), float(operation.high[place])
    else:
        low = high = float(operation.targets[place]) if isinstance(operation, Set) else 0.0
    return Clamp(number, layer, vector, low, high, strength)


def _changes_nothing(move: Move) -> bool:
    if isinstance(move, Push):
        return move.length == 0
    return move.strength == 0 or (move.low == -math.inf and move.high == math.inf)
