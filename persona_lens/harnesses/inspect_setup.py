"""Which model answers Inspect, under which plan, and where its replies are read: from `-M` arguments or objects.

    -M space=smollm2-135m-instruct -M floor=75 -M layers=21-26
    -M space=spaces/mine -M add=pirate=0.1 -M where=generated
    -M plan=plans/cap                       # what plan.save(folder) wrote
    -M device=cuda -M dtype=bfloat16 -M batch_size=64

| argument | is |
| --- | --- |
| `persona_model`, `space`, `plan` | objects; the last two may be a name or a folder |
| `floor`, `ceil` | a percentile of the Assistant Axis |
| `add` | `NAME=STRENGTH`, several behind commas; `unit` as for `space.add` |
| `ablate` | a name, several behind commas |
| `layers` | of these four: `14-18`, `3,7`, `paper`; as each has them by default |
| `where`, `sinks` | tokens, of all of it; as each part has them by default |
| `layer` | where replies are read on the axis; the middle by default |
| `batch_size` | requests at a time, 32 by default |
| `device`, `device_map`, `dtype`, `revision` | as for `PersonaModel.load`, like the next |
| `chat_template`, `template_kwargs`, `trust_remote_code` | |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.errors import EvaluationError, SpaceError, first_line
from persona_lens.evals.answering import space_key
from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.interventions.storage import plan_digest
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.persona_model import PersonaModel
from persona_lens.paths import check_path
from persona_lens.persona_space import PersonaSpace
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from persona_lens.space import Space

OBJECT = "object: "
"""What logs write instead of an object begins with this."""

BATCH_SIZE = 32
_MOST_LAYERS = 10_000
_LOADING = (
    *("device", "device_map", "dtype", "revision", "chat_template", "template_kwargs"),
    "trust_remote_code",
)
_OF_SPACE = ("add", "floor", "ceil", "ablate")
ARGUMENTS = (
    *("persona_model", "space", "plan", *_OF_SPACE, "unit", "layers", "where", "sinks"),
    *("layer", "batch_size", *_LOADING),
)


@dataclass(frozen=True, eq=False)
class Setup:
    """Who answers.

    Attributes:
        model: Answers.
        plan: Acts on it meanwhile; None for nothing.
        plan_name: What it was called: its folder, or how it was made.
        space: On whose axis replies are read; None leaves that out.
        layer: Where.
        scale_missing: Why replies are not placed in standard deviations of default replies; empty where they are.
        caution: Whose directions act on whose weights, where these differ.
        batch_size: Requests at a time.
    """

    model: PersonaModel
    plan: Plan | None = None
    plan_name: str = ""
    space: Space | None = None
    layer: int = 0
    scale_missing: str = ""
    caution: str = ""
    batch_size: int = BATCH_SIZE

    def digest(self) -> str:
        """12 hex digits of all that replies and what is said of them hang on, beside the request."""
        hangs = {
            "model": self.model.card(),
            "plan": None if self.plan is None else plan_digest(self.plan),
            "space": None if self.space is None else space_key(self.space),
            "layer": self.layer,
        }
        return hashlib.sha256(json.dumps(hangs, sort_keys=True).encode()).hexdigest()[:12]


def set_up(model_name: str, given: Mapping[str, Any]) -> Setup:
    """Load what the arguments name, and check that it fits together.

    Args:
        model_name: What is loaded without a `persona_model`.
        given: Arguments, as above.

    Raises:
        EvaluationError: An unknown argument, one that an object was lost from, or a plan for single rows.
        ModelError: No such model.
        SpaceError: No such space, or it cannot make the plan.
        InterventionError: No such plan, or it does not fit the model.

    Warns:
        ForeignWeightsWarning: Directions were read from other weights.
    """
    _check(given)
    space = _space(given.get("space"))
    parts = list(_parts(given, space))  # what is wrong here should not wait for weights
    plan = _together(parts, given)
    model = given.get("persona_model")
    if model is None:
        loading = {name: given[name] for name in _LOADING if name in given}
        model = PersonaModel.load(model_name, **loading)
    layer = int(given.get("layer", model.n_layers // 2))
    caution = _checked(model, plan, space)
    return Setup(
        model,
        plan,
        "; ".join(name for name, _ in parts),
        space,
        layer,
        "" if space is None else _scale_missing(space, layer, model.d_model),
        caution,
        int(given.get("batch_size", BATCH_SIZE)),
    )


def _check(given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in ARGUMENTS:
            raise EvaluationError(
                f"unknown argument {name!r}",
                expected=", ".join(ARGUMENTS),
                remedy=did_you_mean(name, ARGUMENTS),
            )
        if value is None or (isinstance(value, str) and value.startswith(OBJECT)):
            raise EvaluationError(
                f"nothing is given as {name}",
                expected="a value",
                given="nothing, which is also what a log keeps of an object",
                remedy="leave it out if you mean none; an evaluation with objects is retried with the objects: "
                "inspect_model(model, ...)",
            )
        if name == "plan" and not isinstance(value, Plan | str | Path):
            checked_plan(value)
    needs = [name for name in _OF_SPACE if name in given]
    if needs and "space" not in given:
        raise EvaluationError(
            f"{' and '.join(needs)} cannot be made without a space",
            remedy="give one, such as space=smollm2-135m-instruct",
        )
    idle = [name for name in ("unit", "layers") if name in given and not needs]
    idle += [
        name for name in ("where", "sinks") if name in given and not needs and "plan" not in given
    ]
    if idle:
        raise EvaluationError(
            f"{' and '.join(idle)} would do nothing",
            expected="something that it says more of: " + ", ".join(_OF_SPACE),
            remedy="a saved plan has its own layers" if "plan" in given else None,
        )
    size = given.get("batch_size", BATCH_SIZE)
    if not isinstance(size, int) or size < 1:
        raise EvaluationError("no batch can be made", expected="batch_size 1 or more", given=size)


def _space(given: Any) -> Space | None:
    if given is None or not isinstance(given, str | Path):
        return given
    return PersonaSpace.load(check_path(str(given)))


def _parts(given: Mapping[str, Any], space: Space | None) -> Iterator[tuple[str, Plan]]:
    """The parts of the plan, each with what it is called."""
    chosen = {} if "layers" not in given else {"layers": layers_of(given["layers"])}
    if space is not None:
        unit = {} if "unit" not in given else {"unit": given["unit"]}
        for name, strength in _strengths(given.get("add", ())):
            yield f"add {name} {strength:g}", space.add(name, strength, **unit, **chosen)
        for side in ("floor", "ceil"):
            if side in given:
                plan = getattr(space, side)(percentile=_number(given[side], side), **chosen)
                yield f"{side} {given[side]}", plan
        for name in _several(given.get("ablate", ())):
            yield f"ablate {name}", space.ablate(name, **chosen)
    plan = given.get("plan")
    if isinstance(plan, Plan):
        yield f"plan {plan_digest(plan)}", plan
    elif plan is not None:
        yield str(plan), Plan.load(check_path(str(plan)))


def _together(parts: list[tuple[str, Plan]], given: Mapping[str, Any]) -> Plan | None:
    if not parts:
        return None
    whole = sum((plan for _, plan in parts[1:]), start=parts[0][1])
    if "where" in given or "sinks" in given:
        names = _several(given.get("where", "all"))
        whole = whole.where(*names, sinks=bool(given.get("sinks", False)))
    return whole


def _checked(model: PersonaModel, plan: Plan | None, space: Space | None) -> str:
    """A word of caution, if there is reason for one."""
    origins = []
    if space is not None:
        origin = space.direction("assistant").origin
        origins += [] if origin is None else [origin]
    if plan is not None:
        plan.check(n_layers=model.n_layers, d_model=model.d_model)
        if plan.rows is not None:
            raise EvaluationError(
                "the plan is made for single rows",
                expected="one strength, and tokens chosen by names",
                given=f"strengths or masks for {plan.rows} rows",
                remedy="evaluate a plan of each strength",
            )
        origins += plan.origins
    return warn_of_foreign_weights(dict.fromkeys(origins), model, stacklevel=3)


def _scale_missing(space: Space, layer: int, d_model: int) -> str:
    """Why this space has no scale of default replies; its axis has to be there.

    Raises:
        SpaceError: It does not cover the layer, or is of another width.
    """
    probe = np.ones((1, d_model), dtype=np.float32)
    space.project(probe, layer)
    try:
        space.project(probe, layer, units="default")
    except SpaceError as error:
        return first_line(error)
    return ""


def layers_of(given: Any) -> Any:
    """Layers as plans take them, from what `-M layers=...` is read as.

    Examples:
        >>> layers_of("14-16"), layers_of(["3", "7-8"]), layers_of(5), layers_of("paper")
        ([14, 15, 16], [3, 7, 8], [5], 'paper')
    """
    if given == "paper":
        return given
    found: list[int] = []
    try:
        for part in _several(given):
            first, dash, last = part.partition("-")
            begin, end = int(first), int(last if dash else first)
            if not 0 <= begin <= end < _MOST_LAYERS:
                raise ValueError(part)
            found += range(begin, end + 1)
        if not found:
            raise ValueError("no layer")
    except ValueError as error:
        raise SpaceError(
            "cannot read the layers", expected="14-18, 3,7,11 or paper", given=repr(given)
        ) from error
    return found


def _several(given: Any) -> list[str]:
    """One or several names, as a list of text."""
    if isinstance(given, str):
        return [part.strip() for part in given.split(",") if part.strip()]
    try:
        return [str(part) for part in given]
    except TypeError:
        return [str(given)]


def _strengths(given: Any) -> Iterator[tuple[str, float]]:
    pairs = given.items() if isinstance(given, Mapping) else map(_pair, _several(given))
    for name, strength in pairs:
        yield name, _number(strength, "add")


def _pair(text: str) -> tuple[str, str]:
    name, _, strength = text.partition("=")
    return name, strength


def _number(given: Any, name: str) -> float:
    try:
        return float(given)
    except (TypeError, ValueError):
        expected = (
            "NAME=STRENGTH, such as pirate=0.1" if name == "add" else "a percentile, 0 to 100"
        )
        raise EvaluationError(f"cannot read {name}", expected=expected, given=given) from None
