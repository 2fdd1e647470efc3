"""An axis of an instruct model, on its base model: what is checked, said, and steered.

    axis = transferred(PersonaSpace.load("spaces/gemma-it"), base, sibling=instruct)
    print(axis.report())                       # width, depth, architecture, names, weights: checked or not known
    conditions = [UNTOUCHED, *axis.conditions((-0.2, 0.2), controls=3)]

    agreement = axis_agreement(axis.space, space_the_base_model_read_itself)

Strengths are fractions of the residual norm of the *base* model, measured on neutral texts: the norms in a space
are those of the model that read it. What cannot work is refused; what is merely not known is said. Plans of a
transfer do not warn of foreign weights, since they are the point of it. The other way is to have the base model
read the replies of its sibling (`PersonaSpace.collect(instruct, reader=base)`): then nothing is transferred.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.analysis.comparison import compare
from persona_lens.errors import EvaluationError
from persona_lens.evals.conditions import Condition, steered
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.model.siblings import weight_similarity
from persona_lens.space.budget import neutral_norms

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

Verdict = Literal["same", "differs", "not known"]
_TUNES = re.compile(r"[-_. ]*(it|instruct|chat|base|pt|sft|dpo|rlhf)(?=$|[-_. ])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Transfer:
    """A direction of one model, to be used on another.

    Attributes:
        space: The direction is from it.
        direction: At the layers it acts at.
        norms: Mean residual norm of the base model at those layers, on neutral texts.
        checks: One row a check: `check`, `of_axis`, `of_base`, `verdict` ("same", "differs" or "not known"),
            `means`.
        own: Whether the axis was read by these very weights, so that nothing is transferred.
    """

    space: Space
    direction: Direction
    norms: Float[np.ndarray, " layer"]
    checks: pd.DataFrame
    own: bool

    def add(self, what: Any = "assistant", strength: float = 1.0, *, layers: Any = None) -> Plan:
        """A push along the direction, or along another one at its layers, in residual norms of the base model."""
        direction = what if isinstance(what, Direction) else self.direction
        layers = self.direction.layers if layers is None else layers
        about = "mean residual norm of neutral texts"
        push = Add(direction, self.norms, about, strength=strength)
        return Plan.of(push).at(layers).without_origins()

    def conditions(
        self, strengths: Sequence[float] = (-0.2, -0.1, 0.1, 0.2), *, controls: int = 3
    ) -> list[Condition]:
        """Pushes along the axis, and as long ones along random directions; as `steered`."""
        return steered(self, self.direction.name, strengths, controls=controls)

    def report(self) -> str:
        """What was checked, a line a check."""
        head = (
            "the base model read this axis itself: nothing is transferred"
            if self.own
            else f"an axis of {self.space.model_name or 'a model that is not known'}, transferred"
        )
        rows = self.checks.to_dict("records")
        lines = [
            f"  {row['check']}: {row['verdict']} ({row['of_axis']}; {row['of_base']}); {row['means']}"
            for row in rows
        ]
        return "\n".join([head, *lines])


def transferred(
    space: Space,
    base: PersonaModel,
    *,
    what: Any = "assistant",
    layers: Any = None,
    sibling: PersonaModel | None = None,
) -> Transfer:
    """An axis of a space, checked against the model it is to be used on.

    Args:
        space: Of the instruct model.
        base: Its base model, or any other of the same shape.
        what: The direction, as for `space.add`.
        layers: Where it acts; the middle layer by default, in the paper's models the one it steered at.
        sibling: The instruct model itself, if it is at hand: then weights are compared, not names alone.

    Raises:
        EvaluationError: Another width, another number of blocks, another architecture, or, with `sibling`, weights
            that are no more alike than those of strangers.
        SpaceError: No such direction or layer.

    Source: paper section 3.2.2 (Gemma 2 27B with the axis of its tune; Llama 3.1 70B with that of Llama 3.3).
    """
    checks = _checks(space, base, sibling)
    refused = [row for row in checks if row["verdict"] == "differs" and row["refused"]]
    if refused:
        first = refused[0]
        raise EvaluationError(
            f"this axis does not fit {base.name}: another {first['check']}",
            expected=first["of_axis"],
            given=first["of_base"],
            remedy="use a space of its instruct sibling, or have the base model read replies itself "
            "(PersonaSpace.collect(instruct, reader=base))",
        )
    plan = space.add(what, unit="raw", layers=layers)
    direction = plan.steps[0].operation.direction
    frame = pd.DataFrame(checks).drop(columns="refused")
    weights = frame.loc[frame["check"] == "weights", "verdict"]
    return Transfer(
        space,
        direction,
        neutral_norms(base, direction.layers),
        frame,
        own=bool((weights == "same").any()),
    )


def axis_agreement(
    space: Space, own: Space, *, layers: Sequence[int] | None = None
) -> pd.DataFrame:
    """Cosine of the axis of an instruct model with the one its base model read itself, layer by layer.

    Args:
        space: Of the instruct model.
        own: Of the base model.
        layers: All that both have by default.

    Returns:
        `layer_a`, `layer_b`, `value`, `low`, `high` (95 %, roles drawn anew), `null_mean`, `null_95` (a role plays
        the default in the second), `p`, `n` roles.

    Raises:
        SpaceError: Not fitted, fewer than ten shared roles, or spaces of different width.

    Source: paper appendix B.3 compares base and instruct models likewise.
    """
    frame = compare(space, own, layers=layers, cosines=True, n_components=1, progress=False).frame
    rows = frame.loc[frame["measure"] == "axis_cosine"]
    columns = ["layer_a", "layer_b", "value", "low", "high", "null_mean", "null_95", "p", "n"]
    return rows[columns].reset_index(drop=True)


def _checks(space: Space, base: PersonaModel, sibling: PersonaModel | None) -> list[dict[str, Any]]:
    origin, card = space.origin, base.card()
    told = origin.architecture if origin else ""
    blocks = space.table.card.get("reader", {}).get("n_layers")
    reach = max(space.layers_)
    if blocks is None and reach >= base.n_layers:  # not known, but surely more
        blocks = f"at least {reach + 1}"
    name = origin.name if origin else space.model_name or ""
    found = [
        _check("width", space.table.d_model, base.d_model, "vectors fit the residual stream", True),
        _check(
            "number of blocks",
            blocks,
            base.n_layers,
            "a layer is the same layer in both",
            True,
        ),
        _check(
            "architecture", told, card["architecture"], "blocks do the same in the same order", True
        ),
        _check(
            "name without tune",
            _stem(name),
            _stem(base.name),
            "names say that one was made from the other",
            False,
        ),
        _check(
            "weights",
            origin.fingerprint if origin else "",
            base.fingerprint,
            "another fingerprint is what a transfer is about; the same one means that the model read it itself",
            False,
        ),
    ]
    if sibling is not None and sibling.d_model == base.d_model:
        alike = weight_similarity(sibling, base)
        found.append(
            {
                "check": "likeness of weights",
                "of_axis": f"{sibling.name}: cosine above 0.5 and above chance, {alike.null:.2f}",
                "of_base": f"cosine {alike.cosine:.3f}, least {alike.low:.3f}, {alike.matrices} matrices",
                "verdict": "same" if alike.related else "differs",
                "means": "one was tuned from the other",
                "refused": True,
            }
        )
    else:
        found.append(
            {
                "check": "likeness of weights",
                "of_axis": "sibling not given" if sibling is None else f"width {sibling.d_model}",
                "of_base": base.name,
                "verdict": "not known" if sibling is None else "differs",
                "means": "give sibling=... to compare weights",
                "refused": sibling is not None,
            }
        )
    return found


def _check(check: str, of_axis: Any, of_base: Any, means: str, refused: bool) -> dict[str, Any]:
    known = of_axis not in ("", None) and of_base not in ("", None)
    verdict: Verdict = "not known" if not known else "same" if of_axis == of_base else "differs"
    return {
        "check": check,
        "of_axis": str(of_axis) if of_axis not in ("", None) else "not known",
        "of_base": str(of_base),
        "verdict": verdict,
        "means": means,
        "refused": refused,
    }


def _stem(name: str) -> str:
    """A model's name without owner and tune.

    Examples:
        >>> _stem("google/gemma-2-27b-it"), _stem("meta-llama/Llama-3.1-70B")
        ('gemma-2-27b', 'llama-3.1-70b')
    """
    return _TUNES.sub("", name.rsplit("/", 1)[-1].lower())
