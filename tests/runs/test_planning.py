"""What a run plans to ask: the name a model is told, and whose default prompts."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import PLAN, ScriptedEngine

from persona_lens import RunFolder
from persona_lens.catalog import DefaultPrompt, Role, export_catalog, load_defaults
from persona_lens.rollouts.model_names import short_name
from persona_lens.runs import CollectionPlan, collect_plan, collect_run
from persona_lens.runs.engines.worker import WorkerFacts


class Named(ScriptedEngine):
    """Pretends to be another model."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def facts(self) -> WorkerFacts:
        return replace(super().facts(), name=self.name)


def default_systems(run: RunFolder) -> list[str]:
    return [shard.system for shard in run.manifest().shards if shard.kind == "default"]


@pytest.mark.parametrize(
    ("loaded", "told"),
    [
        ("Qwen/Qwen3-32B", "Qwen"),
        ("google/gemma-2-27b-it", "Gemma"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Llama"),
        ("/models/qwen2.5-7b-instruct", "Qwen"),
        ("/home/llama/my-model", "/home/llama/my-model"),
        ("smollm2-135m-instruct", "smollm2-135m-instruct"),
    ],
)
def test_a_model_is_told_the_name_of_its_family(tmp_path: Path, loaded: str, told: str) -> None:
    plan = {**PLAN, "defaults": ["You are {model_name}."]}
    run = collect_run(None, tmp_path / "run", engine=Named(loaded), **plan)
    assert default_systems(run) == [f"You are {told}."]


def test_a_plan_is_asked_as_its_parts_are(tmp_path: Path) -> None:
    apart = collect_run(None, tmp_path / "apart", engine=ScriptedEngine(), **PLAN)
    asked = {name: value for name, value in PLAN.items() if name != "progress"}
    plan = CollectionPlan(**{**asked, "sampling": None}).loaded()
    whole = collect_plan(None, tmp_path / "whole", plan, engine=ScriptedEngine(), progress=False)
    assert whole.manifest() == apart.manifest()
    assert "roles=3 entries" in repr(plan)
    assert "roles='core'" in repr(CollectionPlan())
    assert "<b>" not in CollectionPlan(roles=["<b>"])._repr_html_()
    assert repr(whole) == (
        f"RunFolder({str(whole.path)!r}, written by scripted; plan 1 default, 3 role; "
        "replied 7 of 7 shards; read by scripted at 2 layers)"
    )
    assert "nothing collected yet" in repr(RunFolder(tmp_path / "none"))
    assert "scripted at 2 layers" in whole._repr_html_()


def test_names_are_cut_at_the_first_hyphen_on_request() -> None:
    assert short_name("HuggingFaceTB/SmolLM2-135M-Instruct", always=True) == "SmolLM2"
    assert short_name("Qwen/Qwen3-32B", always=True) == "Qwen"


def test_roles_that_bring_default_prompts_say_whose_are_asked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    roles = [Role(name=name, prompts=(f"You are a {name}.",)) for name in ("a", "b", "c")]
    own = [DefaultPrompt(id="plain", text="Respond as yourself.")]
    export_catalog(data, roles=roles, defaults=own)
    plan = {**PLAN, "roles": str(data)}
    with pytest.warns(UserWarning, match=rf"default prompts of its own.*--defaults {data}"):
        run = collect_run(
            None, tmp_path / "ours", engine=ScriptedEngine(), **{**plan, "defaults": "core"}
        )
    assert len(default_systems(run)) == len(load_defaults())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = collect_run(
            None, tmp_path / "theirs", engine=ScriptedEngine(), **{**plan, "defaults": str(data)}
        )
        assert default_systems(run) == ["Respond as yourself."]
        core = {**plan, "roles": "core", "defaults": "core"}
        collect_run(None, tmp_path / "core", engine=ScriptedEngine(), **core)
