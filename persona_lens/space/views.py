"""What a fitted space shows and finds, layer by layer; the work is done in the rooms above, loaded on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from persona_lens.space.thresholds import SpaceThresholds

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persona_lens.composition import Reconstruction
    from persona_lens.separability import Separability
    from persona_lens.space.persona_space import PersonaSpace
    from persona_lens.sweep import Sweep


class SpaceViews(SpaceThresholds):
    """Figures and analyses of a fitted space; `PersonaSpace` inherits it."""

    separability_: Separability | None

    @property
    def _space(self) -> PersonaSpace:
        return cast("PersonaSpace", self)

    # Figures ----------------------------------------------------------------------------------------

    def map(self, layer: int, **options: Any) -> go.Figure:
        """The persona map at one layer; `options` as for `persona_lens.plots.persona_map`."""
        from persona_lens.plots import persona_map  # noqa: PLC0415

        return persona_map(self._space, layer, **options)

    def axis_plot(self, layer: int, **options: Any) -> go.Figure:
        """Roles ranked along the axis; `options` as for `persona_lens.plots.axis_ranking`."""
        from persona_lens.plots import axis_ranking  # noqa: PLC0415

        return axis_ranking(self._space, layer, **options)

    def variance_plot(self, **options: Any) -> go.Figure:
        """Variance explained and stability by layer; `options` as for `persona_lens.plots.variance`."""
        from persona_lens.plots import variance  # noqa: PLC0415

        return variance(self._space, **options)

    def layer_map(self, **options: Any) -> go.Figure:
        """The persona map with a slider over the layers; `options` as for `persona_lens.plots.layer_map`."""
        from persona_lens.plots import layer_map  # noqa: PLC0415

        return layer_map(self._space, **options)

    def atlas(self, path: str | Path, **options: Any) -> Path:
        """One self-contained page with everything; `options` as for `persona_lens.report.atlas`."""
        from persona_lens.report import atlas  # noqa: PLC0415

        return atlas(self._space, path, **options)

    # Layer by layer ---------------------------------------------------------------------------------

    def measure_separability(self, **options: Any) -> PersonaSpace:
        """Measure on the run's single replies how well roles and traits can be told apart, layer by layer.

        Questions and system prompts are held out. `sweep` does this by itself if the run is at hand; the result is
        kept in `separability_` and saved with the space.

        Args:
            **options: As for `persona_lens.separability.measure_run`.

        Raises:
            SpaceError: The run is not known.
        """
        from persona_lens.separability import measure_run  # noqa: PLC0415

        self._check_fitted()
        self.separability_ = measure_run(self._calibrated_run(), layers=self.layers_, **options)
        return self._space

    def sweep(self, **options: Any) -> Sweep:
        """Every metric at every layer, with intervals and nulls; `options` as for `persona_lens.sweep.sweep`.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> space = PersonaSpace.load("smollm2-135m-instruct")
            >>> found = space.sweep(metrics=["participation_ratio"], layers=[10, 20], progress=False)
            >>> sorted(found.frame["kind"].unique())
            ['role', 'trait']
        """
        from persona_lens.sweep import sweep  # noqa: PLC0415

        return sweep(self._space, **options)

    def explain(self, name: str, layer: int, **options: Any) -> pd.DataFrame:
        """The few traits that compose a role; `options` as for `persona_lens.composition.explain`."""
        from persona_lens.composition import explain  # noqa: PLC0415

        return explain(self._space, name, layer, **options)

    def reconstruct(self, **options: Any) -> Reconstruction:
        """How far roles are rebuilt from few traits; `options` as for `persona_lens.composition.reconstruct`."""
        from persona_lens.composition import reconstruct  # noqa: PLC0415

        return reconstruct(self._space, **options)
