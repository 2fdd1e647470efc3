"""Agreement of judges: scikit-learn's numbers, intervals that hold what they promise, a telling null."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged_run import guessing, honest, judged_by, write_run
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score

from persona_lens import RunFolder
from persona_lens.analysis.audit.agreement import Agreement, RoleAgreement, agreement
from persona_lens.analysis.audit.verdicts import judges_of, verdict_frame
from persona_lens.errors import RunError
from persona_lens.judges import Verdict
from persona_lens.judges.base import LABELS
from persona_lens.runs.vectors import vector_table
from persona_lens.statistics.kappa import drawn_anew, kappa, percentiles


def role_frame(first: np.ndarray, second: np.ndarray, role: np.ndarray) -> pd.DataFrame:
    """Two judges' labels as places in `LABELS`, -1 for none."""
    frame = pd.DataFrame({"kind": "role", "name": [f"role_{number}" for number in role]})
    for name, codes in (("a", first), ("b", second)):
        frame[f"label:{name}"] = pd.Categorical.from_codes(codes, LABELS, ordered=True)
    return frame


def of_roles(found: Agreement) -> RoleAgreement:
    assert found.roles is not None
    return found.roles


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("agreement") / "run", n_traits=3)
    judged_by(run, "honest", honest)
    judged_by(run, "guessing", guessing, seed=1)
    return run


def test_a_row_for_every_role_and_trait_reply(run: RunFolder) -> None:
    frame = verdict_frame(run)
    judged = [shard for shard in run.manifest().shards if shard.kind != "default"]
    assert len(frame) == sum(len(shard.requests) for shard in judged)
    assert [key.split("-")[0] for key in judges_of(frame)] == ["guessing", "honest"]
    key = judges_of(frame)[1]
    replies = [reply.text for s in judged for reply in run.opened().read_replies(s)]
    roles = (frame["kind"] == "role").to_numpy()
    said = frame.loc[roles, f"label:{key}"].astype(str).to_list()
    assert said == [LABELS[int(text[0])] for text, role in zip(replies, roles, strict=True) if role]
    assert frame.loc[~roles, f"label:{key}"].isna().all()
    assert set(frame.loc[roles, "group"]) == {"human"}
    assert not frame.duplicated(
        ["kind", "name", "prompt_index", "side", "question_id", "sample"]
    ).any()


def test_unknown_missing_and_unfinished_judges(run: RunFolder, tmp_path: Path) -> None:
    assert judges_of(verdict_frame(run, ["hon"]))[0].startswith("honest-")
    with pytest.raises(RunError, match="no judge 'rules'"):
        verdict_frame(run, ["rules"])
    with pytest.raises(RunError, match="no judge 'hon' in the frame"):
        agreement(verdict_frame(run), "hon", "guessing")
    bare = write_run(tmp_path / "bare", n_roles=3)
    with pytest.raises(RunError, match="no judge has labelled"):
        verdict_frame(bare)
    key = judged_by(bare, "honest", honest)
    next((bare.path / "labels" / key).glob("*.parquet")).unlink()
    with pytest.raises(RunError, match="has not been labelled"):
        verdict_frame(bare)


@pytest.mark.parametrize("linear", [False, True])
def test_kappas_are_those_of_scikit_learn(linear: bool) -> None:
    rng = np.random.default_rng(0)
    tables = rng.integers(0, 12, size=(20, 3, 3))
    for table, value in zip(tables, kappa(tables, linear=linear), strict=True):
        first, second = np.repeat(np.argwhere(table >= 0), table.ravel(), axis=0).T
        expected = cohen_kappa_score(
            first, second, labels=[0, 1, 2], weights="linear" if linear else None
        )
        assert value == pytest.approx(expected)


