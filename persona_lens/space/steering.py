"""Plans from a space: directions by name, thresholds by percentile, strengths in units that carry over.

    plan = space.floor(percentile=75, depth=(0.7, 0.9)) + space.add("trickster", 0.2, layers=12)

Sign convention: "assistant" (or "axis") points to the default Assistant, a role from the mean of the roles to
the role, a trait to its positive side, a component to the side of the axis. `floor` on the default direction keeps
the model Assistant-like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

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
from persona_lens.interventions.layers import (
    CAPPING_DEPTH,
    choose_layers,
    layers_at_depth,
    paper_layers,
)
from persona_lens.space.calibration import POPULATIONS, Calibration, Unit
from persona_lens.space.directions import CalibratedDirections
from persona_lens.space.geometry import SpaceGeometry
from persona_lens.space.pca import unit as unit_vectors

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

What = str | Direction | Float[np.ndarray, "layer d_model"]
"""A name ("assistant", "pc2", a role, a trait; "role:assistant" for the role of that name), or vectors."""

Layers = int | str | Iterable[int] | None
Depth = tuple[float, float] | None
StrengthUnit = Literal["residual", "spread", "raw"]
Population = Literal["all", "default", "roles", "traits"]

AXIS_NAMES = ("assistant", "axis")
CALIBRATED_COMPONENTS = 5

_POPULATIONS = {"all": "all", "default": "default", "roles": "role", "traits": "trait"}


class SpaceSteering(SpaceGeometry):
    """What a fitted space can do to a model; `PersonaSpace` inherits it.

    All methods return a `Plan`, on every token but pads, BOS and attention sinks; `plan.where(...)` restricts it.
    They take `layers` (indices, or "paper" for the layers the paper capped in this model) or `depth` (a range
    between 0 and 1).
    """

    token_calibration_: Calibration | None

    # Directions -------------------------------------------------------------------------------------

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
        if isinstance(what, Direction):
            return (
                what if layers is None and depth is None else what.at(self._layers(layers, depth))
            )
        chosen = self._layers(layers, depth, default=self.layers_)
        if not isinstance(what, str):
            vectors = np.asarray(what)
            if vectors.shape == (len(self.layers_), self.table.d_model):
                vectors = vectors[[self.layer_index(layer) for layer in chosen]]
            return Direction("given vectors", chosen, vectors)
        name, vectors = self._named_vectors(what)
        places = [self.layer_index(layer) for layer in chosen]
        return Direction(name, chosen, vectors[places])

    def _named_vectors(self, what: str) -> tuple[str, Float[np.ndarray, "layer d_model"]]:
        if what in AXIS_NAMES:
            return "assistant", self.axis_
        if what.startswith("pc") and what[2:].isdigit():
            if self._fit.scaler.scaling == "l2":
                raise SpaceError(
                    "components of an l2-scaled space are not directions of the residual stream",
                    remedy='fit the space with scaling="center"',
                )
            scale = self._fit.scaler.scale
            vectors = self.components_[:, self._component(what)]
            return what, vectors if scale is None else vectors / scale
        kind, _, name = what.rpartition(":")
        row = self._row(name)
        if kind and self.table.kinds[row] != kind:
            raise SpaceError(f"{name!r} is no {kind}", given=f"a {self.table.kinds[row]}")
        return name, np.stack(
            [self._row_direction(row, place) for place in range(len(self.layers_))]
        )

    def calibrated_directions(self, names: Sequence[str] = ()) -> CalibratedDirections:
        """The axis, the first components and `names`, as calibrations use them."""
        components = 0 if self._fit.scaler.scaling == "l2" else self.components_.shape[1]
        kept = [f"pc{number + 1}" for number in range(min(CALIBRATED_COMPONENTS, components))]
        listed = ("axis", *kept, *(name for name in names if name not in ("axis", *kept)))
        vectors = np.stack([self._named_vectors(name)[1] for name in listed], axis=1)
        gains = np.ones(vectors.shape[:2])
        offsets = np.zeros_like(gains)
        for place in range(1, 1 + len(kept)):
            gains[:, place] = np.linalg.norm(vectors[:, place], axis=-1)
            offsets[:, place] = np.einsum("ld,ld->l", self._fit.scaler.mean, vectors[:, place])
        return CalibratedDirections(listed, unit_vectors(vectors), gains, offsets)

    # Operations -------------------------------------------------------------------------------------

    def add(
        self,
        what: What = "assistant",
        strength: float | Sequence[float] = 1.0,
        *,
        unit: StrengthUnit = "residual",
        layers: Layers = None,
        depth: Depth = None,
        kl: float | None = None,
        model: PersonaModel | None = None,
    ) -> Plan:
        """Additive steering.

        Args:
            what: Where to.
            strength: How far; negative goes the other way. A sequence gives each row of a batch its own.
            unit: Of the strength: `residual`, the mean norm of the residual stream at that layer (of a space
                calibrated on tokens); `spread`, a standard deviation of the roles along the direction; `raw`, the
                vector as it is stored.
            layers: The middle layer by default, as in the paper.
            depth: Instead of `layers`.
            kl: Solve for the strength that costs so many nats on neutral text (`persona_lens.space.budget`), in
                the direction of the sign of `strength`.
            model: For `kl`.

        Source: paper section 3.2.1 (`unit="residual"`), released demo notebook (`unit="raw"`).
        """
        direction = self.direction(what, layers=self._layers(layers, depth, self._middle()))
        lengths, unit_text = self._lengths(direction, unit)
        plan = Plan.of(Add(direction, lengths, unit_text, strength=_as_strength(strength)))
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
        return Plan.of(Ablate(self.direction(what, layers=layers, depth=depth)))

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
            return Plan.of(Set(direction, np.full(len(direction.layers), float(to))))
        calibration, name, places = self._calibrated(what, "replies", direction)
        means = calibration.means[self._population(to)][places, calibration.directions.index(name)]
        targets = self.calibrated_directions([name]).to_projection(means, name, places)
        return Plan.of(Set(direction, targets, about=f"mean of {to} replies"))

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
            percentile: Of the projections of the population, on one half of the questions.
            of: Whose projections: reply means (the paper) or single tokens, which spread wider.
            population: `all`, `default`, `roles` or `traits`.
            layers: The paper's where it capped this model, else those between 0.7 and 0.9 of the depth.
            depth: Instead of `layers`.

        The plan says what share of the other half of the questions lies below the threshold.

        Source: paper section 5, equation 1.
        """
        direction = self._capped(what, layers, depth)
        thresholds, about = self._threshold(
            what, direction, percentile, of, population, side="below"
        )
        return Plan.of(Floor(direction, thresholds, about=about))

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
        direction = self._capped(what, layers, depth)
        thresholds, about = self._threshold(
            what, direction, percentile, of, population, side="above"
        )
        return Plan.of(Ceil(direction, thresholds, about=about))

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
        direction = self._capped(what, layers, depth)
        low, below = self._threshold(what, direction, percentiles[0], of, population, side="below")
        high, above = self._threshold(what, direction, percentiles[1], of, population, side="above")
        return Plan.of(Band(direction, low, high, about=f"low {below}; high {above}"))

    def rotate(
        self,
        what: What = "assistant",
        *,
        degrees: float,
        layers: Layers = None,
        depth: Depth = None,
    ) -> Plan:
        """Turn residual vectors towards a direction and keep their norms; the middle layer by default."""
        direction = self.direction(what, layers=self._layers(layers, depth, self._middle()))
        return Plan.of(Rotate(direction, np.full(len(direction.layers), np.radians(degrees))))

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
        for step in plan.steps:
            direction = self.direction(what, layers=step.operation.layers)
            thresholds, about = self._threshold(
                what, direction, percentile, of, population, side=side
            )
            gate = Gate(direction, thresholds, step.operation, side=side, per=per, about=about)
            steps.append(replace(step, operation=gate))
        return Plan(tuple(steps))

    # Thresholds, strengths, layers ------------------------------------------------------------------

    def _threshold(
        self,
        what: What,
        direction: Direction,
        percentile: float,
        of: Unit,
        population: Population,
        *,
        side: str,
    ) -> tuple[Float[np.ndarray, " layer"], str]:
        """Projections at a percentile, and what they mean on held-out questions."""
        if not 0 <= percentile <= 100:
            raise SpaceError("not a percentile", expected="0 to 100", given=percentile)
        calibration, name, places = self._calibrated(what, of, direction)
        key = POPULATIONS[self._population(population)]
        levels = calibration.quantile(name, key, percentile)
        if np.isnan(levels).any():
            raise SpaceError(f"no {of} of population {population!r} were calibrated on")
        count = int(calibration.counts[POPULATIONS.index(key), 0])
        about = f"{percentile:g}th percentile of {of} ({population}, n = {count:,})"
        shares = [
            f"{_percent(shares[places], side)} of {unit}"
            for unit, known in (("replies", self.calibration_), ("tokens", self.token_calibration_))
            if known is not None and name in known.directions
            for shares in [known.share_below(name, key, levels)]
            if np.isfinite(shares[places]).all()
        ]
        if shares:
            about += f"; {side} it on held-out questions: {', '.join(shares)}"
        known = self.calibrated_directions([name])
        return known.to_projection(levels[places], name, places), about

    def _calibrated(
        self, what: What, of: Unit, direction: Direction
    ) -> tuple[Calibration, str, list[int]]:
        """The calibration that knows a direction, its name there, and the places of its layers."""
        name = "axis" if isinstance(what, str) and what in AXIS_NAMES else what
        if of not in ("replies", "tokens"):
            raise SpaceError("unknown unit of a percentile", expected="replies or tokens", given=of)
        calibration = self.calibration_ if of == "replies" else self.token_calibration_
        if calibration is None:
            raise SpaceError(
                f"this space is not calibrated on {of}",
                remedy="fit it with its run" if of == "replies" else "space.calibrate(model)",
            )
        if not isinstance(name, str) or name not in calibration.directions:
            raise SpaceError(
                f"no percentiles are known along {direction.name!r}",
                expected=", ".join(calibration.directions),
                remedy=f"space.calibrate(model, directions=[{direction.name!r}])"
                if isinstance(what, str)
                else "make the operation yourself, with thresholds of your own",
            )
        return calibration, name, [self.layer_index(layer) for layer in direction.layers]

    def _population(self, population: str) -> int:
        if population not in _POPULATIONS:
            raise SpaceError(
                "unknown population", expected=", ".join(_POPULATIONS), given=population
            )
        return POPULATIONS.index(_POPULATIONS[population])

    def _lengths(
        self, direction: Direction, unit: StrengthUnit
    ) -> tuple[Float[np.ndarray, " layer"], str]:
        places = [self.layer_index(layer) for layer in direction.layers]
        if unit == "raw":
            return direction.lengths, "vector as stored"
        if unit == "spread":
            spreads = [
                np.std(self._axis_roles(place).astype(np.float64) @ vector, ddof=1)
                for place, vector in zip(places, direction.units, strict=True)
            ]
            return np.array(spreads), "spread of the roles"
        if unit != "residual":
            raise SpaceError("unknown unit", expected="residual, spread or raw", given=unit)
        if self.token_calibration_ is None:
            raise SpaceError(
                "the norm of the residual stream is not known",
                expected="a space calibrated on tokens",
                remedy='space.calibrate(model), or unit="spread"',
            )
        norms = self.token_calibration_.norms[POPULATIONS.index("all"), places]
        return norms.astype(np.float64), "mean residual norm"

    def _capped(self, what: What, layers: Layers, depth: Depth) -> Direction:
        preset = paper_layers(self._model_name, self._n_blocks)
        default = preset or layers_at_depth(CAPPING_DEPTH, self._n_blocks)
        return self.direction(what, layers=self._layers(layers, depth, default))

    def _layers(
        self, layers: Layers, depth: Depth, default: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        return choose_layers(
            layers,
            depth,
            known=self.layers_,
            n_layers=self._n_blocks,
            model=self._model_name,
            default=self.layers_ if default is None else default,
        )

    def _middle(self) -> tuple[int, ...]:
        return (self._n_blocks // 2,)

    @property
    def _n_blocks(self) -> int:
        return int(self.table.card.get("reader", {}).get("n_layers", max(self.layers_) + 1))

    @property
    def _model_name(self) -> str:
        return str(self.table.card.get("reader", {}).get("model", ""))


def _as_strength(strength: float | Sequence[float]) -> float | tuple[float, ...]:
    values = np.asarray(strength, dtype=np.float64)
    return tuple(values.tolist()) if values.ndim else float(values)


def _percent(below: Float[np.ndarray, " layer"], side: str) -> str:
    shares = below if side == "below" else 1 - below
    low, high = shares.min(), shares.max()
    return f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
