"""What the loaders accept, and how they complain about the rest."""

import json
import os
from pathlib import Path

import pytest

from persona_lens.catalog import (
    DefaultPrompt,
    Question,
    Role,
    load_defaults,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.errors import CatalogError

BAKER = {"name": "baker", "prompts": ["You are a baker.", "You knead dough before dawn."]}
THRIFT = {"name": "thrift", "pairs": [{"positive": "You save.", "negative": "You spend."}]}


def names(entries):
    return [entry.name for entry in entries]


@pytest.fixture
def write(tmp_path):
    def _write(content, name="mine.json") -> Path:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
        return path

    return _write


def complaint(load, spec) -> str:
    with pytest.raises(CatalogError) as caught:
        load(spec)
    return str(caught.value)


# What is accepted


def test_none_is_nothing_and_default_is_core():
    assert load_roles(None) == ()
    assert load_roles() == load_roles("core")


def test_role_from_a_dict():
    (role,) = load_roles(BAKER)
    assert role == Role(name="baker", prompts=("You are a baker.", "You knead dough before dawn."))


def test_role_from_a_file_with_one_entry_or_a_list(write):
    one, many = write(BAKER, "one.json"), write([BAKER, "ghost"], "many.json")
    assert names(load_roles(one)) == names(load_roles(str(one))) == ["baker"]
    assert names(load_roles(many)) == ["baker", "ghost"]


def test_file_with_a_byte_order_mark(write):
    assert names(load_roles(write("\ufeff" + json.dumps(BAKER)))) == ["baker"]


def test_home_folder_is_expanded(write, monkeypatch):
    path = write(BAKER)
    monkeypatch.setenv("HOME", str(path.parent))
    monkeypatch.setenv("USERPROFILE", str(path.parent))
    assert names(load_roles(os.path.join("~", path.name))) == ["baker"]


def test_mixture_keeps_its_order(write):
    typed = Role(name="tinker", prompts=("You mend pots.",))
    miller = write({"name": "miller", "prompts": ["You grind corn."]})
    mixture = ["pirate", BAKER, None, miller, typed, ("oracle", "analyst")]
    assert names(load_roles(mixture)) == [
        "pirate",
        "baker",
        "miller",
        "tinker",
        "oracle",
        "analyst",
    ]


def test_full_holds_core_and_single_names_of_both():
    full, core = load_roles("full"), load_roles()
    assert set(names(core)) < set(names(full))
    assert next(role for role in full if role.name == "pirate") is load_roles("pirate")[0]
    assert names(load_roles(["surfer", "pirate"])) == ["surfer", "pirate"]
    assert load_defaults("full") == load_defaults("core")


def test_json_lines_with_blank_lines_and_a_byte_order_mark(write):
    lines = "\ufeff" + json.dumps(BAKER) + '\n\n  \r\n"ghost"\n'
    assert names(load_roles(write(lines, "mine.jsonl"))) == ["baker", "ghost"]


def test_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "pirate").mkdir()
    (tmp_path / "pirate" / "mine.json").write_text(json.dumps(BAKER), "utf-8")
    monkeypatch.chdir(tmp_path)
    assert names(load_roles("pirate")) == ["pirate"]
    assert names(load_roles("./pirate")) == ["baker"]


def test_long_sentence_is_not_taken_for_a_path():
    assert load_questions("Tell me about the sea. " * 400)[0].text.startswith("Tell me")


def test_core_with_one_more():
    assert names(load_traits(["core", THRIFT]))[-2:] == ["hostile", "thrift"]


def test_plain_sentences_become_questions_with_stable_ids():
    first, again = load_questions("Why?"), load_questions(["Why?"])
    assert first == again
    assert first[0].text == "Why?"
    (told,) = load_questions("Describe your morning.")
    assert told.id != first[0].id
    assert load_questions(Question(id="why", text="Why?"))[0].id == "why"


def test_plain_sentences_become_defaults():
    named, own = load_defaults(["named", "Speak freely as {model_name} {x}."])
    assert "Qwen3" in named.fill("Qwen3")
    assert own.fill("Qwen3") == "Speak freely as Qwen3 {x}."


# What is refused


