from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_spaces import N_ROLES, N_TRAITS, parts, space_of, turned

from persona_lens import PersonaSpace, VectorTable
from persona_lens.analysis.comparison import Comparison, compare
from persona_lens.analysis.comparison.matching import shared_units
from persona_lens.errors import SpaceError

FEW: dict[str, Any] = {"n_draws": 60, "n_permutations": 60, "progress": False}
OF_TRAITS = {"pc_loadings", "pc_matched", "axis_ranks", "similarity", "cka", "procrustes"}


def mixed(share: float, *, width: int, layers: int = 1, seed: int = 0) -> PersonaSpace:
    """A space of which a share of the squared length is that of `parts(0)`, turned, and the rest its own."""
    common, own = parts(0, n_layers=layers), parts(100 + seed, n_layers=layers)
    both = [
        np.sqrt(share) * first + np.sqrt(1 - share) * second
        for first, second in zip(common, own, strict=True)
    ]
    return space_of(*turned(tuple(both), width, seed, scale=1.0 + seed))


def values(comparison: Comparison, measure: str, kind: str = "role") -> np.ndarray:
    frame = comparison.frame
    return np.array(frame.query("measure == @measure and kind == @kind")["value"])


def test_a_turned_rescaled_copy_of_another_width_is_the_same() -> None:
    comparison = compare(mixed(1.0, width=40), mixed(1.0, width=64, seed=7), **FEW)
    frame = comparison.frame
    assert set(frame["measure"]) == OF_TRAITS
    assert set(frame["kind"]) == {"role", "trait"}
    np.testing.assert_allclose(frame["value"], 1.0, atol=1e-4)
    assert (frame["value"] > frame["null_95"]).all()
    np.testing.assert_allclose(frame["p"], 1 / 61)
    assert (frame["component"].dropna() == frame["partner"].dropna()).all()
    assert comparison.similarity["value"].between(0.9999, 1.0001).all()
    np.testing.assert_allclose(comparison.roles["z_a"], comparison.roles["z_b"], atol=1e-3)


def test_independent_noise_lies_within_every_null() -> None:
    layers = 80  # each with vectors of its own, so as many tries
    a = space_of(*turned(parts(1, n_layers=layers), 40, 1))
    b = space_of(*turned(parts(2, n_layers=layers), 40, 2))
    often = {**FEW, "n_draws": 2, "n_permutations": 200}
    frame = compare(a, b, cosines=True, **often).frame
    frame["above"] = frame["value"] > frame["null_95"]
    found = pd.DataFrame(frame.groupby(["kind", "measure"])[["above", "p"]].mean())
    assert len(found) == 2 * len(OF_TRAITS) + 2
    # Four standard errors each: the ps of nothing are uniform, and one in twenty is above.
    assert found["above"].max() < 0.05 + 4 * np.sqrt(0.05 * 0.95 / layers), found
    assert (found["p"] - 0.5).abs().max() < 4 * np.sqrt(1 / 12 / layers), found


def test_half_shared_signal_lies_between() -> None:
    whole = mixed(1.0, width=40)
    half = compare(whole, mixed(0.5, width=50, seed=3), **FEW)
    nothing = compare(whole, mixed(0.0, width=50, seed=3), **FEW)
    for measure in ("axis_ranks", "similarity", "cka", "procrustes"):
        assert values(nothing, measure) + 0.1 < values(half, measure), measure
        assert values(half, measure) < 0.9, measure
    for measure in ("pc_loadings", "pc_matched"):
        assert values(nothing, measure)[0] + 0.1 < values(half, measure)[0] < 0.95


def test_components_in_another_order_are_found() -> None:
    roles, traits, default = parts(0)
    order = [2, 0, 3, 1, 4, 5, 6, 7]
    spread = 2.0 ** -np.arange(len(order))

    def reweighted(part: np.ndarray) -> np.ndarray:
        return part[..., order] / spread[order] * spread

    a = space_of(roles, traits, default)
    b = space_of(reweighted(roles), reweighted(traits), reweighted(default))
    frame = compare(a, b, **FEW, n_components=4).frame.query("kind == 'role'")
    found = frame.query("measure == 'pc_matched'")
    assert found["partner"].tolist() == [order.index(k) + 1 for k in range(4)]
    assert (found["value"] > 0.8).all()
    assert (frame.query("measure == 'pc_loadings'")["value"] < 0.5).all()


