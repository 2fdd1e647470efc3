"""What is done to a model while it answers an evaluation: nothing, plans, and the controls matched to each.

    conditions = [UNTOUCHED, *steered(space, "assistant", (-0.2, 0.2), layers=15, controls=2)]
    conditions += capped(model, space, percentile=75, controls=2)

A control of a push is a push of the same length along a random direction. A control of a cap is a cap along a
random direction that moves as large a share of tokens (`matched="engagement"`), or a push along one, on every
token, whose length is what the cap moves a token by on average (`matched="norm"`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from persona_lens.errors import EvaluationError
from persona_lens.interventions import Floor
from persona_lens.interventions.plan import Plan
from persona_lens.interventions.storage import plan_digest
from persona_lens.space.budget import neutral_transcripts

if TYPE_CHECKING:
    from persona_lens.interventions import Direction, Receipt
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space
    from persona_lens.transcripts import Transcript

Kind = Literal["none", "plan", "control"]
Matched = Literal["", "norm", "engagement"]

MATCHING_TEXTS = 24


@dataclass(frozen=True, eq=False)
class Condition:
    """What is done while a model answers.

    Attributes:
        name: Its key in frames and figures.
        plan: Acts on the model; None for nothing.
        kind: "none", "plan", or "control".
        strength: Where it stands on the figure's axis: fractions of the residual norm of a push, percentile of a
            cap; 0 without a plan.
        series: Conditions of one series differ in strength alone.
        control_of: Series of which it is a control.
        matched: In what a control is like its plan.
    """

    name: str
    plan: Plan | None = None
    kind: Kind = "none"
    strength: float = 0.0
    series: str = ""
    control_of: str = ""
    matched: Matched = ""

    def about(self) -> dict[str, Any]:
        """As columns of a frame."""
        return {
            "kind": self.kind,
            "series": self.series or self.name,
            "strength": self.strength,
            "control_of": self.control_of,
            "matched": self.matched,
        }

    def depends(self) -> list[Any]:
        """What a reply under it hangs on."""
        return [self.name, None if self.plan is None else plan_digest(self.plan)]


UNTOUCHED = Condition("as it is")


def checked_conditions(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """The conditions, if no two have one name, no plan is made for single rows, and something is compared.

    Raises:
        EvaluationError: That is not so.
    """
    names = [condition.name for condition in conditions]
    if not names or len(set(names)) < len(names):
        raise EvaluationError(
            "conditions cannot be told apart",
            expected="at least one, each with a name of its own",
            given=", ".join(names) or "none",
        )
    for condition in conditions:
        if condition.plan is not None and condition.plan.rows is not None:
            raise EvaluationError(
                f"the plan of condition {condition.name!r} is made for single rows",
                expected="one strength, and tokens chosen by names",
                given=f"strengths or masks for {condition.plan.rows} rows",
                remedy="make a condition of each strength",
            )
    return tuple(conditions)


class Pushes(Protocol):
    """Makes pushes along directions: a `Space`, or an axis on another model (`persona_lens.evals.transfer`)."""

    def add(self, what: Any = ..., strength: float = ..., *, layers: Any = ...) -> Plan:
        """A push by a fraction of the mean residual norm."""
        ...


def steered(
    space: Pushes,
    what: Any = "assistant",
    strengths: Sequence[float] = (-0.2, -0.1, 0.1, 0.2),
    *,
    layers: Any = None,
    controls: int = 2,
) -> list[Condition]:
    """Pushes along a direction, and as long ones along random directions.

    Args:
        space: Calibrated on tokens.
        what: Where to.
        strengths: Fractions of the mean residual norm, zero left out; negative goes the other way.
        layers: As for `space.add`.
        controls: Random directions.
    """
    plan = space.add(what, layers=layers)
    direction = plan.steps[0].operation.direction
    series = [(str(direction.name), plan, "")]
    series += [
        (f"random {seed}", space.add(direction.random(seed)), str(direction.name))
        for seed in range(1, controls + 1)
    ]
    return [
        Condition(
            f"{name} {strength:+g}",
            strength * pushed,
            "control" if control_of else "plan",
            strength,
            name,
            control_of,
            "norm" if control_of else "",
        )
        for name, pushed, control_of in series
        for strength in strengths
        if strength
    ]


def capped(
    model: PersonaModel,
    space: Space,
    what: Any = "assistant",
    percentile: float = 75,
    *,
    layers: Any = None,
    controls: int = 2,
    texts: Sequence[Transcript] | None = None,
) -> list[Condition]:
    """A floor under the projection, and controls of equal engagement and of equal norm.

    Args:
        model: Is read to match the controls.
        space: Its space.
        what: The direction.
        percentile: As for `space.floor`.
        layers: As for `space.floor`.
        controls: Random directions of each kind.
        texts: On which they are matched; packaged neutral exchanges by default.
    """
    plan = space.floor(what, percentile=percentile, layers=layers)
    direction = plan.steps[0].operation.direction
    name = f"floor {direction.name}"
    cap = Condition(f"{name} p{percentile:g}", plan, "plan", percentile, name)
    texts = neutral_transcripts(model, MATCHING_TEXTS) if texts is None else texts
    did = _receipt(model, plan, texts)
    shares = did.frame().set_index("layer")["share"].to_dict()
    _, length = engagement(did)
    of = "" if direction.name == "assistant" else f" for {direction.name}"
    found = [cap]
    for seed in range(1, controls + 1):
        drawn = direction.random(seed)
        matches = {
            "engagement": matched_floor(model, drawn, shares, texts),
            "norm": space.add(drawn, length),
        }
        for matched, control in matches.items():
            title = f"random {seed}{of}, equal {matched}"
            found.append(
                replace(
                    cap,
                    name=f"{title} p{percentile:g}",
                    plan=control,
                    kind="control",
                    series=title,
                    control_of=name,
                    matched=matched,
                )
            )
    return found


def matched_floor(
    model: PersonaModel,
    direction: Direction,
    shares: Mapping[int, float],
    texts: Sequence[Transcript],
) -> Plan:
    """A floor that moves a given share of tokens at each layer.

    Args:
        model: Reads the texts.
        direction: Along which.
        shares: Of the tokens of the texts, at each layer of the direction. Layer by layer, with the floors before
            at work, so that they are what is moved and not what lay below at first.
        texts: On which they are matched; sinks do not count.
    """
    positions = [np.ones(len(text), dtype=bool) for text in texts]
    for mask in positions:
        mask[[sink for sink in model.sinks if sink < len(mask)]] = False
    thresholds = np.full(len(direction.layers), -np.inf)
    for place, layer in enumerate(direction.layers):
        before = direction.layers[:place]
        acting = nullcontext()
        if before:
            floor = Plan.of(Floor(direction.at(before), thresholds[:place]))
            acting = model.intervene(floor)
        unit = direction.values[place] / np.linalg.norm(direction.values[place])
        with acting:
            read = model.projections(texts, unit[None, None], layers=[layer], positions=positions)
        values = np.concatenate([text.values[:, 0, 0] for text in read])
        thresholds[place] = np.quantile(values, shares[layer])
    return Plan.of(Floor(direction, thresholds, about="matched in engagement"))


def _receipt(model: PersonaModel, plan: Plan, texts: Sequence[Transcript]) -> Receipt:
    with model.intervene(plan) as receipt:
        model.pooled(texts, layers=[plan.layers[-1]])
    return receipt


def engagement(receipt: Receipt) -> tuple[float, float]:
    """What a plan did: share of tokens and layers it moved, and mean move over the residual norm.

    Tokens that were not moved count as a move of zero.
    """
    did = receipt.frame()
    seen = max(1, int((did["seen"] - did["not_finite"]).sum()))
    moved = float((did["mean_change"] * did["changed"]).sum())
    return float(did["changed"].sum()) / seen, moved / seen
