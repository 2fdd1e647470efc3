"""`--template-var`: on every command that loads a model, and on its way to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.cli.options import Loading, parse_variables
from persona_lens.errors import TranscriptError


def test_every_command_that_loads_a_model_takes_them() -> None:
    commands = typer.main.get_command(cli.app).commands  # pyright: ignore[reportAttributeAccessIssue]
    options = {
        name: {opt for parameter in command.params for opt in parameter.opts}
        for name, command in commands.items()
    }
    loading = {name for name, found in options.items() if "--dtype" in found}
    assert {"collect", "gate", "judge", "fit", "info", "steer", "verify"} <= loading
    assert [name for name in loading if "--template-var" not in options[name]] == []


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {}),
        (["a=true", "b=false", "c=null", "d=3", "e=0.5"], {"a": True, "b": False, "c": None, "d": 3, "e": 0.5}),
        (["effort=low", 'day="3"', "text=a=b", "c="], {"effort": "low", "day": "3", "text": "a=b", "c": ""}),
        (["tools=[]", 'm={"k": 1}'], {"tools": [], "m": {"k": 1}}),
    ],
)  # fmt: skip
def test_values_are_json_where_they_can_be(given, expected) -> None:
    assert parse_variables(given) == expected


@pytest.mark.parametrize("given", [["enable_thinking"], ["=true"], ["a b=1"], ["a=1", "a=2"]])
def test_what_is_no_variable_is_refused(given) -> None:
    with pytest.raises(TranscriptError, match="--template-var"):
        parse_variables(given)


def test_those_of_a_run_hold_for_its_model_unless_told_otherwise() -> None:
    card = {"model": "m", "template_kwargs": {"a": 1, "b": 2}}
    assert Loading(template_var=["b=3"]).variables(card, "m") == {"a": 1, "b": 3}
    assert Loading(template_var=["b=3"]).variables(card, "other") == {"b": 3}


@pytest.fixture
def thinking_llama(tiny_llama: Path, tmp_path: Path) -> Path:
    """The tiny model, with a template that knows `enable_thinking`."""
    folder = tmp_path / "thinking"
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    source = PersonaModel.load(tiny_llama, device="cpu").encoder.template
    opened = source.replace(
        "assistant\n{% endif %}",
        "assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}",
    )
    assert opened != source
    (folder / "chat_template.jinja").write_text(opened)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def invoke(*arguments: object):
    return CliRunner().invoke(cli.app, [str(part) for part in arguments])


def collect(model: Path, run: Path, *more: str):
    return invoke(
        "collect", "--model", model, "--run", run, "--roles", "pirate,ghost,tutor", "--traits", "none",
        "--questions", "q01", "--prompts", 1, "--default-samples", 1,
        "--max-new-tokens", 3, "--device", "cpu", "--quiet", *more,
    )  # fmt: skip


def test_a_run_is_made_and_continued_with_its_variables(thinking_llama, tmp_path) -> None:
    run = tmp_path / "run"
    told = ("--template-var", "enable_thinking=true")
    first = collect(thinking_llama, run, *told)
    assert first.exit_code == 0, first.output
    card = json.loads((run / "manifest.json").read_text())["conditions"]["model"]
    assert card["template_kwargs"] == {"enable_thinking": True}
    assert collect(thinking_llama, run, *told).exit_code == 0
    other = collect(thinking_llama, run)
    assert other.exit_code != 0
    assert "template_kwargs" in str(other.exception)


def test_a_variable_that_the_template_does_not_know_is_an_error(tiny_llama) -> None:
    result = invoke("info", tiny_llama, "--device", "cpu", "--template-var", "enable_thinking=true")
    assert isinstance(result.exception, TranscriptError)
    assert "no variable 'enable_thinking'" in str(result.exception)
