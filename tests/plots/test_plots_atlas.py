"""Figures of sweeps, reconstructions and comparisons draw what their frames say, with nulls and intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from atlas_frames import (
    comparison_frame,
    composed_frame,
    emergence_frame,
    places_frame,
    reconstruction_frame,
    similarity_frame,
    sweep_frame,
    trait_frame,
)

from persona_lens.errors import FigureError
from persona_lens.plots import (
    comparison_panels,
    comparison_scatter,
    composed_steering,
    emergence,
    layer_similarity,
    layer_sweep,
    reconstruction_curves,
    reconstruction_layers,
    trait_heatmap,
)
from persona_lens.plots.composed_steering import over_roles
from persona_lens.plots.parts.swarm import median_interval, swarm

ROLES = [f"role_{i}" for i in range(40)]
TRAITS = [f"trait_{i}" for i in range(30)]


def note(fig: Any, name: str) -> str:
    [found] = [each for each in fig.layout.annotations if each.name == name]
    return found.text.replace("<br>", " ")


def named(fig: Any, name: str, panel: str = "y") -> Any:
    [trace] = [each for each in fig.data if each.name == name and each.yaxis in (panel, None)]
    return trace


def test_sweep_curves_bands_and_nulls_are_those_of_the_frame() -> None:
    frame = sweep_frame(("identity", "fisher"), n_layers=6)
    fig: Any = layer_sweep(frame, source="a model")
    for panel, metric in (("y", "identity"), ("y2", "fisher")):
        for kind, name in (("role", "roles"), ("trait", "traits")):
            rows = frame.loc[(frame["metric"] == metric) & (frame["kind"] == kind)]
            curve = named(fig, name, panel)
            np.testing.assert_array_equal(curve.x, rows["layer"])
            np.testing.assert_array_equal(curve.y, rows["value"])
            band = named(fig, f"{name}, band", panel)
            np.testing.assert_array_equal(band.y, [*rows["high"], *rows["low"][::-1]])
            null = named(fig, f"null of {name}, mean", panel)
            np.testing.assert_array_equal(null.y, rows["null_mean"])
            above = named(fig, f"null of {name}, 95 % below", panel)
            np.testing.assert_array_equal(above.y, rows["null_95"])
            assert {null.line.color, above.line.color, band.fillcolor} == {curve.line.color}
            text = curve.hovertext[2]
            assert "layer 2" in text
            assert "labels shuffled" in text
            assert f"n = {rows['n'].iloc[0]}" in text
    chances = [trace for trace in fig.data if trace.name == "chance"]
    assert [(each.yaxis, each.y[0]) for each in chances] == [("y", 0.5)], (
        "that of Fisher is unknown"
    )
    assert "n = 275" in note(fig, "caption")
    assert "</b> a model" in note(fig, "subtitle").replace("<br>", " ")


def test_sweep_controls_are_grey_and_named() -> None:
    control = sweep_frame(("identity",), n_layers=6, strength=0.1)
    fig: Any = layer_sweep(
        sweep_frame(("identity", "auc"), n_layers=6), controls={"random weights": control}
    )
    curve = named(fig, "random weights: roles")
    np.testing.assert_array_equal(curve.y, control.loc[control["kind"] == "role", "value"])
    own = {named(fig, "roles").line.color, named(fig, "traits").line.color}
    assert curve.line.color not in own
    assert not [t for t in fig.data if t.yaxis == "y2" and "random weights" in t.name]
    assert [n for n in fig.layout.annotations if n.name == "curve:random weights: traits"]


def test_of_two_nulls_the_hardest_is_drawn_and_the_hover_tells_both() -> None:
    frame = sweep_frame(("axis_cosine",), n_layers=5)
    frame = pd.concat([frame, frame.assign(null="random directions", null_95=0.01)])
    fig: Any = layer_sweep(frame)
    assert len(named(fig, "roles").x) == 5
    [limit] = [t for t in fig.data if t.name == "null of roles, 95 % below"]
    assert (limit.y > 0.01).all()
    assert "random directions" in named(fig, "roles").hovertext[0]
    assert "labels shuffled" in named(fig, "roles").hovertext[0]


def test_sweep_leaves_gaps_for_what_is_not_known() -> None:
    frame = sweep_frame(("similarity_to_next",), n_layers=6)
    unknown = frame["layer"].isin([2, 5])
    frame.loc[unknown, ["value", "low", "high", "null_mean", "null_95"]] = np.nan
    fig: Any = layer_sweep(frame)
    assert np.isnan(named(fig, "roles").y[[2, 5]]).all()
    band = named(fig, "roles, band")
    assert list(band.x) == [0, 1, 1, 0, None, 3, 4, 4, 3]
    assert np.isfinite(fig.layout.yaxis.range).all()
    assert "4 of 12 values" in note(fig, "caption")


def test_sweep_draws_only_the_metrics_asked_for_in_their_order() -> None:
    frame = sweep_frame(("identity", "auc", "fisher"), n_layers=4)
    fig: Any = layer_sweep(frame, metrics=["fisher", "identity"])
    titles = [each.name for each in fig.layout.annotations if each.text.startswith("<b>")]
    assert [title.split("(")[0] for title in titles if "?" in title or "Fisher" in title] == [
        "Between against within ",
        "Which role or trait is it? ",
    ]
    with pytest.raises(FigureError, match="no such metric"):
        layer_sweep(frame, metrics=["nonsense"])


def test_emergence_draws_every_unit_that_emerges_and_names_either_end() -> None:
    frame = emergence_frame(ROLES, TRAITS)
    fig: Any = emergence(frame, summary="Traits come later.")
    for kind, name in (("role", "roles"), ("trait", "traits")):
        rows = frame.loc[(frame["kind"] == kind) & frame["depth"].notna()].sort_values("depth")
        dots = named(fig, name)
        np.testing.assert_array_equal(dots.x, rows["depth"])
        assert list(dots.customdata) == rows["name"].tolist()
        assert [s.endswith("open") for s in dots.marker.symbol] == (rows["q"] >= 0.05).tolist()
        assert "q = " in dots.hovertext[0]
        median = named(fig, f"median of {name}")
        assert median.x[0] == rows["depth"].median()
        assert median.error_x.array[0] > 0
        labels = {each.name for each in fig.layout.annotations}
        assert f"unit:{rows['name'].iloc[0]}" in labels
        assert f"unit:{rows['name'].iloc[-1]}" in labels
    caption = note(fig, "caption")
    assert caption.startswith("Traits come later.")
    assert f"not drawn: {frame['depth'].isna().sum()} of 70" in caption


def test_swarm_points_keep_their_distance() -> None:
    across = np.sort(np.random.default_rng(0).normal(0, 40, size=200))
    up = swarm(across, step=7.0, height=1e6)
    apart = np.hypot(*(np.subtract.outer(each, each) for each in (across, up)))
    assert apart[np.triu_indices(200, 1)].min() >= 7.0 - 1e-9
    assert np.ptp(swarm(np.zeros(300), step=7.0, height=100.0)) <= 100.0


def test_median_interval_holds_the_median_and_narrows_with_more_units() -> None:
    rng = np.random.default_rng(1)
    few, many = (median_interval(rng.normal(5, 2, size=n)) for n in (20, 2000))
    for median, low, high in (few, many):
        assert low < median < high
    assert many[2] - many[1] < (few[2] - few[1]) / 3
    assert many[0] == pytest.approx(5, abs=0.3)


def test_heatmap_groups_planted_clusters() -> None:
    frame = trait_frame(TRAITS, [f"PC{i}" for i in range(1, 6)])
    fig: Any = trait_heatmap(frame)
    [cells] = fig.data
    clusters = [int(name.split()[1]) % 3 for name in cells.y]
    assert np.count_nonzero(np.diff(clusters)) == 2, "every cluster stands together"
    assert list(cells.x) == [f"PC{i}" for i in range(1, 6)], "components keep their order"
    row = frame.loc[frame["trait"] == "trait_7"].set_index("target")["cosine"]
    drawn = cells.z[list(cells.y).index("trait 7")]
    np.testing.assert_allclose(drawn, row[list(cells.x)], atol=6e-4)
    scale = fig.layout.coloraxis
    assert scale.cmin == -scale.cmax
    assert scale.cmax == pytest.approx(frame["cosine"].abs().max())


def test_heatmap_of_roles_is_clustered_both_ways_and_thins_names() -> None:
    roles = [f"role_{i}" for i in range(200)]
    frame = trait_frame(TRAITS, roles)
    rng = np.random.default_rng(0)
    signs = dict(zip(roles, rng.choice([-1.0, 1.0], size=200), strict=True))
    frame["cosine"] = 0.4 * frame["target"].map(signs) + rng.normal(0, 0.02, size=len(frame))
    fig: Any = trait_heatmap(frame)
    order = [signs[name.replace(" ", "_")] for name in fig.data[0].x]
    assert np.count_nonzero(np.diff(order)) == 1
    assert len(fig.data[0].x) == 200
    assert len(fig.layout.xaxis.tickvals) < 100
    assert len(fig.layout.yaxis.tickvals) == 30


def test_heatmap_of_layers_keeps_their_order_and_tells_intervals() -> None:
    frame = trait_frame(TRAITS[:6], ["axis"], range(8))
    frame = frame.assign(low=frame["cosine"] - 0.1, high=frame["cosine"] + 0.1, q=0.01)
    fig: Any = trait_heatmap(frame)
    assert list(fig.data[0].x) == [str(i) for i in range(8)]
    assert not fig.layout.sliders
    assert fig.data[0].text.shape == (6, 8)
    assert "q = 0.01" in fig.data[0].text[0, 0]
    assert fig.layout.title.text.startswith("48 of 48 cells go beyond")
    quiet = trait_heatmap(frame.assign(q=0.4)).layout.title.text
    assert quiet.startswith("None of 48 cells go beyond")


def test_heatmap_has_a_slider_whose_rows_stay_where_they_are() -> None:
    frame = trait_frame(TRAITS, ["pc1", "pc2"], (3, 9, 12))
    fig: Any = trait_heatmap(frame)
    assert [step.label for step in fig.layout.sliders[0].steps] == ["3", "9", "12"]
    assert [each.name for each in fig.frames] == ["3", "9", "12"]
    for each in fig.frames:
        assert each.data[0].y is None
        cells = frame.loc[(frame["layer"] == int(each.name)) & (frame["target"] == "pc1")]
        values = cells.set_index("trait")["cosine"]
        wanted = [values[name.replace(" ", "_")] for name in fig.data[0].y]
        np.testing.assert_allclose(each.data[0].z[:, 0], wanted, atol=6e-4)


def test_heatmap_survives_unknown_cells_and_refuses_doubled_ones() -> None:
    frame = trait_frame(TRAITS[:5], ["PC1", "PC2"])
    frame.loc[3, "cosine"] = np.nan
    fig: Any = trait_heatmap(frame)
    assert np.isnan(fig.data[0].z).sum() == 1
    assert "not known: 1 cells" in note(fig, "caption")
    with pytest.raises(FigureError, match="twice"):
        trait_heatmap(pd.concat([frame, frame]))


def test_similarity_has_a_panel_a_kind() -> None:
    frame = similarity_frame(5, 4)
    fig: Any = layer_similarity(frame, names=("one", "two"))
    roles = fig.data[0]
    assert roles.z.shape == (4, 5)
    cell = frame.loc[
        (frame["kind"] == "role") & (frame["layer_a"] == 3) & (frame["layer_b"] == 1), "value"
    ]
    assert roles.z[1, 3] == cell.iloc[0]
    assert roles.customdata[1, 3] == 0.1
    assert fig.layout.xaxis2.title.text == "Layer of one"
    assert "stay below 0.10" in note(fig, "caption")


def test_reconstruction_draws_every_dictionary_and_the_ceiling_at_every_layer() -> None:
    frame = reconstruction_frame((6, 12), n_k=5)
    fig: Any = reconstruction_curves(frame)
    assert [step.label for step in fig.layout.sliders[0].steps] == ["6", "12"]
    assert fig.layout.sliders[0].active == 1, "the layer at which traits do best"
    shown = {"traits": "traits", "matched random": "matched random directions", "PCs": "PCs"}
    for panel, what in (("y", "questions"), ("y2", "roles")):
        for name, dictionary in shown.items():
            rows = frame.loc[
                (frame["layer"] == 12)
                & (frame["dictionary"] == dictionary)
                & (frame["held_out"] == what)
            ]
            np.testing.assert_allclose(named(fig, name, panel).y, rows["r2"])
            assert "275 roles" in named(fig, name, panel).hovertext[0]
        assert set(named(fig, "noise ceiling", panel).y) == {0.85}
    place = [t.name for t in fig.data].index("traits")
    frames = {each.name: each for each in fig.frames}
    moved = frames["6"].data[list(frames["6"].traces).index(place)]
    rows = frame.loc[(frame["layer"] == 6) & (frame["dictionary"] == "traits")]
    np.testing.assert_allclose(moved.y, rows.loc[rows["held_out"] == "questions", "r2"])


def test_reconstruction_of_one_layer_has_no_slider_and_cuts_what_overfits() -> None:
    frame = reconstruction_frame((6, 12), n_k=5)
    frame.loc[(frame["k"] == 5) & (frame["dictionary"] == "random directions"), "r2"] = -4.0
    fig: Any = reconstruction_curves(frame, layer=6)
    assert not fig.layout.sliders
    assert fig.layout.yaxis.range[0] > -1
    assert "cut off: 2 points" in note(fig, "caption")
    with pytest.raises(FigureError, match="no such layer"):
        reconstruction_curves(frame, layer=3)
    with pytest.raises(FigureError, match="no such method"):
        reconstruction_curves(frame, method="lasso")


def test_reconstruction_by_layer() -> None:
    frame = reconstruction_frame((6, 12, 18), n_k=5)
    fig: Any = reconstruction_layers(frame, k=3)
    rows = frame.loc[
        (frame["k"] == 3) & (frame["dictionary"] == "traits") & (frame["held_out"] == "roles")
    ]
    np.testing.assert_allclose(named(fig, "traits", "y2").y, rows["r2"])
    with pytest.raises(FigureError, match="atoms"):
        reconstruction_layers(frame, k=50)


def test_comparison_panels_tell_kinds_and_components_apart() -> None:
    frame = comparison_frame(6)
    fig: Any = comparison_panels(frame, components=2)
    rows = frame.loc[
        (frame["measure"] == "pc_loadings") & (frame["kind"] == "trait") & (frame["component"] == 2)
    ]
    curve = named(fig, "PC2", "y2")
    np.testing.assert_array_equal(curve.y, rows["value"])
    assert "PC2 with PC2" in curve.hovertext[0]
    np.testing.assert_array_equal(named(fig, "null of PC2, 95 % below", "y2").y, rows["null_95"])
    assert not [trace for trace in fig.data if trace.name == "PC3"]
    ranks = frame.loc[(frame["measure"] == "axis_ranks") & (frame["kind"] == "role")]
    np.testing.assert_array_equal(named(fig, "roles", "y3").y, ranks["value"])
    assert "first 2 components" in note(fig, "caption")
    plain = frame.loc[frame["kind"] == "role"].drop(columns=["kind", "partner"])
    bare: Any = comparison_panels(plain)
    assert {trace.name for trace in bare.data} >= {"PC1", "roles"}


def test_scatter_shows_both_places_and_their_correlation() -> None:
    frame = places_frame(ROLES, ["human", None] * 20)
    frame.loc[4, "z_b"] = np.nan
    fig: Any = comparison_scatter(frame, names=("one", "two"))
    human = named(fig, "human")
    rows = frame.loc[(frame["group"] == "human") & frame["z_b"].notna()]
    np.testing.assert_array_equal(human.x, rows["z_a"])
    np.testing.assert_array_equal(human.y, rows["z_b"])
    assert list(human.customdata) == rows["name"].tolist()
    assert "one: " in human.hovertext[0]
    ranks = frame.dropna(subset="z_b")[["z_a", "z_b"]].rank().to_numpy()
    wanted = np.corrcoef(ranks.T)[0, 1]
    assert f"correlation {wanted:.2f} (" in note(fig, "subtitle")
    assert "over 39 roles" in note(fig, "subtitle")
    assert "without a place: 1" in note(fig, "caption")
    assert fig.layout.xaxis.title.text.startswith("one, layer 15")
    given: Any = comparison_scatter(frame, correlation=(0.5, 0.4, 0.6))
    assert "0.50 (0.40 to 0.60)" in note(given, "subtitle")
    with pytest.raises(FigureError, match="twice"):
        comparison_scatter(pd.concat([frame, frame]))


def test_composed_steering_has_all_roles_first_and_each_beside() -> None:
    frame = composed_frame(["ghost", "pirate", "poet"])
    fig: Any = composed_steering(frame)
    traits = frame.loc[frame["condition"] == "traits"]
    means = traits.pivot(index="role", columns="strength", values="value").to_numpy().mean(axis=0)
    np.testing.assert_allclose(named(fig, "traits", "y").y, means)
    assert "n = 3 roles" in named(fig, "traits", "y").hovertext[0]
    rows = frame.loc[(frame["role"] == "ghost") & (frame["condition"] == "wrong traits")]
    np.testing.assert_array_equal(named(fig, "wrong traits", "y2").y, rows["value"])
    band = named(fig, "wrong traits, band", "y2")
    np.testing.assert_array_equal(band.y, [*rows["high"], *rows["low"][::-1]])
    alone: Any = composed_steering(frame.loc[frame["role"] == "ghost"])
    assert {trace.yaxis for trace in alone.data} == {"y"}


def test_mean_over_roles_skips_what_is_not_known() -> None:
    frame = composed_frame(["ghost", "pirate"])
    frame.loc[(frame["role"] == "ghost") & (frame["strength"] == 0.4), "value"] = np.nan
    found = over_roles(frame).set_index(["condition", "strength"])
    pirate = frame.loc[frame["role"] == "pirate"].set_index(["condition", "strength"])["value"]
    assert found["n"]["traits", 0.4] == 1
    assert found["value"]["traits", 0.4] == pirate["traits", 0.4]
    assert found["low"]["traits", 0.08] < found["high"]["traits", 0.08]


DRAWN: list[tuple[Callable[..., Any], pd.DataFrame, str]] = [
    (layer_sweep, sweep_frame(("auc",), n_layers=3), "null_95"),
    (emergence, emergence_frame(ROLES, TRAITS), "depth"),
    (trait_heatmap, trait_frame(TRAITS, ["PC1"]), "cosine"),
    (layer_similarity, similarity_frame(3, 3), "layer_b"),
    (reconstruction_curves, reconstruction_frame((1,), n_k=2), "dictionary"),
    (reconstruction_layers, reconstruction_frame((1, 2), n_k=5), "r2"),
    (comparison_panels, comparison_frame(3), "depth"),
    (comparison_scatter, places_frame(ROLES, ["human"] * 40), "z_b"),
    (composed_steering, composed_frame(["ghost"]), "strength"),
]


@pytest.mark.parametrize(
    ("draw", "frame", "column"), DRAWN, ids=[each[0].__name__ for each in DRAWN]
)
def test_figures_refuse_frames_that_lack_columns_or_rows(
    draw: Callable[..., Any], frame: pd.DataFrame, column: str
) -> None:
    draw(frame)
    with pytest.raises(FigureError, match=f"no {column}"):
        draw(frame.drop(columns=column))
    with pytest.raises(FigureError, match="nothing to draw"):
        draw(frame.iloc[:0])
