"""Replies of a server: each stored once whatever the server does, none asked for twice, read afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_server import (
    Behaviour,
    FaultyServer,
    Seen,
    drop,
    error,
    filtered,
    hang,
    held,
    no_choices,
    no_quota,
    not_json,
    ok,
    refused,
    server_error,
    too_many,
    wrong_model,
)
from waiting import PATIENCE, happens

from persona_lens import PersonaModel, RunFolder, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EndpointError, RunError
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.serving import ServedSource
from persona_lens.runs import collect_run
from persona_lens.runs.engines.reading import read_replies
from persona_lens.runs.served.collecting import failure_journal

PLAN: dict[str, Any] = {
    "roles": ["pirate", "ghost", "analyst"],
    "traits": ["calm"],
    "questions": ["q01", "q02", "q03"],
    "prompts": 1,
    "default_samples": 2,
    "sampling": Sampling(max_new_tokens=8),
    "progress": False,
}
TOTAL = 5 * 3 * 2 + 3 * 3 + 2 * 3
CONCURRENCY = 4

Asked = tuple[str, int]
"""Messages and seed, which no two requests of a plan have in common."""


def source(server: FaultyServer, **options: Any) -> ServedSource:
    quick = {"concurrency": CONCURRENCY, "timeout": PATIENCE, "backoff": 0.001, "max_attempts": 3}
    return ServedSource(EndpointSettings(model="m", base_url=server.url, **{**quick, **options}))


def collect(server: FaultyServer, path: Path, **options: Any) -> RunFolder:
    """Replies only, unless a model is among the options."""
    asked = {**PLAN, "served": source(server), **options}
    return collect_run(asked.pop("model", None), path, **asked)


def identity(body: dict[str, Any]) -> Asked:
    return json.dumps(body["messages"]), body["seed"]


def say(body: dict[str, Any]) -> str:
    return f"{body['messages'][-1]['content']} {body['seed']}"


GOOD = ok(say)


class Scripted:
    """Answers as `fault` says, well where it says None; counts what was answered well."""

    def __init__(self, fault: Callable[[Seen], Behaviour | None] = lambda _seen: None) -> None:
        self.fault = fault
        self.good: Counter[Asked] = Counter()

    def __call__(self, seen: Seen) -> Behaviour:
        behaviour = self.fault(seen) or GOOD
        if behaviour.body is GOOD.body and not behaviour.cut:
            self.good[identity(seen.body)] += 1
        return behaviour


def stored(run: RunFolder) -> dict[str, list[Reply]]:
    opened = run.opened()
    return {shard.key: opened.read_replies(shard) for shard in opened.shards}


def finishes(run: RunFolder) -> Counter[str]:
    return Counter(reply.finish for replies in stored(run).values() for reply in replies)


def check_complete(run: RunFolder, path: Path) -> None:
    """Every request has one reply, its own, and nothing is left over."""
    opened = run.opened()
    calls = ServedSource(EndpointSettings(model="m", base_url="http://127.0.0.1:9/v1"))
    for shard in opened.shards:
        replies = opened.read_replies(shard)
        asked = calls.calls(shard, range(len(shard.requests)), PLAN["sampling"])
        for call, reply in zip(asked, replies, strict=True):
            assert reply.text == say({"messages": call.messages, "seed": call.seed})
    assert not list(path.glob("replies/*.jsonl"))
    assert len(list(path.glob("replies/*.parquet"))) == len(opened.shards)


def first_attempts_fail() -> Callable[[Seen], Behaviour | None]:
    """Every fault that passes, one after the other, each on the first attempt of a request; one hangs."""
    faults = [
        too_many(),
        too_many("0.01"),
        too_many(retry_after_ms="5"),
        server_error(500),
        server_error(503),
        drop(),
        drop(halfway=True),
        not_json(),
        no_choices(),
    ]
    numbers, met = count(), set()

    def fault(seen: Seen) -> Behaviour | None:
        if (asked := identity(seen.body)) in met:
            return None
        met.add(asked)
        number = next(numbers)
        return faults[number % len(faults)] if number else hang()

    return fault


def test_faults_that_pass_leave_no_trace(tmp_path: Path) -> None:
    script = Scripted(first_attempts_fail())
    with FaultyServer(script) as server:
        run = collect(server, tmp_path, served=source(server, timeout=2.0))
    check_complete(run, tmp_path)
    assert len(script.good) == TOTAL
    assert set(script.good.values()) == {1}
    assert finishes(run) == {"stop": TOTAL}
    assert not failure_journal(run.opened()).path.exists()


def test_requests_of_several_shards_are_in_flight_at_once(tmp_path: Path) -> None:
    with FaultyServer(held(GOOD, lambda: server.max_in_flight >= 16)) as server:
        many = source(server, concurrency=16)
        collect(server, tmp_path, served=many, default_samples=1)
        assert server.max_in_flight == 16


def test_a_finished_run_needs_no_server_and_no_key(tmp_path: Path) -> None:
    with FaultyServer(Scripted()) as server:
        run = collect(server, tmp_path)
        before = {file: file.read_bytes() for file in tmp_path.glob("replies/*")}
    elsewhere = {"base_url": "https://example.org/v1", "api_key_env": "NO_SUCH_KEY"}
    served = ServedSource(EndpointSettings(model="m", **elsewhere))
    collect_run(None, tmp_path, served=served, **PLAN)
    check_complete(run, tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.glob("replies/*")} == before


def test_more_roles_cost_their_own_replies_only(tmp_path: Path) -> None:
    script = Scripted()
    with FaultyServer(script) as server:
        collect(server, tmp_path)
        run = collect(server, tmp_path, roles=[*PLAN["roles"], "wraith"])
    check_complete(run, tmp_path)
    assert script.good.total() == len(script.good) == TOTAL + 3


def lasting(seen: Seen) -> Behaviour | None:
    """One request in five fails for good, in one of three ways."""
    match seen.body["seed"] % 15:
        case 0:
            return server_error()
        case 5:
            return error(400, "this prompt is not for us")
        case 10:
            return no_choices()
    return None


def test_what_fails_is_kept_counted_and_asked_again_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    script = Scripted(lasting)
    with FaultyServer(script) as server:
        run = collect(server, tmp_path, progress=True)
        failed = finishes(run)["failed"]
        assert finishes(run) == {"stop": TOTAL - failed, "failed": failed}
        assert failed == TOTAL - len(script.good) > 3
        told = capsys.readouterr().err
        assert f"{TOTAL} replies: {failed} failed" in told
        assert "times status 500" in told
        assert "--retry-failed" in told
        assert all(not r.text for rs in stored(run).values() for r in rs if r.finish == "failed")
        noted = list(failure_journal(run.opened()).records())
        assert len(noted) == failed
        assert {"status 400: this prompt is not for us"} < {record["reason"] for record in noted}

        asked = len(server.requests)
        collect(server, tmp_path)
        assert len(server.requests) == asked

        script.fault = lambda _seen: None
        collect(server, tmp_path, retry_failed=True)
        assert len(server.requests) == asked + failed
    check_complete(run, tmp_path)
    assert set(script.good.values()) == {1}
    assert finishes(run) == {"stop": TOTAL}


def test_a_repetition_that_is_cut_short_keeps_what_it_got(tmp_path: Path) -> None:
    script = Scripted(lasting)
    with FaultyServer(script) as server:
        run = collect(server, tmp_path)
        failed = finishes(run)["failed"]
        again = count()
        script.fault = lambda _seen: no_quota() if next(again) == 2 else None
        with pytest.raises(EndpointError, match="quota"):
            collect(server, tmp_path, served=source(server, concurrency=1), retry_failed=True)
        collect(server, tmp_path)  # takes what lies in the journals into the files
        assert finishes(run) == {"stop": TOTAL - failed + 2, "failed": failed - 2}
        assert not list(tmp_path.glob("replies/*.jsonl"))


def test_ways_to_end_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ways = [ok(say, finish="length"), refused("I cannot."), filtered(), ok(None), GOOD]
    with FaultyServer(lambda seen: ways[seen.number % 5]) as server:
        run = collect(server, tmp_path, progress=True)
    fifth = TOTAL // 5
    assert finishes(run) == {
        "length": fifth,
        "refused": fifth,
        "filtered": fifth,
        "stop": 2 * fifth,
    }
    texts = {reply.text for rs in stored(run).values() for reply in rs if reply.finish == "refused"}
    assert texts == {"I cannot."}
    told = capsys.readouterr().err
    assert f"{TOTAL} replies: {fifth} refused, {fifth} filtered, {fifth} cut at the limit" in told


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        (no_quota(), "quota"),
        (wrong_model(), r"(?s)no model 'm'.*/models"),
        (error(401, "no"), "does not accept the API key"),
    ],
)
def test_what_no_repetition_mends_ends_the_work_and_loses_nothing(
    tmp_path: Path, stop: Behaviour, message: str
) -> None:
    script = Scripted(lambda seen: stop if seen.number >= 20 else None)
    with FaultyServer(script) as server, pytest.raises(EndpointError, match=message):
        collect(server, tmp_path)
    first = Counter(script.good)
    with FaultyServer(script) as server:
        script.fault = lambda _seen: None
        run = collect(server, tmp_path)
    check_complete(run, tmp_path)
    assert len(script.good) == TOTAL
    repeated = [asked for asked, times in script.good.items() if times > 1]
    assert len(repeated) <= CONCURRENCY  # answered when the work ended, and not yet received
    assert set(repeated) <= first.keys()


def test_what_failed_with_the_server_is_asked_again_without_being_told(tmp_path: Path) -> None:
    script = Scripted(lambda seen: drop() if seen.number >= 20 else None)
    with FaultyServer(script) as server, pytest.raises(EndpointError, match="seems to be down"):
        collect(server, tmp_path)
    with FaultyServer(script) as server:
        script.fault = lambda _seen: None
        run = collect(server, tmp_path)
    check_complete(run, tmp_path)
    assert set(script.good.values()) == {1}


COLLECT = """
import json, sys
from persona_lens import Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.rollouts.serving import ServedSource
from persona_lens.runs import collect_run
url, path, plan = sys.argv[1:]
settings = EndpointSettings(model="m", base_url=url, concurrency=4)
served = ServedSource(settings)
collect_run(None, path, served=served, sampling=Sampling(max_new_tokens=8), **json.loads(plan))
"""


def test_killed_in_the_middle_nothing_is_lost(tmp_path: Path) -> None:
    script = Scripted()
    plan = json.dumps({name: value for name, value in PLAN.items() if name != "sampling"})
    killed = threading.Event()

    def half(seen: Seen) -> Behaviour:
        enough = script.good.total() >= TOTAL // 2
        return held(script(seen), killed.is_set) if enough else script(seen)

    with FaultyServer(half) as server:
        arguments = [sys.executable, "-c", COLLECT, server.url, str(tmp_path), plan]
        process = subprocess.Popen(arguments)
        assert happens(lambda: process.poll() is not None or script.good.total() > TOTAL // 2)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        killed.set()
        before = Counter(script.good)
        run = collect(server, tmp_path)
    check_complete(run, tmp_path)
    assert TOTAL // 2 <= before.total() < TOTAL
    assert len(script.good) == TOTAL
    assert script.good.total() - TOTAL <= 2 * CONCURRENCY


def test_a_server_that_does_not_sample_is_found_out(tmp_path: Path) -> None:
    greedy = ok(lambda body: body["messages"][-1]["content"])
    with FaultyServer(greedy) as server:
        with pytest.raises(EndpointError, match=r"(?s)does not sample.*default-none-p0.*greedily"):
            collect(server, tmp_path / "sampled")
        assert len(server.requests) < TOTAL / 2
        collect(server, tmp_path / "greedy", sampling=Sampling(temperature=0))
        collect(server, tmp_path / "once", default_samples=1)


def test_other_conditions_are_not_mixed_in(tmp_path: Path) -> None:
    with FaultyServer(Scripted()) as server:
        collect(server, tmp_path)
        folding = ServedSource(source(server).settings, fold_system=True)
        with pytest.raises(
            RunError, match=r"(?s)server.fold_system: False here, True asked for.*--fork"
        ):
            collect(server, tmp_path, served=folding)


def test_a_run_needs_someone_to_write_and_one_to_read(tmp_path: Path, tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    with pytest.raises(RunError, match="needs a model, an engine or a server"):
        collect_run(None, tmp_path, **PLAN)
    with FaultyServer() as server, pytest.raises(RunError, match="read by one model"):
        collect(server, tmp_path, model=model, reader=model)


# Reading --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, dtype="float32")


def check_read(run: RunFolder, model: PersonaModel) -> None:
    """The means are those of the stored texts."""
    opened = run.opened()
    for shard in opened.shards:
        replies = opened.read_replies(shard)
        again = read_replies(model, shard, replies, layers=opened.manifest.layers, exact_ids=False)
        np.testing.assert_allclose(opened.read_activations(shard), again, rtol=5e-4, atol=5e-5)


def test_replies_are_collected_first_and_read_later(tmp_path: Path, model: PersonaModel) -> None:
    with FaultyServer(Scripted()) as server:
        run = collect(server, tmp_path)
    manifest = run.manifest()
    assert (manifest.reader, manifest.layers, manifest.reader_key) == ({}, (), "")
    assert manifest.versions["server"] == "127.0.0.1"
    collect(server, tmp_path, model=model, layers=[0, 2])  # the server is gone
    manifest = run.manifest()
    assert manifest.reader["model"] == model.name
    assert manifest.layers == (0, 2)
    check_read(run, model)

    with FaultyServer(Scripted()) as server:
        more = [*PLAN["roles"], "wraith"]
        collect(server, tmp_path, roles=more)
        assert run.manifest().reader == manifest.reader  # it has read the others
        with pytest.raises(RunError, match="role-wraith-p0 is missing"):
            run.opened().read_activations(run.manifest().shards[-3])
        collect(server, tmp_path, roles=more, model=model, layers=[0, 2])
    check_read(run, model)


def test_replies_are_collected_and_read_in_one_go(tmp_path: Path, model: PersonaModel) -> None:
    with FaultyServer(Scripted()) as server:
        run = collect(server, tmp_path, model=model)
    check_complete(run, tmp_path)
    check_read(run, model)


def test_a_failed_reply_has_no_mean_until_it_is_there(tmp_path: Path, model: PersonaModel) -> None:
    script = Scripted(lasting)
    with FaultyServer(script) as server:
        run = collect(server, tmp_path, model=model)
        opened = run.opened()

        def unread() -> list[bool]:
            means = [opened.read_activations(shard) for shard in opened.shards]
            return np.isnan(np.concatenate(means)).all(axis=(1, 2)).tolist()

        failed = [r.finish == "failed" for rs in stored(run).values() for r in rs]
        assert unread() == failed
        assert any(failed)
        script.fault = lambda _seen: None
        collect(server, tmp_path, model=model, retry_failed=True)
        assert not any(unread())
    check_read(run, model)