def test_whole_and_by_role_against_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    role = np.repeat(np.arange(12), 25)
    first = rng.integers(-1, 3, size=300)
    second = np.where(rng.random(300) < 0.4, first, rng.integers(-1, 3, size=300))
    second[role == 3] = 2  # one label only: no kappa
    found = of_roles(agreement(role_frame(first, second, role), "a", "b", n_resamples=50))
    both = (first >= 0) & (second >= 0)
    assert found.count == both.sum()
    assert found.n_groups == 12
    assert found.equal.value == pytest.approx((first == second)[both].mean())
    assert found.kappa.value == pytest.approx(cohen_kappa_score(first[both], second[both]))
    assert found.weighted_kappa.value == pytest.approx(
        cohen_kappa_score(first[both], second[both], weights="linear")
    )
    assert found.confusion.loc["not", "fully"] == ((first == 0) & (second == 2)).sum()
    by_role = found.by_role.set_index("name")
    for number in range(12):
        own = both & (role == number)
        row = by_role.loc[f"role_{number}"]
        assert row["count"] == own.sum()
        if number == 3:
            assert row[["kappa", "low", "high", "null_low"]].isna().all()
            assert row["labels_second"] == 1
        else:
            assert row["kappa"] == pytest.approx(cohen_kappa_score(first[own], second[own]))
            assert row["low"] <= row["kappa"] <= row["high"]


def test_a_role_whose_second_label_is_rare_is_not_certain() -> None:
    first = np.array([2] * 15 + [0])
    frame = role_frame(np.tile(first, 2), np.tile(first, 2), np.repeat([0, 1], 16))
    row = of_roles(agreement(frame, "a", "b", n_resamples=300)).by_role.iloc[0]
    assert (row["kappa"], row["high"]) == (1, 1)
    assert row["low"] == 0, "a third of all samples of these replies hold one label only"


def drawn_tables(n_roles: int, rng: np.random.Generator) -> np.ndarray:
    """Two judges who agree on 20 replies of a role as far as the role allows; the true kappa is 0.5."""
    role = np.repeat(np.arange(n_roles), 20)
    same = rng.random(len(role)) < rng.choice([0.1, 0.9], size=n_roles)[role]
    first = rng.integers(0, 3, size=len(role))
    second = np.where(same, first, rng.integers(0, 3, size=len(role)))
    tables = np.zeros((n_roles, 3, 3), dtype=int)
    np.add.at(tables, (role, first, second), 1)
    return tables


def test_intervals_cover_the_truth_because_whole_roles_are_drawn() -> None:
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        tables = drawn_tables(30, rng)
        low, high = percentiles(kappa(drawn_anew(tables, 300, rng)))
        total = tables.sum(axis=0)
        one_by_one = rng.multinomial(total.sum(), total.ravel() / total.sum(), size=300)
        narrow = percentiles(kappa(one_by_one.reshape(-1, 3, 3)))
        hits.append((low <= 0.5 <= high, narrow[0] <= 0.5 <= narrow[1]))
    covered, if_one_by_one = np.mean(hits, axis=0)
    assert 0.9 <= covered <= 0.98
    assert if_one_by_one < 0.75, "replies of a role are not independent"


def test_judges_that_know_the_role_and_nothing_else_agree_as_the_null_says() -> None:
    rng = np.random.default_rng(3)
    role = np.repeat(np.arange(40), 30)
    chances = rng.dirichlet([0.3, 0.3, 0.3], size=40)
    deal = [np.array([rng.choice(3, p=chances[number]) for number in role]) for _ in range(2)]
    blind = of_roles(agreement(role_frame(*deal, role), "a", "b")).kappa
    assert blind.value > 0.25, "plain kappa is taken in"
    assert blind.null_low <= blind.value <= blind.null_high
    reading = np.where(rng.random(len(role)) < 0.3, deal[0], deal[1])
    assert (
        seeing := of_roles(agreement(role_frame(deal[0], reading, role), "a", "b")).kappa
    ).value > seeing.null_high


def test_identical_judges_agree_wholly(run: RunFolder) -> None:
    frame = verdict_frame(run, ["honest"])
    key = judges_of(frame)[0]
    twin = {column: column.replace(key, "twin") for column in frame.columns if column.endswith(key)}
    found = agreement(frame.assign(**{new: frame[old] for old, new in twin.items()}), key, "twin")
    for measure in (of_roles(found).kappa, of_roles(found).weighted_kappa, of_roles(found).equal):
        assert (measure.value, measure.low, measure.high) == pytest.approx((1, 1, 1))
        assert measure.null_high < 0.6
    assert found.traits is not None
    assert found.traits.spearman.value == pytest.approx(1)
    assert found.traits.pairs.kappa.value == pytest.approx(1)


