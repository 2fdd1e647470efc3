"""`Served`: a model with all that its server needs to know: plans, where replies are read, a monitor, limits.

served = Served.of(model, space, cap=75, plans={"calm": Plan.load("plans/calm")}, monitor=monitor)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from persona_lens.errors import ServerError
from persona_lens.interventions.plan import Plan
from persona_lens.server.limits import Allowed, Limits
from persona_lens.server.plans import PlanBook
from persona_lens.server.readings import ReplyReader

if TYPE_CHECKING:
    from persona_lens.drift.monitor import Monitor
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space


@dataclass(frozen=True, eq=False)
class Served:
    """What is served.

    Attributes:
        model: Answers.
        name: What requests call it.
        reader: Places replies.
        plans: That may act.
        limits: Of the server.
        log_messages: Whether logs may quote what was said.
    """

    model: PersonaModel
    name: str
    reader: ReplyReader
    plans: PlanBook
    limits: Limits = field(default_factory=Limits)
    log_messages: bool = False

    @classmethod
    def of(
        cls,
        model: PersonaModel,
        space: Space,
        *,
        cap: float | None = None,
        plans: Mapping[str, Plan] | None = None,
        default: Plan | None = None,
        monitor: Monitor | None = None,
        layer: int | None = None,
        name: str | None = None,
        allowed: Allowed | None = None,
        limits: Limits | None = None,
        log_messages: bool = False,
    ) -> Served:
        """A model, the plans that may act on it, and where its replies are read.

        Args:
            model: Answers.
            space: Of that model.
            cap: Percentile: the default plan is `space.floor(percentile=cap)`.
            plans: Others, by the names that requests know them by; the first is the default without `cap`.
            default: The default plan, instead of either.
            monitor: Says whether conversations drift.
            layer: Where replies are read; as for `ReplyReader`.
            name: What requests call the model; its own by default.
            allowed: What requests may choose beyond names.
            limits: Of the server.
            log_messages: Whether logs may quote what was said.

        Raises:
            ServerError: The space is of another model, or a name cannot be used.
            InterventionError: A plan does not fit the model.

        Examples:
            >>> from persona_lens import PersonaModel, PersonaSpace
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> served = Served.of(model, PersonaSpace.load("smollm2-135m-instruct"), cap=75)
            >>> served.name, served.plans.names
            ('smollm2-135m-instruct', ('none', 'default'))
        """
        if cap is not None and default is not None:
            raise ServerError(
                "two default plans", expected="cap or default", remedy="give one of them"
            )
        named = dict(plans or {})
        if cap is not None:
            default = space.floor(percentile=cap)
        elif default is None and named:
            default = next(iter(named.values()))
        reader = ReplyReader(model, space, layer=layer, monitor=monitor)
        book = PlanBook(model, default=default, named=named, space=space, allowed=allowed)
        return cls(model, name or model.name, reader, book, limits or Limits(), log_messages)

    def card(self) -> dict[str, Any]:
        """What `/v1/models` says beside OpenAI's fields: what a request may choose."""
        allowed, monitor = self.plans.allowed, self.reader.monitor
        return {
            "plans": [plan.card() for plan in self.plans.all],
            "allowed": allowed.model_dump(mode="json"),
            "reading": self.reader.card(),
            "monitor": None if monitor is None else str(monitor),
            "context": self.model.context,
            "limits": self.limits.model_dump(mode="json"),
        }

    def fingerprint(self) -> str:
        """`system_fingerprint` of replies: of the model and of the plans that may act."""
        told: dict[str, Any] = {
            "model": self.model.card(),
            "plans": {plan.name: plan.digest for plan in self.plans.acting},
        }
        return f"fp_{hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]}"
