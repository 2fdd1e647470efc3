"""Models shared by the tests: the embedded one where behaviour matters, tiny random ones where shapes do."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on a hub
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # Processes share the cores; before torch is loaded, which asks for all of them.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))

import asyncio
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from hostile_atlas import build_sweep, build_table
from page_driver import READY, Opened, open_page, started
from sharing import made_once
from tiny import tiny_folder

from persona_lens import (
    PersonaModel,
    PersonaSpace,
    Sampling,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.catalog.texts import catalog_texts
from persona_lens.model.text_embedding import TokenEmbedder
from persona_lens.plots import can_export_images

SMALL_ROLES = [
    *("assistant", "analyst", "summarizer", "reviewer", "consultant", "examiner"),
    *("ghost", "pirate", "wraith", "vampire", "bohemian", "jester"),
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: tests of servers and of Ray wait much of their time."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def smol() -> PersonaModel:
    """SmolLM2-135M-Instruct in float32."""
    return PersonaModel.load("smollm2-135m-instruct", dtype=torch.float32, device="cpu")


@pytest.fixture(scope="session")
def smol_auto() -> PersonaModel:
    """The same as users get it: in bfloat16, twice as fast, where the processor multiplies in it."""
    return PersonaModel.load("smollm2-135m-instruct", device="cpu")


@pytest.fixture(scope="session")
def small_run(smol: PersonaModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real collection, small: 12 roles and 2 traits of the embedded model, 4 questions, short replies."""
    with made_once(tmp_path_factory, "small") as run:
        PersonaSpace.collect(
            smol,
            run=run,
            roles=SMALL_ROLES,
            traits=["methodical", "dramatic"],
            questions=load_questions()[:4],
            prompts=1,
            default_samples=2,
            sampling=Sampling(max_new_tokens=20),
            progress=False,
        )
        return shutil.copytree(run, tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="session")
def small_space(small_run: Path) -> PersonaSpace:
    """The fitted space of `small_run`."""
    return PersonaSpace.from_run(small_run, n_resamples=50).fit()


@pytest.fixture(scope="session")
def hostile_space() -> PersonaSpace:
    """A small made-up space whose names are scripts and tags."""
    return PersonaSpace(build_table(), n_resamples=20).fit()


@pytest.fixture(scope="session")
def sweep_frame() -> pd.DataFrame:
    """A layer sweep of `hostile_space`."""
    return build_sweep()


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama of 3 layers and a byte-level tokenizer with a ChatML template."""
    return tiny_folder(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture(scope="session")
def embedder() -> TokenEmbedder:
    """Token embeddings weighted by how rare a token is in the whole catalogue, as `catalog check` has them."""
    texts = catalog_texts(load_roles("full"), load_traits("full"), load_questions("full"))
    return TokenEmbedder([text.text for text in texts])


@pytest.fixture
def keyboard() -> Iterator[None]:
    """SIGINT interrupts, even where a shell has started the tests in the background and switched it off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def browse() -> Iterator[Callable[..., Opened]]:
    """Opens a page, waits until all of it is drawn, and evaluates JavaScript in it."""
    if not can_export_images():
        pytest.skip("no Chromium or Chrome to open the page with")
    loop = asyncio.new_event_loop()
    browser = loop.run_until_complete(started())

    def opening(page: Path | str, link: str = "", waits: str = READY) -> Opened:
        address = page if isinstance(page, str) else page.resolve().as_uri()
        return loop.run_until_complete(open_page(browser, loop, f"{address}{link}", waits))

    yield opening
    loop.run_until_complete(browser.close())
    loop.close()
