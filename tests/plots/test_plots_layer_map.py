"""The map with a slider over layers: places in spreads of the roles, components that keep their side."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from persona_lens import PersonaSpace
from persona_lens.errors import FigureError
from persona_lens.plots import layer_map
from persona_lens.plots.parts import style
from persona_lens.plots.parts.sliders import layer_slider


def places(fig: Any, layer: int, n_groups: int) -> dict[str, tuple[float, float]]:
    """Where each role stands at a layer."""
    [frame] = [each for each in fig.frames if each.name == str(layer)]
    found = {}
    for trace, number in zip(frame.data, frame.traces, strict=True):
        if number < n_groups:
            names = fig.data[number].customdata
            found |= {n: (x, y) for n, x, y in zip(names, trace.x, trace.y, strict=True)}
    return found


def test_places_are_in_spreads_of_the_roles(space: PersonaSpace) -> None:
    fig: Any = layer_map(space)
    groups = len(fig.data) - 1
    for layer in space.table.layers:
        rows = space.table.axis_rows()
        raw = space.project(space.table.values[rows, space.layer_index(layer)], layer)
        wanted = (raw - raw.mean()) / raw.std(ddof=1)
        found = places(fig, layer, groups)
        drawn = [found[space.table.names[row]][0] for row in rows]
        np.testing.assert_allclose(drawn, wanted, atol=2e-3)


def test_every_layer_has_a_step_and_ranges_stay(space: PersonaSpace) -> None:
    fig: Any = layer_map(space, start=1)
    labels = [step.label for step in fig.layout.sliders[0].steps]
    assert labels == [str(layer) for layer in space.table.layers]
    assert [each.name for each in fig.frames] == labels
    assert fig.layout.sliders[0].active == 1
    assert any("Persona map at layer 1" in note.text for note in fig.layout.annotations)
    every = np.array(
        [p for layer in space.table.layers for p in places(fig, layer, len(fig.data) - 1).values()]
    )
    for column, axis in enumerate((fig.layout.xaxis, fig.layout.yaxis)):
        assert axis.range[0] < every[:, column].min()
        assert axis.range[1] > every[:, column].max()
    assert all(each.layout.xaxis.range is None for each in fig.frames)
    texts = [{n.name: n.text for n in each.layout.annotations} for each in fig.frames]
    assert all("default" in each and "caption" in each for each in texts)


def test_hover_tells_role_place_and_neighbours(space: PersonaSpace) -> None:
    fig: Any = layer_map(space, y="PC2", start=2)
    trace = fig.data[0]
    assert "layer 2: Assistant Axis %{x:+.2f}, PC2 %{y:+.2f}" in trace.hovertemplate
    assert trace.text[0].startswith("<b>")
    assert "&lt;likes&gt;" in trace.text[0]
    name, cosine = space.nearest(trace.customdata[0], 2, kind="role").iloc[0][["name", "cosine"]]
    assert trace.hovertext[0].startswith(f"{name.replace('_', ' ')} {cosine:.2f}".replace("-", "−"))
    assert all(each.data[0].text is None for each in fig.frames), "what stays is stored once"


def test_components_keep_their_side_from_layer_to_layer() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(30, 1, 12)) * 0.7 ** np.arange(12)
    values = np.concatenate([first, first * 1.1, first * 0.9], axis=1)
    values += 1e-3 * rng.normal(size=values.shape)
    roles = {f"role_{i}": each for i, each in enumerate(values)}
    space = PersonaSpace.from_vectors(roles, default=np.ones((3, 12))).fit()
    space.components_[1, 1] *= -1
    fig: Any = layer_map(space, x="pc1", y="pc2")
    groups = len(fig.data) - 1
    before, turned = (places(fig, layer, groups) for layer in (0, 1))
    for name, place in before.items():
        np.testing.assert_allclose(turned[name], place, atol=0.05)


def test_layers_can_be_chosen_and_one_needs_no_slider(space: PersonaSpace) -> None:
    fig: Any = layer_map(space, layers=[-1])
    assert not fig.layout.sliders
    last = f"Persona map at layer {space.table.layers[-1]}"
    assert any(last in note.text for note in fig.layout.annotations)
    with pytest.raises(FigureError, match="at least one"):
        layer_map(space, layers=[])
    with pytest.raises(FigureError, match="no such layer"):
        layer_map(space, layers=[0, 1], start=2)
    with pytest.raises(FigureError, match="fitted"):
        layer_map(PersonaSpace(space.table))


def test_annotations_of_one_layer_leave_nothing_behind_in_another() -> None:
    def draw(*notes: dict[str, Any]) -> go.Figure:
        fig = style.figure([go.Scatter(y=[1.0], name="a")], title="", subtitle="", left=9, right=9)
        for each in notes:
            fig.add_annotation(**each)
        return fig

    leader = {"text": "far", "showarrow": True, "ax": 20, "ay": 30, "x": 1, "y": 1}
    near = {"text": "near", "showarrow": False, "xshift": 9, "x": 1, "y": 1}
    fig: Any = layer_slider({0: draw(near), 1: draw(leader, near)}, start=0)
    assert len(fig.layout.annotations) == 3
    first, second = (each.layout.annotations for each in fig.frames)
    assert len(first) == len(second) == 3
    assert not first[2].visible
    assert second[1].xshift == 0
    assert second[2].visible
    assert all(
        set(note.to_plotly_json()) >= {"ax", "xshift", "visible"} for note in (*first, *second)
    )


def test_slider_refuses_figures_with_other_traces() -> None:
    def draw(name: str) -> go.Figure:
        return style.figure(
            [go.Scatter(y=[1.0], name=name)], title="", subtitle="", left=9, right=9
        )

    with pytest.raises(FigureError, match="different traces"):
        layer_slider({0: draw("a"), 1: draw("b")}, start=0)
