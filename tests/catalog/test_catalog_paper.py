"""The layout of the paper's data: read in all its variants, written, and read again unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from persona_lens.catalog import (
    Question,
    Role,
    export_catalog,
    load_defaults,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.errors import CatalogError

EVAL = "Question: {question}\nAnswer: {answer}\nAnswer with one digit."


def put(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def role_file(*prompts: str, **more) -> dict:
    return {"instruction": [{"pos": prompt} for prompt in prompts], **more}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small folder as released, with the oddities that such folders have."""
    root = tmp_path / "data"
    roles, traits = root / "roles" / "instructions", root / "traits" / "instructions"
    put(
        roles / "baker.json",
        role_file("You bake.", "You knead.", questions=["Rye or wheat?"], eval_prompt=EVAL),
    )
    put(roles / "devil's_advocate.json", "\ufeff" + json.dumps(role_file("You argue against.")))
    put(roles / "海賊.json", role_file("You sail."))
    put(roles / "default.json", role_file("", "You are an AI.", "You are {model_name}."))
    put(root / "roles" / "role_list.json", {"baker": "Bakes bread.", "海賊": "Sails."})
    put(
        traits / "calm.json",
        {
            "instruction": [{"pos": "Be calm.", "neg": "Be agitated."}],
            "questions": ["The pan is on fire. What now?"],
            "eval_prompt": EVAL,
        },
    )
    put(root / "traits" / "trait_list.json", {"calm": "Stays even."})
    put(
        root / "extraction_questions.jsonl",
        '\ufeff{"question": "Who are you?", "id": 0}\n\n{"question": "Why?", "id": 7}\r\n'
        '{"question": "Where?", "id": "q-12"}\n{"question": "When?", "id": "12"}\n',
    )
    return root


def everything(folder: Path) -> tuple:
    loaders = load_roles, load_traits, load_questions, load_defaults
    return tuple(load(folder) for load in loaders)


# Reading


def test_everything_a_role_file_says_is_read(data):
    baker, advocate, pirate = load_roles(data)
    assert baker == Role(
        name="baker",
        description="Bakes bread.",
        prompts=("You bake.", "You knead."),
        questions=("Rye or wheat?",),
        eval_prompt=EVAL,
    )
    assert (advocate.name, advocate.original_name) == ("devil_s_advocate", "devil's_advocate")
    assert pirate.name.startswith("role_")
    assert (pirate.original_name, pirate.description) == ("海賊", "Sails.")


def test_everything_a_trait_file_says_is_read(data):
    (calm,) = load_traits(data)
    assert (calm.pairs[0].positive, calm.pairs[0].negative) == ("Be calm.", "Be agitated.")
    assert calm.own_questions()[0].text == "The pan is on fire. What now?"
    assert (calm.description, calm.eval_prompt) == ("Stays even.", EVAL)


def test_ids_of_questions_become_names_and_are_remembered(data):
    asked = load_questions(data)
    assert [(question.id, question.original_id) for question in asked] == [
        ("question_0", 0),
        ("question_7", 7),
        ("q_12", "q-12"),
        ("question_12", "12"),
    ]


def test_defaults_are_those_of_the_default_file(data):
    defaults = load_defaults(data)
    assert [default.fill("Qwen3") for default in defaults] == [
        "",
        "You are an AI.",
        "You are Qwen3.",
    ]
    assert defaults == load_defaults(data / "roles" / "instructions" / "default.json")


@pytest.mark.parametrize("level", ["..", ".", "roles", "roles/instructions"])
def test_any_level_of_the_folder_will_do(data, level):
    assert load_roles(data / level) == load_roles(data)
    assert load_defaults(str(data / level)) == load_defaults(data)


def test_files_without_the_middle_folder(data):
    (data / "roles" / "instructions").rename(data / "flat")
    (data / "flat").rename(data.parent / "roles")
    (data / "roles" / "role_list.json").rename(data.parent / "roles" / "role_list.json")
    assert load_roles(data.parent)[0].description == "Bakes bread."


def test_one_folder_with_roles_and_traits_side_by_side(tmp_path):
    put(tmp_path / "baker.json", role_file("You bake."))
    put(tmp_path / "calm.json", {"instruction": [{"positive": "Calm.", "negative": "Wild."}]})
    put(tmp_path / "own.json", {"name": "miller", "prompts": ["You mill."]})
    put(tmp_path / "settings.json", {"version": 1})
    assert [role.name for role in load_roles(tmp_path)] == ["baker", "miller"]
    assert [trait.name for trait in load_traits(tmp_path)] == ["calm"]


def test_folder_with_our_own_lists(tmp_path):
    put(tmp_path / "roles.json", [{"name": "baker", "prompts": ["You bake."]}, "ghost"])
    put(tmp_path / "questions.jsonl", '{"id": "why", "text": "Why?"}\n"Who are you?"\n')
    assert [role.name for role in load_roles(tmp_path)] == ["baker", "ghost"]
    assert [question.text for question in load_questions(tmp_path)] == ["Why?", "Who are you?"]


