"""A small judged run with its space, and short neutral texts, shared by the evaluations."""

from __future__ import annotations

import shutil

import pytest
from brief import shorten_neutral_texts
from planted_completions import Remembering
from sharing import made_once

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.judges import LikelihoodJudge


@pytest.fixture(scope="session")
def judged_space(smol_auto: PersonaModel, tmp_path_factory: pytest.TempPathFactory) -> PersonaSpace:
    """The space of three roles, labelled by the likelihood judge and calibrated on a few tokens."""
    with made_once(tmp_path_factory, "judged") as shared:
        PersonaSpace.collect(
            smol_auto,
            run=shared,
            judge=LikelihoodJudge(smol_auto, max_tokens=7, nulls=3),
            min_count=1,
            roles=["pirate", "ghost", "analyst"],
            traits=None,
            questions=["q01", "q02", "q03"],
            prompts=1,
            default_samples=1,
            sampling=Sampling(max_new_tokens=8),
            progress=False,
        )
        run = shutil.copytree(shared, tmp_path_factory.mktemp("runs") / "judged")
    # Of so few replies hardly any is fully in role: the axis is made of all of them.
    space = PersonaSpace.from_run(run, n_resamples=5).fit()
    return space.calibrate(smol_auto, replies=4, progress=False)


@pytest.fixture
def short_neutral_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neutral exchanges, the answers cut after their first sentence."""
    shorten_neutral_texts(monkeypatch)


@pytest.fixture(scope="session")
def remembering() -> Remembering:
    """The packaged sentence model, for tests of labels."""
    return Remembering()
