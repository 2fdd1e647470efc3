"""The whole way with a real server: `transformers serve` writes, the same weights read, a space comes of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from waiting import happens

from persona_lens import PersonaModel, PersonaSpace, RunFolder, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EndpointError
from persona_lens.model.embedded import embedded_folder
from persona_lens.rollouts.serving import ServedSource
from persona_lens.runs import collect_run

pytestmark = pytest.mark.embedded

MODEL = "smollm2-135m-instruct"
PLAN: dict[str, Any] = {
    "roles": ["pirate", "ghost", "analyst", "tutor"],
    "traits": None,
    "questions": ["q01", "q02", "q03"],
    "defaults": ["none", "assistant"],
    "prompts": 1,
    "progress": False,
}
GREEDY = Sampling(temperature=0, max_new_tokens=12)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointSettings]:
    """`transformers serve` on a free port of this machine."""
    folder = str(embedded_folder(MODEL))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        *(str(Path(sys.executable).with_name("transformers")), "serve", folder),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--device", "cpu", "--dtype", "float32", "--continuous-batching"),
        # By default its cache takes most of the memory there is.
        *("--cb-num-blocks", "64", "--cb-max-batch-tokens", "512"),
    ]
    # One thread: its tensors are small, and threads that wait for each other would hold up the tests beside it.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}/health"
        assert happens(lambda: process.poll() is not None or healthy(url)), log.read_text("utf-8")
        assert process.poll() is None, log.read_text("utf-8")
        yield EndpointSettings(model=folder, base_url=f"http://127.0.0.1:{port}/v1", concurrency=24)
    finally:
        process.kill()
        process.wait()


def healthy(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=60).status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def own(smol: PersonaModel, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The same replies without a server."""
    path = tmp_path_factory.mktemp("runs") / "own"
    return collect_run(smol, path, sampling=GREEDY, default_samples=1, **PLAN)


@pytest.mark.parametrize("template", ["server", "ours"])
def test_a_served_model_says_what_it_says_by_itself(
    server: EndpointSettings, smol: PersonaModel, own: RunFolder, tmp_path: Path, template: Any
) -> None:
    source = ServedSource(server, template=template, encoder=smol.encoder)
    served = collect_run(
        smol, tmp_path / "run", served=source, sampling=GREEDY, default_samples=1, **PLAN
    )
    there, here = served.opened(), own.opened()
    assert [shard.system for shard in there.shards] == [shard.system for shard in here.shards]
    same, close = [], []
    for by_server, by_self in zip(there.shards, here.shards, strict=True):
        replies = there.read_replies(by_server)
        expected = here.read_replies(by_self)
        pairs = list(zip(replies, expected, strict=True))
        assert [a.finish for a, b in pairs if a.text == b.text] == [
            b.finish for a, b in pairs if a.text == b.text
        ]
        equal = np.array([a.text == b.text for a, b in pairs])
        means = there.read_activations(by_server)[equal]
        of_own = here.read_activations(by_self)[equal]
        same += equal.tolist()
        close += [
            np.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(means, of_own, strict=True)
        ]
    # Other kernels and other batches: a near tie of two tokens may fall the other way.
    assert np.mean(same) >= 0.8
    assert np.mean(close) >= 0.9

    space = PersonaSpace.from_run(served.path, n_resamples=20).fit()
    assert set(PLAN["roles"]) < set(space.table.names)


def test_it_decodes_greedily_unless_told_otherwise_and_that_is_found_out(
    server: EndpointSettings, tmp_path: Path
) -> None:
    plan = {**PLAN, "defaults": ["none"], "default_samples": 2}
    with pytest.raises(EndpointError, match="does not sample"):
        collect_run(
            None,
            tmp_path / "run",
            served=ServedSource(server.model_copy(update={"concurrency": 6})),
            sampling=Sampling(max_new_tokens=12),
            **plan,
        )