def test_what_is_dropped_is_counted_by_the_label_it_would_have_had(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=5)

    def choosy(case, rng):  # has no verdict on half of what is fully in role
        verdict = honest(case, rng)
        lost = verdict.label == "fully" and case.reply.text.endswith("1")
        return Verdict(status="unparsed", raw="hm") if lost else verdict

    first, second = judged_by(run, "choosy", choosy), judged_by(run, "honest", honest)
    frame = verdict_frame(run)
    dropped = of_roles(agreement(frame, first, second)).dropped.set_index(["judge", "by_other"])
    lost = frame[f"status:{first}"] == "unparsed"
    full = frame[f"label:{second}"] == "fully"
    assert dropped.loc[(first, "any"), "dropped"] == lost.sum() > 0
    assert dropped.loc[(first, "fully"), "share"] == pytest.approx((lost & full).sum() / full.sum())
    assert dropped.loc[(first, "not"), "dropped"] == dropped.loc[(second, "any"), "dropped"] == 0
    assert dropped.loc[(second, "none"), "replies"] == lost.sum()
    assert dropped.loc[(first, "any"), "low"] < lost.mean() < dropped.loc[(first, "any"), "high"]


def test_trait_scores_and_pairs(run: RunFolder) -> None:
    frame = verdict_frame(run)
    guess, read = judges_of(frame)
    refused = np.random.default_rng(4).random(len(frame)) < 0.1
    frame[f"refused:{read}"] = refused
    found = agreement(frame, guess, read, n_resamples=100).traits
    assert found is not None
    known = frame.loc[(frame["kind"] == "trait") & ~refused]
    assert found.count == len(known)
    assert found.n_traits == 3
    assert found.spearman.value == pytest.approx(
        spearmanr(known[f"score:{guess}"], known[f"score:{read}"])[0]
    )
    assert found.pairs.count == 3 * 2 * 12


def test_pairs_kept_are_those_of_the_vector_table(run: RunFolder) -> None:
    frame = verdict_frame(run)
    found = agreement(frame, *judges_of(frame)).traits
    assert found is not None
    for judge, axis in zip(judges_of(frame), (1, 0), strict=True):
        counts = vector_table(run, judge=judge, min_count=1).card["label_counts"]
        kept = sum(counts[f"trait-trait_{number}"]["pos-neg-50"] for number in range(3))
        assert found.pairs.confusion.sum(axis=axis)["kept"] == kept > 0


def test_scores_that_know_the_side_alone_are_within_the_null() -> None:
    rng = np.random.default_rng(5)
    rows = pd.MultiIndex.from_product(
        [["x", "y", "z"], range(3), ["positive", "negative"], [f"q{i}" for i in range(20)], [0]],
        names=["name", "prompt_index", "side", "question_id", "sample"],
    )
    frame = rows.to_frame(index=False).assign(kind="trait")
    height = np.where(frame["side"] == "positive", 70, 30)
    for judge in ("a", "b"):
        frame[f"label:{judge}"] = None
        frame[f"refused:{judge}"] = False
        frame[f"score:{judge}"] = height + rng.normal(size=len(frame)) * 10
    found = agreement(frame, "a", "b", n_resamples=200).traits
    assert found is not None
    assert found.spearman.value > 0.6
    assert found.spearman.null_low <= found.spearman.value <= found.spearman.null_high
    frame["score:b"] = frame["score:a"] + rng.normal(size=len(frame)) * 5
    reading = agreement(frame, "a", "b", n_resamples=200).traits
    assert reading is not None
    assert reading.spearman.value > reading.spearman.null_high


def test_where_nothing_can_be_compared_numbers_are_missing(run: RunFolder) -> None:
    frame = verdict_frame(run)
    first, second = judges_of(frame)
    frame[f"score:{first}"] = np.nan
    frame[f"label:{first}"] = pd.Categorical([None] * len(frame), LABELS)
    found = agreement(frame, first, second, n_resamples=20)
    table = found.frame().set_index("what")
    assert table["value"].drop("trait pairs: equal").isna().all()
    assert table.loc["roles: kappa", "count"] == table.loc["traits: Spearman", "count"] == 0
    assert len(of_roles(found).by_role) == 0
    only_roles = agreement(frame.loc[frame["kind"] == "role"], first, second, n_resamples=20)
    assert only_roles.traits is None
