"""`persona-lens steer` with the files of others: a release, its capping file, a saved plan."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from made_release import D_MODEL, N_LAYERS, WINDOW, write_release
from test_steer_cli import parts, steer
from tiny import tiny_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.errors import PersonaLensError
from persona_lens.interop import read_release


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> PersonaModel:
    """A tiny model of the width and depth of the made-up release; every command loads it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=D_MODEL,
        intermediate_size=32,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = PersonaModel.load(LlamaForCausalLM(config).eval(), tokenizer=tiny_tokenizer())
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: model)
    return model


def receipt_of(*arguments: str) -> str:
    return parts(steer(*arguments))[2]


def test_a_release_is_steered_with_from_its_folder(small: PersonaModel, tmp_path: Path) -> None:
    release = str(write_release(tmp_path / "qwen"))
    floors = "1. floor 'assistant'; at layers 2-4; tokens all"
    for arguments in (
        ["--release", release, "--cap", WINDOW],
        ["--release", release, "--floor", "75"],
    ):
        assert floors in receipt_of("Who?", *arguments)
    for arguments in (["Who?", "--release", release], [release, "Who?"]):
        said = receipt_of(*arguments, "--add", "assistant=-2", "--unit", "raw", "--sinks")
        assert (
            "1. add 'assistant'; at layers 3; tokens all, sinks too; unit vector as stored" in said
        )
        assert "strength -2 " in said
    assert "unit spread of the roles" in receipt_of(
        release, "Who?", "--add", "role_1=1", "--unit", "spread"
    )
    assert "unit mean residual norm of neutral texts" in receipt_of(
        release, "Who?", "--add", "assistant=0.1", "--unit", "residual"
    )


def test_a_saved_space_of_a_release_caps_at_its_thresholds(
    small: PersonaModel, tmp_path: Path
) -> None:
    folder = read_release(write_release(tmp_path / "qwen")).space.save(tmp_path / "space")
    said = receipt_of(str(folder), "Who?", "--floor", "75", "--layers", "3")
    assert "at layers 3; tokens all; at -0.75; percentile 75 of replies (all, as released)" in said


def test_a_capping_file_and_a_plan_need_no_space(small: PersonaModel, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "qwen")
    file = str(folder / "capping_config.pt")
    model = ["--model", "any"]
    said = receipt_of("Who?", "--cap", file, "--experiment", WINDOW, *model)
    assert (
        "1. ceil 'contrast_role_pos3_default1'; at layers 2-4" in said
    )  # as the released code does
    said = receipt_of(str(folder), "Who?", "--cap", file, "--experiment", WINDOW)
    assert "1. floor 'assistant'; at layers 2-4" in said
    plan = read_release(folder).plan(WINDOW).where("generated").save(tmp_path / "plan")
    assert "tokens generated" in receipt_of("Who?", "--plan", str(plan), *model)
    said = receipt_of("Who?", "--plan", str(plan), "--sinks", *model)
    assert "tokens all, sinks too" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Hi", "--add", "pirate=1"], "these options need a space"),
        (["Hi", "--cap", "layers_1:2-p0.25"], "no such capping file"),
        (["Hi", "--cap", "{file}"], "name it with --experiment"),
        (["Hi", "--cap", "{file}", "--experiment", WINDOW], "give --model"),
        (["Hi", "--release", "{folder}", "--cap", "layers_2:5-p0.5"], f"did you mean {WINDOW}"),
        (["Hi", "--release", "{folder}", "--add", "assistant=1"], "(--unit)"),
        (["Hi", "--release", "{folder}", "--floor", "80"], "percentile 80 is not known"),
        (["Hi", "--plan", "{folder}"], "no plan"),
        (["a", "b", "c", "--floor", "75"], "quote the question"),
    ],
)
def test_files_that_do_not_do_are_told_before_a_model_is_loaded(
    loaded_never: None,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    folder = write_release(tmp_path / "made")
    places = {"file": folder / "capping_config.pt", "folder": folder}
    command = ["steer", *(argument.format(**places) for argument in arguments)]
    refused = CliRunner().invoke(cli.app, command).exception
    assert isinstance(refused, PersonaLensError)
    assert message in " ".join(str(refused).split())


@pytest.fixture
def loaded_never(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> PersonaModel:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(PersonaModel, "load", load)
