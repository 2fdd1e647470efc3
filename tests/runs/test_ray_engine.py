"""The Ray engine: the same run as in one process, whatever is lost on the way, and errors that say why."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import waiting
from tiny import tiny_folder

from persona_lens import Sampling
from persona_lens.errors import ModelError, RunError
from persona_lens.evals import UNTOUCHED, Condition, Evaluation, Item, Measure, evaluate
from persona_lens.evals.outcomes import Exact, Outcome
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.runs import collect_run
from persona_lens.runs.engines.ray_cluster import import_ray
from persona_lens.runs.engines.ray_engine import ModelSpec, RayEngine, WorkerSpec
from persona_lens.runs.store.open_run import OpenRun

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray has no build for this platform", allow_module_level=True)
ray = import_ray()
from ray.cluster_utils import Cluster  # noqa: E402

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
REPLIES = 60
UNITS = 10
# One worker fits on a node, beside one of another engine. Stores are small, because /dev/shm may be.
NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 80 * 2**20}
SHARE, REST = {"cpus_per_worker": 1.5, "gpus_per_worker": 0.5}, {"cpus_per_worker": 0.5}

# Actors import by name what they are sent, and these files are in no package.
for module in (sys.modules[__name__], waiting):
    ray.cloudpickle.register_pickle_by_value(module)


class Note(NamedTuple):
    """What a worker writes down: the first shard of a job it begins, or, when it is loaded, the GPU it sees."""

    pid: int
    node: str
    what: str
    detail: str


@dataclass(frozen=True)
class Desk:
    """A folder where workers note what they do, and find orders to misbehave over a shard.

    Orders: `fatal` ends the process, `wrong` raises, `held` keeps the first worker that begins the shard from
    going on, until its process is ended.
    """

    folder: Path = field(default_factory=Path)

    def order(self, what: str, shard: str) -> None:
        (self.folder / f"{shard}.{what}").touch()

    def clear(self) -> None:
        for file in self.folder.iterdir():
            file.unlink()

    def note(self, what: str, detail: str) -> None:
        node = ray.get_runtime_context().get_node_id()
        with (self.folder / "notes").open("a") as file:
            file.write(f"{os.getpid()} {node} {what} {detail}\n")

    def notes(self, what: str) -> list[Note]:
        """Notes of workers that have `loaded`, or of jobs that were `begun`."""
        file = self.folder / "notes"
        lines = file.read_text().splitlines() if file.is_file() else []
        split = [line.split(" ") for line in lines]
        return [Note(int(pid), *rest) for pid, *rest in split if rest[1] == what]

    def begun(self, shard: str) -> list[Note]:
        """Notes on the unit that this shard is the first of, or on `loading`."""
        return [note for note in self.notes("begun") if note.detail == shard]

    def obey(self, *shards: str) -> None:
        first = not self.begun(shards[0])
        self.note("begun", shards[0])
        ordered = {file.suffix for file in self.folder.iterdir() if file.stem in shards}
        if ".fatal" in ordered:
            os._exit(1)
        if ".wrong" in ordered:
            raise ModelError("it will not", expected="another shard", given=shards[0])
        if ".held" in ordered and first:
            self.until(lambda: False)

    def until(self, true: Callable[[], object]) -> None:
        assert waiting.happens(true), "it did not happen"

    @contextmanager
    def once_begun(self, shard: str, act: Callable[[Note], object]) -> Iterator[None]:
        """Do something, in a thread, while a worker is held by `shard`."""

        def wait() -> None:
            self.until(lambda: self.begun(shard))
            act(self.begun(shard)[0])

        self.order("held", shard)
        thread = threading.Thread(target=wait)
        thread.start()
        yield
        thread.join()


@dataclass(frozen=True)
class DeskSpec(WorkerSpec):
    """A worker that keeps to its desk; all but the first of a desk may load another model."""

    desk: Desk = field(default_factory=Desk)
    later: ModelSpec | None = None

    def build(self):
        first = not self.desk.notes("loaded")
        self.desk.obey("loading")
        self.desk.note("loaded", os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
        writer = self.writer if first else self.later or self.writer
        worker = WorkerSpec(writer, threads=self.threads).build()
        work = worker.work

        def obedient(job, settings):
            self.desk.obey(*(shard.key for shard in job.unit))
            return work(job, settings)

        worker.work = obedient
        return worker


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes with a pretended GPU each, beside a head that works on nothing."""
    head = {**NODE, "num_cpus": 0, "num_gpus": 0, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        # By default Ray's workers give way to all that runs beside the tests.
        patch.setenv("RAY_worker_niceness", "0")
        made = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            made.add_node(wait=False, **NODE)
        made.wait_for_nodes()
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def writer(tiny_llama: Path) -> ModelSpec:
    return ModelSpec(tiny_llama, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def local(writer: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that the others have to equal."""
    run = tmp_path_factory.mktemp("local") / "run"
    return collect_run(writer.load(), run, sampling=SAMPLING, **PLAN).path


@pytest.fixture(scope="module")
def engine(
    cluster: Cluster, writer: ModelSpec, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RayEngine]:
    """Two workers, one a node."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    # As many threads as the local run has: sums may else differ in their last bits.
    spec = DeskSpec(writer, threads=torch.get_num_threads(), desk=desk)
    with RayEngine(spec, workers=2, address=cluster.address, **SHARE) as engine:
        engine.desk = desk
        desk.until(lambda: engine.facts() and len(desk.notes("loaded")) == 2)
        yield engine


@pytest.fixture
def desk(engine: RayEngine) -> Iterator[Desk]:
    yield engine.desk
    engine.desk.clear()


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """How often the replies of each shard are written."""
    counts: Counter = Counter()
    write = OpenRun.write_replies

    def counted(self, shard, replies):
        counts[shard.key] += 1
        write(self, shard, replies)

    monkeypatch.setattr(OpenRun, "write_replies", counted)
    return counts


def contents(run: Path) -> dict[str, bytes]:
    files = [file for file in run.rglob("*") if file.suffix in (".parquet", ".safetensors")]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def test_ray_is_started_here_and_ended_when_there_is_no_room(
    writer: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert not ray.is_initialized(), "this has to come before the tests on a cluster"
    with pytest.raises(RunError, match=r"(?s)no room for all workers, which are 9999.*9999 CPU"):
        RayEngine(WorkerSpec(writer), workers=9999)
    assert not ray.is_initialized()


def test_a_run_by_two_workers_equals_one_by_this_process(
    engine: RayEngine, desk: Desk, local: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    assert [note.detail for note in desk.notes("loaded")] == ["0", "0"]  # each has half of a GPU 0
    shown = {**PLAN, "progress": True}
    run = collect_run(None, tmp_path / "run", engine=engine, sampling=SAMPLING, **shown)
    assert contents(run.path) == contents(local)
    begun = [note for note in desk.notes("begun") if note.detail != "loading"]
    assert len(begun) == len({note.detail for note in begun}) == UNITS
    assert len({note.node for note in begun}) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"To do: {REPLIES} replies")
    assert f"{REPLIES} of {REPLIES} replies, " in printed.err
    assert "- tokens/s" not in printed.err
    assert "(raylet)" not in printed.err


INTERRUPTED = """
import json, os, signal, sys
from persona_lens import Sampling
from persona_lens.runs import collect_run
from persona_lens.runs.engines.ray_engine import ModelSpec, RayEngine, WorkerSpec

class Interrupted(RayEngine):
    def products(self, *given, **options):
        for done in super().products(*given, **options):
            yield done
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # off in what a shell starts in the background
folder, address, run, threads, plan = sys.argv[1:]
spec = WorkerSpec(ModelSpec(folder, dtype="float32"), threads=int(threads))
try:
    with Interrupted(spec, workers=2, cpus_per_worker=0.5, address=address) as engine:
        collect_run(None, run, engine=engine, sampling=Sampling(max_new_tokens=8), **json.loads(plan))
except KeyboardInterrupt:
    print("stopped")
"""


def test_an_evaluation_by_two_workers_equals_one_by_this_process(
    engine: RayEngine, writer: ModelSpec
) -> None:
    model = writer.load()
    push = Plan.of(Add(Direction("up", (1,), np.ones((1, model.d_model))), lengths=40.0))
    conditions = [UNTOUCHED, Condition("push", push, "plan", 1.0)]
    items = [Item.asked(f"item {n}", f"Say {n}", check=lambda: "cannot travel") for n in range(6)]
    length = Exact("length", lambda answer: Outcome(score=float(len(answer.text))))
    asked = Evaluation("l", "L", items, [length], [Measure("length", "length")], SAMPLING)
    run = {"batch_size": 4, "progress": False}
    here = evaluate(asked, model, conditions, **run)
    there = evaluate(asked, model, conditions, engine=engine, **run)
    pd.testing.assert_frame_equal(there.replies, here.replies)
    assert there.replies["engaged"].tolist() == [0.0, 1.0] * 6


def test_an_interrupt_ends_the_workers_and_leaves_the_cluster(
    cluster: Cluster, engine: RayEngine, writer: ModelSpec, local: Path, tmp_path: Path
) -> None:
    free = 2 * (NODE["num_cpus"] - SHARE["cpus_per_worker"])  # by the two workers of `engine`
    given = (writer.source, cluster.address, tmp_path, torch.get_num_threads(), json.dumps(PLAN))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, given)],
        capture_output=True,
        text=True,
        timeout=waiting.PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")
    kept = contents(tmp_path)
    assert kept
    assert kept.items() < contents(local).items()
    Desk().until(lambda: ray.available_resources().get("CPU") == free)


def test_errors_of_workers_arrive_as_they_are(  # noqa: PLR0917
    engine: RayEngine,
    desk: Desk,
    writer: ModelSpec,
    local: Path,
    tmp_path: Path,
    stored: Counter,
) -> None:
    with pytest.raises(ModelError) as here:
        collect_run(writer.load(), tmp_path / "run", layers=[9], **PLAN)
    with pytest.raises(ModelError) as there:
        collect_run(None, tmp_path / "run", layers=[9], engine=engine, **PLAN)
    assert (type(there.value), str(there.value)) == (ModelError, str(here.value))
    assert there.value.__suppress_context__  # no page of Ray's before it
    desk.order("wrong", "role-analyst-p1")
    with pytest.raises(ModelError, match="it will not\n  expected another shard, given role-an"):
        collect_run(None, tmp_path / "run", engine=engine, sampling=SAMPLING, **PLAN)
    desk.clear()
    run = collect_run(None, tmp_path / "run", engine=engine, sampling=SAMPLING, **PLAN)
    assert contents(run.path) == contents(local)
    assert set(stored.values()) == {1}  # nothing came late of what the error had cut short


def test_killed_workers_are_replaced(
    engine: RayEngine, desk: Desk, local: Path, tmp_path: Path, stored: Counter
) -> None:
    killed: set[int] = set()

    def kill_all(_holder: Note) -> None:
        killed.update(note.pid for note in desk.notes("begun"))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    with desk.once_begun("role-ghost-p0", kill_all):
        run = collect_run(None, tmp_path / "run", engine=engine, sampling=SAMPLING, **PLAN)
    assert contents(run.path) == contents(local)
    assert set(stored.values()) == {1}
    first, second = desk.begun("role-ghost-p0")
    assert first.pid in killed
    assert second.pid not in killed


def test_a_node_that_dies_costs_neither_replies_nor_repeats(  # noqa: PLR0917
    cluster: Cluster,
    engine: RayEngine,
    desk: Desk,
    local: Path,
    tmp_path: Path,
    stored: Counter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def kill_node(holder: Note) -> None:
        nodes = {node.node_id: node for node in cluster.worker_nodes}
        cluster.remove_node(nodes[holder.node], allow_graceful=False)

    with desk.once_begun("role-ghost-p0", kill_node):
        run = collect_run(None, tmp_path / "run", engine=engine, sampling=SAMPLING, **PLAN)
    cluster.add_node(**NODE)
    assert contents(run.path) == contents(local)
    assert set(stored.values()) == {1}
    first, second = desk.begun("role-ghost-p0")
    assert first.node != second.node
    assert "A worker was lost, and role-ghost-p0 and 1 more is done again: " in caplog.text


def test_work_that_ends_every_worker_is_given_up(
    engine: RayEngine, desk: Desk, tmp_path: Path
) -> None:
    desk.order("fatal", "role-ghost-p1")
    with pytest.raises(RunError, match=r"(?s)3 workers were lost.*role-ghost-p0.*batch size"):
        collect_run(None, tmp_path / "run", engine=engine, sampling=SAMPLING, **PLAN)
    assert len({note.pid for note in desk.begun("role-ghost-p0")}) == 3


def test_workers_that_never_get_ready_are_not_started_for_ever(
    engine: RayEngine, writer: ModelSpec, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    desk.order("fatal", "loading")
    with (
        RayEngine(DeskSpec(writer, desk=desk), workers=1, **REST) as ill,
        pytest.raises(
            RunError, match=r"(?s)no worker could be started: 3 were lost.*given its process"
        ),
    ):
        ill.facts()
    assert len({note.pid for note in desk.begun("loading")}) == 3


def test_workers_with_different_models_do_not_work_together(
    cluster: Cluster, engine: RayEngine, writer: ModelSpec, tmp_path: Path
) -> None:
    other = ModelSpec(tiny_folder(tmp_path / "other", "llama", seed=1), dtype="float32")
    desk = Desk(tmp_path / "desk")
    desk.folder.mkdir()
    desk.order("held", "default-none-p0")
    spec = DeskSpec(writer, desk=desk, later=other)
    with RayEngine(spec, workers=2, **REST) as mixed:  # on the connection there is
        desk.until(lambda: mixed.facts() and len(desk.notes("loaded")) == 2)
        with pytest.raises(RunError, match=r"(?s)not load the same model.*fingerprint.*same files"):
            collect_run(None, tmp_path / "run", engine=mixed, sampling=SAMPLING, **PLAN)
    with pytest.raises(RunError, match="the engine is closed"):
        mixed.facts()
    assert engine.facts().n_layers == 3  # the connection is still there
    with pytest.raises(RunError, match=r"(?s)another Ray cluster.*ray\.shutdown"):
        RayEngine(spec, workers=1, address="10.0.0.1:6379")


def test_waiting_for_a_place_comes_to_an_end(engine: RayEngine, writer: ModelSpec) -> None:
    with (
        RayEngine(WorkerSpec(writer), workers=1, cpus_per_worker=8, patience=0.5) as vain,
        pytest.raises(RunError, match=r"(?s)no place for a worker.*expected 8 CPU.*given 4 CPU"),
    ):
        vain.facts()


def test_without_ray_it_says_what_to_install(
    writer: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match=r'(?s)Ray is not installed.*"persona-lens\[ray\]"'):
        RayEngine(WorkerSpec(writer), workers=1)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"workers": 0}, "expected at least 1, given 0"),
        ({"gpus_per_worker": 1.5}, "given 1 CPU, 1.5 GPU"),
        ({"cpus_per_worker": -1}, "given -1 CPU, 0 GPU"),
        ({"gpus_per_worker": 2}, 'device_map="auto"'),
        ({"address": "ray://127.0.0.1:10001"}, "Ray Client is not supported"),
    ],
)
def test_what_cannot_be_is_refused_at_once(writer: ModelSpec, wish: dict, said: str) -> None:
    with pytest.raises(RunError, match=said):
        RayEngine(WorkerSpec(writer), **{"workers": 1, **wish})


def test_a_cluster_that_does_not_answer_is_not_waited_for(
    writer: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RunError, match=r"(?s)no Ray cluster answers at 127.0.0.1:1.*ray start"):
        RayEngine(WorkerSpec(writer), workers=1, address="127.0.0.1:1")


def test_specs_name_places_that_other_processes_find(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_llama.parent)
    assert ModelSpec(tiny_llama.name).source == tiny_llama
    assert ModelSpec("someone/a-model").source == "someone/a-model"
    spec = WorkerSpec(ModelSpec(tiny_llama), ModelSpec(tiny_llama, device_map="auto"))
    assert spec.on_cpu().writer.device == "cpu"
    assert spec.on_cpu().reader == spec.reader