def test_complaint_names_file_entry_field_and_remedy(write):
    broken = {"name": "Lighthouse Keeper", "prompts": ["You row.", " "], "group": "elf"}
    text = complaint(load_roles, path := write([BAKER, broken]))
    for part in (str(path), "[1]", "'Lighthouse Keeper'", "field name", "and 2 more"):
        assert part in text
    assert "write 'lighthouse_keeper'" in text


@pytest.mark.parametrize(
    ("change", "field", "remedy"),
    [
        ({"prompts": []}, "field prompts: is empty", "give at least one"),
        ({"prompts": ["You row.", " \n"]}, "field prompts[1]: is blank", "write some text"),
        ({"prompts": ["You row.", "You row."]}, "at [0] and [1]", "reword"),
        ({"prompts": "You row."}, "field prompts", "in square brackets"),
        ({"group": "elf"}, "field group", "correct group"),
        ({"age": 7}, "field age", "fields name, prompts, and may have group"),
        ({"name": "海賊"}, "field name", "such as 'lighthouse_keeper'"),
        ({"name": 7}, "field name", "correct name"),
        ({"tags": [""]}, "field tags[0]: is blank", "take the entry out"),
    ],
)
def test_each_bad_field_of_a_role(change, field, remedy):
    text = complaint(load_roles, [BAKER | {"name": "rower"} | change])
    assert "entry [0]" in text
    assert field in text
    assert remedy in text


def test_missing_field_names_the_fields():
    text = complaint(load_roles, {"name": "baker"})
    assert "field prompts" in text
    assert "a role has the fields name, prompts" in text


@pytest.mark.parametrize(
    ("pairs", "field", "remedy"),
    [
        (["You save."], "field pairs[0]:", '{"positive": "...", "negative": "..."}'),
        ([{"positive": "You save."}], "field pairs[0].negative", '"negative": "..."'),
        ([{"positive": "Save.", "negative": "Save."}], "field pairs[0]: has the same", "opposite"),
    ],
)
def test_each_bad_pair_of_a_trait(pairs, field, remedy):
    text = complaint(load_traits, THRIFT | {"pairs": pairs})
    assert field in text
    assert remedy in text


@pytest.mark.parametrize(
    ("load", "given", "suggestion"),
    [
        (load_roles, "priate", "did you mean pirate"),
        (load_roles, "Pirate", "did you mean pirate"),
        (load_traits, "sarcasm", "did you mean sarcastic?"),
        (load_questions, "Q-01", "q01"),
        (load_defaults, "", 'load_defaults("full") lists'),
        (load_roles, "xyzzy", 'load_roles("full") lists'),
    ],
)
def test_unknown_name(load, given, suggestion):
    text = complaint(load, given)
    assert f"unknown {load.__name__.removeprefix('load_')[:-1]} {given!r}" in text
    assert suggestion in text


def test_duplicate_says_which_two():
    text = complaint(load_roles, ["core", BAKER, "pirate"])
    assert "'pirate' is given twice" in text
    assert "entry [0] (core)" in text
    assert "entry [2]" in text


def test_invalid_json_says_where(write):
    assert "line 2, column 4" in complaint(load_roles, write("[\n1, }"))


def test_invalid_json_line_says_which(write):
    assert "at line 2, column 2" in complaint(load_roles, write('"ghost"\n{]', "mine.jsonl"))


def test_missing_file(tmp_path):
    text = complaint(load_roles, tmp_path / "gone.json")
    assert "gone.json" in text
    assert "check the path" in text


def test_file_in_another_encoding(tmp_path):
    path = tmp_path / "old.json"
    path.write_bytes('{"name": "café"}'.encode("latin-1"))
    assert "not UTF-8" in complaint(load_roles, path)


@pytest.mark.parametrize("given", [3, b"pirate", {1, 2}, DefaultPrompt(id="none", text="")])
def test_foreign_objects(given):
    text = complaint(load_roles, ["pirate", given])
    assert "roles, entry [1]: is not a role" in text
    assert type(given).__name__ in text


def test_fill_needs_a_name_only_where_the_text_does():
    named = DefaultPrompt(id="named", text="Your name is {model_name}.")
    with pytest.raises(CatalogError, match="needs a model name"):
        named.fill(" ")
    assert DefaultPrompt(id="none", text="").fill("") == ""
