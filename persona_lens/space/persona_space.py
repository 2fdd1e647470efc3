"""`PersonaSpace`: role and trait vectors, the Assistant Axis and the components, at every layer.

    space = PersonaSpace.collect(model, roles="core", traits="core", run="runs/first").fit()
    space.map(layer=20).show()
    space.project("pirate", onto="axis")

Sign convention: the axis is the default Assistant minus the mean of the roles, so the Assistant is positive; every
component points to the side of the axis it correlates with. The axis is stored unnormalised, projections are on
unit directions and in the units of the residual stream.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.runs.folder import RunFolder
from persona_lens.runs.vectors import reply_means, vector_table
from persona_lens.space.calibration import POPULATIONS, Calibration
from persona_lens.space.fitting import Fit, fit_table, unit
from persona_lens.space.pca import Scaling
from persona_lens.space.storage import load_space, save_space
from persona_lens.vectors import VectorTable

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persona_lens.model.persona_model import PersonaModel

Units = Literal["raw", "roles", "default"]

CALIBRATED_COMPONENTS = 5


class PersonaSpace:
    """Persona space of one model, fitted at all layers at once.

    Args:
        table: Default, role and trait vectors.
        scaling: `center` (the paper), `zscore` or `l2`; see `persona_lens.space.pca.Scaler`.
        n_components: Components kept a layer, at most 64 by default; the spectrum is always whole.
        n_resamples: Bootstrap samples, role splits and exchanges of the default at each layer.
        seed: Of the resamples.
        run: Run folder the table came from; with it, `fit` also calibrates on single replies.

    Attributes:
        layers_: Blocks the space covers.
        axis_: Default minus mean of the roles, `Float[layer d_model]` (paper section 3.1).
        default_, role_mean_: The two ends of that difference.
        components_: Unit components in PCA coordinates, `Float[layer component d_model]`.
        explained_variance_ratio_: Whole spectrum, `Float[layer rank]`.
        n_components_70_: Components needed for 70 % of the variance, a layer.
        stability_: One row a layer: cos(PC1, axis) with interval and nulls, split halves; see
            `persona_lens.space.stability.LayerStability`.
        projection_margins_: Half-width of the 95 % interval of each vector's projection on the axis, over folds of
            the questions; NaN where the folds are not known.
        calibration_: Distribution of single replies, or None without a run.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(2, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((2, 8))).fit()
        >>> space.axis_.shape, space.components_.shape
        ((2, 8), (2, 5, 8))
    """

    layers_: tuple[int, ...]
    axis_: Float[np.ndarray, "layer d_model"]
    default_: Float[np.ndarray, "layer d_model"]
    role_mean_: Float[np.ndarray, "layer d_model"]
    components_: Float[np.ndarray, "layer component d_model"]
    explained_variance_ratio_: Float[np.ndarray, "layer rank"]
    n_components_70_: np.ndarray
    stability_: pd.DataFrame
    projection_margins_: Float[np.ndarray, "vector layer"]
    calibration_: Calibration | None

    def __init__(
        self,
        table: VectorTable,
        *,
        scaling: Scaling = "center",
        n_components: int | None = None,
        n_resamples: int = 200,
        seed: int = 0,
        run: str | Path | None = None,
    ) -> None:
        self.table = table
        self.scaling: Scaling = scaling
        self.n_components = n_components
        self.n_resamples = n_resamples
        self.seed = seed
        self.run = run

    # Ways to come by a space ------------------------------------------------------------------------

    @classmethod
    def collect(
        cls, model: PersonaModel, *, run: str | Path | None = None, **options: Any
    ) -> PersonaSpace:
        """Have `model` play roles and traits, read its replies, and return the space, not yet fitted.

        Args:
            model: The model to play.
            run: Run folder; `runs/<model name>` by default. The same call continues what is there.
            **options: As for `persona_lens.runs.collect_run`: `roles`, `traits`, `questions`, `defaults`,
                `prompts`, `default_samples`, `sampling`, `layers`, `reader`, `batch_size`, `progress`.

        Source: paper section 2.1.
        """
        from persona_lens.runs.collecting import collect_run  # noqa: PLC0415

        folder = Path("runs") / model.name.replace("/", "--") if run is None else Path(run)
        return cls.from_run(collect_run(model, folder, **options).path)

    @classmethod
    def from_run(cls, run: str | Path, **parameters: Any) -> PersonaSpace:
        """The space of a finished run; `parameters` are those of the constructor.

        Raises:
            RunError: No run there, or it is not finished.
        """
        return cls(vector_table(RunFolder(run)), run=run, **parameters)

    @classmethod
    def from_vectors(
        cls,
        roles: Mapping[str, Float[np.ndarray, "layer d_model"]],
        default: Float[np.ndarray, "layer d_model"],
        traits: Mapping[str, Float[np.ndarray, "layer d_model"]] | None = None,
        *,
        layers: Sequence[int] | None = None,
        about: Mapping[str, Mapping[str, Any]] | None = None,
        **parameters: Any,
    ) -> PersonaSpace:
        """A space from vectors that exist already, all of the shape [layer, d_model].

        Args:
            roles: Mean residual of each role.
            default: Mean residual of the default Assistant.
            traits: Positive minus negative mean of each trait.
            layers: The blocks the first dimension stands for; 0, 1, ... by default.
            about: Group, description, ... by name, shown in figures.
            **parameters: Of the constructor.
        """
        traits = traits or {}
        about = about or {}
        names = ("default", *roles, *traits)
        arrays = [
            np.asarray(array, np.float32) for array in (default, *roles.values(), *traits.values())
        ]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1 or arrays[0].ndim != 2:
            raise SpaceError(
                "vectors differ in shape", expected="all [layer, d_model]", given=sorted(shapes)
            )
        table = VectorTable(
            values=np.stack(arrays),
            names=names,
            kinds=("default", *("role" for _ in roles), *("trait" for _ in traits)),
            labels=("all", *("all" for _ in roles), *("pos-neg" for _ in traits)),
            counts=np.zeros(len(names), dtype=np.int64),
            layers=tuple(range(len(arrays[0]))) if layers is None else tuple(layers),
            about=tuple(about.get(name, {}) for name in names),
        )
        return cls(table, **parameters)

    # Fitting ----------------------------------------------------------------------------------------

    def fit(self, table: VectorTable | None = None) -> PersonaSpace:
        """Compute axis, components and their stability at every layer.

        Args:
            table: Replaces the space's vectors.

        Raises:
            SpaceError: No default vector, or fewer than three roles.
        """
        if table is not None:
            self.table = table
        self._adopt(
            fit_table(
                self.table,
                scaling=self.scaling,
                n_components=self.n_components,
                n_resamples=self.n_resamples,
                seed=self.seed,
            )
        )
        self.calibration_ = self._calibrate()
        return self

    def _adopt(self, fit: Fit) -> None:
        self._fit = fit
        self.layers_ = self.table.layers
        self.axis_ = fit.axis
        self.default_ = fit.default
        self.role_mean_ = fit.role_mean
        self.components_ = fit.components
        self.explained_variance_ratio_ = fit.explained_variance_ratio
        self.n_components_70_ = (fit.explained_variance_ratio.cumsum(axis=1) < 0.7).sum(axis=1) + 1
        self.stability_ = fit.stability
        self.projection_margins_ = fit.projection_margins

    def _calibrate(self) -> Calibration | None:
        if self.run is None:
            return None
        return Calibration.of_replies(
            ((shard.kind, means) for shard, means in reply_means(RunFolder(self.run))),
            self._coordinates,
        )

    def _coordinates(
        self, vectors: Float[np.ndarray, "reply layer d_model"]
    ) -> Float[np.ndarray, "reply layer direction"]:
        """Projection on the axis, then the first few component scores."""
        kept = min(CALIBRATED_COMPONENTS, self.components_.shape[1])
        axis = np.einsum("rld,ld->rl", vectors, unit(self.axis_))[..., None]
        scores = [
            self._fit.scaler(vectors[:, layer], layer) @ self.components_[layer, :kept].T
            for layer in range(len(self.layers_))
        ]
        return np.concatenate([axis, np.stack(scores, axis=1)], axis=2)

    # Using a fitted space ---------------------------------------------------------------------------

    @property
    def axis_pc1_cosine_(self) -> Float[np.ndarray, " layer"]:
        """cos(PC1, axis) at each layer; an untrained model can reach 0.87, so look at its nulls as well."""
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
            raise SpaceError("layer not in this space", expected=_span(layers), given=layer)
        return layers.index(layer)

    def vector(self, name: str) -> Float[np.ndarray, "layer d_model"]:
        """The vector of a role, a trait, or "default"; "assistant axis" is `axis_`.

        Raises:
            SpaceError: No such vector.
        """
        return self.table.values[self._row(name)]

    def _row(self, name: str) -> int:
        rows = [row for row, its in enumerate(self.table.names) if its == name]
        if not rows:
            close = difflib.get_close_matches(name, self.table.names, n=3)
            raise SpaceError(
                f"no vector named {name!r}",
                remedy=f"did you mean {', '.join(close)}?" if close else "see space.table.frame()",
            )
        return rows[0]

    def transform(
        self,
        vectors: Float[np.ndarray, "*batch d_model"] | Sequence[str],
        layer: int,
    ) -> Float[np.ndarray, "*batch component"]:
        """Component scores of residual vectors (or of named ones) at one layer, in PCA coordinates.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> roles = {f"role_{i}": rng.normal(size=(1, 8)) for i in range(6)}
            >>> space = PersonaSpace.from_vectors(roles, default=np.ones((1, 8))).fit()
            >>> space.transform(["default", "role_1"], layer=0).shape
            (2, 5)
        """
        self._check_fitted()
        index = self.layer_index(layer)
        return self._fit.scaler(self._at(vectors, index), index) @ self.components_[index].T

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
            roles = self._raw_projection(self._at_rows("role", index), index, onto)
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
        row = self._row(onto)
        vector = self.table.values[row, index]
        return vector if self.table.kinds[row] == "trait" else vector - self.role_mean_[index]

    def _component(self, name: str) -> int:
        kept = self.components_.shape[1]
        component = int(name[2:]) - 1
        if not 0 <= component < kept:
            raise SpaceError("no such component", expected=f"pc1 to pc{kept}", given=name)
        return component

    def _default_spread(self, index: int, onto: str | np.ndarray) -> tuple[float, float]:
        known = ["axis", *(f"pc{number + 1}" for number in range(CALIBRATED_COMPONENTS))]
        if self.calibration_ is None or not isinstance(onto, str) or onto not in known:
            raise SpaceError(
                f"no spread of default replies is known for {onto!r}",
                expected=f"a space fitted with its run, and one of {', '.join(known)}",
                remedy='use units="roles"',
            )
        place = POPULATIONS.index("default"), index, known.index(onto)
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

        Trait vectors are differences and are not centred.

        Args:
            query: A name, or a residual vector (not a difference).
            layer: Block.
            k: How many.
            kind: `role`, `trait`, or None for both.
        """
        self._check_fitted()
        index = self.layer_index(layer)
        rows = [row for row in self.table.indices(kind=kind) if self.table.kinds[row] != "default"]
        if isinstance(query, str):
            direction = self._direction(query, index)
            rows = [row for row in rows if self.table.names[row] != query]
        else:
            direction = np.asarray(query) - self.role_mean_[index]
        others = np.stack([self._direction(self.table.names[row], index) for row in rows])
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

        The interval is about the role's mean; the axis is taken as given.
        """
        self._check_fitted()
        index = self.layer_index(layer)
        rows = self.table.indices(kind="role")
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
        if not isinstance(vectors, np.ndarray):
            vectors = self.table.values[[self._row(name) for name in vectors], index]
        if vectors.shape[-1] != self.table.d_model:
            raise SpaceError(
                "vectors have the wrong width",
                expected=f"[..., {self.table.d_model}]",
                given=list(vectors.shape),
            )
        return vectors

    def _at_rows(self, kind: str, index: int) -> Float[np.ndarray, "vector d_model"]:
        return self.table.values[self.table.indices(kind=kind), index]

    def _check_fitted(self) -> None:
        if not hasattr(self, "axis_"):
            raise SpaceError("this space is not fitted", remedy="call space.fit() first")

    # Keeping and showing ----------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the fitted space to a folder: safetensors and a JSON card.

        Raises:
            SpaceError: Not fitted.
        """
        self._check_fitted()
        return save_space(
            Path(folder), self.table, self._fit, self.calibration_, self._parameters()
        )

    @classmethod
    def load(cls, folder: str | Path) -> PersonaSpace:
        """Open a saved space; nothing is fitted again.

        Raises:
            SpaceError: No space in that folder.
        """
        table, fit, calibration, parameters = load_space(Path(folder))
        space = cls(table, **parameters)
        space._adopt(fit)
        space.calibration_ = calibration
        return space

    def _parameters(self) -> dict[str, Any]:
        return {
            "scaling": self.scaling,
            "n_components": self.n_components,
            "n_resamples": self.n_resamples,
            "seed": self.seed,
        }

    def map(self, layer: int, **options: Any) -> go.Figure:
        """The persona map at one layer; `options` as for `persona_lens.plots.persona_map`."""
        from persona_lens.plots import persona_map  # noqa: PLC0415

        return persona_map(self, layer, **options)

    def axis_plot(self, layer: int, **options: Any) -> go.Figure:
        """Roles ranked along the axis; `options` as for `persona_lens.plots.axis_ranking`."""
        from persona_lens.plots import axis_ranking  # noqa: PLC0415

        return axis_ranking(self, layer, **options)

    def variance_plot(self, **options: Any) -> go.Figure:
        """Variance explained and stability by layer; `options` as for `persona_lens.plots.variance`."""
        from persona_lens.plots import variance  # noqa: PLC0415

        return variance(self, **options)

    def __repr__(self) -> str:
        kinds = self.table.kinds
        state = "fitted" if hasattr(self, "axis_") else "not fitted"
        return (
            f"PersonaSpace({kinds.count('role')} roles, {kinds.count('trait')} traits, "
            f"layers {_span(self.table.layers)}, d_model {self.table.d_model}, {state})"
        )

    def _repr_html_(self) -> str:
        from persona_lens.space.html import space_html  # noqa: PLC0415

        return space_html(self)


def _span(layers: tuple[int, ...]) -> str:
    consecutive = layers == tuple(range(layers[0], layers[-1] + 1))
    return f"{layers[0]} to {layers[-1]}" if consecutive else ", ".join(map(str, layers))
