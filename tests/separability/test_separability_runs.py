"""From a run in blocks of layers, refusals, what cannot be held out, wide models, and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_replies import chosen, made_replies, thinned

from persona_lens import RunFolder
from persona_lens.errors import RunError, SpaceError
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs import Manifest
from persona_lens.separability import (
    METRICS,
    Replies,
    Separability,
    lead,
    measure,
    measure_run,
    measuring,
)


def planted() -> Replies:
    return made_replies(
        n_roles=4, n_traits=3, n_prompts=2, n_questions=3, d_model=6, role_size=(0, 1, 2, 3), trait_gap=(3,) * 4
    )  # fmt: skip


def write_run(path: Path, replies: Replies, layers: tuple[int, ...]) -> RunFolder:
    """A run that holds these replies, the last one of every shard empty."""
    keys = list(
        dict.fromkeys(
            zip(replies.kind, replies.unit, replies.side, replies.prompt.tolist(), strict=True)
        )
    )
    numbers = np.unique(replies.question)
    requests = tuple(Request(question_id=f"q{n}", question=f"{n}?") for n in [*numbers, "none"])
    shards = tuple(
        Shard(
            kind=str(kind),
            # Each default prompt is a shard with a name of its own.
            name=f"default_{prompt}" if kind == "default" else str(unit),
            prompt_index=prompt,
            side=str(side),
            system=f"{unit} {side} {prompt}",
            requests=requests,
        )
        for kind, unit, side, prompt in keys
    )
    d_model = replies.values.shape[2]
    manifest = Manifest(
        conditions={"model": "made"},
        reader={"d_model": d_model},
        reader_key="made",
        layers=layers,
        shards=shards,
        about={},
        versions={},
    )
    run = RunFolder(path)
    opened = run.started(manifest)
    for shard, (kind, unit, side, prompt) in zip(shards, keys, strict=True):
        mine = (replies.kind == kind) & (replies.unit == unit) & (replies.side == side)
        means = replies.values[mine & (replies.prompt == prompt)]
        empty = np.full((1, *means.shape[1:]), np.nan, dtype=np.float32)
        said = [Reply(ids=np.array([1]), text="Arr") for _ in requests]
        opened.write_replies(shard, said)
        opened.write_activations(shard, said, np.concatenate([means, empty]))
    return run


def test_a_run_gives_what_its_replies_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = (3, 5, 7, 9)
    replies = planted()
    run = write_run(tmp_path, replies, layers)
    expected = measure(replies, n_shuffles=3, n_random=3, seed=5)
    monkeypatch.setattr(measuring, "MAX_BLOCK_BYTES", 1)  # a layer at a time
    found = measure_run(run, n_shuffles=3, n_random=3, seed=5, progress=False)
    assert found.layers == layers
    assert found.names == expected.names
    for part in ("scores", "shuffled", "random"):
        mine, theirs = getattr(found, part), getattr(expected, part)
        assert set(mine) == set(theirs)
        for key in mine:
            np.testing.assert_allclose(mine[key], theirs[key], atol=1e-5, err_msg=str(key))
    assert found.counts["role"].tolist() == [6] * 4
    assert found.counts["trait"].tolist() == [12] * 3
    assert found.card["hook_point"] == "blocks.{layer}.hook_resid_post"


def test_some_layers_of_a_run(tmp_path: Path) -> None:
    replies = planted()
    run = write_run(tmp_path, replies, (3, 5, 7, 9))
    found = measure_run(run, layers=[9, 5], n_shuffles=0, n_random=0, progress=False)
    expected = measure(replies, n_shuffles=0, n_random=0)
    assert found.layers == (9, 5)
    np.testing.assert_allclose(
        found.scores["identity", "role"],
        expected.scores["identity", "role"][..., [3, 1]],
        atol=1e-6,
    )
    with pytest.raises(RunError, match="were not read"):
        measure_run(run, layers=[4], progress=False)


def test_every_metric_has_the_promised_shape() -> None:
    found = measure(planted(), n_shuffles=5, n_random=2)
    for metric in METRICS:
        for kind, units in (("role", 4), ("trait", 3)):
            folds = 1 if metric in ("fisher", "reliability") else 3
            assert found.scores[metric, kind].shape == (units, folds, 4)
            assert found.shuffled[metric, kind].shape == (5, units, 4)
            assert np.isfinite(found.scores[metric, kind]).all(), metric
    assert found.random["d_prime", "role"].shape == (2, 4, 4)
    assert set(found.chance) == set(METRICS)


def test_same_seed_same_numbers_and_labels_are_shared_by_layers() -> None:
    replies = planted()
    twice = replace(replies, values=replies.values[:, [2, 2]], layers=(0, 1))
    first, again = (measure(twice, seed=3) for _ in range(2))
    for key, null in first.shuffled.items():
        np.testing.assert_array_equal(null, again.shuffled[key])
        np.testing.assert_allclose(null[..., 0], null[..., 1], atol=1e-5)
    other = measure(twice, seed=4)
    assert not np.allclose(first.shuffled["identity", "role"], other.shuffled["identity", "role"])


def test_nothing_to_hold_out_is_refused() -> None:
    replies = planted()
    with pytest.raises(RunError, match=r"role.*system prompts"):
        measure(chosen(replies, (replies.prompt == 0) | (replies.kind == "trait")))
    with pytest.raises(RunError, match="questions to hold out"):
        measure(chosen(replies, replies.question == 1))
    with pytest.raises(RunError, match="neither"):
        measure(chosen(replies, replies.kind == "default"))
    with pytest.raises(RunError, match="draws"):
        measure(replies, n_shuffles=-1)


def test_replies_are_checked() -> None:
    replies = planted()
    with pytest.raises(RunError, match="fit together"):
        replace(replies, prompt=replies.prompt[1:])
    with pytest.raises(RunError, match="no known kind or side"):
        replace(replies, side=np.full(len(replies.side), ""))
    spoilt = replies.values.copy()
    spoilt[0, 0, 0] = np.inf
    with pytest.raises(RunError, match="not finite"):
        replace(replies, values=spoilt)


def test_one_default_prompt_leaves_contrasts_of_roles_unknown() -> None:
    replies = planted()
    found = measure(chosen(replies, (replies.kind != "default") | (replies.prompt == 0)))
    for metric in ("auc", "auc_probe", "d_prime"):
        assert np.isnan(found.scores[metric, "role"]).all()
        assert np.isfinite(found.scores[metric, "trait"]).all()
    assert ("auc", "role") not in found.random
    assert np.isfinite(found.scores["identity", "role"]).all()
    assert "default" in found.card["not_measured"]["role"][0]


def test_units_without_replies_in_places_stay_finite_or_unknown() -> None:
    replies = made_replies(n_roles=6, n_prompts=3, role_size=(8.0,), trait_gap=(8.0,))
    only_one = (replies.unit == "role_0") & (replies.prompt != 2)
    found = measure(thinned(chosen(replies, ~only_one)))
    assert np.isnan(found.values("identity", "role")[0]).all()  # its only prompt is never trained
    assert (found.values("identity", "role")[1:] > 0.9).all()
    assert (found.values("reliability", "role")[1:] > 0.5).all()
    for metric in METRICS:
        assert np.isfinite(found.values(metric, "trait")).all(), metric


def test_replies_that_are_all_alike_are_ties() -> None:
    replies = planted()
    found = measure(replace(replies, values=np.ones_like(replies.values)), n_shuffles=1)
    for metric in ("identity", "auc", "auc_probe"):
        for kind in found.names:
            np.testing.assert_allclose(found.values(metric, kind), 0.5)


def test_wide_models_are_projected() -> None:
    replies = made_replies(
        n_roles=5,
        n_traits=0,
        n_prompts=2,
        n_questions=2,
        d_model=1100,
        role_size=(60.0,),
        samples=3,
    )
    found = measure(replies, n_shuffles=0, n_random=0)
    assert found.values("identity", "role").min() > 0.95
    assert "1100 to 1024" in found.card["projection"]


def test_save_and_load(tmp_path: Path) -> None:
    found = measure(planted(), n_shuffles=4, n_random=3)
    found.save(tmp_path / "made")
    again = Separability.load(tmp_path / "made")
    assert again.layers == found.layers
    assert again.names == found.names
    assert again.chance == found.chance
    assert again.card == found.card
    for key, values in found.scores.items():
        np.testing.assert_array_equal(again.scores[key], values)
    for part in ("shuffled", "random"):
        for key, values in getattr(found, part).items():
            np.testing.assert_allclose(getattr(again, part)[key], values, rtol=1e-3, atol=1e-4)
    for kind, counts in found.counts.items():
        np.testing.assert_array_equal(again.counts[kind], counts)
    with pytest.raises(SpaceError, match="no separability"):
        Separability.load(tmp_path / "nowhere")


def test_a_compact_copy_is_smaller_and_close(tmp_path: Path) -> None:
    found = measure(planted(), n_shuffles=20, n_random=20)
    again = Separability.load(found.save(tmp_path / "compact", compact=True))
    for key, values in found.scores.items():
        np.testing.assert_allclose(again.scores[key], values, rtol=2e-3, atol=1e-3)
    for part in ("shuffled", "random"):
        for key, draws in getattr(found, part).items():
            np.testing.assert_allclose(
                getattr(again, part)[key], draws, atol=np.nanmax(np.abs(draws)) / 100
            )
    sizes = [
        (folder / "separability.safetensors").stat().st_size
        for folder in (tmp_path / "compact", found.save(tmp_path / "plain"))
    ]
    assert sizes[0] < sizes[1]


def test_a_reader_leads_another_where_it_sees_more() -> None:
    clear = measure(planted(), n_shuffles=0, n_random=0)
    rng = np.random.default_rng(5)
    replies = planted()
    blurred = replace(
        replies, values=replies.values + 3 * rng.normal(size=replies.values.shape).astype("f4")
    )
    dim = measure(blurred, n_shuffles=0, n_random=0)
    ahead = lead(clear, dim, "identity")
    assert set(ahead["kind"]) == {"role", "trait"}
    expected = clear.values("identity", "role") - dim.values("identity", "role")
    values = ahead.loc[ahead["kind"] == "role", "value"]
    np.testing.assert_allclose(values, expected.mean(axis=0), atol=1e-6)
    assert ahead.groupby("kind")["value"].max().min() > 0.05
    assert (ahead["low"] <= ahead["value"] + 1e-9).all()
    assert (ahead["value"] <= ahead["high"] + 1e-9).all()
    same = lead(clear, clear, "reliability")
    assert (same[["value", "low", "high"]] == 0).all(axis=None)
    fewer = replace(dim, counts={kind: n - 1 for kind, n in dim.counts.items()})
    with pytest.raises(SpaceError, match="not measured alike"):
        lead(clear, fewer, "identity")
    with pytest.raises(SpaceError, match="not measured for both"):
        lead(clear, dim, "beauty")


def test_frame_is_tidy() -> None:
    found = measure(planted(), n_shuffles=9)
    frame = found.frame("auc")
    assert len(frame) == (4 + 3) * 4
    row = frame[(frame.name == "trait_2") & (frame.layer == 1)].iloc[0]
    assert row.value == pytest.approx(found.values("auc", "trait")[2, 1])
    null = found.shuffled["auc", "trait"][:, 2, 1]
    assert row.shuffled_mean == pytest.approx(null.mean(), abs=1e-6)
    assert row.p == pytest.approx((1 + (null >= row.value).sum()) / 10)
    assert row["count"] == 12
    with pytest.raises(SpaceError, match="no metric"):
        found.frame("beauty")
    with pytest.raises(SpaceError, match="not measured"):
        found.values("auc", "default")
