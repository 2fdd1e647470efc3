"""What interventions need to know of a space: its directions, percentiles along them, and units of strength."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from persona_lens.arrays import as_floats, layers_of
from persona_lens.errors import SpaceError
from persona_lens.interventions import Direction
from persona_lens.interventions.directions import spans
from persona_lens.interventions.layers import (
    CAPPING_DEPTH,
    Purpose,
    choose_layers,
    layers_at_depth,
    paper_layers,
)
from persona_lens.space.amounts import checked_percentile
from persona_lens.space.calibrating import reply_calibration
from persona_lens.space.calibration import POPULATIONS, Calibration, Unit
from persona_lens.space.directions import CalibratedDirections
from persona_lens.space.geometry import SpaceGeometry
from persona_lens.spelling import check_choice, did_you_mean

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

What = str | Direction | Float[np.ndarray, "layer d_model"]
"""A name ("assistant", "pc2", a role, a trait, "trait:stoic"; see `persona_lens.space.naming`), or vectors."""

Layers = int | str | Iterable[int] | None
Depth = tuple[float, float] | None
StrengthUnit = Literal["residual", "spread", "raw"]
Population = Literal["all", "default", "roles", "traits"]

_POPULATIONS = {"all": "all", "default": "default", "roles": "role", "traits": "trait"}


class Thresholds:
    """Directions, thresholds, lengths and layers, as the plans of a fitted space need them.

    Args:
        space: Fitted.
    """

    def __init__(self, space: SpaceGeometry) -> None:
        self._space = space

    def direction_at(
        self,
        what: What,
        layers: Layers,
        depth: Depth,
        default: Sequence[int],
        purpose: Purpose = "cap",
    ) -> Direction:
        """A direction at the layers asked for, or at `default`."""
        if isinstance(what, Direction):
            self._check_width(what.d_model)
            # Without an origin of its own it has that of the percentiles and norms it is used with.
            known_as = what if what.origin is not None else replace(what, origin=self._space.origin)
            return known_as.at(self._layers(layers, depth, what.layers, purpose))
        known = layers_of(what, "the vectors", SpaceError)
        chosen = self._layers(layers, depth, default if known is None else known, purpose)
        if not isinstance(what, str):
            _refuse_what_is_no_direction(what)
            vectors = as_floats(what, "the vectors", error=SpaceError, layers=chosen)
            if known is not None:
                self._check_width(vectors.shape[-1])
                return Direction("given vectors", chosen, vectors, origin=self._space.origin)
            self._check_width(vectors.shape[-1] if vectors.ndim else 0)
            if vectors.shape == (len(self._space.layers_), self._space.table.d_model):
                vectors = vectors[[self._space.layer_index(layer) for layer in chosen]]
            return Direction("given vectors", chosen, vectors, origin=self._space.origin)
        found = self._space.named(what)
        places = [self._space.layer_index(layer) for layer in chosen]
        values = self._space.direction_vectors(found)[places]
        called = "assistant" if found.kind == "axis" else found.name
        return Direction(called, chosen, values, origin=self._space.origin)

    def _check_width(self, d_model: int) -> None:
        if d_model != self._space.table.d_model:
            raise SpaceError(
                "the direction belongs to a model of another width",
                expected=f"d_model {self._space.table.d_model}",
                given=d_model,
            )

    # Thresholds, strengths, layers ------------------------------------------------------------------

    def threshold(
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
        percentile = checked_percentile(percentile)
        found = self.calibrated(what, of, direction)
        key = POPULATIONS[self.population(population)]
        levels = found.calibration.quantile(found.name, key, percentile)
        if np.isnan(levels[found.places]).any():
            raise _unknown_percentile(
                found, percentile, of=of, population=population, layers=direction.layers
            )
        count = int(found.calibration.counts[POPULATIONS.index(key), 0])
        basis = found.calibration.source or f"n = {count:,}"
        about = f"percentile {percentile:g} of {of} ({population}, {basis})"
        kept = {"replies": self._space.calibration_, "tokens": self._space.token_calibration_}
        if found.calibration not in kept.values():  # made on the spot: names mean others in those
            kept = {of: found.calibration}
        shares = [
            f"{_percent(shares[found.places], side)} of {unit}"
            for unit, known in kept.items()
            if known is not None and found.name in known.directions
            for shares in [known.share_below(found.name, key, levels)]
            if np.isfinite(shares[found.places]).all()
        ]
        if shares:
            about += f"; {side} it on held-out questions: {', '.join(shares)}"
        return found.to_projection(levels), about

    def calibrated(self, what: What, of: Unit, direction: Direction) -> _Calibrated:
        """The calibration that knows a direction; for reply means, made on the spot if there is none."""
        check_choice(of, ("replies", "tokens"), "unknown unit of a percentile", error=SpaceError)
        name = self._space.named(what).name if isinstance(what, str) else ""
        calibration = (
            self._space.calibration_ if of == "replies" else self._space.token_calibration_
        )
        if calibration is not None and name in calibration.directions:
            places = [self._space.layer_index(layer) for layer in direction.layers]
            return _Calibrated(calibration, name, places, self._space.calibrated_directions([name]))
        if of == "replies" and self._space.run is not None:
            return self._calibrated_now(direction)
        if calibration is None:
            raise SpaceError(
                f"this space is not calibrated on {of}",
                remedy="fit it with its run" if of == "replies" else "space.calibrate(model)",
            )
        raise SpaceError(
            f"no percentiles of {of} are known along {direction.name!r}",
            expected=", ".join(calibration.directions),
            remedy=f"space.calibrate(model, directions=[{name!r}])"
            if name
            else "make the operation yourself, with thresholds of your own",
        )

    def _calibrated_now(self, direction: Direction) -> _Calibrated:
        ones = np.ones((len(direction.layers), 1))
        directions = CalibratedDirections(
            (direction.name,), direction.units[:, None], ones, np.zeros_like(ones)
        )
        calibration = reply_calibration(
            self._space.calibrated_run(),
            directions,
            places=[self._space.layer_index(layer) for layer in direction.layers],
        )
        if calibration is None:
            raise SpaceError("there are no replies to calibrate on")
        return _Calibrated(
            calibration, direction.name, list(range(len(direction.layers))), directions
        )

    def population(self, population: str) -> int:
        """Which row of a calibration is meant."""
        if population not in _POPULATIONS:
            raise SpaceError(
                "unknown population",
                expected=", ".join(_POPULATIONS),
                given=population,
                remedy=did_you_mean(population, _POPULATIONS),
            )
        return POPULATIONS.index(_POPULATIONS[population])

    def lengths(
        self, direction: Direction, unit: StrengthUnit, model: PersonaModel | None = None
    ) -> tuple[Float[np.ndarray, " layer"], str]:
        """How long a strength of one is at each layer, and what plans call it."""
        if unit == "raw":
            return direction.lengths, "vector as stored"
        if unit == "spread":
            spreads = [
                np.std(self._space.at(layer).values(self._space.table.axis_rows()) @ vector, ddof=1)
                for layer, vector in zip(direction.layers, direction.units, strict=True)
            ]
            return np.array(spreads), "spread of the roles"
        check_choice(unit, ("residual", "spread", "raw"), "unknown unit", error=SpaceError)
        norms = self.residual_norms(direction)
        if norms is None and model is not None:
            from persona_lens.space.budget import neutral_norms  # noqa: PLC0415

            return neutral_norms(model, direction.layers), "mean residual norm of neutral texts"
        if norms is None:
            raise SpaceError(
                "the norm of the residual stream is not known",
                expected="a space calibrated on tokens",
                remedy="space.calibrate(model) (persona-lens fit --model), model=... to measure it on neutral "
                'texts (steer --unit residual), or unit="spread" or "raw" (--unit)',
            )
        return norms, "mean residual norm"

    def residual_norms(self, direction: Direction) -> Float[np.ndarray, " layer"] | None:
        """Mean norm of the residual stream at the layers of a direction, if it is known."""
        if self._space.token_calibration_ is None:
            return None
        places = [self._space.layer_index(layer) for layer in direction.layers]
        norms = self._space.token_calibration_.norms[POPULATIONS.index("all"), places]
        return norms.astype(np.float64)

    def capped(self, what: What, layers: Layers, depth: Depth) -> Direction:
        """A direction where it is capped by default."""
        default: Sequence[int] = ()
        if layers is None and depth is None:  # in a model of three blocks there is no such depth
            preset = paper_layers(self._space.model_name, self._space.n_blocks)
            default = preset or layers_at_depth(CAPPING_DEPTH, self._space.n_blocks)
            if isinstance(what, str):
                default = self._with_thresholds(what, default)
        return self.direction_at(what, layers, depth, default)

    def _with_thresholds(self, what: str, layers: Sequence[int]) -> Sequence[int]:
        """Those of `layers` a threshold is known at; where there are none, all that one is known at."""
        known, name = self._space.calibration_, self._space.named(what).name
        if known is None or name not in known.directions:
            return layers
        places = np.flatnonzero(known.known(name, "all").any(axis=1))
        covered = [self._space.layers_[place] for place in places]
        return [layer for layer in layers if layer in covered] or covered or layers

    def steered(self, what: What, layers: Layers, depth: Depth) -> Direction:
        """A direction where it is steered by default."""
        preset = paper_layers(self._space.model_name, self._space.n_blocks, "steer")
        default = preset or (self._space.n_blocks // 2,)
        return self.direction_at(what, layers, depth, default, "steer")

    def _layers(
        self, layers: Layers, depth: Depth, default: Sequence[int], purpose: Purpose = "cap"
    ) -> tuple[int, ...]:
        return choose_layers(
            # As a list, for an array does not compare with "paper" as one value.
            list(layers)
            if isinstance(layers, Iterable) and not isinstance(layers, str)
            else layers,
            depth,
            known=self._space.layers_,
            n_layers=self._space.n_blocks,
            model=self._space.model_name,
            default=default,
            purpose=purpose,
        )


@dataclass(frozen=True, eq=False)
class _Calibrated:
    """A calibration that knows a direction.

    Attributes:
        name: The direction's name in it.
        places: Where its layers are in the calibration.
        directions: How its coordinates become projections.
    """

    calibration: Calibration
    name: str
    places: list[int]
    directions: CalibratedDirections

    def to_projection(
        self, coordinates: Float[np.ndarray, " layer"]
    ) -> Float[np.ndarray, " layer"]:
        """Dot products with the unit vectors, of coordinates at all layers of the calibration."""
        return self.directions.to_projection(coordinates[self.places], self.name, self.places)


def _unknown_percentile(
    found: _Calibrated,
    percentile: float,
    *,
    of: Unit,
    population: Population,
    layers: Sequence[int],
) -> SpaceError:
    everywhere = found.calibration.known(found.name, _POPULATIONS[population])
    known = everywhere[found.places]
    levels = np.flatnonzero(known.all(axis=0))
    if not everywhere.any():
        return SpaceError(f"no {of} of population {population!r} were calibrated on")
    return SpaceError(
        f"percentile {percentile:g} is not known at layers {spans(layers)}",
        expected=f"{', '.join(map(str, levels)) or 'layers with a threshold'} ({found.calibration.source})",
        remedy="take what is known, or fit a space with its run",
    )


def _refuse_what_is_no_direction(what: object) -> None:
    names = (
        isinstance(what, Sequence) and bool(what) and all(isinstance(each, str) for each in what)
    )
    if names or what is None:
        raise SpaceError(
            "this is no direction",
            expected="one name, a Direction, or vectors",
            given="several names" if names else "None",
            remedy="make a plan of each and add them up" if names else "leave it out for the axis",
        )


def _percent(below: Float[np.ndarray, " layer"], side: str) -> str:
    shares = below if side == "below" else 1 - below
    low, high = shares.min(), shares.max()
    return f"{low:.0%}" if f"{low:.0%}" == f"{high:.0%}" else f"{low:.0%} to {high:.0%}"
