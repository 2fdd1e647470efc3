"""Where vectors lie in a fitted space: projections, component scores, neighbours, ranking."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.space.calibration import POPULATIONS, Calibration
from persona_lens.space.fitting import Fit
from persona_lens.space.pca import unit
from persona_lens.vectors import VectorTable

Units = Literal["raw", "roles", "default"]


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

    def layer_index(self, layer: int) -> int:
        """Place of a block in this space's arrays; negative layers count from the last one.

        Raises:
            SpaceError: The space does not cover that block.
        """
        layers = self.table.layers
        if layer < 0 and -len(layers) <= layer:
            return len(layers) + layer
        if layer not in layers:
            raise SpaceError("layer not in this space", expected=span(layers), given=layer)
        return layers.index(layer)

    def vector(self, name: str) -> Float[np.ndarray, "layer d_model"]:
        """The vector of a role, a trait, or "default"; "assistant axis" is `axis_`.

        Raises:
            SpaceError: No such vector.
        """
        return self.table.values[self._row(name)]

    def _row(self, name: str) -> int:
        row = self.table.find(name)
        if row is None:
            close = difflib.get_close_matches(name, self.table.names, n=3)
            raise SpaceError(
                f"no vector named {name!r}",
                remedy=f"did you mean {', '.join(close)}?" if close else "see space.table.frame()",
            )
        return row

    def transform(
        self,
        vectors: Float[np.ndarray, "*batch d_model"] | Sequence[str],
        layer: int,
    ) -> Float[np.ndarray, "*batch component"]:
        """Component scores of residual vectors (or of named ones) at one layer, in PCA coordinates.

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
        return self._fit.scaler(self._at(vectors, index), index) @ self.components_[index].T

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
    ) -> Float[np.ndarray, " *batch"]:
        """Projection on the axis, on a component, or on another direction, at one layer.

        Args:
            vectors: Residual vectors at that layer, or names of stored ones.
            layer: Block.
            onto: "axis", "pc1", "pc2", ..., the name of a trait or role (a role's direction is its vector
                minus the mean of the roles), or a direction.
            units: `raw`, the dot product with the unit direction (for components: the score, centred on the
                roles); `roles`, standard deviations from the mean of the role vectors; `default`,
                standard deviations of single replies from the default Assistant (axis and first components of
                a space with a run).

        Raises:
            SpaceError: Not fitted, unknown direction, or units this space cannot give.

        Source: paper section 4.1 (raw, uncentred).
        """
        self._check_fitted()
        index = self.layer_index(layer)
        single = isinstance(vectors, str)
        values = self._at([vectors] if isinstance(vectors, str) else vectors, index)
        raw = self._raw_projection(values, index, onto)
        if units == "roles":
            roles = self._raw_projection(self._axis_roles(index), index, onto)
            raw = (raw - roles.mean()) / roles.std(ddof=1)
        elif units == "default":
            mean, deviation = self._default_spread(index, onto)
            raw = (raw - mean) / deviation
        elif units != "raw":
            raise SpaceError("unknown units", expected="raw, roles or default", given=units)
        return raw[0] if single else raw

    def _raw_projection(
        self, values: np.ndarray, index: int, onto: str | np.ndarray
    ) -> Float[np.ndarray, " *batch"]:
        if isinstance(onto, str) and onto.startswith("pc") and onto[2:].isdigit():
            component = self._component(onto)
            return self._fit.scaler(values, index) @ self.components_[index, component]
        return np.asarray(values, np.float64) @ unit(self._direction(onto, index))

    def _direction(self, onto: str | np.ndarray, index: int) -> Float[np.ndarray, " d_model"]:
        if not isinstance(onto, str):
            direction = np.asarray(onto, dtype=np.float64)
            if direction.shape != (self.table.d_model,):
                raise SpaceError(
                    "the direction has the wrong shape",
                    expected=[self.table.d_model],
                    given=list(direction.shape),
                )
            return direction
        if onto == "axis":
            return self.axis_[index]
        return self._row_direction(self._row(onto), index)

    def _row_direction(self, row: int, index: int) -> Float[np.ndarray, " d_model"]:
        vector = self.table.values[row, index]
        return vector if self.table.kinds[row] == "trait" else vector - self.role_mean_[index]

    def _component(self, name: str) -> int:
        kept = self.components_.shape[1]
        component = int(name[2:]) - 1
        if not 0 <= component < kept:
            raise SpaceError("no such component", expected=f"pc1 to pc{kept}", given=name)
        return component

    def _default_spread(self, index: int, onto: str | np.ndarray) -> tuple[float, float]:
        known = () if self.calibration_ is None else self.calibration_.directions
        if self.calibration_ is None or not isinstance(onto, str) or onto not in known:
            raise SpaceError(
                f"no spread of default replies is known for {onto!r}",
                expected=f"one of {', '.join(known)}" if known else "a space fitted with its run",
                remedy='use units="roles"',
            )
        place = POPULATIONS.index("default"), index, known.index(onto)
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
            query: A name, or a residual vector (not a difference).
            layer: Block.
            k: How many.
            kind: `role`, `trait`, or None for both.
        """
        self._check_fitted()
        index = self.layer_index(layer)
        rows = [
            *(self.table.axis_rows() if kind in (None, "role") else ()),
            *(self.table.trait_rows() if kind in (None, "trait") else ()),
        ]
        if isinstance(query, str):
            direction = self._direction(query, index)
            rows = [row for row in rows if self.table.names[row] != query]
        else:
            direction = np.asarray(query) - self.role_mean_[index]
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
        projections = self._raw_projection(self.table.values[rows, index], index, "axis")
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
        self, vectors: np.ndarray | Sequence[str], index: int
    ) -> Float[np.ndarray, "*batch d_model"]:
        if isinstance(vectors, Sequence) and all(isinstance(name, str) for name in vectors):
            return self.table.values[[self._row(str(name)) for name in vectors], index]
        vectors = np.asarray(vectors)
        if vectors.shape[-1] != self.table.d_model:
            raise SpaceError(
                "vectors have the wrong width",
                expected=f"[..., {self.table.d_model}]",
                given=list(vectors.shape),
            )
        return vectors

    def _axis_roles(self, index: int) -> Float[np.ndarray, "role d_model"]:
        return self.table.values[self.table.axis_rows(), index]

    def _check_fitted(self) -> None:
        if not hasattr(self, "axis_"):
            raise SpaceError("this space is not fitted", remedy="call space.fit() first")


def span(layers: tuple[int, ...]) -> str:
    """Layers as a person says them."""
    consecutive = layers == tuple(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if consecutive else ", ".join(map(str, layers))