def test_a_planted_common_axis_is_found_though_all_else_differs() -> None:
    rng = np.random.default_rng(5)
    along = rng.normal(size=N_ROLES)

    def planted(width: int) -> PersonaSpace:
        roles = rng.normal(size=(N_ROLES, 1, width))
        default = np.zeros((1, width))
        default[0, 0] = 30.0
        roles[:, 0, 0] += 5 * along
        return space_of(roles, rng.normal(size=(N_TRAITS, 1, width)), default)

    frame = compare(planted(30), planted(50), **FEW).frame.query("kind == 'role'")
    axis = frame.query("measure == 'axis_ranks'").iloc[0]
    assert axis["value"] > 0.85
    assert axis["value"] > axis["null_95"] + 0.5
    loadings = frame.query("measure == 'pc_loadings'")
    assert loadings["value"].iloc[0] > 0.85
    assert (loadings["value"].iloc[1:] < 0.5).all()


def test_intervals_hold_the_estimate_and_narrow_with_roles() -> None:
    few = compare(mixed(1.0, width=40), mixed(0.5, width=50, seed=3), **FEW).frame
    assert (few["low"] <= few["value"]).all()
    assert (few["value"] <= few["high"]).all()
    assert (few["n"] == few["kind"].map({"role": N_ROLES, "trait": N_TRAITS})).all()
    wide = (few["high"] - few["low"]).groupby([few["kind"], few["measure"]]).mean()
    for measure in ("axis_ranks", "similarity", "cka"):
        assert 0 < wide["role", measure] < wide["trait", measure]


def test_intervals_cover_the_truth() -> None:
    """Roles drawn anew from one population, of which the correlation is known."""
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        along = rng.normal(size=(2, N_ROLES))
        along[1] = 0.8 * along[0] + 0.6 * along[1]
        spaces = []
        for places in along:
            roles = np.zeros((N_ROLES, 1, 12))
            roles[:, 0, 0] = places
            roles[:, 0, 1:] = 1e-3 * rng.normal(size=(N_ROLES, 11))
            spaces.append(space_of(roles, roles[:0], np.eye(12)[:1] * 100))
        frame = compare(
            *spaces, n_draws=100, n_permutations=5, progress=False, n_components=1
        ).frame
        row = frame.query("measure == 'axis_ranks'").iloc[0]
        covered += row["low"] <= 6 / np.pi * np.arcsin(0.4) <= row["high"]
    assert covered >= 33  # 95 % nominal, 38 expected


def test_layers_are_matched_by_relative_depth() -> None:
    deep, shallow = mixed(1.0, width=20, layers=8), mixed(1.0, width=30, layers=4, seed=1)
    for first, second, columns in (
        (deep, shallow, ["layer_a", "layer_b"]),
        (shallow, deep, ["layer_b", "layer_a"]),
    ):
        frame = compare(first, second, **FEW).frame
        pairs = sorted(map(list, set(zip(frame[columns[0]], frame[columns[1]], strict=True))))
        assert pairs == [[1, 0], [3, 1], [5, 2], [7, 3]]
        assert sorted(frame["depth"].unique()) == [0.25, 0.5, 0.75, 1.0]
    chosen = compare(deep, shallow, layers=[0, -1], **FEW)
    assert chosen.frame[["layer_a", "layer_b"]].drop_duplicates().to_numpy().tolist() == [
        [0, 0],
        [7, 3],
    ]
    assert len(chosen.similarity) == 2 * 2 * 4
    twice = compare(deep, mixed(1.0, width=30, layers=8, seed=1), **FEW).frame
    assert (twice["layer_a"] == twice["layer_b"]).all()


def test_the_same_layer_is_the_most_alike() -> None:
    rng = np.random.default_rng(0)
    layers = [parts(seed) for seed in range(4)]
    deep = tuple(np.concatenate([layer[part] for layer in layers], axis=-2) for part in range(3))
    noisy = [part + 0.02 * rng.normal(size=part.shape) for part in deep]
    frame = compare(space_of(*deep), space_of(*noisy), **FEW).similarity.query("kind == 'role'")
    table = frame.pivot(index="layer_a", columns="layer_b", values="value").to_numpy()
    null = frame.pivot(index="layer_a", columns="layer_b", values="null_95").to_numpy()
    assert (table.argmax(axis=1) == np.arange(4)).all()
    assert (table.diagonal() > null.diagonal()).all()
    assert (np.abs(table[~np.eye(4, dtype=bool)]) < 0.3).all()


def test_directions_are_compared_within_one_model() -> None:
    roles, traits, default = turned(parts(0), 40, 0)
    rng = np.random.default_rng(1)
    a = space_of(roles, traits, default)
    b = space_of(roles + 0.1 * rng.normal(size=roles.shape), traits, default)
    assert "axis_cosine" not in set(compare(a, b, **FEW).frame["measure"])
    reader = {"reader": {"model": "one", "fingerprint": "1", "n_layers": 4}}
    for space in (a, b):
        object.__setattr__(space.table, "card", reader)
    comparison = compare(a, b, **FEW)
    assert comparison.frame["depth"].unique().tolist() == [0.25]
    axis = comparison.frame.query("measure == 'axis_cosine'").iloc[0]
    expected = a.axis_[0] @ b.axis_[0] / np.linalg.norm(a.axis_) / np.linalg.norm(b.axis_)
    np.testing.assert_allclose(axis["value"], expected, rtol=1e-5)
    assert axis["low"] < axis["value"] < axis["high"]
    found = comparison.frame.query("measure == 'pc_cosine'")
    assert found["partner"].tolist()[:3] == [1, 2, 3]
    assert (found["low"] <= found["value"]).all()
    assert found["value"].iloc[0] > found["null_95"].iloc[0]
    scaled = space_of(roles, traits, default, scaling="zscore")
    assert set(compare(a, scaled, cosines=True, **FEW).frame["measure"]) == {
        *OF_TRAITS,
        "axis_cosine",
    }


