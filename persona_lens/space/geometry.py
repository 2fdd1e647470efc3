"""Where vectors lie in a fitted space: projections, component scores, neighbours, ranking."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.interventions import Origin
from persona_lens.interventions.blocks import block_number, nearest_blocks
from persona_lens.runs.store.folder import RunFolder
from persona_lens.space.calibration import POPULATIONS, Calibration
from persona_lens.space.directions import (
    CalibratedDirections,
    calibrated_directions,
    direction_vectors,
)
from persona_lens.space.fitting import Fit
from persona_lens.space.layer import LayerView, span
from persona_lens.space.naming import Named
from persona_lens.space.queries import direction_at, given_at, named, vectors_at
from persona_lens.space.shortages import Shortage, shortages
from persona_lens.spelling import check_choice, did_you_mean
from persona_lens.statistics.pca import unit
from persona_lens.vectors.table import VectorTable

Units = Literal["raw", "roles", "default"]
UNITS = ("raw", "roles", "default")

CALIBRATED_COMPONENTS = 5


class SpaceGeometry:
    """What a fitted space can be asked; `PersonaSpace` inherits it."""

    table: VectorTable
    _fit: Fit
    layers_: tuple[int, ...]
    axis_: Float[np.ndarray, "layer d_model"]
    recomputed_axis_: Float[np.ndarray, "layer d_model"]
    default_: Float[np.ndarray, "layer d_model"]
    role_mean_: Float[np.ndarray, "layer d_model"]
    components_: Float[np.ndarray, "layer component d_model"]
    explained_variance_ratio_: Float[np.ndarray, "layer rank"]
    n_components_70_: np.ndarray
    stability_: pd.DataFrame
    projection_margins_: Float[np.ndarray, "vector layer"]
    calibration_: Calibration | None
    token_calibration_: Calibration | None
    run: str | Path | None

    @property
    def origin(self) -> Origin | None:
        """The model its vectors were read from, if its card tells."""
        return Origin.of_card(self._reader)

    @property
    def model_name(self) -> str:
        """Name of that model; empty if it is not known."""
        return str(self._reader.get("model", ""))

    @property
    def n_blocks(self) -> int:
        """Blocks of that model; where they are not known, as many as the space reaches."""
        return int(self._reader.get("n_layers", max(self.table.layers) + 1))

    @property
    def as_in_paper(self) -> bool:
        """Whether it was read with `tokens="paper"`, and steers as the released code does."""
        return self._reader.get("tokens") == "paper"

    @property
    def _reader(self) -> Mapping[str, Any]:
        return self.table.card.get("reader", {})

    @property
    def assistant_end_(self) -> Float[np.ndarray, "layer d_model"]:
        """Where the axis ends that begins at `role_mean_`: `default_`, unless an axis was given."""
        return self._fit.assistant_end

    @property
    def axis_pc1_cosine_(self) -> Float[np.ndarray, " layer"]:
        """cos(PC1, axis) at each layer; by itself it proves little: look at its nulls as well."""
        self._check_fitted()
        return self.stability_["cosine"].to_numpy()

    @property
    def shortages_(self) -> tuple[Shortage, ...]:
        """What there is too little of for the numbers to be relied on; see `persona_lens.space.shortages`."""
        self._check_fitted()
        return shortages(self.table, self.stability_)

    def layer_index(self, layer: int) -> int:
        """Place of a block in this space's arrays; negative layers count from the last one.

        Raises:
            SpaceError: The space does not cover that block.
        """
        layers = self.table.layers
        number = block_number(layer, SpaceError)
        if number < 0 and -len(layers) <= number:
            return len(layers) + number
        if number not in layers:
            raise SpaceError(
                "layer not in this space",
                expected=span(layers),
                given=layer,
                remedy=nearest_blocks(number, layers),
            )
        return layers.index(number)

    def vector(self, name: str, *, kind: str | None = None) -> Float[np.ndarray, "layer d_model"]:
        """The vector of a role, a trait or "default"; of "assistant" and "pc1" the direction itself.

        Args:
            name: See `persona_lens.space.naming`.
            kind: `role` or `trait`, where that is known: `name` is then never the axis or a component.

        Raises:
            SpaceError: No such vector, or two of that name.

        Warns:
            UserWarning: A role or trait has the name of the axis or of a component too, and is not what is meant.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> rng = np.random.default_rng(0)
            >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
            >>> space = PersonaSpace.from_vectors(roles, np.ones((1, 8)), {"role_1": rng.normal(size=(1, 8))})
            >>> bool((space.vector("role:role_1") == space.vector("trait:role_1")).any())
            False
        """
        found = self.named(name, kind)
        if found.row >= 0:
            return self.table.values[found.row]
        if name in self.table.names:
            warnings.warn(
                f'{name!r} is the {found.kind} here; what is called so too is "role:{name}" or "trait:{name}"',
                stacklevel=2,
            )
        return self.direction_vectors(found)

    def named(self, name: str, kind: str | None = None) -> Named:
        """What a name stands for here.

        Args:
            name: See `persona_lens.space.naming`.
            kind: `role` or `trait`, where that is known; all by default.

        Raises:
            SpaceError: Nothing has that name, or a role and a trait have it.
        """
        return named(self.table, name, kind)

    def direction_vectors(self, found: Named) -> Float[np.ndarray, "layer d_model"]:
        """A named direction at all layers; see `persona_lens.space.directions.direction_vectors`."""
        self._check_fitted()
        return direction_vectors(self.table, self._fit, found)

    def calibrated_directions(self, names: Sequence[str] = ()) -> CalibratedDirections:
        """The axis, the first components and `names`, as calibrations use them."""
        components = 0 if self._fit.scaler.scaling == "l2" else self.components_.shape[1]
        kept = [f"pc{number + 1}" for number in range(min(CALIBRATED_COMPONENTS, components))]
        named = [self.named(name) for name in ("axis", *kept, *names)]
        return calibrated_directions(self.table, self._fit, named)

    def calibrated_run(self) -> RunFolder:
        """The run of the space, which must be as it was when the vectors were made."""
        if self.run is None:
            raise SpaceError(
                "there are no replies to calibrate on", expected="a space with its run"
            )
        run = RunFolder(self.run)
        if run.manifest().reader_key != self.table.card.get("reader_key"):
            raise SpaceError(
                f"the run in {self.run} has been read anew since these vectors were made",
                remedy="make a new space: PersonaSpace.from_run(...)",
            )
        return run

    def at(self, layer: int) -> LayerView:
        """One layer of the fitted space.

        Raises:
            SpaceError: Not fitted, or the space does not cover that block.
        """
        self._check_fitted()
        return LayerView(self.table, self._fit, self.layer_index(layer))

    def transform(
        self,
        vectors: Float[np.ndarray, "*batch d_model"] | Sequence[str],
        layer: int,
        *,
        kind: str | None = None,
    ) -> Float[np.ndarray, "*batch component"]:
        """Component scores of residual vectors (or of named ones) at one layer, in PCA coordinates.

        Of traits, which are differences, the scores are those of the difference: they are not centred.

        Args:
            vectors: Residual vectors at that layer, or names.
            layer: Block.
            kind: `role` or `trait`, if all names are of that kind.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> rng = np.random.default_rng(0)
            >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
            >>> space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8))).fit()
            >>> space.transform(["default", "role_1"], layer=0).shape
            (2, 5)
        """
        view = self.at(layer)
        return view.scores(*vectors_at(self.table, vectors, view.place, kind))

    def project(
        self,
        vectors: Float[np.ndarray, "*batch d_model"] | str | Sequence[str],
        layer: int,
        *,
        onto: str | Float[np.ndarray, " d_model"] = "axis",
        units: Units = "raw",
        kind: str | None = None,
    ) -> Float[np.ndarray, " *batch"]:
        """Projection on the axis, on a component, or on another direction, at one layer.

        Args:
            vectors: Residual vectors at that layer, or names of stored ones; see `persona_lens.space.naming`. The
                axis is none: the default Assistant is "default", and "role:assistant" the role of that name.
            layer: Block.
            onto: "assistant" or "axis", "pc1", "pc2", ..., the name of a trait or role (a role's direction is its
                vector minus the mean of the roles), or a direction.
            units: `raw`, the dot product with the unit direction (for components: the score, centred on the
                roles); `roles`, standard deviations from the mean of the role vectors; `default`,
                standard deviations of single replies from the default Assistant (axis and first components of
                a space with a run). Both place residual vectors; of a trait, a difference, there is only `raw`.
            kind: `role` or `trait`, if all names are of that kind.

        Raises:
            SpaceError: Not fitted, unknown direction, or units this space cannot give.

        Source: paper section 4.1 (raw, uncentred).
        """
        view = self.at(layer)
        single = isinstance(vectors, str)
        values, differences = vectors_at(
            self.table, [vectors] if isinstance(vectors, str) else vectors, view.place, kind
        )
        target = (
            self.named(onto)
            if isinstance(onto, str)
            else direction_at(self.table, onto, view.place)
        )
        check_choice(units, UNITS, "unknown units", error=SpaceError)
        if units != "raw" and differences.any():
            raise SpaceError(
                f"a difference of residual vectors has no place in units of {units!r}",
                expected='roles, "default" or residual vectors',
                given=vectors if single else "names of traits or directions",
                remedy='use units="raw"; the default Assistant is called "default"',
            )
        raw = view.project(values, target, differences)
        if units == "roles":
            roles = view.project(view.values(self.table.axis_rows()), target)
            raw = (raw - roles.mean()) / roles.std(ddof=1)
        elif units == "default":
            mean, deviation = self._default_spread(view.place, target)
            raw = (raw - mean) / deviation
        return raw[0] if single else raw

    def _default_spread(self, layer_place: int, onto: Named | np.ndarray) -> tuple[float, float]:
        known = () if self.calibration_ is None else self.calibration_.directions
        name = onto.name if isinstance(onto, Named) else "vectors without a name"
        if self.calibration_ is None or name not in known:
            raise SpaceError(
                f"no spread of default replies is known for {name!r}",
                expected=f"one of {', '.join(known)}" if known else "a space fitted with its run",
                remedy='use units="roles"',
            )
        place = POPULATIONS.index("default"), layer_place, known.index(name)
        if np.isnan(self.calibration_.deviations[place]):
            raise SpaceError(
                "the spread of default replies is not known",
                given=f"a calibration {self.calibration_.source}".rstrip(),
                remedy='use units="roles"',
            )
        return float(self.calibration_.means[place]), float(self.calibration_.deviations[place])

    def nearest(
        self,
        query: str | Float[np.ndarray, " d_model"],
        layer: int,
        *,
        k: int = 5,
        kind: str | None = "role",
    ) -> pd.DataFrame:
        """The stored vectors closest to `query`, by the cosine of vectors centred on the mean of the roles.

        Trait vectors are differences and are not centred. Of a judged role only the vector fully in role is
        compared.

        Args:
            query: A name (see `persona_lens.space.naming`), or a residual vector (not a difference).
            layer: Block.
            k: How many.
            kind: Of the vectors found: `role`, `trait`, or None for both.

        Raises:
            SpaceError: Not fitted, unknown name or kind, or nothing of that kind.
        """
        self._check_fitted()
        if kind not in (None, "role", "trait"):
            raise SpaceError(
                f"no vectors of kind {kind!r}",
                expected="role, trait or None",
                remedy=did_you_mean(kind, ("role", "trait")),
            )
        view = self.at(layer)
        rows = [
            *(self.table.axis_rows() if kind in (None, "role") else ()),
            *(self.table.trait_rows() if kind in (None, "trait") else ()),
        ]
        if isinstance(query, str):
            found = self.named(query)
            direction = self.direction_vectors(found)[view.place]
            rows = [row for row in rows if row != found.row]
        else:
            direction = (
                given_at(self.table, query, view.place, "the query") - self.role_mean_[view.place]
            )
        if not rows:
            raise SpaceError(f"no vectors of kind {kind!r} to compare with")
        cosines = view.directions(rows) @ unit(direction)
        best = np.argsort(-cosines)[:k]
        return pd.DataFrame(
            {
                "name": [self.table.names[rows[place]] for place in best],
                "kind": [self.table.kinds[rows[place]] for place in best],
                "cosine": cosines[best],
            }
        )

    def ranking(self, layer: int) -> pd.DataFrame:
        """Roles from the most to the least Assistant-like, with 95 % intervals over folds of the questions.

        The interval is about the role's mean; the axis is taken as given. In a judged space these are the vectors
        fully in role.
        """
        view, rows = self.at(layer), self.table.axis_rows()
        projections = view.values(rows) @ view.axis
        margins = self.projection_margins_[rows, view.place]
        frame = pd.DataFrame(
            {
                "name": [self.table.names[row] for row in rows],
                "group": [self.table.about[row].get("group") for row in rows],
                "replies": self.table.counts[rows],
                "projection": projections,
                "low": projections - margins,
                "high": projections + margins,
                "z_roles": (projections - projections.mean()) / projections.std(ddof=1),
            }
        )
        return frame.sort_values("projection", ascending=False, ignore_index=True)

    def _check_fitted(self) -> None:
        if not hasattr(self, "axis_"):
            raise SpaceError("this space is not fitted", remedy="call space.fit() first")
