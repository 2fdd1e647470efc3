"""`PersonaSpace`: a space with all that is made of it, from the collection to the page.

    space = PersonaSpace.collect(model, roles="core", traits="core", run="runs/first").fit()
    space.map(layer=20).show()
    space.project("pirate", layer=20)

What a space is and how it is asked stands in `persona_lens.space.space`; the rooms that do the work are loaded on
use.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import Self

from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.vectors import MIN_COUNT, FoldBy, vector_table
from persona_lens.space.space import Space

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from persona_lens.analysis.composition import Reconstruction
    from persona_lens.analysis.sweep import Sweep
    from persona_lens.conversations import Conversation
    from persona_lens.drift import Trace
    from persona_lens.drift.monitor import Monitor
    from persona_lens.judges import Judge
    from persona_lens.model.persona_model import PersonaModel


class PersonaSpace(Space):
    """Persona space of one model: collected, fitted at all layers at once, shown and analysed.

    Parameters and attributes are those of `persona_lens.space.space.Space`.

    Examples:
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> space.axis_.shape
        (30, 576)
    """

    # Ways to come by a space ------------------------------------------------------------------------

    @classmethod
    def collect(
        cls,
        model: PersonaModel,
        *,
        run: str | Path | None = None,
        judge: Judge | None = None,
        min_count: int = MIN_COUNT,
        **options: Any,
    ) -> Self:
        """Have `model` play roles and traits, read its replies, and return the space, not yet fitted.

        Args:
            model: The model to play.
            run: Run folder; `runs/<model name>` by default. The same call continues what is there.
            judge: Labels the replies, so that the axis is made of those fully in role; nobody by default.
            min_count: Replies a label needs for a vector of its own.
            **options: As for `persona_lens.runs.collect_run`: a `plan`, or what differs from the usual one
                (`roles`, `traits`, `questions`, ...), `reader`, `progress`.

        Source: paper section 2.1.
        """
        from persona_lens.runs.collecting import collect_run  # noqa: PLC0415
        from persona_lens.runs.judging import judge_run  # noqa: PLC0415

        folder = Path("runs") / model.name.replace("/", "--") if run is None else Path(run)
        finished = collect_run(model, folder, **options)
        key = None
        if judge is not None:
            key = judge_run(finished, judge, progress=options.get("progress", True)).key
        reader = options.get("reader") or model
        return cls.from_run(finished.path, judge=key, min_count=min_count, reader=reader)

    @classmethod
    def from_run(
        cls,
        run: str | Path,
        *,
        judge: str | None = None,
        min_count: int = MIN_COUNT,
        fold_by: FoldBy = "questions",
        only_fully: bool = False,
        **parameters: Any,
    ) -> Self:
        """The space of a finished run.

        Args:
            run: Run folder.
            judge: Name of a judge that has labelled it, such as "likelihood": the axis is then made of replies
                fully in role, and PCA of those somewhat in role as well. Without, of all replies.
            min_count: Replies a label needs for a vector of its own; the paper's 10 by default.
            fold_by: What the folds are made of that halves and intervals come from: `questions` or `prompts`.
            only_fully: Leave vectors of replies somewhat in role out of PCA too.
            **parameters: Of the constructor.

        Raises:
            RunError: No run there, or it is not finished, or not labelled by that judge.
        """
        table = vector_table(RunFolder(run), judge=judge, min_count=min_count, fold_by=fold_by)
        return cls(table.without("somewhat") if only_fully else table, run=run, **parameters)

    # Figures ----------------------------------------------------------------------------------------

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

    def layer_map(self, **options: Any) -> go.Figure:
        """The persona map with a slider over the layers; `options` as for `persona_lens.plots.layer_map`."""
        from persona_lens.plots import layer_map  # noqa: PLC0415

        return layer_map(self, **options)

    def atlas(self, path: str | Path, **options: Any) -> Path:
        """One self-contained page with everything; `options` as for `persona_lens.pages.atlas.atlas`."""
        from persona_lens.pages.atlas import atlas  # noqa: PLC0415

        return atlas(self, path, **options)

    # Layer by layer ---------------------------------------------------------------------------------

    def measure_separability(self, **options: Any) -> Self:
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
        self.separability_ = measure_run(self.calibrated_run(), layers=self.layers_, **options)
        return self

    def sweep(self, **options: Any) -> Sweep:
        """Every metric at every layer, with intervals and nulls; see `persona_lens.analysis.sweep.sweep`.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> space = PersonaSpace.load("smollm2-135m-instruct")
            >>> found = space.sweep(metrics=["participation_ratio"], layers=[10, 20], progress=False)
            >>> sorted(found.frame["kind"].unique())
            ['role', 'trait']
        """
        from persona_lens.analysis.sweep import sweep  # noqa: PLC0415

        return sweep(self, **options)

    def explain(self, name: str, layer: int, **options: Any) -> pd.DataFrame:
        """The few traits that compose a role; `options` as for `persona_lens.analysis.composition.explain`."""
        from persona_lens.analysis.composition import explain  # noqa: PLC0415

        return explain(self, name, layer, **options)

    def reconstruct(self, **options: Any) -> Reconstruction:
        """Roles rebuilt from few traits; `options` as for `persona_lens.analysis.composition.reconstruct`."""
        from persona_lens.analysis.composition import reconstruct  # noqa: PLC0415

        return reconstruct(self, **options)

    # Conversations ----------------------------------------------------------------------------------

    def trace(
        self, conversations: Iterable[Conversation], model: PersonaModel, **options: Any
    ) -> Trace:
        """Where the replies of conversations lie, turn by turn; `options` as for `persona_lens.drift.trace`."""
        from persona_lens.drift import trace  # noqa: PLC0415

        return trace(self, model, conversations, **options)

    def monitor(self, model: PersonaModel, **options: Any) -> Monitor:
        """An alert whose false-alarm rate is calibrated; `options`: `persona_lens.drift.monitor.space_monitor`."""
        from persona_lens.drift.monitor import space_monitor  # noqa: PLC0415

        return space_monitor(self, model, **options)

    # For others -------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Save for others, with a model card; `options` as for `persona_lens.interop.save_pretrained`."""
        from persona_lens.interop import save_pretrained  # noqa: PLC0415

        return save_pretrained(self, folder, **{"base_model": self._base_model(), **options})

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload to the Hugging Face hub; `options` as for `persona_lens.interop.push_to_hub`."""
        from persona_lens.interop import push_to_hub  # noqa: PLC0415

        return push_to_hub(self, repo_id, **{"base_model": self._base_model(), **options})

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> PersonaSpace:
        """Open a space from a folder or from the Hugging Face hub."""
        from persona_lens.interop import from_pretrained  # noqa: PLC0415

        return from_pretrained(source, revision=revision)

    def _base_model(self) -> str | None:
        """The hub name of an embedded model, which its own name does not tell."""
        from persona_lens.model.embedded import EMBEDDED  # noqa: PLC0415

        known = EMBEDDED.get(self.model_name)
        return None if known is None else known.hub_id