def test_what_is_not_shared_is_said_and_too_little_refused() -> None:
    roles, traits, default = parts(0)
    a = space_of(roles[:15], traits[:5], default)
    comparison = compare(a, space_of(roles[:12], traits[:5], default), **FEW)
    assert comparison.card["shared"] == {"role": 12}
    assert comparison.card["too_few"] == {"trait": 5}
    assert comparison.card["left_out_a"]["role"] == ["role_12", "role_13", "role_14"]
    assert comparison.card["left_out_b"]["role"] == []
    with pytest.raises(SpaceError, match="9"):
        compare(a, space_of(roles[:9], traits, default), **FEW)
    with pytest.raises(SpaceError, match="15 only in the first"):
        compare(a, space_of(roles, traits, default, prefix="other"), **FEW)
    with pytest.raises(SpaceError, match="width"):
        compare(a, space_of(*turned((roles, traits, default), 20, 0)), cosines=True, **FEW)
    for little in ({"n_draws": 1}, {"n_permutations": 0}, {"n_components": 0}, {"layers": []}):
        with pytest.raises(SpaceError, match="so little"):
            compare(a, a, **{**FEW, **little})
    with pytest.raises(SpaceError, match="layer"):
        compare(a, a, layers=[3], **FEW)
    with pytest.raises(SpaceError, match="not fitted"):
        compare(a, PersonaSpace(a.table), **FEW)


def test_a_judged_role_counts_once_by_its_vector_fully_in_role() -> None:
    def table(labels: dict[str, tuple[str, ...]]) -> VectorTable:
        rows = [(name, label) for name, its in labels.items() for label in its]
        names, of_rows = zip(*rows, strict=True)
        n = len(rows)
        return VectorTable(
            np.zeros((n, 1, 4)), names, ("role",) * n, of_rows, np.ones(n, dtype=int), (0,)
        )

    both = table({"bard": ("somewhat", "fully"), "clerk": ("fully",), "ghost": ("somewhat",)})
    plain = table({"ghost": ("all",), "bard": ("all",), "clerk": ("all",)})
    shared = shared_units(both, plain, "role")
    assert shared.names == ("bard", "clerk")
    assert (shared.rows_a, shared.rows_b) == ((1, 2), (1, 2))
    assert (shared.left_out_a, shared.left_out_b) == ((), ("ghost",))


def test_the_order_of_the_spaces_does_not_matter() -> None:
    a, b = mixed(1.0, width=40), mixed(0.5, width=50, seed=3)
    one, other = (compare(*pair, **FEW).frame for pair in ((a, b), (b, a)))
    for measure in ("pc_loadings", "axis_ranks", "similarity", "cka", "procrustes"):
        first, second = (
            np.array(frame.loc[frame["measure"] == measure, "value"]) for frame in (one, other)
        )
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_comparison_is_kept_and_shown(tmp_path: Path) -> None:
    a, b = mixed(1.0, width=40, layers=2), mixed(0.5, width=50, layers=2, seed=3)
    comparison = compare(a, b, **FEW)
    again = Comparison.load(comparison.save(tmp_path / "kept"))
    for name in ("frame", "similarity", "roles"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(comparison, name))
    assert dict(again.card) == dict(comparison.card)
    assert again.at(0.9)["layer_a"].unique().tolist() == [1]
    assert "60 roles, 24 traits" in repr(again)
    assert "axis_ranks" in again._repr_html_()
    assert compare(a, b, **FEW).frame.equals(comparison.frame)
    with pytest.raises(SpaceError, match="no comparison"):
        Comparison.load(tmp_path)


def test_figures_are_drawn_of_the_frames() -> None:
    comparison = compare(mixed(1.0, width=40), mixed(0.5, width=50, seed=3), **FEW)
    panels = comparison.plot(title="Both")
    assert "Both" in panels.layout.title.text
    scatter = comparison.scatter(depth=1.0, kind="trait")
    assert sum(len(trace.x) for trace in scatter.data if trace.mode == "markers") == N_TRAITS
    with pytest.raises(SpaceError, match="role or trait"):
        comparison.scatter(kind="default")
