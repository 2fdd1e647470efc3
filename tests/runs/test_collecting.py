"""Runs: stored completely, continued exactly, and never written by two at a time."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from tiny import tiny_folder
from waiting import happens

from persona_lens import PersonaModel, RunFolder, Sampling
from persona_lens.errors import ModelError, RunError
from persona_lens.runs import collect_run, reply_means, vector_table

PLAN = {
    "roles": ["pirate", "ghost", "analyst"],
    "traits": ["calm"],
    "questions": ["q01", "q02", "q03"],
    "prompts": 2,
    "default_samples": 2,
    "batch_size": 6,
    "progress": False,
}
SAMPLING = Sampling(max_new_tokens=8)

COLLECT = """
import json, sys, time
from persona_lens import PersonaModel, Sampling
from persona_lens.runs import collect_run
from persona_lens.runs.store.open_run import OpenRun
model = PersonaModel.load(sys.argv[1], dtype="float32")
if len(sys.argv) > 4:  # never finishes: the last reply waits for whoever kills it
    write = OpenRun.write_replies
    def hold_the_last(run, shard, replies):
        there = [shard for shard in run.shards if run.has_replies(shard)]
        if len(there) == len(run.shards) - 1:
            time.sleep(3600)
        write(run, shard, replies)
    OpenRun.write_replies = hold_the_last
