"""The choice of judge moves the axis as far as `vector_table` says, and the null by as much as chance does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged_run import guessing, honest, judged_by, level, taken_in, write_run
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from persona_lens import RunFolder
from persona_lens.analysis.audit.judge_effect import MEASURES, judge_effect
from persona_lens.analysis.audit.role_means import NO_JUDGE, read_role_means
from persona_lens.errors import RunError
from persona_lens.judges import Verdict
from persona_lens.runs.vectors import vector_table
from persona_lens.statistics.pca import unit
from persona_lens.vectors.table import VectorTable

MIN_COUNT = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(
        tmp_path_factory.mktemp("effect") / "run", n_roles=14, n_traits=1, layers=(2, 5)
    )
    judged_by(run, "honest", honest)
    judged_by(run, "twin", honest)
    judged_by(run, "guessing", guessing, seed=1)
    judged_by(run, "taken-in", taken_in)
    return run


@pytest.fixture(scope="module")
def effect(run: RunFolder) -> pd.DataFrame:
    return judge_effect(run, min_count=MIN_COUNT, n_resamples=60)


def between(effect: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    chosen = effect["first"].str.startswith(first) & effect["second"].str.startswith(second)
    return effect.loc[chosen].set_index(["layer", "what"])


def test_every_pair_layer_and_measure_has_a_row(effect: pd.DataFrame) -> None:
    assert len(effect) == 10 * 2 * len(MEASURES)
    assert not effect.duplicated(["first", "second", "layer", "what"]).any()
    assert np.isfinite(effect.select_dtypes("number")).all(axis=None)
    assert (effect["low"] <= effect["value"]).all()
    assert (effect["value"] <= effect["high"] + 1e-9).all()
    assert (effect["null_low"] <= effect["null_high"]).all()


def plain(table: VectorTable, place: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Axis, first two components, and vectors by role, in the plainest way."""
    axis = table.values[0, place] - table.values[table.axis_rows(), place].mean(axis=0)
    pca = PCA(2).fit(table.values[table.indices(kind="role"), place])
    placed = {table.names[row]: table.values[row, place] for row in table.axis_rows()}
    return unit(axis), pca.components_, placed


@pytest.mark.parametrize("judge", ["honest", "taken-in"])
def test_values_are_those_of_the_vector_tables(
    run: RunFolder, effect: pd.DataFrame, judge: str
) -> None:
    found = between(effect, NO_JUDGE, judge)
    tables = vector_table(run), vector_table(run, judge=judge, min_count=MIN_COUNT)
    for place, layer in enumerate((2, 5)):
        (axis, components, roles), (axis_2, components_2, roles_2) = (
            plain(table, place) for table in tables
        )
        both = [name for name in roles if name in roles_2]
        vectors, vectors_2 = (np.stack([own[name] for name in both]) for own in (roles, roles_2))
        expected = {
            "axis": axis @ axis_2,
            "pc1": abs(components[0] @ components_2[0]),
            "distances": np.corrcoef(pdist(vectors), pdist(vectors_2))[0, 1],
            "map": np.corrcoef(pdist(vectors @ components.T), pdist(vectors_2 @ components_2.T))[
                0, 1
            ],
        }
        for what, value in expected.items():
            assert found.loc[(layer, what), "value"] == pytest.approx(value, abs=1e-5)
        row = found.loc[(layer, "axis")]
        assert row["roles_first"] == len(roles)
        assert row["roles_second"] == len(roles_2)
        assert row["roles_both"] == len(both)
        assert row["replies_second"] == tables[1].select(kind="role").counts.sum()


