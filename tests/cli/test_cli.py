"""The command line: help without torch, errors without tracebacks, and the whole way on real data."""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

import persona_lens
from persona_lens import PersonaModel, cli
from persona_lens.cli.options import parse_layers
from persona_lens.errors import SpaceError
from persona_lens.model import loading

COMMANDS = [
    "demo",
    "collect",
    "gate",
    "judge",
    "judge-audit",
    "fit",
    "map",
    "info",
    "models",
    "paper",
    "plan",
    "steer",
    "verify",
]


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Done:
    """The command in this process, which has torch loaded already."""
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        patch.setattr("sys.argv", ["persona-lens", *arguments])
        try:
            cli.main()
        except SystemExit as left:
            code = int(left.code or 0)
    return Done(code, stdout.getvalue(), stderr.getvalue())


def run_apart(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell starts it."""
    return subprocess.run(
        [sys.executable, "-m", "persona_lens.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_and_import_do_without_torch() -> None:
    code = (
        "import sys, persona_lens, persona_lens.cli\n"
        "from typer.testing import CliRunner\n"
        "result = CliRunner().invoke(persona_lens.cli.app, ['--help'])\n"
        "assert result.exit_code == 0, result.output\n"
        "heavy = {'torch', 'transformers', 'transformer_lens', 'plotly', 'pandas', 'sklearn', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    result = CliRunner().invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"persona-lens {command}" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere", "--out", "x"], "no run in nowhere"),
        (["map", "nowhere", "--out", "x.html"], "no space in nowhere"),
        (["info", "./nowhere"], "no such model folder"),
        (["collect", "--run", "x", "--top-p", "0"], "top_p: "),
        (["collect", "--run", "x", "--layers", "four"], "cannot read the layers"),
        (["collect", "--run", "x", "--model", "./nowhere"], "no such model folder"),
    ],
)
def test_errors_are_short_and_the_exit_code_says_so(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"collect --run x --roles {','.join(f'role{n}' for n in range(40))}", "unknown role"),
        (f"collect --run x --roles {'r' * 300}", "unknown role"),
        ("collect --run x --roles nobody", "unknown role"),
        ("collect --run x --layers 0-99999999999", "cannot read the layers"),
        ("collect --run x --layers 20-10", "cannot read the layers"),
        ("collect --run x --temperature inf", "temperature: "),
        ("collect --run x --temperature 1e-300", "temperature: "),
        ("collect --run x --max-new-tokens 99999999999", "max_new_tokens: "),
        ("collect --run x --seed 99999999999999999999", "seed: "),
        ("collect --run ''", "a path is empty"),
        (f"collect --run {'r' * 300}", "this path cannot be used"),
        ("collect --run /dev/null/x", "this path cannot be used"),
        ("collect --run x --base-url http://127.0.0.1:9/v1 --extra-body '{\"a\": NaN}'", "JSON"),
        ("collect --run x --base-url 'http://127.0.0.1:9/v 1'", "base_url: "),
        ("collect --run x --base-url http://127.0.0.1:9/v1 --timeout nan", "timeout: "),
        ("fit '' --out x", "a path is empty"),
        ("map smollm2-135m-instruct --out x.pdf", "not written in this format"),
        (f"map {'s' * 300} --out x.html", "File name too long"),
        ("info ''", "a path is empty"),
        ("sweep smollm2-135m-instruct --out x --control a=nowhere", "no space in nowhere"),
    ],
)
def test_values_that_cannot_work_are_refused_before_anything_is_loaded(
    line: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(PersonaModel, "load", load)
    monkeypatch.setattr(loading, "load_tokenizer", load)
    monkeypatch.setattr("sys.argv", ["persona-lens", *shlex.split(line)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr().err
    assert caught.value.code == 1
    assert message in said
    assert "--debug" not in said


@pytest.mark.parametrize(
    "line",
    [
        "collect --run x --engine clay",
        "collect --run x --base-url http://127.0.0.1:9/v1 --template theirs",
        "fit x --out y --scaling none",
        "map smollm2-135m-instruct --out x.html --figure pie",
        "sweep smollm2-135m-instruct --out x --draws 99999999999",
        "reconstruct smollm2-135m-instruct --out x --method guess",
    ],
)
def test_choices_are_named_where_none_is_made(line: str) -> None:
    done = CliRunner().invoke(cli.app, shlex.split(line))
    assert done.exit_code == 2
    assert "Invalid value for" in done.output


def test_a_key_in_place_of_its_name_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "collect --run x --base-url http://127.0.0.1:9/v1 --api-key-env sk-very-secret"
    monkeypatch.setattr("sys.argv", ["persona-lens", *line.split()])
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert "not the key itself" in said
    assert "secret" not in said


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    for arguments in (
        ["--debug", "fit", "nowhere", "--out", "x"],
        ["fit", "nowhere", "--out", "x", "--debug"],
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "RunError" in done.stderr


def test_wrong_usage_is_told_from_failure() -> None:
    assert run_apart("fit").returncode == 2
    assert run("collect", "--run", "x", "--prompts", "0").returncode == 2


@pytest.mark.parametrize(
    ("text", "layers"), [("3", [3]), ("10-12", [10, 11, 12]), ("0,4-5", [0, 4, 5])]
)
def test_layers_are_parsed(text: str, layers: list[int]) -> None:
    assert parse_layers(text) == layers


def test_layers_that_cannot_be_parsed_are_refused() -> None:
    with pytest.raises(SpaceError, match="10-20"):
        parse_layers("10 to 20")


def test_the_version_is_that_of_the_package_that_is_installed() -> None:
    told = CliRunner().invoke(cli.app, ["--version"])
    assert told.exit_code == 0
    assert told.output == f"persona-lens {persona_lens.__version__}\n"
    assert persona_lens.__version__ == version("persona-lens")


def test_models_lists_the_embedded_ones() -> None:
    done = run_apart("models")
    assert done.returncode == 0
    assert "gemma-3-270m" in done.stdout


@pytest.mark.embedded
def test_the_way_from_a_real_run_to_a_map(small_run: Path, tmp_path: Path) -> None:
    space, figure = tmp_path / "space", tmp_path / "map.html"
    for arguments, expected in (
        (["info", str(small_run)], "104 of 104"),
        (["fit", str(small_run), "--out", str(space)], "12 roles, 2 traits"),
        (["info", str(space)], "cos(PC1, axis)"),
        (["map", str(space), "--layer", "20", "--out", str(figure)], "Saved"),
    ):
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert expected in done.stdout + done.stderr
    page = figure.read_text("utf-8")
    assert "pirate" in page
    assert "plotly" in page.lower()


def test_collect_continues_and_says_where_to_go(tiny_llama: Path, tmp_path: Path) -> None:
    arguments = [
        *("collect", "--model", str(tiny_llama), "--run", str(tmp_path / "run")),
        *(
            "--roles",
            "pirate,ghost,poet",
            "--traits",
            "none",
            "--questions",
            "q01,q02",
            "--prompts",
            "1",
            "--defaults",
            "Be yourself.",
        ),
        *(
            "--default-samples",
            "1",
            "--max-new-tokens",
            "4",
            "--dtype",
            "float32",
            "--layers",
            "1-2",
        ),
    ]
    first, second = run(*arguments), run(*arguments)
    assert first.returncode == second.returncode == 0, first.stderr
    assert "8 replies" in first.stderr
    assert "persona-lens fit" in first.stderr
    assert "To do" not in second.stderr
