"""Where vectors lie in a fitted space: projections, component scores, neighbours, ranking."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from persona_lens.arrays import as_floats
from persona_lens.errors import SpaceError
from persona_lens.interventions.blocks import block_number, nearest_blocks
from persona_lens.space.calibration import POPULATIONS, Calibration
from persona_lens.space.fitting import Fit
from persona_lens.space.naming import Named, resolve
from persona_lens.space.pca import unit
from persona_lens.space.shortages import Shortage, shortages
from persona_lens.spelling import did_you_mean
from persona_lens.vectors.table import VectorTable

Units = Literal["raw", "roles", "default"]
UNITS = ("raw", "roles", "default")


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
        if kind is None:
            return resolve(self.table, name)
        if kind not in ("role", "trait"):
            raise SpaceError(
                "unknown kind of vector",
                expected="role or trait",
                given=kind,
                remedy=did_you_mean(kind, ("role", "trait")),
            )
        return resolve(self.table, name, (kind,))

    def direction_vectors(self, found: Named) -> Float[np.ndarray, "layer d_model"]:
        """A named direction at all layers: the axis, a component, a trait, or a role from the mean of the roles.

        Raises:
            SpaceError: Not fitted, fewer components, or components that are no directions (`scaling="l2"`).
        """
        self._check_fitted()
        if found.kind == "axis":
            return self.axis_
        if found.kind == "component":
            if self._fit.scaler.scaling == "l2":
                raise SpaceError(
                    "components of an l2-scaled space are not directions of the residual stream",
                    remedy='fit the space with scaling="center"',
                )
            scale = self._fit.scaler.scale
            vectors = self.components_[:, self._component(found)]
            return vectors if scale is None else vectors / scale
        vectors = self.table.values[found.row]
        return vectors if found.kind == "trait" else vectors - self.role_mean_

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
        self._check_fitted()
        index = self.layer_index(layer)
        values, differences = self._at(vectors, index, kind)
        return self._in_pca_coordinates(values, differences, index) @ self.components_[index].T

    def in_pca_units(
        self, differences: Float[np.ndarray, "*batch d_model"], layer: int
    ) -> Float[np.ndarray, "*batch d_model"]:
        """Differences of residual vectors, such as traits, in the units of PCA; only `zscore` changes them."""
        self._check_fitted()
        scale = self._fit.scaler.scale
        return differences if scale is None else differences / scale[self.layer_index(layer)]

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
        self._check_fitted()
        index = self.layer_index(layer)
        single = isinstance(vectors, str)
        values, differences = self._at(
            [vectors] if isinstance(vectors, str) else vectors, index, kind
        )
        target = self.named(onto) if isinstance(onto, str) else onto
        if units not in UNITS:
            raise SpaceError(
                "unknown units",
                expected="raw, roles or default",
                given=units,
                remedy=did_you_mean(units, UNITS),
            )
        if units != "raw" and differences.any():
            raise SpaceError(
                f"a difference of residual vectors has no place in units of {units!r}",
                expected='roles, "default" or residual vectors',
                given=vectors if single else "names of traits or directions",
                remedy='use units="raw"; the default Assistant is called "default"',
            )
        raw = self._raw_projection(values, index, target, differences)
        if units == "roles":
            roles = self._raw_projection(self._axis_roles(index), index, target)
            raw = (raw - roles.mean()) / roles.std(ddof=1)
        elif units == "default":
            mean, deviation = self._default_spread(index, target)
            raw = (raw - mean) / deviation
        return raw[0] if single else raw

    def _raw_projection(
        self,
        values: np.ndarray,
        index: int,
        onto: Named | np.ndarray,
        differences: np.ndarray | None = None,
    ) -> Float[np.ndarray, " *batch"]:
        if isinstance(onto, Named) and onto.kind == "component":
            component = self._component(onto)
            coordinates = self._in_pca_coordinates(values, differences, index)
            return coordinates @ self.components_[index, component]
        return np.asarray(values, np.float64) @ unit(self._direction(onto, index))

    def _in_pca_coordinates(
        self, values: np.ndarray, differences: np.ndarray | None, index: int
    ) -> Float[np.ndarray, "*batch d_model"]:
        """Residual vectors as PCA sees them; differences of such are scaled like them, but not centred."""
        coordinates = self._fit.scaler(values, index)
        if differences is None or not differences.any():
            return coordinates
        if self._fit.scaler.scaling == "l2":
            raise SpaceError(
                "a trait or direction has no component scores in an l2-scaled space",
                remedy='fit the space with scaling="center"',
            )
        scale = self._fit.scaler.scale
        coordinates[differences] = values[differences] / (1.0 if scale is None else scale[index])
        return coordinates

    def _direction(self, onto: Named | np.ndarray, index: int) -> Float[np.ndarray, " d_model"]:
        if isinstance(onto, Named):
            return self.direction_vectors(onto)[index]
        direction = self._given(onto, index, "the direction").astype(np.float64)
        if direction.shape != (self.table.d_model,):
            raise SpaceError(
                "the direction has the wrong shape",
                expected=[self.table.d_model],
                given=list(direction.shape),
            )
        return direction

    def _row_direction(self, row: int, index: int) -> Float[np.ndarray, " d_model"]:
        vector = self.table.values[row, index]
        return vector if self.table.kinds[row] == "trait" else vector - self.role_mean_[index]

    def _component(self, found: Named) -> int:
        kept = self.components_.shape[1]
        if not 1 <= found.number <= kept:
            raise SpaceError("no such component", expected=f"pc1 to pc{kept}", given=found.name)
        return found.number - 1

    def _default_spread(self, index: int, onto: Named | np.ndarray) -> tuple[float, float]:
        known = () if self.calibration_ is None else self.calibration_.directions
        name = onto.name if isinstance(onto, Named) else "vectors without a name"
        if self.calibration_ is None or name not in known:
            raise SpaceError(
                f"no spread of default replies is known for {name!r}",
                expected=f"one of {', '.join(known)}" if known else "a space fitted with its run",
                remedy='use units="roles"',
            )
        place = POPULATIONS.index("default"), index, known.index(name)
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
        index = self.layer_index(layer)
        rows = [
            *(self.table.axis_rows() if kind in (None, "role") else ()),
            *(self.table.trait_rows() if kind in (None, "trait") else ()),
        ]
        if isinstance(query, str):
            found = self.named(query)
            direction = self._direction(found, index)
            rows = [row for row in rows if row != found.row]
        else:
            direction = self._given(query, index, "the query") - self.role_mean_[index]
        if not rows:
            raise SpaceError(f"no vectors of kind {kind!r} to compare with")
        others = np.stack([self._row_direction(row, index) for row in rows])
        cosines = unit(others) @ unit(direction)
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
        self._check_fitted()
        index = self.layer_index(layer)
        rows = self.table.axis_rows()
        projections = self._raw_projection(
            self.table.values[rows, index], index, Named("axis", "axis")
        )
        margins = self.projection_margins_[rows, index]
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

    def _at(
        self, vectors: np.ndarray | Sequence[str], index: int, kind: str | None
    ) -> tuple[Float[np.ndarray, "*batch d_model"], Bool[np.ndarray, " *batch"]]:
        """Vectors at a layer, by name or as given, and which of them are differences of residual vectors."""
        names = _names(vectors)
        if names is not None:
            found = [self._placed(name, kind) for name in names]
            rows = [each.row for each in found]
            differences = np.array([each.is_difference for each in found], dtype=bool)
            return self.table.values[rows, index], differences
        vectors = self._given(vectors, index, "the vectors")
        if vectors.shape[-1:] != (self.table.d_model,):
            raise SpaceError(
                "vectors have the wrong width",
                expected=f"[..., {self.table.d_model}]",
                given=list(vectors.shape),
            )
        return vectors, np.zeros(vectors.shape[:-1], dtype=bool)

    def _placed(self, name: str, kind: str | None) -> Named:
        """What a name stands for that has a vector of its own; among roles, the axis would be a wrong number."""
        found = self.named(name, kind)
        if found.row < 0:
            raise SpaceError(
                f"{name!r} is the axis, which is no vector among others"
                if found.kind == "axis"
                else f"{name!r} is a component, which is no vector among others",
                expected='a role, a trait or "default", which is the default Assistant',
                remedy=f'write "role:{name}" for a role of that name, or pass kind="role"',
            )
        return found

    def _given(self, vectors: Any, index: int, what: str) -> Float[np.ndarray, "*batch d_model"]:
        """Vectors of the user's; of a mapping from layer to vector, the one at this layer."""
        if isinstance(vectors, Mapping):
            layer = [self.table.layers[index]]
            return as_floats(vectors, what, error=SpaceError, dtype=None, layers=layer)[0]
        return as_floats(vectors, what, error=SpaceError, dtype=None)

    def _axis_roles(self, index: int) -> Float[np.ndarray, "role d_model"]:
        return self.table.values[self.table.axis_rows(), index]

    def _check_fitted(self) -> None:
        if not hasattr(self, "axis_"):
            raise SpaceError("this space is not fitted", remedy="call space.fit() first")


def span(layers: tuple[int, ...]) -> str:
    """Layers as a person says them."""
    consecutive = layers == tuple(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if consecutive else ", ".join(map(str, layers))


def _names(vectors: object) -> list[str] | None:
    """Names, in a list or in a column of a frame; None for vectors."""
    if isinstance(vectors, pd.Series | pd.Index | np.ndarray) and vectors.dtype.kind in "OUT":
        vectors = list(vectors)
    if isinstance(vectors, Sequence) and all(isinstance(name, str) for name in vectors):
        return [str(name) for name in vectors]
    return None