def repeated(vectors: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.repeat(vectors, times, axis=0)


def test_intervals_are_those_of_a_plain_bootstrap_of_the_roles(run: RunFolder) -> None:
    found = judge_effect(run, ["taken-in"], layers=[5], min_count=MIN_COUNT, n_resamples=800)
    tables = [vector_table(run), vector_table(run, judge="taken-in", min_count=MIN_COUNT)]
    default = tables[0].values[0, 1]
    roles = [table.values[table.axis_rows(), 1] for table in tables]
    names = [[table.names[row] for row in table.axis_rows()] for table in tables]
    assert names[0] == names[1], "so that rows are roles"
    rng, drawn = np.random.default_rng(0), []
    for _ in range(800):
        times = np.bincount(rng.integers(0, 14, size=14), minlength=14)
        axes = [unit(default - repeated(own, times).mean(axis=0)) for own in roles]
        pc1 = [PCA(1).fit(repeated(own, times)).components_[0] for own in roles]
        both = np.repeat(np.arange(14), times)
        one, two = np.triu_indices(14, k=1)
        differ = both[one] != both[two]
        distances = [pdist(repeated(own, times))[differ] for own in roles]
        drawn.append((axes[0] @ axes[1], abs(pc1[0] @ pc1[1]), np.corrcoef(*distances)[0, 1]))
    errors = np.arctanh(np.array(drawn)).std(axis=0)
    rows = found.set_index("what").loc[["axis", "pc1", "distances"]]
    widths = np.arctanh(rows["high"]) - np.arctanh(rows["value"])
    np.testing.assert_allclose(widths, 1.96 * errors, rtol=0.15)


def test_identical_judges_make_the_same_space(effect: pd.DataFrame) -> None:
    found = between(effect, "honest", "twin")
    assert found["value"].to_numpy() == pytest.approx(np.ones(2 * len(MEASURES)))
    assert found["low"].to_numpy() == pytest.approx(np.ones(2 * len(MEASURES)))
    assert (found["null_high"] < 1 - 1e-6).all(), "random choices are not all the same"


def test_a_judge_that_guesses_is_like_the_null(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=14, layers=tuple(range(6)))
    for seed in (11, 12):
        judged_by(run, f"guessing{seed}", guessing, seed=seed)
    found = judge_effect(run, min_count=MIN_COUNT, n_resamples=2)
    within = (found["null_low"] <= found["value"]) & (found["value"] <= found["null_high"])
    assert within.mean() > 0.8


def test_a_judge_that_goes_by_something_else_falls_below_the_null(effect: pd.DataFrame) -> None:
    for other in (NO_JUDGE, "honest"):
        found = between(effect, other, "taken-in")
        for layer in (2, 5):
            row = found.loc[(layer, "axis")]
            assert row["high"] < row["null_low"]
    honest_axis = between(effect, NO_JUDGE, "honest").loc[(5, "axis")]
    assert honest_axis["value"] > between(effect, NO_JUDGE, "taken-in").loc[(5, "axis"), "value"]


def test_dealt_labels_keep_counts_and_scatter_around_the_mean_of_all(run: RunFolder) -> None:
    default, (everyone, judged) = read_role_means(
        run, ["honest"], layers=[5, 2], min_count=MIN_COUNT, n_draws=400
    )
    table = vector_table(run)
    np.testing.assert_allclose(default, table.values[0, ::-1], rtol=1e-5)
    np.testing.assert_allclose(everyone.values, table.values[table.axis_rows()][:, ::-1], rtol=1e-4)
    assert everyone.dealt.shape == (0, *everyone.values.shape)
    assert judged.dealt.shape == (400, *judged.values.shape)
    spread = judged.dealt.std(axis=0)
    of_all = everyone.values[judged.role]
    assert (np.abs(judged.dealt.mean(axis=0) - of_all) < 6 * spread / 20).all()
    ratio = np.abs(judged.values - of_all) / spread
    assert ratio.mean() > 1.5, "the judge itself chooses"
    rare, common = judged.counts == judged.counts.min(), judged.counts == judged.counts.max()
    assert spread[rare].mean() > spread[common].mean(), "fewer replies, more scatter"


def test_empty_replies_and_rare_labels_are_left_out_as_in_the_vector_table(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=6)
    opened = run.opened()
    shard = next(shard for shard in opened.shards if shard.kind == "role")
    means = opened.read_activations(shard)
    means[::2] = np.nan
    opened.write_activations(shard, opened.read_replies(shard), means)
    judged_by(run, "honest", honest)
    for min_count in (1, 7, 9):
        table = vector_table(run, judge="honest", min_count=min_count).select(kind="role")
        _, (_, judged) = read_role_means(
            run, ["honest"], layers=[0, 1], min_count=min_count, n_draws=5
        )
        names = [f"role_{number:02}" for number in judged.role]
        labels = np.where(judged.on_axis, "fully", "somewhat").tolist()
        assert (tuple(names), tuple(labels)) == (table.names, table.labels)
        np.testing.assert_array_equal(judged.counts, table.counts)
        np.testing.assert_allclose(judged.values, table.values, rtol=1e-4)


def test_too_few_roles_leave_numbers_missing_and_counts_known(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=4)

    def strict(case, rng):
        played = level(case) == 2 and case.shard.name in ("role_00", "role_01")
        return Verdict(label="fully" if played else "not")

    judged_by(run, "strict", strict)
    judged_by(run, "honest", honest)
    found = judge_effect(run, min_count=1, n_resamples=20)
    few = found["second"].str.startswith("strict") | found["first"].str.startswith("strict")
    assert found.loc[few, ["value", "low", "high", "null"]].isna().all(axis=None)
    assert found.loc[~few, "value"].notna().all()
    strict_first = between(found, "honest", "strict")
    assert set(strict_first["roles_second"]) == {2}


def test_layers(run: RunFolder, tmp_path: Path) -> None:
    assert set(judge_effect(run, ["honest"], layers=[5], min_count=1, n_resamples=2)["layer"]) == {
        5
    }
    with pytest.raises(RunError, match=r"(?s)no activations at layer 3.*expected 2, 5"):
        judge_effect(run, ["honest"], layers=[3])
    unread = write_run(tmp_path / "unread", n_roles=3, layers=())
    judged_by(unread, "honest", honest)
    with pytest.raises(RunError, match=r"has no activations\n"):
        judge_effect(unread)
    deep = write_run(tmp_path / "deep", n_roles=3, layers=tuple(range(20)))
    judged_by(deep, "honest", honest)
    layers = sorted(set(judge_effect(deep, min_count=1, n_resamples=2)["layer"]))
    assert len(layers) == 8
    assert (layers[0], layers[-1]) == (0, 19)


def test_the_same_seed_gives_the_same_numbers(run: RunFolder, effect: pd.DataFrame) -> None:
    again = judge_effect(run, min_count=MIN_COUNT, n_resamples=60)
    pd.testing.assert_frame_equal(effect, again)
    other = judge_effect(run, min_count=MIN_COUNT, n_resamples=60, seed=1)
    assert (other["value"] == effect["value"]).all()
    assert (other["null_low"] != effect["null_low"]).any()
