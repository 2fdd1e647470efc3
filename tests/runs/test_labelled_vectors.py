"""Vectors of a judged run: two a role, traits from pairs far apart, and what falls below the minimum is listed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persona_lens import PersonaModel, PersonaSpace, RunFolder, Sampling
from persona_lens.errors import RunError
from persona_lens.judges import Case, Verdict
from persona_lens.runs import collect_run, vector_table
from persona_lens.runs.judging import judge_run

PLAN = {
    "roles": ["pirate", "ghost", "analyst", "poet"],
    "traits": ["calm"],
    "questions": ["q01", "q02", "q03", "q04"],
    "prompts": 2,
    "default_samples": 1,
    "progress": False,
    "sampling": Sampling(max_new_tokens=6),
}


class Scripted:
    """Labels by role and place; scores the calm side of even questions high."""

    name = "scripted"

    def card(self) -> dict[str, Any]:
        return {}

    @staticmethod
    def label(role: str, index: int) -> str | None:
        if role == "analyst":
            return "not" if index else None
        if role == "poet":
            return "somewhat"
        return ("fully", "fully", "fully", "somewhat")[index]

    def verdicts(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        for case in cases:
            if case.shard.kind == "trait":
                high = case.shard.side == "positive" and case.index % 2 == 0
                refused = case.shard.side == "negative" and case.index == 2
                score = 90.0 if high else 20.0
                yield case, Verdict(score=None if refused else score, refused=refused)
            else:
                label = self.label(case.shard.name, case.index)
                status = "ok" if label else "unparsed"
                yield case, Verdict(label=label, status=status)  # pyright: ignore


@pytest.fixture(scope="module")
def run(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    folder = collect_run(model, tmp_path_factory.mktemp("runs") / "labelled", **PLAN)
    judge_run(folder, Scripted(), progress=False)
    return folder


def means(run: RunFolder, name: str, chosen: Any, side: str = "") -> np.ndarray:
    opened = run.opened()
    parts = [
        opened.read_activations(shard)[index]
        for shard in opened.shards
        if shard.name == name and shard.side == side
        for index in range(len(shard.requests))
        if chosen(index)
    ]
    return np.stack(parts).astype(np.float64).mean(0)


def test_a_role_has_a_vector_for_each_label_with_enough_replies(run: RunFolder) -> None:
    table = vector_table(run, judge="scripted", min_count=2)
    rows = list(zip(table.kinds, table.names, table.labels, table.counts.tolist(), strict=True))
    assert rows == [
        ("default", "default", "all", 20),
        ("role", "pirate", "fully", 6),
        ("role", "pirate", "somewhat", 2),
        ("role", "ghost", "fully", 6),
        ("role", "ghost", "somewhat", 2),
        ("role", "poet", "somewhat", 8),
        ("trait", "calm", "pos-neg", 16),
        ("trait", "calm", "pos-neg-50", 4),
    ]
    np.testing.assert_allclose(
        table.values[3], means(run, "ghost", lambda index: index < 3), rtol=1e-5
    )
    np.testing.assert_allclose(
        table.values[4], means(run, "ghost", lambda index: index == 3), rtol=1e-5
    )
    kept = means(run, "calm", lambda i: i == 0, "positive")
    kept = kept - means(run, "calm", lambda i: i == 0, "negative")
    np.testing.assert_allclose(table.values[7], kept, rtol=1e-4, atol=1e-5)


def test_what_falls_below_the_minimum_is_listed_with_its_count(run: RunFolder) -> None:
    card = vector_table(run, judge="scripted", min_count=3).card
    below = {(e["name"], e["label"]): e["count"] for e in card["below_minimum"]}
    assert below == {
        ("pirate", "somewhat"): 2,
        ("ghost", "somewhat"): 2,
        ("analyst", "fully"): 0,
        ("analyst", "somewhat"): 0,
        ("poet", "fully"): 0,
        ("calm", "pos-neg-50"): 2,
    }
    assert card["label_counts"]["role-analyst"] == {"fully": 0, "somewhat": 0, "not": 6}
    assert card["judge"]["name"] == "scripted"


def test_nobody_fully_in_role_is_an_error_that_says_what_there_is(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"(?s)no role has enough.*at least 7.*6 of pirate"):
        vector_table(run, judge="scripted", min_count=7)


def test_roles_alone_can_be_labelled_and_traits_later(tiny_llama: Path, tmp_path: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    folder = collect_run(model, tmp_path / "run", **PLAN)
    labels = judge_run(folder, Scripted(), kinds=["role"], progress=False)
    files = {file: file.stat().st_mtime_ns for file in labels.path.glob("*.parquet")}
    assert all(file.name.startswith("role-") for file in files)
    table = vector_table(folder, judge="scripted", min_count=2)
    assert set(table.labels) == {"all", "fully", "somewhat", "pos-neg"}
    judge_run(folder, Scripted(), progress=False)
    assert all(file.stat().st_mtime_ns == when for file, when in files.items())
    assert "pos-neg-50" in vector_table(folder, judge="scripted", min_count=2).labels


def test_without_a_judge_every_reply_counts(run: RunFolder) -> None:
    table = vector_table(run)
    assert set(table.labels) == {"all", "pos-neg"}
    assert table.card["judge"] is None


def test_the_axis_is_of_the_roles_fully_in_role_and_pca_of_all_vectors(
    tiny_llama: Path, tmp_path: Path
) -> None:
    class Generous(Scripted):
        @staticmethod
        def label(role: str, index: int) -> str | None:
            return "somewhat" if index == 3 and role != "analyst" else "fully"

    model = PersonaModel.load(tiny_llama, dtype="float32")
    folder = collect_run(model, tmp_path / "run", **PLAN)
    judge_run(folder, Generous(), progress=False)
    space = PersonaSpace.from_run(folder.path, judge="scripted", min_count=2, n_resamples=20).fit()
    table = space.table
    fully = table.values[table.indices(kind="role", label="fully")]
    assert len(fully) == 4
    np.testing.assert_allclose(
        space.axis_, space.vector("default") - fully.mean(0), rtol=1e-4, atol=1e-5
    )
    roles = table.values[table.indices(kind="role"), 1].astype(np.float64)
    assert len(roles) == 7
    centred = roles - roles.mean(0)
    pc1 = np.linalg.svd(centred)[2][0]
    assert abs(pc1 @ space.components_[1, 0]) == pytest.approx(1, abs=1e-4)
    axis = space.axis_[1] / np.linalg.norm(space.axis_[1])
    assert space.stability_["cosine"][1] == pytest.approx(abs(pc1 @ axis), abs=1e-3)
    assert space.ranking(1)["name"].tolist() == sorted(
        space.ranking(1)["name"], key=lambda name: -space.project(name, 1)
    )
    alone = PersonaSpace.from_run(
        folder.path, judge="scripted", min_count=2, n_resamples=20, only_fully=True
    ).fit()
    pc1 = np.linalg.svd(fully[:, 1] - fully[:, 1].mean(0))[2][0]
    assert abs(pc1 @ alone.components_[1, 0]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(alone.axis_, space.axis_)
    assert (space.vector("pirate (somewhat)") != space.vector("pirate")).any()
    assert (space.vector("calm") == table.values[table.labels.index("pos-neg-50")]).all()
    assert repr(space).startswith("PersonaSpace(4 roles, 1 traits")
    opened = PersonaSpace.load(space.save(tmp_path / "space"))
    assert opened.table.card["judge"]["name"] == "scripted"
    figure = space.map(1)
    symbols = [symbol for trace in figure.data if trace.uid for symbol in trace.marker.symbol or ()]
    assert sum(str(symbol).endswith("-open") for symbol in symbols) == 3
    assert any(trace.name == "only somewhat in role" for trace in figure.data)
