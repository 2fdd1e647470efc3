"""The sweep itself: which metrics, a metric of one's own, replies, saving, showing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sweep_data import D_MODEL, scores_of, space_of

from persona_lens import PersonaSpace
from persona_lens.analysis.sweep import Sweep, forget, known_metrics, metric, sweep
from persona_lens.analysis.sweep.registry import REPLY_METRICS
from persona_lens.errors import SpaceError


def small_space(n_layers: int = 3, **options) -> PersonaSpace:
    rng = np.random.default_rng(0)
    return space_of(
        rng.normal(size=(16, n_layers, D_MODEL)),
        rng.normal(size=(12, n_layers, D_MODEL)),
        **options,
    )


def with_replies() -> PersonaSpace:
    space = small_space(12)
    onsets = {"role": np.full(16, 8.0), "trait": np.full(12, 4.0)}
    space.separability_ = scores_of(onsets)  # type: ignore[attr-defined]
    return space


def test_one_row_a_layer_metric_kind_and_null() -> None:
    frame = sweep(with_replies(), n_draws=10, progress=False).frame
    assert not frame.duplicated(["layer", "metric", "kind", "null"]).any()
    assert set(frame["kind"]) == {"role", "trait", "role-trait"}
    known = frame.dropna(subset=["low", "high"])
    assert len(known) == len(frame)
    assert (
        (known["low"] <= known["value"] + 1e-9) & (known["value"] <= known["high"] + 1e-9)
    ).all()
    assert frame["null_mean"].le(frame["null_95"] + 1e-9).all()
    assert frame["n"].isin([12, 16, 28]).all()


def test_layers_are_chosen_and_the_same_seed_gives_the_same_sweep() -> None:
    space = small_space(4)
    options = {"n_draws": 10, "progress": False, "layers": [2, -1]}
    frame = sweep(space, **options).frame
    assert set(frame["layer"]) == {2, 3}
    pd.testing.assert_frame_equal(frame, sweep(space, **options).frame)
    other = sweep(space, **options, seed=1).frame
    np.testing.assert_allclose(frame["value"], other["value"])
    assert not np.allclose(frame["low"], other["low"])


def test_a_space_without_traits_has_no_rows_of_them() -> None:
    roles = np.random.default_rng(0).normal(size=(16, 2, D_MODEL))
    assert set(sweep(space_of(roles), n_draws=10, progress=False).frame["kind"]) == {"role"}


def test_few_units_have_values_but_no_interval() -> None:
    roles = np.random.default_rng(0).normal(size=(6, 2, D_MODEL))
    frame = sweep(
        space_of(roles), metrics=["participation_ratio"], n_draws=10, progress=False
    ).frame
    assert frame["low"].isna().all()
    assert frame["value"].notna().all()
    assert frame["null_mean"].notna().all()


def test_a_metric_of_ones_own_has_interval_and_null_for_free() -> None:
    @metric("longest_share", scale="share")
    def longest_share(view):
        """Share of the squared length that the longest vector holds."""
        squares = (view.vectors**2).sum(axis=2)
        return squares.max(axis=1) / squares.sum(axis=1)

    try:
        space = small_space()
        found = sweep(space, metrics=["longest_share"], n_draws=30, progress=False)
        assert "longest_share" in known_metrics()
    finally:
        forget("longest_share")
    traits = space.table.values[space.table.trait_rows()][:, 1].astype(float)
    squares = (traits**2).sum(axis=1)
    row = found.frame.query("kind == 'trait' and layer == 1").iloc[0]
    assert row["value"] == pytest.approx(squares.max() / squares.sum(), rel=1e-5)
    assert row["null_mean"] == pytest.approx(row["value"]), "the null has the same norms"
    assert row["low"] < row["value"] < row["high"]
    assert found.card["help"]["longest_share"].startswith("Share of the squared length")


def test_a_metric_that_returns_the_wrong_shape_is_told_so() -> None:
    @metric("all_of_it", nulls=())
    def all_of_it(view):
        return view.gram

    try:
        with pytest.raises(SpaceError, match=r"\[draw\] or \[draw, unit\]"):
            sweep(small_space(), metrics=["all_of_it"], n_draws=4, progress=False)
    finally:
        forget("all_of_it")


@pytest.mark.parametrize(
    "wrong", [{"kinds": ("persona",)}, {"nulls": ("nothing",)}, {"scale": "log"}]
)
def test_a_metric_must_be_declared_with_known_words(wrong: dict) -> None:
    with pytest.raises(SpaceError, match="unknown"):
        metric("mine", **wrong)


def test_a_metric_of_replies_cannot_be_replaced() -> None:
    with pytest.raises(SpaceError, match="metric already"):
        metric("identity")


def test_unknown_metrics_layers_and_spaces_are_errors() -> None:
    space = small_space()
    with pytest.raises(SpaceError, match=r"participation_ratio.*given nonsense"):
        sweep(space, metrics=["nonsense"], progress=False)
    with pytest.raises(SpaceError, match="layer not in this space"):
        sweep(space, layers=[7], progress=False)
    with pytest.raises(SpaceError, match="too few"):
        sweep(space, n_draws=1, progress=False)
    with pytest.raises(SpaceError, match="not fitted"):
        sweep(small_space(fitted=False), progress=False)


def test_metrics_of_replies_are_left_out_or_refused_without_replies() -> None:
    space = small_space()
    found = sweep(space, n_draws=4, progress=False)
    assert set(REPLY_METRICS) <= set(found.card["left_out"])
    assert "split_half" in found.card["left_out"]
    assert not set(found.frame["metric"]) & set(REPLY_METRICS)
    with pytest.raises(SpaceError, match="made from vectors"):
        sweep(space, metrics=["identity"], progress=False)
    with pytest.raises(SpaceError, match="no scores of single replies"):
        found.emergence()


def test_scores_of_replies_are_means_with_their_nulls() -> None:
    space = with_replies()
    found = sweep(space, metrics=["identity"], layers=[0, 11], n_draws=50, progress=False)
    scores = space.separability_.scores["identity", "role"]  # type: ignore[attr-defined]
    row = found.frame.query("kind == 'role' and layer == 11").iloc[0]
    assert row["value"] == pytest.approx(scores[:, :, 11].mean())
    assert row["low"] < 0.9 < row["high"]
    assert row["null"] == "shuffled labels"
    assert row["null_mean"] == pytest.approx(0.5, abs=0.01)
    first = found.frame.query("kind == 'role' and layer == 0").iloc[0]
    assert first["low"] < 0.5 < first["high"]
    unit = found.units.query("kind == 'trait' and name == 'trait_3' and layer == 11")
    expected = space.separability_.scores["identity", "trait"][3, :, 11].mean()  # type: ignore[attr-defined]
    assert unit["value"].item() == pytest.approx(expected)


def test_random_directions_of_replies_are_rows_of_their_own() -> None:
    space = small_space(12)
    scores = scores_of({"role": np.full(16, 8.0)})
    key = ("identity", "role")
    random = {key: np.full((4, 16, 12), 0.55)}
    space.separability_ = replace(scores, random=random)  # type: ignore[attr-defined]
    frame = sweep(space, metrics="identity", layers=[3], n_draws=10, progress=False).frame
    assert frame.set_index("null")["null_mean"].to_dict() == {
        "random directions": pytest.approx(0.55),
        "shuffled labels": pytest.approx(0.5, abs=0.01),
    }


def test_saved_and_loaded_it_is_the_same(tmp_path) -> None:
    found = sweep(with_replies(), metrics=["identity", "axis_cosine"], n_draws=10, progress=False)
    loaded = Sweep.load(found.save(tmp_path / "sweep"))
    pd.testing.assert_frame_equal(loaded.frame, found.frame)
    pd.testing.assert_frame_equal(loaded.units, found.units)
    assert loaded.card == found.card
    depths = [each.emergence(n_draws=20)["depth"].round(2).tolist() for each in (found, loaded)]
    assert depths[0] == depths[1]
    files = {path.suffix for path in (tmp_path / "sweep").rglob("*") if path.is_file()}
    assert files == {".parquet", ".json", ".safetensors"}
    with pytest.raises(SpaceError, match="no sweep"):
        Sweep.load(tmp_path)


def test_two_sweeps_in_one_frame() -> None:
    found = sweep(small_space(), metrics=["axis_cosine"], n_draws=4, progress=False)
    both = found.compare_with({"random weights": found})
    assert both["model"].value_counts().to_dict() == {
        "this model": len(found.frame),
        "random weights": len(found.frame),
    }
    with pytest.raises(SpaceError, match="one name"):
        found.compare_with({"mine": found}, name="mine")


def test_it_shows_itself() -> None:
    found = sweep(small_space(), metrics=["axis_cosine"], n_draws=4, progress=False)
    assert repr(found) == "Sweep(1 metric, layers 0 to 2)"
    assert found._repr_html_().count("<tr>") == 1 + len(
        found.frame[["kind", "null"]].drop_duplicates()
    )


def test_it_draws_itself_beside_a_control() -> None:
    found = sweep(small_space(), metrics=["axis_cosine"], n_draws=4, progress=False)
    figure = found.plot(controls={"random weights": found})
    assert len(figure.data) > 0
