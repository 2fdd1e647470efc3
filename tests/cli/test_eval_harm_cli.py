"""`persona-lens eval harm`: a table that a user brings, judged by rules or by a server, told, kept and refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from faulty_server import Behaviour, FaultyServer, Seen, no_quota, ok
from tiny import shared_model
from typer.testing import CliRunner

from persona_lens import PersonaModel, cli
from persona_lens.errors import EndpointError, PersonaLensError
from persona_lens.evals.evaluation import Evaluated

SHORT = ["--max-new-tokens", "6", "--temperature", "0", "--quiet"]
HEAD = "request,category,benign,pair\n"
ROWS = "".join(
    f"Fold forbidden crane {n},paper,no,{n}\nFold crane {n},paper,yes,{n}\n" for n in range(3)
)


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> PersonaModel:
    """The tiny model that commands load."""
    monkeypatch.setenv("COLUMNS", "200")
    model = shared_model("llama")
    monkeypatch.setattr(PersonaModel, "load", lambda *_, **__: model)
    return model


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text(HEAD + ROWS, "utf-8")
    return path


def said(*arguments: object) -> str:
    line = ["eval", "harm", *map(str, arguments)]
    result = CliRunner().invoke(cli.app, line, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def judged_by(server: FaultyServer) -> list[str]:
    return ["--judge-server", server.url, "--judge-model", "m", "--concurrency", "1"]


def by_request(seen: Seen) -> Behaviour:
    """Full for what is called forbidden, refusal for the rest: planted harm and planted over-refusal."""
    asked = seen.question.split("QUESTION BEGINS")[1].split("QUESTION ENDS")[0]
    return ok('{"label": "full"}' if "forbidden" in asked else '{"label": "refusal"}')


def test_a_table_is_asked_and_told_without_a_judge(table: Path, tmp_path: Path):
    out = tmp_path / "out"
    told = said("--items", table, "--personas", "pirate,ghost", "--out", out, *SHORT)
    assert "over-refusal" in told
    assert "nonsensical" in told
    assert "miss" not in told  # rules know no harm
    result = Evaluated.load(out)
    assert set(result.replies["persona"]) == {"", "pirate", "ghost"}
    assert {"harm.html", "measures.html", "harm.csv", "persona.csv"} <= {
        path.name for path in out.iterdir()
    }


def test_what_a_server_says_is_counted(table: Path, tmp_path: Path):
    out = tmp_path / "out"
    line = ("--items", table, "--personas", "pirate", "--out", out, *SHORT)
    with FaultyServer(by_request) as server:
        said(*line, *judged_by(server))
        calls = len(server.requests)
        said(*line, *judged_by(server))
        assert len(server.requests) == calls == 12
    rates = pd.read_csv(out / "harm.csv").query("category == 'all'").set_index("measure")["value"]
    assert rates.loc[["full harm", "over-refusal"]].tolist() == [1.0] * 4
    assert rates["refusal"].tolist() == [0.0] * 2


def test_a_judge_that_fails_leaves_the_verdicts_there_are(table: Path, tmp_path: Path):
    out = tmp_path / "out"
    line = ("--items", table, "--personas", "pirate", "--out", out, *SHORT)
    with FaultyServer(lambda seen: by_request(seen) if seen.number < 8 else no_quota()) as server:
        result = CliRunner().invoke(cli.app, ["eval", "harm", *map(str, line), *judged_by(server)])
    assert isinstance(result.exception, EndpointError)
    assert "The same command continues" in result.output
    kept = Evaluated.load(out).replies
    assert kept.loc[kept["judge"] == "harm", "status"].value_counts().to_dict() == {
        "ok": 8,
        "failed": 4,
    }
    whole = pd.read_csv(out / "harm.csv").query("category == 'all' and measure == 'harm'")
    assert (whole["n"] + whole["unjudged"]).tolist() == [3, 3]


def test_a_dry_run_tells_replies_and_calls(table: Path):
    with FaultyServer() as server:
        told = said("--items", table, "--personas", "pirate", "--dry-run", *judged_by(server))
        assert server.requests == []
    assert "12 items x 1 conditions x 1 samples = 12 replies" in told
    assert "Judge harm: 12 calls" in told


def test_rows_that_cannot_be_used_are_named_and_cost_themselves(tmp_path: Path):
    path = tmp_path / "bad.csv"
    path.write_text(
        HEAD + "Fold it,paper,no,1\nFold it twice,paper,perhaps,1\n,paper,no,2\n", "utf-8"
    )
    told = said("--items", path, "--personas", "pirate", "--dry-run")
    assert "2 rows were left out, 1 can be asked" in told
    assert "line 3, column benign" in told
    assert "line 4, column request" in told


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (lambda table: ["harm"], "needs items"),
        (lambda table: ["harm", "--items", "none.csv"], "none.csv cannot be read"),
        (lambda table: ["harm", "--items", table], "nobody is to be asked"),
        (lambda table: ["harm", "--items", table, "--column", "text"], "cannot read --column"),
        (lambda table: ["harm", "--items", table, "--column", "text=Wish"], "no column 'Wish'"),
        (
            lambda table: ["harm", "--items", table, "--layout", "harmbunch"],
            "did you mean harmbench",
        ),
        (lambda table: ["harm", "--items", table, "--with", f"items={table}"], "given twice"),
        (lambda table: ["harm", "--items", table, "--rubric", "paper"], "nobody judges"),
        (lambda table: ["rules", "--items", table], "brings what it asks"),
        (lambda table: ["rules", "--rubric", "paper", "--judge-model", "m"], "brings what it asks"),
        (lambda table: ["rules", "--judge-model", "m"], "no language model judges"),
        (lambda table: ["susceptibility", "--judge-server", "http://x/v1"], "nobody judges"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments: Callable, problem: str, table: Path):
    with pytest.raises(PersonaLensError, match=problem):
        CliRunner().invoke(cli.app, ["eval", *map(str, arguments(table))], catch_exceptions=False)


def test_susceptibility_may_be_judged_by_a_server_too():
    line = ["eval", "susceptibility", "--with", "first=1", "--with", "prompts=1", *SHORT]

    def script(seen: Seen) -> Behaviour:
        return ok("admits as role" if "admits_as_role" in seen.question else "human")

    with FaultyServer(script) as server:
        sizes = CliRunner().invoke(cli.app, [*line, *judged_by(server), "--dry-run"]).output
        told = CliRunner().invoke(cli.app, [*line, *judged_by(server)], catch_exceptions=False)
        # Who speaks, of five questions; and what is said to the one that asks for a yes or no.
        assert len(server.requests) == 6
    assert "Judge judge: 5 calls" in sizes
    assert "Judge role_playing: 1 calls" in sizes
    admitted = told.output.split("says that it plays a role")[1].split("denies")[0]
    assert "100%" in admitted
    assert "100%" in told.output.split("takes on a persona")[1].split("Assistant")[0]
