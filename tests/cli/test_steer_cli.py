"""`persona-lens steer`, and `fit --model`, which makes strengths known: on a small space of the embedded model."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_lens import PersonaModel, PersonaSpace, cli
from persona_lens.cli.steering_plans import parse_strength


@pytest.fixture
def told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], str]:
    """Runs a command that must fail; returns what it says."""

    def failing(arguments: list[str]) -> str:
        monkeypatch.setattr(sys, "argv", ["persona-lens", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 1
        return capsys.readouterr().err

    return failing


@pytest.fixture
def loaded(smol: PersonaModel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that commands load; each gets the one that is here already."""
    names: list[str] = []

    def load(source: str, **_: object) -> PersonaModel:
        names.append(source)
        return smol

    monkeypatch.setattr(PersonaModel, "load", load)
    return names


@pytest.fixture(scope="module")
def spaces(
    small_space: PersonaSpace, smol: PersonaModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Folders of the space with and without a calibration on tokens."""
    folder = tmp_path_factory.mktemp("spaces")
    plain = small_space.save(folder / "plain")
    calibrated = PersonaSpace.load(plain).calibrate(smol, replies=2, progress=False)
    return {"plain": str(plain), "calibrated": str(calibrated.save(folder / "calibrated"))}


def steer(*arguments: str) -> str:
    options = ["--max-new-tokens", "6", "--temperature", "0"]
    result = CliRunner().invoke(cli.app, ["steer", *arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def parts(output: str) -> tuple[str, str, str]:
    found = re.fullmatch(r"Without\n(.*)\n\nWith\n(.*)\n\nWhat was done\n(.*)", output, re.DOTALL)
    assert found, output
    return found[1], found[2], " ".join(found[3].split())


@pytest.mark.embedded
def test_steer_answers_twice_and_says_what_it_did(
    spaces: dict[str, str], loaded: list[str]
) -> None:
    without, with_it, receipt = parts(
        steer(spaces["calibrated"], "Who are you?", "--add", "pirate=0.5", "--add", "pc1=-0.2")
    )
    assert loaded == ["smollm2-135m-instruct"]
    assert without != with_it
    assert "1. add 'pirate'; at layers 15; tokens all; unit mean residual norm" in receipt
    assert "2. add 'pc1'" in receipt
    assert "strength -0.2" in receipt
    assert receipt.count("changed 100% of") == 2


@pytest.mark.embedded
def test_steer_runs_its_operations_in_order_where_it_is_told(
    spaces: dict[str, str], loaded: list[str]
) -> None:
    caps = ["--floor", "90", "--ceil", "95", "--ablate", "ghost", "--layers", "12-13"]
    arguments = ["Who are you?", "--system", "You are a ghost.", *caps, "--where", "generated"]
    _, _, receipt = parts(steer(spaces["plain"], *arguments))
    steps = re.findall(r"\d\. (\w+ '\w+'); at layers ([\d-]+); tokens (\w+)", receipt)
    assert steps == [
        (name, "12-13", "generated")
        for name in ("floor 'assistant'", "ceil 'assistant'", "ablate 'ghost'")
    ]
    assert "percentile 90 of replies" in receipt


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do"),
        (["--add", "pirate"], "cannot read --add"),
        (["--add", "pirate=much"], "given pirate=much"),
        (["--add", "pirat=1"], "did you mean pirate"),
        (["--add", "pirate=0.1"], "persona-lens fit --model"),
        (["--floor", "101"], "not a percentile"),
        (["--floor", "50", "--layers", "99"], "expected 0-29, given 99"),
        (["--floor", "50", "--where", "nowhere"], "no such choice of tokens"),
    ],
)
def test_mistakes_are_told_in_short_and_before_a_model_is_loaded(
    spaces: dict[str, str],
    loaded: list[str],
    told: Callable[[list[str]], str],
    arguments: list[str],
    message: str,
) -> None:
    said = told(["steer", spaces["plain"], "Hi", *arguments])
    assert message in " ".join(said.split())
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 5
    assert loaded == []


def test_strengths_are_parsed() -> None:
    assert parse_strength("role:assistant=-0.25") == ("role:assistant", -0.25)


@pytest.mark.embedded
def test_fit_with_the_model_calibrates_on_tokens(
    small_run: Path, loaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, given = PersonaSpace.calibrate, []

    def few(
        self: PersonaSpace, model: PersonaModel | None = None, **options: object
    ) -> PersonaSpace:
        given.append(model)
        return plain(self, model, replies=2, progress=False)

    monkeypatch.setattr(PersonaSpace, "calibrate", few)
    folder = tmp_path / "space"
    arguments = ["fit", str(small_run), "--out", str(folder), "--model", "smollm2-135m-instruct"]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert loaded == ["smollm2-135m-instruct"]
    assert given[-1] is not None
    space = PersonaSpace.load(folder)
    assert space.token_calibration_ is not None
    assert space.add("pirate", 0.1).layers == (15,)
