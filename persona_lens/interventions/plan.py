"""`Plan`: operations in a stated order, at stated layers, on stated tokens.

Plans compose: `+` runs one after the other, `*` scales strengths, `.at(layers)` and `.where(tokens)` restrict. A
plan knows nothing of a model until it is used; then it is checked.

    plan = space.floor(percentile=75, layers=range(14, 22)) + 0.5 * space.add("trickster", layers=12)
    plan = plan.where("generated")
    with model.intervene(plan) as receipt:
        model.chat("Who are you?")
    model.bridge.run_with_hooks(tokens, fwd_hooks=plan.hooks())
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from persona_lens.errors import InterventionError
from persona_lens.interventions.directions import spans
from persona_lens.interventions.operations.operation import Operation
from persona_lens.interventions.origin import Origin
from persona_lens.interventions.where import Where
from persona_lens.notebook import facts_html

if TYPE_CHECKING:
    from persona_lens.interventions.hooks import LensHook
    from persona_lens.interventions.receipt import Receipt
    from persona_lens.transcripts import Transcript


@dataclass(frozen=True, eq=False)
class Step:
    """One operation and the tokens it touches."""

    operation: Operation
    where: Where = field(default_factory=Where)

    def __str__(self) -> str:
        operation = self.operation
        parts = [
            f"{operation.name} {operation.direction.name!r}",
            f"at layers {spans(operation.layers)}",
            f"tokens {self.where}",
            operation.details(),
            operation.strength_text(),
            operation.about,
        ]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """What to do to the residual stream; nothing happens until it is used.

    At one layer the steps run in the order they were added, each on what the one before left.

    Attributes:
        steps: Operations with their tokens.

    Examples:
        >>> import numpy as np
        >>> from persona_lens.interventions import Ablate, Add, Direction, Plan
        >>> ghost = Direction("ghost", (3, 4), np.eye(2, 8))
        >>> plan = Plan.of(Ablate(ghost)) + 0.5 * Plan.of(Add(ghost, lengths=4.0)).at(layers=4)
        >>> plan.where("generated")
        Plan of 2 steps
          1. ablate 'ghost'; at layers 3-4; tokens generated
          2. add 'ghost'; at layers 4; tokens generated; unit raw; strength 0.5
    """

    steps: tuple[Step, ...]

    # So that array * plan comes here, and gives one plan with a strength a row.
    __array_ufunc__ = None

    @classmethod
    def of(cls, *operations: Operation) -> Plan:
        """The plan that runs some operations in order, on every token."""
        return cls(tuple(Step(operation) for operation in operations))

    @property
    def layers(self) -> tuple[int, ...]:
        """Every block whose output is changed."""
        return tuple(sorted({layer for step in self.steps for layer in step.operation.layers}))

    @property
    def origins(self) -> tuple[Origin, ...]:
        """The models its directions were read from, where they are known, each once."""
        found = [direction.origin for step in self.steps for direction in step.operation.directions]
        return tuple(dict.fromkeys(origin for origin in found if origin is not None))

    def without_origins(self) -> Plan:
        """The same plan, not telling what its directions were read from: it warns of no other weights."""
        return self._each(lambda step: replace(step, operation=step.operation.without_origin()))

    @property
    def rows(self) -> int | None:
        """How many rows the plan is made for, if a strength or a mask differs by row.

        Raises:
            InterventionError: Its steps are made for different numbers.
        """
        counts = {
            len(given)
            for step in self.steps
            for given in (*step.operation.strengths, step.where.masks)
            if isinstance(given, tuple)
        }
        if len(counts) > 1:
            raise InterventionError(
                "steps of one plan are made for different numbers of rows",
                expected="as many strengths as masks, at every step",
                given=", ".join(map(str, sorted(counts))),
            )
        return counts.pop() if counts else None

    def at(self, layers: int | Iterable[int]) -> Plan:
        """The same plan at some of its layers.

        Raises:
            InterventionError: A step is not known at one of them.
        """
        chosen = list(layers) if isinstance(layers, Iterable) else [layers]
        return self._each(lambda step: replace(step, operation=step.operation.at(chosen)))

    def where(self, *choice: Any, turn: int | None = None, sinks: bool = False) -> Plan:
        """The same plan on other tokens; see `persona_lens.interventions.where`.

        Args:
            *choice: Names such as "generated", "user", "last"; or one list of masks, one a prompt.
            turn: Only this turn of user or assistant tokens.
            sinks: Touch BOS and attention sinks too.
        """
        return self._each(
            lambda step: replace(step, where=Where.of(*choice, turn=turn, sinks=sinks))
        )

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.steps + checked_plan(other).steps)

    def __radd__(self, other: object) -> Plan:
        if isinstance(other, int) and other == 0:  # where `sum` begins
            return self
        return checked_plan(other) + self

    def __mul__(self, factor: float | Sequence[float] | Float[np.ndarray, " row"]) -> Plan:
        return self._each(lambda step: replace(step, operation=step.operation.scaled(factor)))

    __rmul__ = __mul__

    def __neg__(self) -> Plan:
        return self * -1.0

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        lines = [f"  {number}. {step}" for number, step in enumerate(self.steps, 1)]
        count = f"{len(self)} step" + ("" if len(self) == 1 else "s")
        return "\n".join([f"Plan of {count}", *lines])

    def _repr_html_(self) -> str:
        title, *_ = repr(self).splitlines()
        return facts_html(title, {f"{number}.": step for number, step in enumerate(self.steps, 1)})

    def check(self, *, n_layers: int, d_model: int) -> None:
        """Refuse a model the plan does not fit.

        Raises:
            InterventionError: A layer it has not, or another width of the residual stream; steps made for
                different numbers of rows.
        """
        _ = self.rows
        beyond = [layer for layer in self.layers if not 0 <= layer < n_layers]
        if beyond:
            raise InterventionError(
                "the plan names layers that the model does not have",
                expected=f"0 to {n_layers - 1}",
                given=spans(beyond),
                remedy="restrict it: plan.at(layers=...)",
            )
        for step in self.steps:
            direction = step.operation.direction
            if direction.d_model != d_model:
                raise InterventionError(
                    f"{direction.name!r} belongs to a model of another width",
                    expected=f"d_model {d_model}",
                    given=direction.d_model,
                )

    def hooks(
        self,
        transcripts: Sequence[Transcript] | None = None,
        *,
        mask: Any = None,
        padding_side: str = "left",
        sinks: Sequence[int] = (0,),
        receipt: Receipt | None = None,
    ) -> list[tuple[str, LensHook]]:
        """`(hook name, function)` pairs for TransformerLens; see `persona_lens.interventions.hooks`."""
        from persona_lens.interventions.hooks import lens_hooks  # noqa: PLC0415

        return lens_hooks(
            self,
            transcripts,
            mask=mask,
            padding_side=padding_side,
            sinks=sinks,
            receipt=receipt,
        )

    def save(self, folder: str | Path) -> Path:
        """Write `plan.json` and `plan.safetensors` into a folder."""
        from persona_lens.interventions.storage import save_plan  # noqa: PLC0415

        return save_plan(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Plan:
        """Read what `save` wrote.

        Raises:
            InterventionError: No plan there, or one of a newer format.
        """
        from persona_lens.interventions.storage import load_plan  # noqa: PLC0415

        return load_plan(Path(folder))

    def _each(self, change: Any) -> Plan:
        return Plan(tuple(change(step) for step in self.steps))


def checked_plan(given: object) -> Plan:
    """`given`, if it is a plan.

    Raises:
        InterventionError: It is something a plan could be made of, or nothing of the kind.

    Examples:
        >>> checked_plan([])
        Traceback (most recent call last):
            ...
        persona_lens.errors.InterventionError: this is no plan
          expected a Plan, such as space.add("pirate", 0.2) or space.floor(percentile=75), given a list
          add plans up: one + other
    """
    if isinstance(given, Plan):
        return given
    remedies = {
        "PersonaSpace": "a space says where to, a method of it what to do: space.add(...), space.floor(...)",
        "Direction": "say what to do along it: space.add(direction, 0.2), or Plan.of(Ablate(direction))",
        "Receipt": "a receipt tells what was done; its plan is receipt.plan",
    }
    kind = type(given).__name__
    remedy = remedies.get(kind)
    if isinstance(given, Operation):
        remedy = f"put it into one: Plan.of({kind}(...))"
    elif isinstance(given, list | tuple):
        remedy = "add plans up: one + other"
    elif remedy is None and callable(given):
        remedy = "call it, if it makes a plan"
    article = "an" if kind[:1].lower() in "aeiou" else "a"
    raise InterventionError(
        "this is no plan",
        expected='a Plan, such as space.add("pirate", 0.2) or space.floor(percentile=75)',
        given=f"{article} {kind}",
        remedy=remedy,
    )
