"""`Space`: role and trait vectors, the Assistant Axis and the components, at every layer.

    space = Space.load("smollm2-135m-instruct")
    space.project("pirate", layer=20)
    plan = space.floor(percentile=75)

`PersonaSpace` adds to it what is made of it: collections, figures, analyses and pages.

Sign convention: the axis is the default Assistant minus the mean of the roles, so the Assistant is positive; every
component points to the side of the axis it correlates with. The axis is stored unnormalised, projections are on
unit directions and in the units of the residual stream.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.base import BaseEstimator
from typing_extensions import Self

from persona_lens.arrays import as_floats, layers_of
from persona_lens.errors import SpaceError
from persona_lens.interventions.blocks import block_number
from persona_lens.space.beside import run_beside
from persona_lens.space.calibrating import TOKEN_REPLIES, reply_calibration, token_calibration
from persona_lens.space.fitting import Fit, fit_table
from persona_lens.space.layer import span
from persona_lens.space.shipped import REPLIES, shipped_folder
from persona_lens.space.shortages import shortage_warning
from persona_lens.space.steering import SpaceSteering
from persona_lens.space.storage import load_separability, load_space, save_space
from persona_lens.statistics.pca import Scaling
from persona_lens.vectors import VectorTable

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.separability import Separability
    from persona_lens.space.recommending import LayerAdvice


class Space(SpaceSteering, BaseEstimator):
    """Persona space of one model, fitted at all layers at once: what it knows and what plans come of it.

    Args:
        table: Default, role and trait vectors.
        scaling: `center` (the paper), `zscore` or `l2`; see `persona_lens.statistics.pca.Scaler`.
        n_components: Components kept a layer, at most 64 by default; the spectrum is always whole.
        n_resamples: Bootstrap samples, role splits and exchanges of the default at each layer.
        seed: Of the resamples.
        axis: The axis at every layer, Assistant-positive, where it is known from elsewhere, such as the file of a
            release; by default default minus mean of the roles.
        run: Run folder the table came from; with it, `fit` also calibrates on single replies.
        reader: The model that read it; with it, `fit` calibrates on single tokens as well.

    Attributes:
        layers_: Blocks the space covers.
        axis_: Default minus mean of the roles, `Float[layer d_model]` (paper section 3.1), unless one was given.
        default_: Mean of the default Assistant's replies, where the axis ends, `Float[layer d_model]`.
        role_mean_: Mean of the roles, where it begins, `Float[layer d_model]`.
        recomputed_axis_: That difference, where an axis was given as well.
        components_: Unit components in PCA coordinates, `Float[layer component d_model]`.
        explained_variance_ratio_: Whole spectrum, `Float[layer rank]`.
        n_components_70_: Components needed for 70 % of the variance, a layer.
        stability_: One row a layer: cos(PC1, axis) with interval and nulls, split halves; see
            `persona_lens.space.stability.LayerStability`.
        projection_margins_: Half-width of the 95 % interval of each vector's projection on the axis, over folds of
            the questions; NaN where the folds are not known.
        calibration_: Distribution of reply means, or None without a run.
        token_calibration_: Distribution of single tokens, and the norm of the residual stream; None before
            `fit(model=...)` or `calibrate(model)`.
        shortages_: What there is too little of; see `persona_lens.space.shortages`.
        separability_: How well single replies tell roles and traits apart; None before `measure_separability`.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(2, 8)) for i in range(6)}
        >>> space = Space.from_vectors(roles, default=np.ones((2, 8))).fit()
        >>> space.axis_.shape, space.components_.shape
        ((2, 8), (2, 5, 8))
    """

    separability_: Separability | None

    def __init__(
        self,
        table: VectorTable,
        *,
        scaling: Scaling = "center",
        n_components: int | None = None,
        n_resamples: int = 200,
        seed: int = 0,
        axis: Float[np.ndarray, "layer d_model"] | None = None,
        run: str | Path | None = None,
        reader: PersonaModel | None = None,
    ) -> None:
        self.table = table
        self.scaling: Scaling = scaling
        self.n_components = n_components
        self.n_resamples = n_resamples
        self.seed = seed
        self.axis = axis
        self.run = run
        self.reader = reader
        self._folder: Path | None = None

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
    ) -> Self:
        """A space from vectors that exist already, all of the shape [layer, d_model].

        Vectors are arrays, tensors of any dtype, lists of them, or mappings from layer to vector.

        Args:
            roles: Mean residual of each role.
            default: Mean residual of the default Assistant.
            traits: Positive minus negative mean of each trait.
            layers: The blocks the first dimension stands for; 0, 1, ... by default, or those of the mappings.
            about: Group, description, ... by name, shown in figures.
            **parameters: Of the constructor.
        """
        traits = traits or {}
        about = about or {}
        names = ("default", *roles, *traits)
        given = (default, *roles.values(), *traits.values())
        if layers is None:
            layers = _common_layers(given)
        wanted = None if layers is None else [block_number(layer, SpaceError) for layer in layers]
        arrays = [
            as_floats(array, f"the vectors of {name!r}", error=SpaceError, layers=wanted)
            for name, array in zip(names, given, strict=True)
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
            layers=tuple(range(len(arrays[0]))) if wanted is None else tuple(wanted),
            about=tuple(about.get(name, {}) for name in names),
        )
        return cls(table, **parameters)

    # Fitting ----------------------------------------------------------------------------------------

    def fit(
        self,
        table: VectorTable | None = None,
        *,
        model: PersonaModel | None = None,
        progress: bool = True,
    ) -> Self:
        """Compute axis, components, their stability, and the calibration, at every layer.

        Args:
            table: Replaces the space's vectors.
            model: The reader of the run: calibrates on single tokens as well, by reading some replies again. After
                `collect` it is at hand already.
            progress: Show a progress bar while reading.

        Raises:
            SpaceError: No default vector, or fewer than three roles.

        Warns:
            UserWarning: There is too little data for the numbers to be relied on, and what would mend it
                (`persona_lens.space.shortages`).
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
                axis=None
                if self.axis is None
                else as_floats(self.axis, "the axis", error=SpaceError, layers=self.table.layers),
            )
        )
        self.calibration_ = self.token_calibration_ = self.separability_ = None
        if found := self.shortages_:
            warnings.warn(shortage_warning(found), stacklevel=2)
        if self.run is None:
            return self
        return self.calibrate(model or self.reader, progress=progress)

    def calibrate(
        self,
        model: PersonaModel | None = None,
        *,
        directions: Sequence[str] = (),
        replies: int = TOKEN_REPLIES,
        seed: int = 0,
        progress: bool = True,
    ) -> Self:
        """Find out where replies lie along the axis, the first components, and other directions.

        Args:
            model: Reads some replies again for the distribution of single tokens and the norm of the residual
                stream. Without it, only reply means are looked at.
            directions: Roles and traits to know percentiles along, beside the axis and the first components.
            replies: Read at most so many of each population.
            seed: Of the sample.
            progress: Show a progress bar while reading.

        Raises:
            SpaceError: No run is known, or it has been read anew, or the model is not its reader.
        """
        self._check_fitted()
        run = self.calibrated_run()
        known = self.calibrated_directions(directions)
        self.calibration_ = reply_calibration(run, known)
        if model is not None:
            from persona_lens.model.origins import warn_of_foreign_weights  # noqa: PLC0415

            origins = [] if self.origin is None else [self.origin]
            warn_of_foreign_weights(origins, model, stacklevel=2)
            self.token_calibration_ = token_calibration(
                run,
                model,
                known,
                layers=self.layers_,
                replies=replies,
                seed=seed,
                progress=progress,
            )
        return self

    def _adopt(self, fit: Fit) -> None:
        self._fit = fit
        self.layers_ = self.table.layers
        self.axis_ = fit.axis
        self.recomputed_axis_ = fit.recomputed_axis
        self.default_ = fit.default
        self.role_mean_ = fit.role_mean
        self.components_ = fit.components
        self.explained_variance_ratio_ = fit.explained_variance_ratio
        self.n_components_70_ = (fit.explained_variance_ratio.cumsum(axis=1) < 0.7).sum(axis=1) + 1
        self.stability_ = fit.stability
        self.projection_margins_ = fit.projection_margins

    # Keeping and showing ----------------------------------------------------------------------------

    def save(self, folder: str | Path, *, compact: bool = False) -> Path:
        """Write the fitted space to a folder: safetensors and a JSON card.

        Args:
            folder: Made if it is not there.
            compact: Vectors at one byte a number (error about 1 % of a role's distance from the mean of
                the roles), their folds merged to two halves, components in float16: about a tenth of the size.

        Raises:
            SpaceError: Not fitted.
        """
        self._check_fitted()
        return save_space(
            Path(folder),
            self.table,
            self._fit,
            {"replies": self.calibration_, "tokens": self.token_calibration_},
            self._parameters(),
            separability=self.separability_,
            compact=compact,
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open a saved space, or one that comes with the package; nothing is fitted again.

        Its run is looked for where it was, and where it would be if both had been moved together; without it there
        is no calibration when it is fitted again.

        Args:
            folder: Where it was saved, or the name of a packaged space: `persona_lens.space.shipped.SHIPPED`.

        Raises:
            SpaceError: No space in that folder.

        Examples:
            >>> space = Space.load("smollm2-135m-instruct")
            >>> space.layers_[-1], len(space.table.trait_rows())
            (29, 240)
        """
        place = shipped_folder(folder) or Path(folder)
        table, fit, calibrations, parameters = load_space(place)
        run = run_beside(place, parameters.pop("run", None), table.card.get("reader_key"))
        space = cls(table, run=run, axis=fit.given_axis, **parameters)
        space._adopt(fit)
        space.calibration_ = calibrations["replies"]
        space.token_calibration_ = calibrations["tokens"]
        space.separability_ = load_separability(place)
        space._folder = place
        return space

    def sample_replies(self, *, further: bool = False) -> pd.DataFrame:
        """Some of the replies the space was made from, with their labels, where they were saved beside it.

        Args:
            further: Also those drawn afterwards, one of every role and trait; `averaged` tells which.

        Returns:
            Columns `kind`, `name`, `prompt_index`, `side`, `system`, `question`, `reply`, `label`, `score`.

        Raises:
            SpaceError: There are none.

        Examples:
            >>> replies = Space.load("smollm2-135m-instruct").sample_replies()
            >>> sorted(replies["kind"].unique())
            ['default', 'role', 'trait']
        """
        file = None if self._folder is None else self._folder / REPLIES
        if file is None or not file.is_file():
            raise SpaceError(
                "no replies lie beside this space",
                remedy="read those of its run: RunFolder(path).replies()",
            )
        replies = pd.read_parquet(file)
        if "averaged" not in replies:
            replies["averaged"] = True
        return replies if further else replies.loc[replies["averaged"]].drop(columns="averaged")

    def recommend_layer(self) -> LayerAdvice:
        """The layer to look at first, with its reasons: what `map` and others take where none is given.

        Where the axis repeats, the default stands apart and roles are known held out (`measure_separability`); see
        `persona_lens.space.recommending`.

        Raises:
            SpaceError: Not fitted.

        Examples:
            >>> Space.load("smollm2-135m-instruct").recommend_layer().as_good
            (21, 22, 23)
        """
        from persona_lens.space.recommending import recommend  # noqa: PLC0415

        self._check_fitted()
        return recommend(self)

    def _parameters(self) -> dict[str, Any]:
        return {
            "scaling": self.scaling,
            "n_components": self.n_components,
            "n_resamples": self.n_resamples,
            "seed": self.seed,
            "run": None if self.run is None else str(self.run),
        }

    def __repr__(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]  one line, never cut
        state = "not fitted"
        if hasattr(self, "axis_"):
            problems = "; ".join(each.problem for each in self.shortages_)
            state = f"fitted on too little data: {problems}" if problems else "fitted"
        return (
            f"{type(self).__name__}({self._named('role')} roles, {self._named('trait')} traits, "
            f"layers {span(self.table.layers)}, d_model {self.table.d_model}, {state})"
        )

    def _named(self, kind: str) -> int:
        """How many roles or traits there are, whatever number of vectors each has."""
        pairs = zip(self.table.names, self.table.kinds, strict=True)
        return len({name for name, its in pairs if its == kind})

    def _repr_html_(self) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        from persona_lens.space.html import space_html  # noqa: PLC0415

        return space_html(self)


def _common_layers(given: Sequence[Any]) -> tuple[int, ...] | None:
    """The layers of vectors that are mappings from them; None if none is."""
    found = {layers for vectors in given if (layers := layers_of(vectors, error=SpaceError))}
    if len(found) > 1:
        raise SpaceError(
            "vectors are given at different layers",
            expected="the same layers of each, or layers=",
            given="; ".join(span(layers) for layers in sorted(found)),
        )
    return found.pop() if found else None
