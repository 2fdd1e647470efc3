"""What a collection or a judge would take: right numbers, wrong names refused, and no weight read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from judged_run import StubJudge, guessing, write_run
from made_runs import PLAN, REPLIES, ScriptedEngine
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.errors import CatalogError, ModelError, RunError
from persona_lens.model.pace import Pace, keep_pace, kept_pace, pace_key, pace_of_products
from persona_lens.model.shape import ModelShape, shape_of
from persona_lens.runs import CollectionPlan, collect_run, dry_run
from persona_lens.runs.judging import judge_run

ASKED = CollectionPlan(roles=["pirate", "ghost", "tutor"], traits=["calm"], prompts=2)
HERE = Pace(0.01, "a test")


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*args: Any, **options: Any) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(PersonaModel, "load", loaded)


def told(*arguments: object) -> str:
    done = CliRunner().invoke(cli.app, [str(each) for each in arguments])
    assert not isinstance(done.exception, AssertionError), done.exception
    return done.output if done.exception is None or done.exit_code == 0 else str(done.exception)


def test_a_dry_run_counts_what_would_be_asked() -> None:
    found = dry_run(ASKED, "smollm2-135m-instruct", pace=HERE, price=(3.6,))
    questions = len(ASKED.loaded().questions)
    assert found.names == {"default": 5, "role": 3, "trait": 1}
    assert found.replies == {
        "default": 5 * questions * 4,
        "role": 3 * 2 * questions,
        "trait": 2 * 2 * questions,
    }
    replies = found.replies.total()
    assert found.estimate.tokens == replies * 128
    assert found.estimate.disk_bytes == replies * (30 * 576 * 4 + 128 * 12)
    assert found.dollars == pytest.approx(replies * 128 * 0.01 / 1000)
    halved = dry_run(ASKED, "smollm2-135m-instruct", pace=HERE, workers=2)
    assert halved.estimate.seconds == pytest.approx(found.estimate.seconds / 2)
    assert "by a test" in str(found)


def test_only_the_layers_that_are_read_take_disk() -> None:
    plan = CollectionPlan(roles=["pirate", "ghost", "tutor"], traits=None, layers=[3, 17])
    found = dry_run(plan, "smollm2-135m-instruct", reader="gemma-3-270m", pace=HERE)
    assert found.estimate.values_per_reply == 2 * 640


def test_a_server_costs_tokens_and_no_time_of_this_machine() -> None:
    found = dry_run(ASKED, "smollm2-135m-instruct", served=True, price=(1.0, 10.0))
    assert found.dollars == pytest.approx((found.prompt_tokens + 10 * found.estimate.tokens) / 1e6)
    assert "not known before the server is asked" in str(found)
    assert dry_run(ASKED, "smollm2-135m-instruct", served=True).dollars is None


def test_what_is_there_is_not_counted_again(tmp_path: Path) -> None:
    collect_run(None, tmp_path / "run", engine=ScriptedEngine(), **PLAN)
    plan = CollectionPlan(**{name: PLAN[name] for name in PLAN if name != "progress"})
    again = dry_run(plan, "smollm2-135m-instruct", run=tmp_path / "run", pace=HERE)
    assert (again.there, again.estimate.replies, again.estimate.seconds) == (REPLIES, 0, 0.0)
    more = CollectionPlan(**{**vars(plan), "questions": ["Something else?"]})
    assert dry_run(more, "smollm2-135m-instruct", run=tmp_path / "run", pace=HERE).there == 0


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"roles": ["pirate", "gost", "tutor"]}, CatalogError),
        ({"traits": ["clam"]}, CatalogError),
        ({"layers": [3, 40]}, ModelError),
    ],
)
def test_wrong_names_and_layers_are_refused(changed: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        dry_run(CollectionPlan(**{**vars(ASKED), **changed}), "smollm2-135m-instruct", pace=HERE)


@pytest.mark.parametrize(
    "wrong",
    [("--roles", "pirate,gost"), ("--traits", "clam"), ("--layers", "3,40"), ("--price", "much")],
)
def test_collect_refuses_before_a_model_is_loaded(tmp_path: Path, wrong: tuple[str, str]) -> None:
    said = told("collect", "--run", tmp_path / "run", *wrong)
    assert wrong[1].split(",")[-1] in said
    assert not (tmp_path / "run").exists()


def test_collect_tells_its_size(tmp_path: Path) -> None:
    said = told("collect", "--run", tmp_path / "run", "--prompts", 1, "--dry-run", "--price", 2)
    assert "30 layers, d_model 576, 134,515,008 parameters" in said
    assert "Cost" in said
    assert not (tmp_path / "run").exists()


def test_judge_tells_its_size_and_loads_nothing(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=2, n_traits=1, n_questions=3).path
    served = ("--judge", "openai", "--model", "judge", "--dry-run")
    said = told("judge", run, *served, "--price", "0.5,2")
    assert "24 calls, one a reply" in said
    assert "at $0.50 and $2.00 a million tokens" in said
    assert "12 calls" in told("judge", run, *served, "--kinds", "role")
    assert "24 replies to be judged, by this machine" in told("judge", run, "--dry-run")
    assert "likelihood" in told("judge", run, "--judge", "likelyhood")
    assert "role or trait" in told("judge", run, "--kinds", "roles")
    assert not (run / "labels").exists()


def test_a_wrong_kind_labels_nothing_and_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_roles=2, n_questions=3)
    with pytest.raises(RunError, match="no such kind"):
        judge_run(run, StubJudge("guessing", guessing), kinds=["roles"], progress=False)
    with pytest.raises(RunError, match="no such kind"):
        judge_run(run, StubJudge("guessing", guessing), kinds=[], progress=False)


def test_the_shape_of_a_folder_is_that_of_the_model(tiny_llama: Path, tmp_path: Path) -> None:
    shape = shape_of(tiny_llama)
    assert shape is not None
    assert (shape.n_layers, shape.d_model) == (3, 16)
    assert shape_of(f"random:{tiny_llama}:3") == shape
    assert shape_of(tmp_path) is None


def test_paces_are_kept_by_model_and_machine(tmp_path: Path) -> None:
    key = pace_key("small", torch.float32, torch.device("cpu"))
    keep_pace(key, replies=8, tokens=100, seconds=1.0, cache_dir=tmp_path)
    assert kept_pace(key, cache_dir=tmp_path) is None  # a second says nothing
    keep_pace(key, replies=80, tokens=1000, seconds=20.0, cache_dir=tmp_path)
    keep_pace("other", replies=80, tokens=1000, seconds=40.0, cache_dir=tmp_path)
    kept = kept_pace(key, cache_dir=tmp_path)
    assert kept is not None
    assert kept.seconds(50) == pytest.approx(1.0)
    assert kept.known_by.startswith("collecting 80 replies here on")
    next(tmp_path.glob("*.json")).write_text("{")
    assert kept_pace(key, cache_dir=tmp_path) is None


def test_longer_prompts_and_more_parameters_take_longer() -> None:
    def seconds(parameters: int, prompt: float) -> float:
        shape = ModelShape(2, 8, parameters)
        place = {"dtype": torch.float32, "device": torch.device("cpu"), "rows": 512}
        return pace_of_products(shape, **place, prompt_tokens=prompt, new_tokens=1).seconds(1)

    assert seconds(10**9, 100.0) > 10 * seconds(10**6, 0.0)
