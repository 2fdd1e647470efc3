"""Variance explained, cos(PC1, axis) and stability, layer by layer."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from persona_lens.plots.parts import style
from persona_lens.plots.parts.panels import Line, Panel, draw_panels
from persona_lens.plots.parts.subjects import check_fitted, source_line
from persona_lens.space import Space
from persona_lens.space.shortages import shortage_note

FIRST, THREE, QUESTIONS = "#1f2328", "#59636e", "#007a5e"
GREY = style.NULL_COLOUR


def variance(space: Space, *, title: str | None = None) -> go.Figure:
    """How much the components explain, and how far the axis can be trusted, at every layer.

    Four panels: the share of the variance of roles on PC1 and on PC1 to PC3; the number of components for 70 %;
    cos(PC1, axis) with its 95 % bootstrap interval over roles and its nulls, a role in the default's place and a
    random direction; the cosine of the axes from two halves of the questions and of the roles. Cosines lie in
    [-1, 1]; PC1 points to the Assistant's side, so cos(PC1, axis) is not negative.

    Args:
        space: Fitted.
        title: Replaces the title.

    Raises:
        FigureError: Not fitted.

    Examples:
        >>> import numpy as np
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(3, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((3, 8))).fit()
        >>> [trace.name for trace in variance(space).data if trace.hoverinfo == "text"][:3]
        ['PC1', 'PC1 to PC3', 'components']
    """
    check_fitted(space)
    return draw_panels(
        [_explained(space), _needed(space), _cosine(space), _halves(space)],
        list(space.layers_),
        title=title or _finding(space),
        topic="Variance and stability by layer",
        subtitle=source_line(space),
        caption=shortage_note(space.shortages_),
    )


def _finding(space: Space) -> str:
    """At how many layers PC1 is the axis beyond chance, and how well the axis repeats."""
    frame = space.stability_
    beyond = int((frame["cosine"] > frame["shuffled_95"]).sum())
    found = f"PC1 lies along the axis beyond chance at {beyond or 'none'} of {len(frame)} layers"
    known = frame.dropna(subset=["axis_questions"])
    if known.empty:
        return found
    best = known.iloc[int(known["axis_questions"].to_numpy().argmax())]
    return (
        f"{found}; the axis repeats best at layer {best['layer']:.0f}, {best['axis_questions']:.2f} "
        f"({best['axis_questions_low']:.2f} to {best['axis_questions_high']:.2f}) between halves of the questions"
    )


def _explained(space: Space) -> Panel:
    ratios = space.explained_variance_ratio_
    first, three = ratios[:, 0], ratios[:, :3].sum(axis=1)
    return Panel(
        title="Variance of the roles explained",
        note="",
        lines=[Line("PC1", first, FIRST), Line("PC1 to PC3", three, THREE, dash="dash")],
        height=170,
        span=(0.0, min(1.0, float(three.max()) * 1.15)),
        form=".0%",
    )


def _needed(space: Space) -> Panel:
    needed = space.n_components_70_.astype(float)
    return Panel(
        title="Components for 70 % of the variance",
        note="",
        lines=[Line("components", needed, FIRST)],
        height=100,
        span=(0.0, float(needed.max()) * 1.2),
        form=".0f",
    )


def _cosine(space: Space) -> Panel:
    frame = {name: column.to_numpy() for name, column in space.stability_.items()}
    return Panel(
        title="cos(PC1, axis)",
        note="Band: 95 % bootstrap interval over roles. Null: a role takes the place of the default",
        lines=[
            Line("null, mean", frame["shuffled_mean"], GREY, dash="dash"),
            Line("null, 95 % below", frame["shuffled_95"], GREY),
            Line("random direction, 95 % below", frame["random_95"], GREY, dash="dot"),
            Line(
                "cos(PC1, axis)",
                frame["cosine"],
                style.AXIS_COLOUR,
                low=frame["cosine_low"],
                high=frame["cosine_high"],
            ),
        ],
        height=230,
        span=(min(0.0, float(frame["cosine_low"].min()) * 1.05), 1.02),
    )


def _halves(space: Space) -> Panel:
    lines = [
        Line(
            f"halves of the {what}",
            space.stability_[f"axis_{what}"].to_numpy(),
            color,
            low=space.stability_[f"axis_{what}_low"].to_numpy(),
            high=space.stability_[f"axis_{what}_high"].to_numpy(),
        )
        for what, color in (("roles", style.ROLE_COLOUR), ("questions", QUESTIONS))
    ]
    known = [line for line in lines if np.isfinite(line.values).any()]
    note = "Cosine of the axes of two halves, median over splits. Bands: 95 % of the splits"
    if len(known) < len(lines):
        note += ". Halves of the questions: not known"
    lowest = min(float(np.nanmin(line.low)) for line in known if line.low is not None)
    return Panel(
        title="Stability of the axis",
        note=note,
        lines=known,
        height=190,
        span=(min(0.0, lowest), 1.02),
    )
