"""`persona-lens catalog`: each command on real files, its exit codes and its complaints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drafted import KEEPER
from faulty_server import FaultyServer, ok
from typer.testing import CliRunner, Result

from persona_lens.catalog import load_defaults, load_roles, load_traits
from persona_lens.cli import catalog, options
from persona_lens.errors import CatalogError

COMMANDS = ["list", "show", "check", "export", "new-role", "new-trait"]


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    for console in (options.out, options.err):
        monkeypatch.setattr(console, "_width", 200)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(catalog.app, [str(argument) for argument in arguments])


def complaint(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, CatalogError)
    return str(error)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"persona-lens catalog {command}" in " ".join(result.output.split())


def test_list_finds_words_anywhere():
    assert "275 roles" in run("list").output
    lines = run("list", "undead").output.splitlines()
    assert any(line.startswith("vampire ") for line in lines)
    assert not any(line.startswith("tutor ") for line in lines)
    assert "16 traits" in run("list", "--kind", "traits", "--from", "core").output
    assert "240 questions" in run("list", "--kind", "questions").output


def test_show_shows_the_role_and_the_trait_of_one_name():
    output = run("show", "generalist").output
    assert "role generalist" in output
    assert "trait generalist" in output
    assert load_roles("generalist")[0].prompts[2] in output
    assert load_traits("generalist")[0].questions[3] in output


def test_show_unknown_says_what_is_near():
    assert "did you mean pirate" in complaint("show", "priate")
    assert "catalog list" in complaint("show", "xyzzyq")


def test_check_of_own_files_and_folders(tmp_path: Path):
    good = {"name": "lighthouse_keeper", **KEEPER}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(good), "utf-8")
    assert run("check", path, "--embedder", "none").exit_code == 0
    path.write_text(json.dumps([good, {**good, "name": "twin"}]), "utf-8")
    result = run("check", path, "--embedder", "none")
    assert result.exit_code == 1
    assert (
        "role lighthouse_keeper, prompts[0] and role twin, prompts[0] are the same" in result.output
    )


def test_check_of_a_folder_takes_all_kinds_in_it(tmp_path: Path):
    folder = tmp_path / "data"
    exported = run(
        "export", folder, "--roles", "pirate,ghost", "--traits", "calm", "--questions", "core"
    )
    assert exported.exit_code == 0
    result = run("check", folder)
    assert result.exit_code == 0, result.output
    for part in ("2 roles", "1 traits", "24 questions", "5 default prompts", "No faults"):
        assert part in result.output


def test_check_against_the_packaged_ones(tmp_path: Path):
    path = tmp_path / "mine.json"
    double = {**KEEPER, "name": "twin", "prompts": [load_roles("surfer")[0].prompts[0]]}
    path.write_text(json.dumps(double), "utf-8")
    result = run("check", "--roles", f"full,{path}", "--embedder", "none")
    assert result.exit_code == 1
    assert "role surfer, prompts[0] and role twin, prompts[0] are the same" in result.output


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A folder as the paper's data are: texts too short, too long and too alike for the house rules."""
    data = tmp_path / "data"
    for name in ("baker", "miller"):
        told = {"instruction": [{"pos": f"You are a {name}."}, {"pos": f"Be a {name}."}]}
        file = data / "roles" / "instructions" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(told), "utf-8")
    asked = {"question": "Bakers?", "id": 0}
    (data / "extraction_questions.jsonl").write_text(json.dumps(asked), "utf-8")
    return data


def test_texts_of_others_are_held_to_the_format_alone(imported: Path):
    result = run("check", imported, "--embedder", "none")
    assert result.exit_code == 0
    assert "No faults" in result.output
    assert "3 entries in the paper's layout: format and names only" in result.output
    strict = run("check", imported, "--house-rules", "--embedder", "none")
    assert strict.exit_code == 1
    assert "role baker, prompts[0] has 4 words" in strict.output
    assert "names the role 'baker'" in strict.output
    file = imported / "roles" / "instructions" / "baker.json"
    assert run("check", file, "--embedder", "none").exit_code == 0
    file.write_text('{"instruction": [{"neg": "?"}]}', "utf-8")
    assert "a negative side, so it is a trait" in complaint("check", "--roles", imported)


def test_own_entries_are_held_against_those_of_others(imported: Path, tmp_path: Path):
    mine = tmp_path / "mine.json"
    mine.write_text(
        json.dumps({**KEEPER, "name": "twin", "prompts": ["You are a baker."]}), "utf-8"
    )
    result = run("check", "--roles", f"{imported},{mine}", "--embedder", "none")
    assert result.exit_code == 1
    assert "are the same" in result.output
    assert "role twin, prompts[0] has 4 words" in result.output
    assert "role baker, prompts[0] has" not in result.output


def test_check_of_something_else(tmp_path: Path):
    path = tmp_path / "package.json"
    path.write_text('{"version": 1}', "utf-8")
    assert "holds neither roles nor traits nor questions" in complaint("check", path)


def test_export_of_nothing_but_roles(tmp_path: Path):
    folder = tmp_path / "data"
    nothing = [part for kind in ("traits", "questions") for part in (f"--{kind}", "none")]
    assert run("export", folder, "--roles", "core", *nothing).exit_code == 0
    assert len(load_roles(folder)) == 48
    assert [default.text for default in load_defaults(folder)] == [d.text for d in load_defaults()]
    assert not (folder / "traits").exists()


def test_new_role_writes_a_file_that_loads(tmp_path: Path):
    target = tmp_path / "keeper.json"
    with FaultyServer(ok(json.dumps(KEEPER))) as server:
        ask = ["-m", "m", "--base-url", server.url, "--out", target, "--embedder", "none"]
        assert run("new-role", "lighthouse keeper", *ask).exit_code == 0
        assert load_roles(target)[0].name == "lighthouse_keeper"
        assert "exists already" in complaint("new-role", "lighthouse keeper", *ask)
        assert len(server.requests) == 1
