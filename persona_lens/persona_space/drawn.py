"""The figures and the pages of a space, as methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from persona_lens.space.space import Space

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persona_lens.drift.monitor import Monitor
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.interventions.plan import Plan
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.plots.parts.view import Labels
    from persona_lens.server import LiveChat


class DrawnSpace(Space):
    """A space that draws itself; the figures themselves are in `persona_lens.plots` and `persona_lens.pages`."""

    def map(
        self,
        layer: int | None = None,
        *,
        dims: Literal[2, 3] = 2,
        traits: bool = True,
        x: str = "pc1",
        y: str = "pc2",
        z: str = "pc3",
        color: str = "axis",
        labels: Labels = "all",
        highlight: Sequence[str] = (),
        intervals: bool = False,
        title: str | None = None,
    ) -> go.Figure:
        """The persona map at one layer; more is said at `persona_lens.plots.persona_map`.

        Args:
            layer: Block; negative ones count from the last. The recommended one by default.
            dims: 2 or 3.
            traits: Whether to draw trait arrows; only those that lie well in the view are drawn.
            x: What to draw along: "pc1", "pc2", ..., "axis", or the name of a trait or role ("trait:stoic" where
                both have the name).
            y: Likewise.
            z: Likewise, in three dimensions.
            color: Colours roles by their projection on "axis", "pc1", ... or a trait; "group" by group.
            labels: Which roles to name: `all` for which there is room, `extremes`, or `none`.
            highlight: Roles to bring out: named in bold, all others faint.
            intervals: Draw 95 % intervals over folds of the questions.
            title: Replaces the title.

        Raises:
            FigureError: Not fitted, `dims` other than 2 or 3, fewer components than asked for, or intervals of a
                space that keeps no folds.
            SpaceError: Unknown layer or direction.

        Examples:
            >>> from persona_lens import PersonaSpace
            >>> PersonaSpace.load("smollm2-135m-instruct").map(layer=20, color="group").layout.title.text[:3]
            'PC1'
        """
        from persona_lens.plots import persona_map  # noqa: PLC0415

        return persona_map(
            self,
            layer,
            dims=dims,
            traits=traits,
            x=x,
            y=y,
            z=z,
            color=color,
            labels=labels,
            highlight=highlight,
            intervals=intervals,
            title=title,
        )

    def axis_plot(
        self,
        layer: int | None = None,
        *,
        top: int | None = None,
        highlight: Sequence[str] = (),
        title: str | None = None,
    ) -> go.Figure:
        """Roles ranked along the axis, Assistant first; more is said at `persona_lens.plots.axis_ranking`.

        Args:
            layer: Block; negative ones count from the last. The recommended one by default.
            top: Shows this many roles from either end, and how many are left out; all by default.
            highlight: Roles to bring out: always shown, their names bold, all others faint.
            title: Replaces the title.

        Raises:
            FigureError: Not fitted, or `top` less than one.
            SpaceError: Unknown layer.
        """
        from persona_lens.plots import axis_ranking  # noqa: PLC0415

        return axis_ranking(self, layer, top=top, highlight=highlight, title=title)

    def layer_plot(self, *, title: str | None = None) -> go.Figure:
        """Why `recommend_layer` recommends what it does; more is said at `persona_lens.plots.layer_choice`.

        Args:
            title: Replaces the title.

        Raises:
            FigureError: Not fitted.
        """
        from persona_lens.plots import layer_choice  # noqa: PLC0415

        return layer_choice(self, title=title)

    def variance_plot(self, *, title: str | None = None) -> go.Figure:
        """Variance explained and stability by layer; more is said at `persona_lens.plots.variance`.

        Args:
            title: Replaces the title.

        Raises:
            FigureError: Not fitted.
        """
        from persona_lens.plots import variance  # noqa: PLC0415

        return variance(self, title=title)

    def layer_map(
        self,
        *,
        layers: Sequence[int] | None = None,
        x: str = "axis",
        y: str = "pc1",
        start: int | None = None,
        title: str | None = None,
    ) -> go.Figure:
        """Roles along two directions, with a slider over layers; more is said at `persona_lens.plots.layer_map`.

        Args:
            layers: Blocks, negative ones count from the last; all by default.
            x: What to draw along: "axis", "pc1", "pc2", ..., or the name of a trait or role.
            y: Likewise.
            start: The layer shown first; the recommended one by default, or the nearest.
            title: Replaces the title.

        Raises:
            FigureError: Not fitted, no layer, `start` not among them, or fewer components than asked for.
            SpaceError: Unknown layer or direction.
        """
        from persona_lens.plots import layer_map  # noqa: PLC0415

        return layer_map(self, layers=layers, x=x, y=y, start=start, title=title)

    def atlas(
        self,
        path: str | Path,
        *,
        sweep: Any = None,
        title: str | None = None,
        status: Callable[[str], None] | None = None,
    ) -> Path:
        """Write everything as one page that opens without a network; see `persona_lens.pages.atlas.atlas`.

        Args:
            path: Ends in `.html`.
            sweep: Of its layers: what `space.sweep()` returns, or a folder it was saved to.
            title: Replaces "Persona atlas of <model>".
            status: Called with what is being done.

        Returns:
            The file written.

        Raises:
            FigureError: Not fitted, another ending, or `sweep` is no sweep.
        """
        from persona_lens.pages.atlas import atlas  # noqa: PLC0415

        return atlas(self, path, sweep=sweep, title=title, status=status)

    def chat(
        self,
        model: PersonaModel,
        *,
        cap: float | None = None,
        plan: Plan | None = None,
        monitor: Monitor | None = None,
        layer: int | None = None,
        other: EndpointSettings | None = None,
        height: int = 820,
    ) -> LiveChat:
        """Talk to the model below a cell of a notebook, as it is and with a plan, and watch the axis meanwhile.

        The page is there as long as what is returned is held, or until its `close()`; the server behind it listens
        on this computer alone, so forward its port where the notebook runs elsewhere.

        Args:
            model: Answers; the space is of it.
            cap: Percentile of the floor of the second column; 75 where no plan is given.
            plan: Acts in the second column instead.
            monitor: For alerts.
            layer: Block that replies are read at; the monitor's, or the first that the plan acts at.
            other: Another OpenAI-compatible server, which may fill the first column; the model reads its replies.
            height: Of the page, in pixels.

        Raises:
            ServerError: Both a cap and a plan, the space is of another model, or the extra `serve` is missing.
            SpaceError: The space knows no replies to cap at a percentile of.

        Examples:
            >>> from persona_lens import PersonaModel, PersonaSpace
            >>> model = PersonaModel.load("smollm2-135m-instruct")
            >>> with PersonaSpace.load("smollm2-135m-instruct").chat(model, cap=75) as talk:
            ...     talk.url.endswith("/chat")
            True
        """
        from persona_lens.server.installed import check_installed  # noqa: PLC0415

        check_installed()
        from persona_lens.server.notebook import live_chat  # noqa: PLC0415

        return live_chat(
            self,
            model,
            cap=cap,
            plan=plan,
            monitor=monitor,
            layer=layer,
            other=other,
            height=height,
        )
