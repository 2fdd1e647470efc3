"""Writing the atlas: numbers and words of a space, plotly.js, script and style in one file."""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.offline
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from persona_lens.errors import FigureError
from persona_lens.files import whole_or_nothing
from persona_lens.pages.atlas import card
from persona_lens.pages.atlas.measures import NEIGHBOURS, Measures, anchor_layer, measure
from persona_lens.pages.atlas.ordering import clustered
from persona_lens.pages.atlas.replies import reply_samples
from persona_lens.pages.atlas.sweeps import sweep_panels
from persona_lens.pages.atlas.units import Units
from persona_lens.pages.shared.inline import COSINE_STEP, deflated, packed, script_json
from persona_lens.pages.shared.script import joined
from persona_lens.plots.parts import style
from persona_lens.plots.parts.subjects import check_fitted
from persona_lens.space import Space

STYLES = "shared/base.css", "atlas/atlas.css"
Status = Callable[[str], None]


def atlas(
    space: Space,
    path: str | Path,
    *,
    sweep: Any = None,
    title: str | None = None,
    status: Status | None = None,
) -> Path:
    """Write a whole space as one web page that opens without a network.

    The page has the persona map, the ranking along the axis, variance and stability by layer, heat maps of the
    traits, a sweep if there is one, and a card; one slider sets the layer of all of them. Links may name what to
    show: `atlas.html#layer=12&select=pirate`.

    Projections are in the units of the residual stream, Assistant positive, and are exact to float32. Cosines in
    the heat map of traits and roles and in lists of neighbours are rounded to 0.01. Components may be turned: they
    keep their signs of the layer the page opens at (`space.recommend_layer()`), and follow their neighbour from
    there.
    Replies are those of the run beside the space, or those kept with it: at most four of a role or trait.

    Args:
        space: Fitted.
        path: Ends in `.html`.
        sweep: Of its layers: what `space.sweep()` returns, or a folder it was saved to.
        title: Replaces "Persona atlas of <model>".
        status: Called with what is being done.

    Returns:
        The file written.

    Raises:
        FigureError: Not fitted, another ending, or `sweep` is no sweep.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(2, 8)) for i in range(6)}
        >>> space = PersonaSpace.from_vectors(roles, default=np.ones((2, 8)), n_resamples=10).fit()
        >>> atlas(space, Path(tempfile.mkdtemp()) / "atlas.html").name
        'atlas.html'
    """
    check_fitted(space)
    tell = status or (lambda text: None)
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise FigureError("the atlas is a web page", expected="a name in .html", given=path.name)
    panels = sweep_panels(sweep)
    units, anchor = Units.of(space), anchor_layer(space)
    n_layers = len(space.layers_)
    measures = measure(units, anchor, lambda done: tell(f"Measuring layer {done} of {n_layers}"))
    tell("Ordering the heat maps, reading replies")
    content = page_data(units, measures, anchor, panels)
    tell("Writing the page")
    page = _render(
        space,
        title=title or f"Persona atlas of {card.model_name(space)}",
        data=script_json(content),
        cosines=Markup(deflated(measures.trait_roles)),
        sweep=bool(panels),
    )
    with whole_or_nothing(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def page_data(
    units: Units, measures: Measures, anchor: int, panels: list[dict[str, Any]]
) -> dict[str, Any]:
    """What the script of the page reads, but for the cosines of traits and roles."""
    space = units.space
    reader = space.table.card.get("reader", {})
    traits, roles = units.places("trait"), units.places("role")
    return {
        "layers": list(space.layers_),
        "depth": int(reader.get("n_layers") or max(space.layers_) + 1),
        "anchor": anchor,
        "units": units.described(),
        "looks": units.looks(),
        "axis": packed(measures.axis),
        "margins": packed(measures.margins),
        "scores": packed(measures.scores),
        "near": packed(measures.near),
        "nearCosines": packed(measures.near_cosines),
        "neighbours": NEIGHBOURS,
        "cosineStep": COSINE_STEP,
        "traits": traits,
        "roles": roles,
        "traitOrder": clustered(units, traits),
        "roleOrder": clustered(units, roles),
        "stability": card.stability(space),
        "sweep": panels,
        "replies": reply_samples(units),
        "foldedBy": card.folded_by(space),
        "equalUnits": space.scaling == "center",
        "style": {
            "font": style.FONT,
            "ink": style.INK,
            "quiet": style.QUIET,
            "faint": style.FAINT,
            "grid": style.GRID,
            "zero": style.ZERO,
            "default": style.DEFAULT_COLOUR,
            "trait": style.TRAIT_COLOUR,
            "role": style.ROLE_COLOUR,
            "both": style.BOTH_COLOUR,
            "axis": style.AXIS_COLOUR,
            "null": style.NULL_COLOUR,
        },
    }


def _render(space: Space, **parts: Any) -> str:
    pages = files("persona_lens.pages")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string((pages / "atlas/atlas.html.jinja").read_text("utf-8"))
    return template.render(
        css=Markup("".join((pages / name).read_text("utf-8") for name in STYLES)),
        script=Markup(joined("atlas/script/start.js")),
        plotly=Markup(plotly.offline.get_plotlyjs()),
        header=card.header(space),
        facts=card.facts(space),
        below=card.below_minimum(space),
        has_traits=bool(space.table.trait_rows()),
        version=importlib.metadata.version("persona-lens"),
        made=datetime.date.today().isoformat(),
        **parts,
    )
