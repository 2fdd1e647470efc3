"""Plans from a space: directions by name, thresholds by percentile, strengths in units that carry over.

    plan = space.floor(percentile=75, depth=(0.7, 0.9)) + space.add("trickster", 0.2, layers=12)

Sign convention: "assistant" (or "axis") points to the default Assistant, a role from the mean of the roles to
the role, a trait to its positive side, a component to the side of the axis. `floor` on the default direction keeps
the model Assistant-like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from persona_lens.arrays import as_floats
from persona_lens.errors import SpaceError
from persona_lens.interventions import (
    Ablate,
    Add,
    Band,
    Ceil,
    Direction,
    Floor,
    Gate,
    Plan,
    Rotate,
    Set,
)
from persona_lens.interventions.operations.operation import Operation
from persona_lens.interventions.plan import checked_plan
from persona_lens.space.amounts import checked_strength, largest_push
from persona_lens.space.calibration import Unit
from persona_lens.space.geometry import SpaceGeometry
from persona_lens.space.thresholds import (
    Depth,
    Layers,
    Population,
    StrengthUnit,
    Thresholds,
    What,
)

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


class SpaceSteering(SpaceGeometry):
    """What a fitted space can do to a model; `PersonaSpace` inherits it.

    All methods return a `Plan`, on every token but pads, BOS and attention sinks; `plan.where(...)` restricts it.
    In a space read with `tokens="paper"` BOS and sinks are touched too, as by the released code.
    They take `layers` (indices, or "paper": the layers the paper capped in this model, and for `add` and `rotate`
    the one it steered at) or `depth` (a range between 0 and 1).
    """

    def direction(
        self, what: What = "assistant", *, layers: Layers = None, depth: Depth = None
    ) -> Direction:
        """A named direction at some layers, all by default.

        Raises:
            SpaceError: No such vector, or vectors of the wrong shape.
            InterventionError: No such layer.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> rng = np.random.default_rng(0)
            >>> roles = {f"role_{i}": rng.normal(size=(4, 8)) for i in range(6)}
            >>> space = PersonaSpace.from_vectors(roles, default=np.ones((4, 8))).fit()
            >>> space.direction("role_1", layers=[2, 3]).layers
            (2, 3)
        """
        self._check_fitted()
        return Thresholds(self).direction_at(what, layers, depth, self.layers_)

    def add(
        self,
        what: What = "assistant",
        strength: float | Sequence[float] = 1.0,
        *,
        unit: StrengthUnit | None = None,
        layers: Layers = None,
        depth: Depth = None,
        kl: float | None = None,
        model: PersonaModel | None = None,
    ) -> Plan:
        """Additive steering.

        Args:
            what: Where to.
            strength: How far; negative goes the other way. A sequence gives each row of a batch its own. More
                than 2 residual norms warn, more than 10 are refused, but for `raw` (`persona_lens.space.amounts`).
            unit: Of the strength: `residual`, the mean norm of the residual stream at that layer (of a space
                calibrated on tokens); `spread`, a standard deviation of the roles along the direction; `raw`, the
                vector as it is stored. By default `residual`, and `raw` in a space read with `tokens="paper"`.
            layers: The middle layer by default; in the paper's models the one it steered at (Gemma 2 27B 22,
                Qwen 3 32B 32, Llama 3.3 70B 40), which "paper" asks for too.
            depth: Instead of `layers`.
            kl: Solve for the strength that costs so many nats on neutral text (`persona_lens.space.budget`), in
                the direction of the sign of `strength`.
            model: For `kl`; and for `residual` in a space that is not calibrated on tokens, such as that of a
                release: the norm is then measured on neutral texts.

        Source: paper section 3.2.1 (`unit="residual"`), released demo notebook (`unit="raw"`).
        """
        direction = Thresholds(self).steered(what, layers, depth)
        if unit is None:
            unit = "raw" if self.as_in_paper else "residual"
        lengths, unit_text = Thresholds(self).lengths(direction, unit, model)
        known = lengths if unit == "residual" else Thresholds(self).residual_norms(direction)
        checked = checked_strength(
            strength, largest_push(lengths, None if unit == "raw" else known)
        )
        plan = self._planned(Add(direction, lengths, unit_text, strength=checked))
        if kl is None:
            return plan
        if model is None:
            raise SpaceError("a KL budget is measured on a model", remedy="pass model=...")
        from persona_lens.space.budget import scaled_to_kl  # noqa: PLC0415

        return scaled_to_kl(model, plan, kl)

    def ablate(
        self, what: What = "assistant", *, layers: Layers = None, depth: Depth = None
    ) -> Plan:
        """Project a direction out; at every layer by default."""
        return self._planned(Ablate(self.direction(what, layers=layers, depth=depth)))

    def set(
        self,
        what: What = "assistant",
        *,
        to: float | Population = "default",
        layers: Layers = None,
        depth: Depth = None,
    ) -> Plan:
        """Bring the projection to a value, or to the mean of a population's replies (mean ablation).

        Args:
            what: The direction.
            to: A projection on its unit vector, or "default", "roles", "traits" or "all".
            layers: Every layer by default.
            depth: Instead of `layers`.
        """
        direction = self.direction(what, layers=layers, depth=depth)
        if not isinstance(to, str):
            return self._planned(
                Set(
                    direction,
                    targets=as_floats(
                        to,
                        "the targets",
                        error=SpaceError,
                        dtype=np.float64,
                        layers=direction.layers,
                    ),
                )
            )
        found = Thresholds(self).calibrated(what, "replies", direction)
        which = found.calibration.directions.index(found.name)
        means = found.to_projection(
            found.calibration.means[Thresholds(self).population(to)][:, which]
        )
        if np.isnan(means).any():
            raise SpaceError(f"no replies of population {to!r} were calibrated on")
        return self._planned(Set(direction, means, about=f"mean of {to} replies"))

    def floor(
        self,
        what: What = "assistant",
        *,
        percentile: float = 75,
        of: Unit = "replies",
        population: Population = "all",
        layers: Layers = None,
        depth: Depth = None,
    ) -> Plan:
        """Activation capping: keep the projection at or above a percentile.

        The paper's recommended cap, whose files are upside down, is the 75th percentile of all reply means in this
        orientation.

        Args:
            what: The direction; towards the Assistant by default.
            percentile: Of the projections of the population, on one half of the questions: 75, not 0.75.
            of: Whose projections: reply means (the paper) or single tokens, which spread wider.
            population: `all`, `default`, `roles` or `traits`.
            layers: The paper's where it capped this model, else those between 0.7 and 0.9 of the depth.
            depth: Instead of `layers`.

        The plan says what share of the other half of the questions lies below the threshold.

        Source: paper section 5, equation 1.
        """
        direction = Thresholds(self).capped(what, layers, depth)
        thresholds, about = Thresholds(self).threshold(
            what, direction, percentile, of, population, side="below"
        )
        return self._planned(Floor(direction, thresholds, about=about))

    def ceil(
        self,
        what: What = "assistant",
        *,
        percentile: float = 25,
        of: Unit = "replies",
        population: Population = "all",
        layers: Layers = None,
        depth: Depth = None,
    ) -> Plan:
        """Keep the projection at or below a percentile; arguments as for `floor`."""
        direction = Thresholds(self).capped(what, layers, depth)
        thresholds, about = Thresholds(self).threshold(
            what, direction, percentile, of, population, side="above"
        )
        return self._planned(Ceil(direction, thresholds, about=about))

    def band(
        self,
        what: What = "assistant",
        *,
        percentiles: tuple[float, float] = (25, 75),
        of: Unit = "replies",
        population: Population = "all",
        layers: Layers = None,
        depth: Depth = None,
    ) -> Plan:
        """Keep the projection between two percentiles; arguments as for `floor`."""
        direction = Thresholds(self).capped(what, layers, depth)
        if np.shape(percentiles) != (2,):
            raise SpaceError(
                "a band has two ends", expected="percentiles=(low, high)", given=percentiles
            )
        low, below = Thresholds(self).threshold(
            what, direction, percentiles[0], of, population, side="below"
        )
        high, above = Thresholds(self).threshold(
            what, direction, percentiles[1], of, population, side="above"
        )
        return self._planned(Band(direction, low, high, about=f"low {below}; high {above}"))

    def rotate(
        self,
        what: What = "assistant",
        *,
        degrees: float,
        layers: Layers = None,
        depth: Depth = None,
    ) -> Plan:
        """Turn residual vectors towards a direction and keep their norms; layers as for `add`."""
        direction = Thresholds(self).steered(what, layers, depth)
        return self._planned(Rotate(direction, np.full(len(direction.layers), np.radians(degrees))))

    def gate(
        self,
        plan: Plan,
        what: What = "assistant",
        *,
        below: float | None = None,
        above: float | None = None,
        of: Unit = "tokens",
        population: Population = "all",
        per: Literal["token", "sequence"] = "token",
    ) -> Plan:
        """Run a plan only where a projection passes a percentile.

        Args:
            plan: What to run; each of its operations is gated at its own layers.
            what: The direction looked at.
            below: Open where the projection lies below this percentile.
            above: Open where it lies above this one; give one of the two.
            of: Percentile of single tokens or of reply means.
            population: As for `floor`.
            per: `token`, or `sequence`: open from the first token that passes on.
        """
        if (below is None) == (above is None):
            raise SpaceError("a gate opens on one side", remedy="give below=... or above=...")
        side = "below" if above is None else "above"
        percentile = below if above is None else above
        assert percentile is not None
        steps = []
        for step in checked_plan(plan).steps:
            direction = self.direction(what, layers=step.operation.layers)
            thresholds, about = Thresholds(self).threshold(
                what, direction, percentile, of, population, side=side
            )
            gate = Gate(direction, thresholds, step.operation, side=side, per=per, about=about)
            steps.append(replace(step, operation=gate))
        return Plan(tuple(steps))

    def _planned(self, operation: Operation) -> Plan:
        plan = Plan.of(operation)
        return plan.where("all", sinks=True) if self.as_in_paper else plan