print("ready", flush=True)
collect_run(model, sys.argv[2], sampling=Sampling(max_new_tokens=8), **json.loads(sys.argv[3]))
"""


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, dtype="float32")


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.suffix in (".parquet", ".safetensors")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def rows(folder: Path) -> list[dict]:
    return RunFolder(folder).replies().to_list()


def test_a_run_holds_every_reply_once_and_datasets_opens_it(
    model: PersonaModel, tmp_path: Path
) -> None:
    import datasets

    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    stored = rows(run.path)
    keys = [
        (r["kind"], r["name"], r["prompt_index"], r["side"], r["question_id"], r["sample"])
        for r in stored
    ]
    assert len(keys) == len(set(keys)) == 5 * 3 * 2 + 3 * 2 * 3 + 1 * 2 * 2 * 3
    opened = datasets.load_dataset(
        "parquet",
        data_files=str(run.path / "replies" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert opened.num_rows == len(keys)
    for row in stored:
        assert row["reply"] == model.tokenizer.decode(row["reply_ids"], skip_special_tokens=True)


def test_stored_means_equal_reading_the_stored_ids_again(
    model: PersonaModel, tmp_path: Path
) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    opened = run.opened()
    for shard in opened.shards[::5]:
        replies = opened.read_replies(shard)
        prompts = [
            model.encoder.prompt(model.encoder.messages(r.question, system=shard.system))
            for r in shard.requests
        ]
        whole = [model.encoder.with_reply(p, r.ids) for p, r in zip(prompts, replies, strict=True)]
        np.testing.assert_allclose(
            opened.read_activations(shard), model.pooled(whole), rtol=5e-4, atol=5e-5
        )


def test_killed_at_random_points_and_continued_equals_uninterrupted(
    tiny_llama: Path, tmp_path: Path
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    rng = random.Random(seed)
    plan = json.dumps(PLAN)
    broken = tmp_path / "broken"

    def start(*until: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", COLLECT, str(tiny_llama), str(broken), plan, *until],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        return process

    def ended_or_reached(process: subprocess.Popen, target: int) -> bool:
        there = len(list(broken.glob("replies/[!.]*.parquet")))
        return process.poll() is not None or there >= target

    kept: dict[str, bytes] = {}
    total = 5 + 3 * 2 + 1 * 2 * 2
    for target in sorted(rng.sample(range(1, total), 2)):
        process = start("killed")
        assert happens(lambda: ended_or_reached(process, target))  # noqa: B023 - at once
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        now = {name: data for name, data in contents(broken).items() if "partial" not in name}
        assert kept.items() <= now.items(), f"a finished shard changed (seed {seed})"
        kept = now
    assert start().wait() == 0

    whole = tmp_path / "whole"
    collect_run(PersonaModel.load(tiny_llama, dtype="float32"), whole, sampling=SAMPLING, **PLAN)
    assert contents(broken).keys() == contents(whole).keys()
    assert rows(broken) == rows(whole), f"seed {seed}"
    for name, data in contents(whole).items():
        if name.endswith(".safetensors"):
            assert contents(broken)[name] == data, name


def test_a_finished_run_samples_nothing(
    model: PersonaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    before = contents(run.path)
    monkeypatch.setattr(model, "generate", lambda *_a, **_k: pytest.fail("sampled again"))
    collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    assert contents(run.path) == before


def test_a_changed_role_is_collected_again_and_the_others_stay(
    model: PersonaModel, tmp_path: Path
) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    before = contents(run.path)
    mine = {"name": "pirate", "prompts": ["You are a pirate who has lost the sea."]}
    changed = {**PLAN, "roles": [mine, "ghost", "analyst"]}
    with pytest.raises(
        RunError,
        match=r"(?s)other settings.*any more: role-pirate-p1.*other prompts.*role-pirate-p0",
    ):
        collect_run(model, run.path, sampling=SAMPLING, **changed)
    fork = collect_run(model, run.path, sampling=SAMPLING, fork=tmp_path / "fork", **changed)
    assert contents(run.path) == before
    after = contents(fork.path)
    new = after.keys() - before.keys()
    assert len(new) == 2
    assert all("role-pirate-p0" in name for name in new)
    assert all(after[name] == before[name] for name in after.keys() & before.keys())
    assert len(before.keys() - after.keys()) == 4


def test_damaged_files_are_made_again(model: PersonaModel, tmp_path: Path) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    expected = rows(run.path)
    replies = sorted(run.path.glob("replies/*.parquet"))
    replies[0].write_bytes(replies[0].read_bytes()[:100])
    means = sorted(run.path.glob("activations/*/*.safetensors"))
    means[1].write_bytes(b"")
    with pytest.raises(RunError, match=r"(?s)not finished.*same collect command"):
        list(reply_means(run))
    collect_run(model, run.path, sampling=SAMPLING, **PLAN)
    assert rows(run.path) == expected
    assert sum(len(batch) for _, _, batch in reply_means(run)) > 0


def test_two_writers_are_one_too_many(model: PersonaModel, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(RunError, match="written by another process"),
    ):
        collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)


def test_another_model_reads_the_same_replies(model: PersonaModel, tmp_path: Path) -> None:
    other = PersonaModel.load(tiny_folder(tmp_path / "other", "gpt2"), dtype="float32")
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    said = rows(run.path)
    by_self = vector_table(run)
    run = collect_run(
        model,
        run.path,
        sampling=SAMPLING,
        reader=other,
        layers=[1, 2],
        fork=tmp_path / "fork",
        **PLAN,
    )
    assert rows(run.path) == said
    by_other = vector_table(run)
    assert by_other.layers == (1, 2)
    assert by_other.card["reader"]["architecture"] == "GPT2LMHeadModel"
    assert by_other.names == by_self.names
    opened = run.opened()
    shard = opened.shards[0]
    first = shard.requests[0]
    reply = opened.read_replies(shard)[0]
    messages = other.encoder.messages(first.question, system=shard.system)
    transcript = other.encoder.with_reply(other.encoder.prompt(messages), reply.ids)
    np.testing.assert_allclose(
        opened.read_activations(shard)[0],
        other.pooled([transcript], layers=[1, 2])[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_vectors_are_the_naive_means(model: PersonaModel, tmp_path: Path) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    table = vector_table(run)
    opened = run.opened()
    gathered: dict[tuple[str, str], list[np.ndarray]] = {}
    for shard in opened.shards:
        name = "default" if shard.kind == "default" else shard.name
        means = opened.read_activations(shard).astype(np.float64)
        gathered.setdefault((name, shard.side), []).append(means[~np.isnan(means[:, 0, 0])])
    means = {key: np.concatenate(parts).mean(0) for key, parts in gathered.items()}
    ghost = table.names.index("ghost")
    np.testing.assert_allclose(table.values[ghost], means["ghost", ""], rtol=1e-6)
    calm = table.names.index("calm")
    np.testing.assert_allclose(
        table.values[calm],
        means["calm", "positive"] - means["calm", "negative"],
        rtol=1e-5,
        atol=1e-6,
    )
    assert table.labels[calm] == "pos-neg"
    assert table.counts[table.names.index("default")] == len(
        np.concatenate(gathered["default", ""])
    )
    parts = np.concatenate(gathered["ghost", ""])
    expected = ((parts - parts.mean(0)) ** 2).sum(-1).mean(0) / (len(parts) - 1)
    np.testing.assert_allclose(table.squared_errors[ghost], expected, rtol=1e-4)
    assert table.folds.shape[:2] == (len(table), 3)
    by_question = np.stack([parts[question::3].mean(0) for question in range(3)])
    np.testing.assert_allclose(table.folds[ghost], by_question, rtol=1e-5, atol=1e-6)


def test_layers_that_do_not_exist_are_refused_before_anything_runs(
    model: PersonaModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"(?s)no such layer.*given 9"):
        collect_run(model, tmp_path / "run", layers=[1, 9], **PLAN)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_a_run_and_a_broken_manifest_say_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"(?s)no run in.*manifest.json"):
        RunFolder(tmp_path).manifest()
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(RunError, match=r"(?s)cannot be read.*finished replies are kept"):
        RunFolder(tmp_path).manifest()


def test_the_estimate_and_the_bar_go_to_standard_error(
    model: PersonaModel, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    collect_run(model, tmp_path / "run", sampling=SAMPLING, **{**PLAN, "progress": True})
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "60 replies, at most 480 tokens" in printed.err
    assert "on disk" in printed.err


@pytest.mark.embedded
def test_the_real_run_speaks_in_character(small_run: Path) -> None:
    stored = rows(small_run)
    assert len(stored) == 5 * 4 * 2 + 12 * 4 + 2 * 2 * 4
    sea = ("sea", "ship", "sail", "ocean", "treasure", "crew", "captain", "arr", "matey", "plunder")

    def rate(replies: list[str]) -> float:
        return sum(any(word in reply.lower().split() for word in sea) for reply in replies) / len(
            replies
        )

    pirate = [row["reply"] for row in stored if row["name"] == "pirate"]
    default = [row["reply"] for row in stored if row["kind"] == "default"]
    assert rate(pirate) > 2 * rate(default)
    assert {len(pq.read_table(file)) for file in small_run.glob("replies/role-*.parquet")} == {4}


def test_replies_do_not_depend_on_who_reads_them(model: PersonaModel, tmp_path: Path) -> None:
    other = PersonaModel.load(tiny_folder(tmp_path / "other", "gpt2"), dtype="float32")
    plan = {**PLAN, "batch_size": 4}  # several batches a unit
    by_self = collect_run(model, tmp_path / "self", sampling=SAMPLING, **plan)
    by_other = collect_run(model, tmp_path / "other_run", sampling=SAMPLING, reader=other, **plan)
    assert rows(by_self.path) == rows(by_other.path)


def test_means_of_other_replies_are_not_taken_for_those_that_are_there(
    model: PersonaModel, tmp_path: Path
) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    opened = run.opened()
    shard = opened.shards[-1]
    replies = opened.read_replies(shard)
    opened.write_replies(shard, replies[::-1])
    assert not opened.has_activations(shard)
    collect_run(model, run.path, sampling=SAMPLING, **PLAN)
    assert opened.has_activations(shard)


def test_a_damaged_page_of_replies_is_noticed(model: PersonaModel, tmp_path: Path) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    expected = rows(run.path)
    file = sorted(run.path.glob("replies/role-*.parquet"))[0]
    data = bytearray(file.read_bytes())
    data[8:200] = bytes(192)
    file.write_bytes(data)
    collect_run(model, run.path, sampling=SAMPLING, **PLAN)
    assert rows(run.path) == expected


def test_a_hooked_bridge_is_not_collected_from(tiny_llama: Path, tmp_path: Path) -> None:
    hooked = PersonaModel.load(tiny_llama, dtype="float32")
    hooked.bridge.add_hook(hooked.hook_name(1), lambda x, hook: x + 50)
    with pytest.raises(RunError, match=r"(?s)the model carries hooks.*reset_hooks"):
        collect_run(hooked, tmp_path / "run", sampling=SAMPLING, **PLAN)
    hooked.bridge.reset_hooks()
    collect_run(hooked, tmp_path / "run", sampling=SAMPLING, **PLAN)


def test_prompts_that_do_not_fit_are_found_out_before_anything_runs(
    model: PersonaModel, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="do not fit the model's context"):
        collect_run(model, tmp_path / "run", sampling=Sampling(max_new_tokens=480), **PLAN)
    assert not (tmp_path / "run").exists()


def test_a_disk_too_small_is_found_out_before_anything_runs(
    model: PersonaModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1000))
    with pytest.raises(RunError, match=r"(?s)the disk under .* is too small.*given 1 kB"):
        collect_run(model, tmp_path / "run", sampling=SAMPLING, **{**PLAN, "progress": True})


def test_empty_replies_do_not_count_and_overflow_is_not_taken_for_emptiness(
    model: PersonaModel, tmp_path: Path
) -> None:
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, **PLAN)
    opened = run.opened()
    shard = next(shard for shard in opened.shards if shard.name == "ghost")
    replies, means = opened.read_replies(shard), opened.read_activations(shard)
    before = vector_table(run)
    means[1] = np.nan
    opened.write_activations(shard, replies, means)
    after = vector_table(run)
    ghost = before.names.index("ghost")
    assert after.counts[ghost] == before.counts[ghost] - 1
    means[1] = 0.0
    means[1, 2, 3] = np.inf
    opened.write_activations(shard, replies, means)
    with pytest.raises(RunError, match=r"(?s)role-ghost-p0 is not finite.*float16"):
        vector_table(run)


def test_a_run_can_read_what_the_paper_reads(model: PersonaModel, tmp_path: Path) -> None:
    plan = {**PLAN, "defaults": ["You are {model_name}.", {"id": "none", "text": ""}]}
    run = collect_run(model, tmp_path / "run", sampling=SAMPLING, tokens="paper", **plan)
    opened = run.opened()
    assert opened.manifest.reader["tokens"] == "paper"
    assert opened.manifest.conditions["prompts"] == "paper"
    table = vector_table(run)
    assert "the paper's code takes" in table.card["pooling"]
    for shard in opened.shards:
        means = opened.read_activations(shard)
        for request, reply, mean in zip(
            shard.requests, opened.read_replies(shard), means, strict=True
        ):
            # No system message where there is no system text, and the reply's own bytes between its marks.
            asked = [{"role": "user", "content": request.question}]
            if shard.system:
                asked.insert(0, {"role": "system", "content": shard.system})
            said = [*asked, {"role": "assistant", "content": reply.text}]
            text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in said)
            ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
            words = model.tokenizer(reply.text, add_special_tokens=False)["input_ids"]
            if not words:
                assert np.isnan(mean).all()
                continue
            with torch.no_grad():
                hidden = model.bridge.original_model(
                    torch.tensor([ids]), output_hidden_states=True
                ).hidden_states
            end = len(ids) - 2  # <|im_end|> and a newline
            for layer in range(model.n_layers - 1):
                expected = hidden[layer + 1][0, end - len(words) : end].mean(dim=0)
                np.testing.assert_allclose(mean[layer], expected.numpy(), atol=1e-5)

    usual = {**plan, "engine": None}
    with pytest.raises(RunError, match=r"(?s)other settings.*paper"):
        collect_run(model, run.path, sampling=SAMPLING, **usual)
    with pytest.raises(RunError, match=r"(?s)no such choice of tokens.*answer or paper"):
        collect_run(model, tmp_path / "x", sampling=SAMPLING, tokens="all", **plan)  # pyright: ignore[reportArgumentType]
