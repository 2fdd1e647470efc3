"""Which draws a layer is measured in, and the measuring of one layer: all units, halves, nulls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from persona_lens.analysis.sweep.intervals import Scale, half_interval, halves
from persona_lens.analysis.sweep.layers import LayerGeometry, Layers
from persona_lens.analysis.sweep.randoms import RandomDirections
from persona_lens.analysis.sweep.registry import IMPOSTOR, RANDOM, SHUFFLED, Metric
from persona_lens.analysis.sweep.views import Drawn, LayerPair, LayerVectors, Random
from persona_lens.errors import SpaceError

NULL_DRAWS = 50
"""Draws of each null of vectors at most; their mean and 95th percentile move little with more."""
_BLOCK = 2**20
"""Numbers in one array of a view: draws are taken in blocks of so many."""
_SINGLE = ("role", "trait")


@dataclass(eq=False)
class Draws:
    """The draws of a sweep, the same at all layers, so that curves move together.

    Attributes:
        halves: Random halves of the units of each kind; None where there are too few.
        randoms: Random directions of each kind.
        orders: Units of each kind in random order.
        impostors: Roles that take the default's place.
    """

    halves: dict[str, Int[np.ndarray, "draw half"] | None]
    randoms: dict[str, RandomDirections]
    orders: dict[str, Int[np.ndarray, "draw unit"]]
    impostors: Int[np.ndarray, " draw"]

    @classmethod
    def make(
        cls, layers: Layers, metrics: Sequence[Metric], n_draws: int, rng: np.random.Generator
    ) -> Draws:
        """Draw what `metrics` need."""
        n_null = min(n_draws, NULL_DRAWS)
        n = layers.last.n
        kinds = [kind for kind in _SINGLE if n[kind]]
        n_basis = min(1 + sum(n.values()), layers.d_model)
        at_random = {kind for each in metrics if RANDOM in each.nulls for kind in each.kinds}
        if "role-trait" in at_random:
            at_random.add("trait")
        return cls(
            halves={kind: halves(n[kind], n_draws, rng) for kind in kinds},
            randoms={
                kind: RandomDirections.draw(n[kind], n_basis, layers.d_model, n_null, rng)
                for kind in kinds
                if kind in at_random
            },
            orders={
                kind: rng.random((n_null, n[kind])).argsort(axis=1).astype(int) for kind in kinds
            },
            impostors=rng.permutation(n["role"])[:n_null],
        )


@dataclass(eq=False)
class Measured:
    """What one metric gives for one kind at one layer."""

    value: float
    units: Float[np.ndarray, " unit"] | None = None
    from_halves: list[np.ndarray] = field(default_factory=list)
    nulls: dict[str, list[np.ndarray]] = field(default_factory=dict)


class LayerSweep:
    """Every metric of the vectors at one layer.

    Args:
        layers: The layers of the space.
        place: Which of them.
        draws: In what to measure.
        kinds: Kinds there are units of.
    """

    def __init__(self, layers: Layers, place: int, draws: Draws, kinds: Sequence[str]) -> None:
        n_layers = len(layers.numbers)
        self.layer = layers.numbers[place]
        self._here = layers.at(place)
        self._next = layers.at(place + 1) if place + 1 < n_layers else None
        self._last = layers.last if place + 1 < n_layers else None
        self._draws = draws
        self._kinds = kinds

    def measure(self, metrics: Sequence[Metric]) -> dict[tuple[str, str], Measured]:
        """All metrics of all kinds at this layer."""
        found: dict[tuple[str, str], Measured] = {}
        for each, kind, values in self._run(metrics, [self._whole()]):
            units = values[0] if values.ndim == 2 else None
            found[each.name, kind] = Measured(float(values[0].mean()), units)
        for each, kind, values in self._run(metrics, self._halved()):
            found[each.name, kind].from_halves.append(_a_draw(values))
        for name, views in (
            (RANDOM, self._random()),
            (SHUFFLED, self._shuffled()),
            (IMPOSTOR, self._exchanged()),
        ):
            of_it = [each for each in metrics if name in each.nulls]
            for each, kind, values in self._run(of_it, views) if of_it else ():
                found[each.name, kind].nulls.setdefault(name, []).append(_a_draw(values))
        return found

    def rows(self, metrics: Sequence[Metric]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Rows of `Sweep.frame`, and of `Sweep.units` (with numbers of units instead of names)."""
        rows, of_units = [], []
        scales: dict[str, Scale] = {each.name: each.scale for each in metrics}
        for (name, kind), measured in self.measure(metrics).items():
            n = self._here.n
            counts = list(n.values()) if kind == "role-trait" else [n[kind]]
            interval = half_interval(
                measured.value,
                np.concatenate([np.empty(0), *measured.from_halves]),
                min(counts),
                scale=scales[name],
                most=self._here.d_model,
            )
            row = {
                "layer": self.layer,
                "metric": name,
                "kind": kind,
                "value": measured.value,
                "low": interval.low,
                "high": interval.high,
            }
            rows += [
                {**row, **null_columns(null, draws), "n": sum(counts)}
                for null, draws in (measured.nulls or {None: []}).items()
            ]
            for unit, value in enumerate(() if measured.units is None else measured.units):
                of_units.append(
                    {"kind": kind, "unit": unit, "metric": name, "layer": self.layer}
                    | {"value": float(value)}
                )
        return rows, of_units

    def _run(
        self, metrics: Sequence[Metric], views: Iterable[dict[str, Any]]
    ) -> Iterator[tuple[Metric, str, np.ndarray]]:
        for view in views:
            # Pairs first: their eigenvectors bring the eigenvalues that the others need.
            for kind in ("role-trait", *_SINGLE):
                for each in metrics:
                    if kind not in each.kinds or kind not in view:
                        continue
                    values = each.function(view[kind])
                    if values is not None:
                        yield each, kind, _checked(each, values)

    # Views ------------------------------------------------------------------------------------------

    def _view(self, kind: str, rows: np.ndarray, order: np.ndarray | None = None) -> LayerVectors:
        """Units of the space; those of the other layers may come in another order."""

        def of(geometry: LayerGeometry, rows: np.ndarray, **others: Any) -> LayerVectors:
            units = Drawn(geometry, kind, rows)
            n_whole = geometry.n[kind]
            return LayerVectors(units, centred=kind == "role", n_whole=n_whole, **others)

        theirs = rows if order is None else order
        return of(
            self._here,
            rows,
            next=None if self._next is None else of(self._next, theirs),
            last=None if self._last is None else of(self._last, theirs),
        )

    def _all(self, kind: str) -> np.ndarray:
        return np.arange(self._here.n[kind])[None]

    def _whole(self) -> dict[str, Any]:
        return self._with_pair({kind: self._view(kind, self._all(kind)) for kind in self._kinds})

    def _with_pair(self, views: dict[str, Any]) -> dict[str, Any]:
        if len(views) < len(_SINGLE):
            return views
        return {**views, "role-trait": LayerPair(views["role"], views["trait"])}

    def _halved(self) -> Iterator[dict[str, Any]]:
        known = {kind: rows for kind, rows in self._draws.halves.items() if rows is not None}
        if not known:
            return
        for chosen in _blocks(known):
            yield self._with_pair({kind: self._view(kind, rows) for kind, rows in chosen.items()})

    def _random(self) -> Iterator[dict[str, Any]]:
        randoms = self._draws.randoms
        if not randoms:
            return
        numbers = {
            kind: np.broadcast_to(
                np.arange(len(drawn.cosines))[:, None], drawn.directions.shape[::2]
            )
            for kind, drawn in randoms.items()
        }
        real = self._view("role", self._all("role"))
        for chosen in _blocks(numbers):
            views: dict[str, Any] = {}
            for kind, rows in chosen.items():
                block = slice(rows[0, 0], rows[-1, 0] + 1)
                some = RandomDirections(
                    randoms[kind].directions[block], randoms[kind].cosines[block]
                )
                views[kind] = LayerVectors(
                    Random(self._here, kind, some),
                    centred=kind == "role",
                    n_whole=self._here.n[kind],
                )
            if "trait" in views:
                views["role-trait"] = LayerPair(real, views["trait"])
            yield views

    def _shuffled(self) -> Iterator[dict[str, Any]]:
        for chosen in _blocks({kind: self._draws.orders[kind] for kind in self._kinds}):
            yield {kind: self._view(kind, self._all(kind), order) for kind, order in chosen.items()}

    def _exchanged(self) -> Iterator[dict[str, Any]]:
        impostors = self._draws.impostors
        everybody = np.broadcast_to(self._all("role"), (len(impostors), self._here.n["role"]))
        others = everybody[everybody != impostors[:, None]].reshape(len(impostors), -1)
        views = {"role": LayerVectors(Drawn(self._here, "role", others, impostors), centred=True)}
        if "trait" in self._kinds:
            traits = Drawn(self._here, "trait", self._all("trait"), impostors)
            views["trait"] = LayerVectors(traits, centred=False)
        yield views


def null_columns(null: str | None, draws: Sequence[np.ndarray]) -> dict[str, Any]:
    """The columns of the frame about one null."""
    known = np.concatenate([np.empty(0), *draws])
    known = known[np.isfinite(known)]
    if not len(known):
        return {"null": null, "null_mean": np.nan, "null_95": np.nan}
    return {
        "null": null,
        "null_mean": float(known.mean()),
        "null_95": float(np.quantile(known, 0.95)),
    }


def _blocks(rows: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The same draws of each kind, so many at a time as memory affords."""
    widest = max(each.shape[1] for each in rows.values())
    step = max(1, _BLOCK // widest**2)
    n_draws = max(len(each) for each in rows.values())
    for start in range(0, n_draws, step):
        yield {kind: each[start : start + step] for kind, each in rows.items()}


def _a_draw(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=1) if values.ndim == 2 else values


def _checked(each: Metric, values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2):
        raise SpaceError(
            f"the metric {each.name!r} returns the wrong shape",
            expected="[draw] or [draw, unit]",
            given=list(values.shape),
        )
    return values
