"""Which plan acts on a reply: the default, none, one the operator named, or a cap that a request asks for.

    book = PlanBook(model, default=space.floor(percentile=75), named={"calm": calm}, space=space)
    book.choose(PersonaBody(plan="calm")).plan

Nothing in a request is a path or code: it names plans that were loaded when the server was started, and chooses
percentiles and layers within what the operator allows.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persona_lens.errors import InterventionError, PersonaLensError, ServerError, first_line
from persona_lens.interventions.directions import spans
from persona_lens.interventions.plan import Plan
from persona_lens.interventions.storage import plan_digest
from persona_lens.interventions.where import GROUPS, PLACES
from persona_lens.server.bodies import PersonaBody
from persona_lens.server.limits import Allowed
from persona_lens.server.refusals import Refusal
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

NONE, DEFAULT = "none", "default"
REQUESTED = "requested"
"""What metrics call plans that requests made of percentiles and layers: labels must not multiply."""

_HELD = 64


@dataclass(frozen=True, eq=False)
class Chosen:
    """A plan, or none.

    Attributes:
        name: As replies tell it.
        label: As metrics tell it.
        plan: Acts; None for none.
        digest: Of the plan; empty without one.
    """

    name: str = NONE
    label: str = NONE
    plan: Plan | None = None
    digest: str = ""

    @classmethod
    def of(cls, name: str, plan: Plan, label: str | None = None) -> Chosen:
        """One that acts."""
        return cls(name, label or name, plan, plan_digest(plan))

    def card(self) -> dict[str, Any]:
        """What replies say of it."""
        if self.plan is None:
            return {"name": self.name, "digest": None, "layers": [], "steps": []}
        return {
            "name": self.name,
            "digest": self.digest,
            "layers": list(self.plan.layers),
            "steps": [str(step) for step in self.plan.steps],
        }

    def refuse_plain_text(self) -> None:
        """Refuse a prompt without roles, if the plan is for tokens of some.

        Raises:
            Refusal: It is.
        """
        steps = () if self.plan is None else self.plan.steps
        wanted = [name for step in steps for name in step.where.names if name in GROUPS]
        if wanted:
            raise Refusal(
                f"The plan {self.name!r} acts on {wanted[0]!r} tokens, and which these are is not known in a "
                f"plain prompt. Use /v1/chat/completions, or a plan on {', '.join(PLACES)}.",
                param="persona.plan",
                code="plan_needs_chat",
            )


class PlanBook:
    """The plans of a server.

    Args:
        model: They act on.
        default: Acts where a request says nothing; None for nothing.
        named: Others, by their names.
        space: Makes caps that requests ask for; None where they cannot.
        allowed: What they may ask for.

    Raises:
        ServerError: A name that cannot be used, or a plan for single rows.
        InterventionError: A plan does not fit the model.
    """

    def __init__(
        self,
        model: PersonaModel,
        *,
        default: Plan | None = None,
        named: Mapping[str, Plan] | None = None,
        space: Space | None = None,
        allowed: Allowed | None = None,
    ) -> None:
        self.allowed = allowed or Allowed()
        self._space, self._model = space, model
        self._made: OrderedDict[object, Chosen] = OrderedDict()
        self._named = {NONE: Chosen(), DEFAULT: Chosen(DEFAULT, DEFAULT)}
        if default is not None:
            self._named[DEFAULT] = Chosen.of(DEFAULT, _fitting(DEFAULT, default, model))
        for name, plan in (named or {}).items():
            if (
                name in self._named
                or name == REQUESTED
                or not name.isprintable()
                or not name.strip()
            ):
                raise ServerError(
                    "a plan cannot have this name",
                    expected=f"one of its own, and none of {NONE}, {DEFAULT} and {REQUESTED}",
                    given=repr(name),
                    remedy="give another: --plan NAME=FOLDER",
                )
            self._named[name] = Chosen.of(name, _fitting(name, plan, model))
        if self.allowed.percentiles is not None and space is None:
            raise ServerError("caps need a space", remedy="give one with --space")

    @property
    def names(self) -> tuple[str, ...]:
        """All that a request may name."""
        return tuple(self._named)

    @property
    def all(self) -> tuple[Chosen, ...]:
        """Those with a name."""
        return tuple(self._named.values())

    @property
    def acting(self) -> tuple[Chosen, ...]:
        """Those that do something."""
        return tuple(each for each in self._named.values() if each.plan is not None)

    def choose(self, asked: PersonaBody | None) -> Chosen:
        """The plan of a request.

        Raises:
            Refusal: No such plan, or more than is allowed.
        """
        asked = asked or PersonaBody()
        found = self._named.get(asked.plan)
        if found is None:
            hint = did_you_mean(asked.plan, self.names)
            raise Refusal(
                f"There is no plan {asked.plan!r} here: this server has {', '.join(self.names)}."
                + (f" ({hint})" if hint else ""),
                param="persona.plan",
                code="unknown_plan",
            )
        if asked.percentile is None and asked.layers is None:
            return found
        layers = self._layers(asked)
        key = (asked.plan, asked.percentile, layers)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = self._changed(found, asked, layers)
            if len(self._made) > _HELD:
                self._made.popitem(last=False)
        return made

    def _layers(self, asked: PersonaBody) -> tuple[int, ...] | None:
        if asked.layers is None:
            return None
        layers = tuple(sorted(set(asked.layers)))
        allowed = self.allowed.layers
        if allowed is None or not set(layers) <= set(allowed):
            raise Refusal(
                "Layers are not for requests to choose here."
                if allowed is None
                else f"These layers are not allowed here: choose among {spans(allowed)}.",
                param="persona.layers",
                code="not_allowed",
            )
        return layers

    def _changed(self, found: Chosen, asked: PersonaBody, layers: tuple[int, ...] | None) -> Chosen:
        if asked.percentile is not None:
            name, plan = self._cap(asked, layers)
        elif found.plan is None:
            raise Refusal(
                f"The plan {found.name!r} does nothing, at any layers.",
                param="persona.layers",
                code="not_allowed",
            )
        else:
            name = found.name
            plan = _tried(lambda plan: plan.at(layers or ()), found.plan, "persona.layers")
        where = "" if layers is None else f" at {spans(layers)}"
        return Chosen.of(f"{name}{where}", plan, REQUESTED)

    def _cap(self, asked: PersonaBody, layers: tuple[int, ...] | None) -> tuple[str, Plan]:
        allowed, percentile, space = self.allowed.percentiles, asked.percentile, self._space
        assert percentile is not None
        if allowed is None or space is None or not allowed[0] <= percentile <= allowed[1]:
            raise Refusal(
                "Percentiles are not for requests to choose here."
                if allowed is None
                else f"Percentiles from {allowed[0]:g} to {allowed[1]:g} are allowed here.",
                param="persona.percentile",
                code="not_allowed",
            )
        if asked.plan != DEFAULT:
            raise Refusal(
                f"The plan {asked.plan!r} has no percentile to choose: leave out the plan, or the percentile.",
                param="persona.percentile",
                code="not_allowed",
            )
        chosen = {} if layers is None else {"layers": layers}
        plan = _tried(
            lambda space: space.floor(percentile=percentile, **chosen), space, "persona.percentile"
        )
        return f"cap {percentile:g}", _tried(lambda plan: _fits(plan, self._model), plan, "persona")


def _tried(work: Any, given: Any, param: str) -> Any:
    try:
        return work(given)
    except PersonaLensError as error:
        raise Refusal(
            f"No such plan can be made: {first_line(error)}.", param=param, code="not_allowed"
        ) from None


def _fits(plan: Plan, model: PersonaModel) -> Plan:
    plan.check(n_layers=model.n_layers, d_model=model.d_model)
    return plan


def _fitting(name: str, plan: Plan, model: PersonaModel) -> Plan:
    if plan.rows is not None:
        raise ServerError(
            f"the plan {name!r} is made for single rows, and any request may come",
            expected="one strength, and tokens chosen by names",
            given=f"strengths or masks for {plan.rows} rows",
        )
    if not plan.steps:
        raise InterventionError(f"the plan {name!r} has no steps", remedy='use "none"')
    return _fits(plan, model)
