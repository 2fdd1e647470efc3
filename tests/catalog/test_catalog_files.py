"""Entries as other people's files hold them: mappings, tables, lines, encodings, and files that are none."""

from __future__ import annotations

import codecs
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from persona_lens import load_questions, load_roles, load_traits
from persona_lens.catalog import load_defaults
from persona_lens.catalog.origin import kinds_in_file
from persona_lens.errors import CatalogError

BELL, POTS = "You ring the bells.", "You mend pots."
TIDE, SNOW = "Why, then, does the tide come in?", 'What does "snow" mean to you?'


def saved(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def texts(spec: Any) -> list[str]:
    return [question.text for question in load_questions(spec)]


# Mappings -------------------------------------------------------------------------------------------

ROLES = {"bell ringer": (BELL,), "tinker": (POTS,)}


@pytest.mark.parametrize(
    "content",
    [
        {"bell ringer": [BELL], "tinker": [POTS]},
        {"bell ringer": BELL, "tinker": POTS},
        {"roles": {"bell ringer": BELL, "tinker": [POTS]}},
        {"roles": [{"name": "bell_ringer", "prompts": [BELL]}, {"tinker": POTS}]},
        {"bell ringer": {"prompts": [BELL]}, "tinker": {"instruction": [{"pos": POTS}]}},
        {"bell ringer": [{"pos": BELL}], "tinker": {"prompts": [POTS], "group": "human"}},
        [{"bell ringer": BELL}, {"tinker": POTS}],
    ],
)
def test_roles_may_be_a_mapping_of_names_to_prompts(tmp_path: Path, content: Any) -> None:
    sources = [saved(tmp_path, "mine.json", content)]
    # The paper's own fields are those of its files.
    for source in sources if "instruction" in str(content) else [*sources, content]:
        roles = load_roles(source)
        assert [(role.name, role.prompts) for role in roles] == [
            ("bell_ringer", (BELL,)),
            ("tinker", (POTS,)),
        ]


def test_a_name_that_is_none_of_ours_is_kept_beside_it() -> None:
    [ringer] = load_roles({"Bell Ringer": [BELL, POTS]})
    assert (ringer.name, ringer.original_name, ringer.prompts) == (
        "bell_ringer",
        "Bell Ringer",
        (BELL, POTS),
    )


def test_mappings_mix_with_names() -> None:
    assert [role.name for role in load_roles(["pirate", {"tinker": POTS}, "ghost"])] == [
        "pirate",
        "tinker",
        "ghost",
    ]


def test_what_a_wrapper_says_beside_its_entries_is_told_once(tmp_path: Path) -> None:
    content = {"description": "Two.", "count": 2, "roles": dict.fromkeys(["bell", "tinker"], POTS)}
    with pytest.warns(UserWarning, match="passed over") as caught:
        assert len(load_roles(saved(tmp_path, "roles.json", content))) == 2
    assert [str(each.message).split(": ")[1] for each in caught] == [
        "passed over count, description"
    ]


def test_one_file_may_hold_all_kinds(tmp_path: Path) -> None:
    path = saved(
        tmp_path,
        "all.json",
        {
            "roles": {"tinker": POTS},
            "traits": {"calm": {"positive": "Be calm.", "negative": "Be agitated."}},
            "questions": [TIDE, SNOW],
            "defaults": {"plain": "Answer."},
        },
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [role.name for role in load_roles(path)] == ["tinker"]
        assert load_traits(path)[0].pairs[0].negative == "Be agitated."
        assert texts(path) == [TIDE, SNOW]
        assert [(each.id, each.text) for each in load_defaults(path)] == [("plain", "Answer.")]


def test_traits_and_questions_may_be_mappings() -> None:
    pair = {"pos": "Be calm.", "neg": "Be agitated."}
    for content in (
        {"calm": pair},
        {"calm": [pair]},
        {"calm": {"pairs": [{"positive": "Be calm.", "negative": "Be agitated."}]}},
    ):
        [trait] = load_traits(content)
        assert (trait.pairs[0].positive, trait.pairs[0].negative) == ("Be calm.", "Be agitated.")
    by_id = load_questions({"tide": TIDE, "12": SNOW})
    assert [(each.id, each.text) for each in by_id] == [("tide", TIDE), ("question_12", SNOW)]
    by_subject = load_questions({"nature": [TIDE, SNOW]})
    assert [each.text for each in by_subject] == [TIDE, SNOW]
    assert {each.tags for each in by_subject} == {("nature",)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"tinker": 7}, r"(?s)'tinker'.*mapping of names to prompts.*given 7"),
        ({"tinker": POTS, "baker": None}, r"(?s)'baker'.*mapping of names to prompts"),
        ({"tinker": {"colour": "red"}}, r"(?s)'tinker'.*mapping of names to prompts"),
        ({"name": "tinker", "promts": [POTS]}, r"(?s)roles 'tinker', field prompts"),
        ({"role": "tinker", "prompt": POTS}, r"(?s)a role has the fields name, prompts"),
        ({}, r"(?s)a role has the fields name, prompts"),
        ({3: POTS}, r"(?s)no text.*in quotes"),
    ],
)
def test_a_mapping_of_something_else_is_refused(content: Any, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        load_roles(content)


def test_yaml_is_read_as_json_is(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="not one of our own requirements")
    path = saved(tmp_path, "roles.yaml", f"bell ringer:\n  - {BELL}\ntinker: {POTS}\n")
    assert [(role.name, role.prompts) for role in load_roles(path)] == [
        ("bell_ringer", (BELL,)),
        ("tinker", (POTS,)),
    ]
    with pytest.raises(CatalogError, match=r"(?s)not valid YAML at line 2.*correct the file"):
        load_roles(saved(tmp_path, "broken.yml", "tinker: [\n:"))
    with pytest.raises(CatalogError, match="name in quotes"):
        load_roles(saved(tmp_path, "no.yml", f"no: {POTS}\n"))


# Tables and lines -----------------------------------------------------------------------------------

QUOTED = '"Why, then, does the tide come in?"', '"What does ""snow"" mean to you?"'


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("q.csv", ["question", *QUOTED]),
        ("q.csv", ["Text", *QUOTED, ""]),
        ("q.csv", list(QUOTED)),
        ("q.csv", ["id;question", f"tide;{TIDE}", f"snow;{QUOTED[1]}"]),
        ("q.tsv", ["question\tid", f"{TIDE}\ttide", f"{QUOTED[1]}\tsnow"]),
        ("q.txt", [TIDE, "", f"  {SNOW}  "]),
        ("q.txt", ["Questions:", TIDE, SNOW]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_questions_come_from_tables_and_lines(
    tmp_path: Path, name: str, rows: list[str], end: str, encoding: str
) -> None:
    path = saved(tmp_path, name, end.join(rows).encode(encoding))
    found = load_questions(path)
    assert [each.text for each in found] == [TIDE, SNOW]
    if TIDE not in rows[0] and "id" in rows[0]:
        assert [each.id for each in found] == ["tide", "snow"]
    assert load_questions(str(path)) == found


def test_a_cell_may_have_lines(tmp_path: Path) -> None:
    path = saved(tmp_path, "q.csv", 'question,tags\n"Why?\nAnd how?",why;how\n')
    [question] = load_questions(path)
    assert question.text == "Why?\nAnd how?"
    assert question.tags == ("why", "how")


def test_rows_of_one_name_are_one_role(tmp_path: Path) -> None:
    table = f"Role,Prompt,Group\nbell ringer,{BELL},human\ntinker,{POTS},\nbell ringer,Ring.,\n"
    ringer, tinker = load_roles(saved(tmp_path, "r.csv", table))
    assert (ringer.name, ringer.prompts, ringer.group) == ("bell_ringer", (BELL, "Ring."), "human")
    assert (tinker.name, tinker.prompts) == ("tinker", (POTS,))
    wide = saved(tmp_path, "wide.csv", f"name,prompt_1,prompt_2\ntinker,{POTS},Mend.\n")
    assert load_roles(wide)[0].prompts == (POTS, "Mend.")
    pairs = saved(tmp_path, "t.csv", "trait,pos,neg\ncalm,Be calm.,Be agitated.\n")
    assert load_traits(pairs)[0].pairs[0].negative == "Be agitated."
    assert [role.name for role in load_roles(saved(tmp_path, "r.txt", "pirate\nghost\n"))] == [
        "pirate",
        "ghost",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", "question\nWhy, then?\n", r"line 2: has 2 cells.*double quotes"),
        ("q.csv", "1,Why?\n2,How?\n", r"which of its 2 cells.*name the columns"),
        ("q.csv", "id,answer\n1,Because.\n", r"no column for text.*given id, answer"),
        ("q.csv", "question,id\n,tide\n", r"line 2: has no texts"),
        ("r.csv", "name,description\ntinker,Mends.\n", r"no column for prompts"),
        ("t.csv", "name,pos,neg\ncalm,Be calm.,\n", r"a side is missing"),
        ("q.txt", "Why?\nWhy?\n", r"given twice: by .*line 1 and by .*line 2"),
        (
            "q.csv",
            b"question\nWas f\xfcr ein Tag?\n",
            r"not UTF-8 text \(byte 14\).*UTF-8 encoding",
        ),
        ("q.json", b"PAR1\x15\x04\xff\xfe", r"not UTF-8"),
        ("q.parquet", b"PAR1\x15\x04\xff\xfe", r"give datasets:"),
        ("q.txt", "", r"is empty"),
        ("q.jsonl", " \n\n", r"is empty"),
        ("q.json", "", r"is empty"),
    ],
)
def test_tables_that_cannot_be_told_are_refused(
    tmp_path: Path, name: str, content: Any, message: str
) -> None:
    load = {"r": load_roles, "t": load_traits}.get(name[0], load_questions)
    with pytest.raises(CatalogError, match=f"(?s){message}"):
        load(saved(tmp_path, name, content))


@pytest.mark.parametrize(
    ("name", "content", "nouns"),
    [
        ("a.json", {"roles": {"tinker": POTS}, "questions": [TIDE]}, ["role", "question"]),
        ("a.json", [{"name": "tinker", "prompts": [POTS]}], ["role"]),
        ("a.json", {"tinker": POTS}, []),  # a role's prompt or a question's text
        ("a.csv", f"name,prompt\ntinker,{POTS}\n", ["role"]),
        ("a.csv", "trait,pos,neg\ncalm,Be calm.,Be agitated.\n", ["trait"]),
        ("a.csv", "question\nWhy?\n", ["question"]),
        ("a.txt", "Why?\nHow?\n", ["question"]),
    ],
)
def test_what_a_file_holds_is_told_where_it_can_be(
    tmp_path: Path, name: str, content: Any, nouns: list[str]
) -> None:
    assert [kind.noun for kind in kinds_in_file(saved(tmp_path, name, content))] == nouns


# Further fields -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["q.jsonl", "q.json", "q.csv"])
def test_further_fields_are_told_once_a_file(tmp_path: Path, name: str) -> None:
    rows = [
        {"question": f"Would you keep {n} bees?", "label": " Yes", "score": 0.9} for n in range(50)
    ]
    content = {
        "q.jsonl": "\n".join(map(json.dumps, rows)),
        "q.json": json.dumps(rows),
        "q.csv": "question,label,score\n" + "".join(f"{row['question']},Yes,0.9\n" for row in rows),
    }[name]
    with pytest.warns(UserWarning, match="passed over") as caught:
        found = load_questions(saved(tmp_path, name, content))
    assert [question.text for question in found] == [row["question"] for row in rows]
    assert len(caught) == 1
    told = str(caught[0].message)
    assert "passed over label, score" in told
    assert ("and 49 more" in told) == (name != "q.csv")


def test_a_folder_of_files_with_further_fields_warns_once(tmp_path: Path) -> None:
    for name in ("tinker", "baker", "miller"):
        saved(
            tmp_path,
            f"{name}.json",
            {"instruction": [{"pos": f"You are a {name}."}], "author": "me"},
        )
    with pytest.warns(UserWarning, match=r"baker\.json.* and 2 more: passed over author") as caught:
        assert len(load_roles(tmp_path)) == 3
    assert len(caught) == 1


# Files that are none --------------------------------------------------------------------------------

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "4d" * 32 + "\nsize 1200\n"


@pytest.mark.parametrize("name", ["roles.json", "q.jsonl", "q.csv", "q.txt", "roles.yaml", "roles"])
def test_a_pointer_is_named_as_such(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogError, match=r"(?s)Git LFS pointer.*git lfs pull"):
        load_roles(saved(tmp_path, name, POINTER))
    with pytest.raises(CatalogError, match="git-annex pointer"):
        load_roles(saved(tmp_path, name, "/annex/objects/SHA256E-s12--4d.json\n"))


def test_a_folder_with_the_name_of_a_file_is_read_as_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mine.json"
    folder.mkdir()
    with pytest.raises(CatalogError, match="holds no roles"):
        load_roles(str(folder))
    saved(folder, "roles.csv", f"name,prompt\ntinker,{POTS}\n")
    assert [role.name for role in load_roles(str(folder))] == ["tinker"]


def test_a_mark_of_utf_16_is_enough(tmp_path: Path) -> None:
    raw = codecs.BOM_UTF16_BE + json.dumps({"tinker": POTS}).encode("utf-16-be")
    assert load_roles(saved(tmp_path, "roles.json", raw))[0].prompts == (POTS,)