def test_single_files_and_mixtures(data):
    file = data / "roles" / "instructions" / "baker.json"
    assert [role.name for role in load_roles(["pirate", file])] == ["pirate", "baker"]
    asked = load_questions([data / "extraction_questions.jsonl", "q01"])
    assert [question.id for question in asked][-2:] == ["question_12", "q01"]


def test_prompts_may_be_plain_sentences(tmp_path):
    put(tmp_path / "baker.json", {"instruction": ["You bake.", {"pos": "You knead."}]})
    assert load_roles(tmp_path / "baker.json")[0].prompts == ("You bake.", "You knead.")


# Writing


def test_import_export_import_changes_nothing(data, tmp_path):
    once = everything(data)
    export_catalog(
        tmp_path / "again",
        roles=once[0],
        traits=once[1],
        questions=once[2],
        defaults=once[3],
    )
    assert everything(tmp_path / "again") == once


def test_export_says_what_the_files_said(data, tmp_path):
    roles, traits, questions, defaults = everything(data)
    again = tmp_path / "again"
    export_catalog(again, roles=roles, traits=traits, questions=questions, defaults=defaults)

    def read(root: Path, name: str):
        return json.loads((root / name).read_text("utf-8-sig"))

    for name in ("baker", "devil's_advocate", "海賊", "default"):
        file = f"roles/instructions/{name}.json"
        assert read(again, file) == read(data, file)
    assert read(again, "traits/instructions/calm.json") == read(
        data, "traits/instructions/calm.json"
    )
    assert read(again, "traits/trait_list.json") == read(data, "traits/trait_list.json")
    lines = (again / "extraction_questions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 7, "q-12", "12"]


def test_packaged_entries_survive_export(tmp_path):
    loaders = load_roles, load_traits, load_questions, load_defaults
    full = [load("full") for load in loaders]
    export_catalog(
        tmp_path / "full", roles=full[0], traits=full[1], questions=full[2], defaults=full[3]
    )
    assert list(everything(tmp_path / "full")) == full
    pirate = json.loads((tmp_path / "full/roles/instructions/pirate.json").read_text("utf-8"))
    assert "eval_prompt" not in pirate
    assert pirate["instruction"][0] == {"pos": load_roles("pirate")[0].prompts[0]}


def test_name_that_no_file_can_have_is_kept(tmp_path):
    role = Role(name="either_or", prompts=("You waver.",), original_name="either/or")
    export_catalog(tmp_path / "out", roles=[role])
    assert load_roles(tmp_path / "out") == (role,)


def test_export_mixes_with_nothing(tmp_path):
    put(tmp_path / "out" / "old.json", {})
    with pytest.raises(CatalogError, match="not empty"):
        export_catalog(tmp_path / "out", roles=load_roles("pirate"))


def test_a_role_called_default_has_no_file(tmp_path):
    with pytest.raises(CatalogError, match=r"needs the file default\.json"):
        export_catalog(tmp_path / "out", roles=[Role(name="default", prompts=("You are you.",))])


def test_an_id_of_ours_is_written_as_it_is(tmp_path):
    export_catalog(
        tmp_path / "out", questions=[Question(id="sea", text="Why the sea?", tags=("explain",))]
    )
    line = json.loads((tmp_path / "out" / "extraction_questions.jsonl").read_text("utf-8"))
    assert line == {"question": "Why the sea?", "id": "sea", "tags": ["explain"]}


# Complaints


@pytest.mark.parametrize(
    ("content", "problem", "remedy"),
    [
        ({"instruction": "You bake."}, "has no list of prompts", "square brackets"),
        ({"instruction": [{"text": "You bake."}]}, "a prompt has no 'pos'", '{"pos": "..."}'),
        ({"instruction": [{"pos": "A.", "neg": "B."}]}, "it is a trait", "load_traits"),
        ({"instruction": []}, "prompts: is empty", "give at least one"),
    ],
)
def test_malformed_role_files(tmp_path, content, problem, remedy):
    put(tmp_path / "baker.json", content)
    with pytest.raises(CatalogError) as caught:
        load_roles(tmp_path / "baker.json")
    for part in ("baker.json", problem, remedy):
        assert part in str(caught.value)


def test_trait_without_a_negative_side(tmp_path):
    put(tmp_path / "traits" / "calm.json", role_file("Be calm."))
    with pytest.raises(CatalogError, match="a prompt has no 'neg'"):
        load_traits(tmp_path)


def test_folder_without_the_kind_says_what_it_holds(data):
    with pytest.raises(CatalogError) as caught:
        load_roles(data / "traits")
    assert "holds no roles" in str(caught.value)
    assert "trait_list.json" in str(caught.value)


def test_missing_folder(tmp_path):
    with pytest.raises(CatalogError, match="no such file or folder"):
        load_roles(tmp_path / "gone")


def test_what_is_passed_over_is_told(data):
    put(data / "roles" / "instructions" / "baker.json", role_file("You bake.", author="me"))
    with pytest.warns(UserWarning, match="baker.json.* passed over author"):
        load_roles(data)


def test_descriptions_without_a_file_are_told(data):
    put(data / "roles" / "role_list.json", {"miller": "Mills."})
    with pytest.warns(UserWarning, match="passed over miller"):
        load_roles(data)
