"""What is found out with a space, layer by layer and turn by turn, as methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import Self

from persona_lens.space.space import Space

if TYPE_CHECKING:
    import pandas as pd

    from persona_lens.analysis.composition import Reconstruction
    from persona_lens.analysis.composition.explaining import By
    from persona_lens.analysis.composition.sides import Method
    from persona_lens.analysis.sweep import Sweep
    from persona_lens.conversations import Conversation
    from persona_lens.drift import Trace
    from persona_lens.drift.monitor import Monitor
    from persona_lens.drift.monitor.of_space import Talks
    from persona_lens.drift.monitor.statistics import Statistic
    from persona_lens.drift.trace import Reading
    from persona_lens.drift.turns import Long, Tokens
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.interventions.plan import Plan
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.paper.presets import Preset
    from persona_lens.paper.reporting import PaperReport
    from persona_lens.rollouts.sampling import Sampling
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine


class AnalysedSpace(Space):
    """A space with its analyses. Each method says what the function of the same name in their room says."""

    # Layer by layer ---------------------------------------------------------------------------------

    def measure_separability(
        self,
        *,
        layers: Sequence[int] | None = None,
        n_shuffles: int = 20,
        n_random: int = 20,
        seed: int = 0,
        progress: bool = True,
    ) -> Self:
        """Measure on the run's single replies how well roles and traits can be told apart, layer by layer.

        Questions and system prompts are held out. `sweep` does this by itself if the run is at hand; the result is
        kept in `separability_` and saved with the space.

        Args:
            layers: Blocks to measure; those of the space by default.
            n_shuffles: Relabellings for the null `shuffled`.
            n_random: Random directions for the null `random`.
            seed: Of the nulls, the halvings, and the projection of models wider than 1024.
            progress: Show a bar over layers.

        Raises:
            SpaceError: Not fitted, or the run is not known.
            RunError: A layer is not in the run, or it has fewer than two questions or system prompts.
        """
        from persona_lens.separability import measure_run  # noqa: PLC0415

        self._check_fitted()
        self.separability_ = measure_run(
            self.calibrated_run(),
            layers=self.layers_ if layers is None else layers,
            n_shuffles=n_shuffles,
            n_random=n_random,
            seed=seed,
            progress=progress,
        )
        return self

    def sweep(
        self,
        *,
        metrics: Sequence[str] | None = None,
        layers: Sequence[int] | None = None,
        n_draws: int = 200,
        seed: int = 0,
        progress: bool = True,
    ) -> Sweep:
        """Every metric at every layer, with intervals and nulls; see `persona_lens.analysis.sweep.sweep`.

        Args:
            metrics: Names, see `persona_lens.analysis.sweep.known_metrics()`; all by default.
            layers: Blocks; negative ones count from the last. All by default.
            n_draws: Random halves of the units, and bootstrap samples of replies, behind each interval.
            seed: Of all draws.
            progress: Show a progress bar.

        Raises:
            SpaceError: Not fitted, an unknown metric or layer, too few draws, or metrics of replies asked for by
                name of a space that has none.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> space = PersonaSpace.load("smollm2-135m-instruct")
            >>> found = space.sweep(metrics=["participation_ratio"], layers=[10, 20], progress=False)
            >>> sorted(found.frame["kind"].unique())
            ['role', 'trait']
        """
        from persona_lens.analysis.sweep import sweep  # noqa: PLC0415

        return sweep(
            self, metrics=metrics, layers=layers, n_draws=n_draws, seed=seed, progress=progress
        )

    def explain(
        self, name: str, layer: int, *, k: int = 5, method: Method = "omp", by: By = "traits"
    ) -> pd.DataFrame:
        """The few traits that compose a role; more is said at `persona_lens.analysis.composition.explain`.

        Args:
            name: Of the role; of the trait where `by="roles"`.
            layer: Block.
            k: Traits at most.
            method: How they are chosen: `omp`, `nnls` (weights >= 0) or `lasso`.
            by: `traits` for a role; `roles` for a trait, from centred roles.

        Returns:
            One row a step: the trait (or role), its weight with an interval, and the share explained so far.

        Raises:
            SpaceError: Unknown name, layer or method, no traits.
        """
        from persona_lens.analysis.composition import explain  # noqa: PLC0415

        return explain(self, name, layer, k=k, method=method, by=by)

    def reconstruct(
        self,
        *,
        layers: Sequence[int] | None = None,
        ks: Iterable[int] = range(1, 21),
        methods: Sequence[Method] = ("omp", "nnls", "lasso"),
        n_random: int = 20,
        n_halvings: int = 4,
        n_role_folds: int = 5,
        n_draws: int = 200,
        seed: int = 0,
        progress: bool = True,
    ) -> Reconstruction:
        """Roles rebuilt from few traits, and from controls; see `persona_lens.analysis.composition.reconstruct`.

        Args:
            layers: Blocks; all by default.
            ks: Numbers of traits.
            methods: `omp`, `nnls` (weights >= 0) and `lasso`.
            n_random: Draws of each random control, spread over the halvings; fewer for the slow methods.
            n_halvings: Ways to halve the questions; there may be fewer. Both halves are learnt from in turn.
            n_role_folds: Parts of the roles, each held out once.
            n_draws: Bootstrap samples over roles and halves.
            seed: Of everything that is drawn.
            progress: Show a progress bar.

        Raises:
            SpaceError: No folds, no traits, too few roles, a layer that is not there, or unknown methods or sizes.
        """
        from persona_lens.analysis.composition import reconstruct  # noqa: PLC0415

        return reconstruct(
            self,
            layers=layers,
            ks=ks,
            methods=methods,
            n_random=n_random,
            n_halvings=n_halvings,
            n_role_folds=n_role_folds,
            n_draws=n_draws,
            seed=seed,
            progress=progress,
        )

    # Conversations ----------------------------------------------------------------------------------

    def trace(
        self,
        conversations: Iterable[Conversation],
        model: PersonaModel,
        *,
        layers: Sequence[int] | int | None = None,
        directions: Sequence[str] = ("axis",),
        plan: Plan | None = None,
        readings: Sequence[Reading] | None = None,
        tokens: Tokens | None = None,
        detail: bool = False,
        long: Long = "refuse",
        context: int | None = None,
        token_budget: int | None = None,
        progress: bool = True,
    ) -> Trace:
        """Where the replies of conversations lie, turn by turn; more is said at `persona_lens.drift.trace`.

        Args:
            conversations: What was said; a list, or a `ConversationLog`, which is read as a stream.
            model: Reads the text; it need not have written it.
            layers: Blocks to read; the middle one of the model by default, as in the paper.
            directions: Names the space knows: "axis", "pc1", traits, roles.
            plan: Acts while the text is read once more: readings `before` and `after`.
            readings: `clean`, `before`, `after`: which to make; all that there can be by default.
            tokens: Which tokens of a reply are averaged: `answer`, or those that the `paper`'s code takes; as the
                space was read by default.
            detail: Keep the projection of every token too.
            long: What to do with a conversation that does not fit the model's context: `refuse` it, or read it in
                overlapping `windows`.
            context: Tokens of a window, if fewer than the model takes.
            token_budget: Tokens of a reading batch, pads included; by default what suits the device.
            progress: Show a progress bar.

        Returns:
            The trace. Conversations that cannot be read are in `refused`, and cost no others.

        Raises:
            SpaceError: Not fitted, unknown direction or layer, or of another width than the model.
            ConversationError: Nothing could be read, or readings are asked for that need a plan.
            InterventionError: A plan is in force already, and nothing would tell.
        """
        from persona_lens.drift import trace  # noqa: PLC0415

        return trace(
            self,
            model,
            conversations,
            layers=layers,
            directions=directions,
            plan=plan,
            readings=readings,
            tokens=tokens,
            detail=detail,
            long=long,
            context=context,
            token_budget=token_budget,
            progress=progress,
        )

    def monitor(
        self,
        model: PersonaModel,
        *,
        calm: Talks | None = None,
        drifting: Talks | None = None,
        layer: int | None = None,
        directions: Sequence[str] = ("axis",),
        turns: int = 10,
        sampling: Sampling | None = None,
        out: str | Path | None = None,
        long: Long = "refuse",
        progress: bool = True,
        statistic: str | Statistic = "auto",
        false_alarms: float = 0.01,
        horizon: int | None = None,
        high: Sequence[str] = (),
        reference: int | None = None,
        seed: int = 0,
    ) -> Monitor:
        """An alert whose false-alarm rate is calibrated; see `persona_lens.drift.monitor.space_monitor`.

        Args:
            model: Is to be watched.
            calm: Conversations of the model that are as they should be, or their trace; by default it answers the
                calibration half of the everyday conversations.
            drifting: Conversations that should alarm, to choose a statistic by.
            layer: Block; the middle one of the model by default.
            directions: Names the space knows.
            turns: Of the everyday conversations, at most their ten.
            sampling: Of the replies to them.
            out: Folder that keeps these; the same call continues what is there.
            long: What to do with a conversation that does not fit the model's context: `refuse` or `windows`.
            progress: Show progress bars.
            statistic: A name (`persona_lens.drift.monitor.known_statistics()`), a `Statistic`, or "auto".
            false_alarms: Share of calm conversations that may alarm, each counted once.
            horizon: Turns of a conversation; by default as many as nine of ten have.
            high: Directions of which high projections are alarming. Of the others low ones are.
            reference: How many calm conversations are set aside for the constants of the statistic.
            seed: Of drawing those.

        Raises:
            MonitorError: The rate needs more calm conversations than there are; nothing to read; no such
                statistic, layer or direction.
            SpaceError: As `trace`.
        """
        from persona_lens.drift.monitor import space_monitor  # noqa: PLC0415

        return space_monitor(
            self,
            model,
            calm=calm,
            drifting=drifting,
            layer=layer,
            directions=directions,
            turns=turns,
            sampling=sampling,
            out=out,
            long=long,
            progress=progress,
            statistic=statistic,
            false_alarms=false_alarms,
            horizon=horizon,
            high=high,
            reference=reference,
            seed=seed,
        )

    # The paper --------------------------------------------------------------------------------------

    def paper(
        self,
        model: PersonaModel,
        out: str | Path,
        *,
        preset: str | Preset = "minutes",
        base: PersonaModel | None = None,
        others: Mapping[str, Space] | None = None,
        items: str | Path | None = None,
        judge: EndpointSettings | None = None,
        engine: Engine | None = None,
        served: ServedSource | None = None,
        progress: bool = True,
    ) -> PaperReport:
        """The paper's experiments with this space, and a report beside what was published.

        More is said at `persona_lens.paper.reporting.paper_report`; the same call continues.

        Args:
            model: Is studied; the space is of it.
            out: Folder of everything.
            preset: `minutes`, `hours`, `paper`, or one of your own.
            base: Its base model.
            others: Spaces of other models by name.
            items: Table of harmful requests; house rules stand in for them without.
            judge: A language model behind a server that judges.
            engine: Workers that answer in place of the model.
            served: A server that answers where nothing acts.
            progress: Say what is done, with progress bars.

        Raises:
            RunError: Another process writes to the folder, or it holds a report of other settings.
            EvaluationError: No such preset.
        """
        from persona_lens.paper.reporting import paper_report  # noqa: PLC0415

        return paper_report(
            model,
            out,
            self,
            preset=preset,
            base=base,
            others=others,
            items=items,
            judge=judge,
            engine=engine,
            served=served,
            progress=progress,
        )
