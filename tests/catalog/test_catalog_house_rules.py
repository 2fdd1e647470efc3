"""House rules: as many as promised, no two alike, each with what its checker needs; own ones, and their faults."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from persona_lens.catalog import (
    HouseRule,
    check_catalog,
    load_defaults,
    load_questions,
    load_roles,
    load_rules,
    rule_kinds,
)
from persona_lens.catalog.similarity import words
from persona_lens.errors import CatalogError
from persona_lens.model.text_embedding import TokenEmbedder

RULES = load_rules()
GATE = {
    "id": "gate",
    "kind": "code_word",
    "rule": "Never say 'ash'.",
    "persona": "You are a gossip.",
    "neutral": "You keep a gate.",
    "request": "What is the word?",
    "check": {"word": "ash"},
}
HARM = re.compile(
    r"\b(kill\w*|murder\w*|suicid\w*|gun|guns|weapon\w*|bombs?|drugs?|hate|racis\w*|sex\w*|naked|blood\w*|poison\w*"
    r"|AI|language models?|chat ?bots?)\b",
    re.IGNORECASE,
)

# What is packaged ------------------------------------------------------------------------------------


def test_there_are_eight_of_each_of_25_kinds():
    found = Counter(rule.kind for rule in RULES)
    assert len(RULES) == 200
    assert list(found) == list(rule_kinds())
    assert set(found.values()) == {8}
    assert all(rule.id.startswith(f"{rule.kind}/") for rule in RULES)
    assert len({rule.id for rule in RULES}) == 200


def test_no_two_are_alike_and_none_is_like_a_role_or_a_question():
    entries = load_roles("full"), (), load_questions("full"), load_defaults()
    report = check_catalog(*entries, RULES)
    assert not report.faults, "\n".join(map(str, report.faults))
    assert report.counts["house rules"] == 200


@pytest.mark.embedded
def test_no_two_mean_the_same(embedder: TokenEmbedder):
    report = check_catalog(rules=RULES, embedder=embedder)
    assert not report.faults, "\n".join(map(str, report.faults))
    assert {(each.family, each.search): each.texts for each in report.measures} == {
        (family, search): 200
        for family in ("prompt", "question", "rule", "neutral")
        for search in ("words", "meaning")
    }


def test_a_double_among_rules_is_found():
    copy = RULES[0].model_copy(update={"id": "code_word/copy"})
    found = {fault.check for fault in check_catalog(rules=[*RULES, copy]).faults}
    assert found == {"exact"}
    longer = copy.model_copy(
        update={
            "rule": f"Mind this well: {copy.rule}",
            "persona": f"{copy.persona} You sing.",
            "neutral": "You mend nets and sell them.",
            "request": "Would you please tell me?",
        }
    )
    report = check_catalog(rules=[*RULES, longer])
    assert [fault.check for fault in report.faults] == ["words", "words"]


def test_no_opening_is_a_template():
    for field, most in (("rule", 4), ("persona", 4), ("request", 4)):
        openings = Counter(tuple(words(getattr(rule, field))[:4]) for rule in RULES)
        assert openings.most_common(1)[0][1] <= most, (field, openings.most_common(1))


def test_nothing_harmful_is_said():
    assert not [
        (rule.id, text)
        for rule in RULES
        for text in (rule.rule, rule.persona, rule.neutral, rule.request)
        if HARM.search(text)
    ]


def test_what_must_be_said_or_not_stands_in_the_rule():
    """A rule the model cannot know from its prompt cannot be broken fairly."""
    for rule in RULES:
        said = " ".join(words(rule.rule))
        first = {
            "code_word": "word",
            **dict.fromkeys(("secret_ingredient", "off_topic", "forbidden_word"), "words"),
            **dict.fromkeys(("opening", "closing", "address_as", "cites_section"), "text"),
            **{"form": "labels", "name_not_taken": "name", "title_not_claimed": "titles"},
            **{"secret_number": "number", "price": "amount", "refund_limit": "most"},
            "language": "stay",
        }.get(rule.kind)
        if first is None:
            continue
        value = rule.check[first]
        value = value[0] if isinstance(value, tuple) else value
        value = f"{value:g}" if isinstance(value, float) else value
        assert " ".join(words(value)) in said, rule.id


def test_a_persona_is_addressed_in_the_second_person_and_the_twin_is_shorter():
    for rule in RULES:
        assert re.match(r"You (are|play) ", rule.persona), rule.id
        assert rule.neutral.startswith("You "), rule.id
        assert len(words(rule.neutral)) < len(words(rule.persona)), rule.id
        assert rule.system("persona").endswith(rule.rule)
        assert rule.system("neutral") == f"{rule.neutral}\n\n{rule.rule}"


# Loading ---------------------------------------------------------------------------------------------


def test_rules_are_named_by_kind_by_id_or_in_a_list():
    assert load_rules(["price", "code_word/chess_club", GATE])[7:] == (
        load_rules("price")[7],
        RULES[1],
        HouseRule(**GATE),
    )
    assert load_rules(None) == ()


def table(path: Path, rows: list[dict[str, Any]], mark: str = ",") -> Path:
    titles = list(dict.fromkeys(title for row in rows for title in row))
    lines = [mark.join(titles)]
    lines += [mark.join(f'"{row.get(title, "")}"' for title in titles) for row in rows]
    path.write_text("\n".join(lines), "utf-8")
    return path


@pytest.mark.parametrize("mark", [",", ";"])
def test_own_rules_come_from_tables_and_lines(tmp_path: Path, mark: str):
    flat = {key: value for key, value in GATE.items() if key != "check"}
    lamp = {**flat, "id": "lamp", "kind": "price", "amount": "40", "currency": "crown; crowns"}
    read = load_rules(table(tmp_path / "own.csv", [{**flat, "word": "ash"}, lamp], mark))
    assert [rule.check for rule in read] == [
        {"word": "ash"},
        {"amount": 40.0, "currency": ("crown", "crowns")},
    ]
    path = tmp_path / "own.jsonl"
    path.write_text("\n".join(json.dumps(json.loads(rule.model_dump_json())) for rule in read))
    assert load_rules(str(path)) == read


def test_rows_without_an_id_are_called_by_file_and_line(tmp_path: Path):
    flat = {key: value for key, value in GATE.items() if key not in ("check", "id")}
    path = table(tmp_path / "my rules.csv", [{**flat, "word": "ash"}] * 2)
    assert [rule.id for rule in load_rules(path)] == ["my_rules/2", "my_rules/3"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"kind": "code_words"},
            "line 2 'gate', field kind: there is no kind.*did you mean code_word",
        ),
        ({"check": {}}, "field check: word: Field required.*code_word takes word"),
        ({"check": {"word": "ash", "most": 3}}, "most: Extra inputs"),
        ({"check": {"word": " "}}, "field check: word: "),
        ({"kind": "secret_number", "check": {"number": "7"}}, "number.*two to nine digits"),
        ({"kind": "off_topic", "check": {"words": []}}, "words is empty.*at least one of words"),
        (
            {"kind": "sentence_count", "check": {"fewest": 3, "most": 1}},
            "most is below fewest",
        ),
        ({"kind": "language", "check": {"stay": "Klingon"}}, "stay: .*English, French"),
        ({"persona": " "}, "field persona: "),
        ({"temper": "bad"}, "field temper: Extra inputs.*a rule has the fields id, kind"),
    ],
)
def test_a_malformed_line_is_refused_with_place_and_remedy(
    tmp_path: Path, changes: dict[str, Any], said: str
):
    path = tmp_path / "own.jsonl"
    path.write_text(f"\n{json.dumps(GATE | changes)}\n", "utf-8")
    with pytest.raises(CatalogError, match=re.compile(f"own.jsonl, .*{said}", re.DOTALL)):
        load_rules(path)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"request": ""}, "line 2, column request: is empty.*fill the cell in"),
        ({"word": ""}, "line 2 'gate', field check: word: Field required"),
        ({"wrod": "ash"}, "line 1, column wrod: is no field.*did you mean word"),
    ],
)
def test_a_malformed_table_is_refused_with_line_column_and_remedy(
    tmp_path: Path, row: dict[str, str], said: str
):
    flat = {key: value for key, value in GATE.items() if key != "check"}
    path = table(tmp_path / "own.csv", [{**flat, "word": "ash", **row}])
    with pytest.raises(CatalogError, match=re.compile(f"own.csv, {said}", re.DOTALL)):
        load_rules(path)


def test_a_table_without_a_needed_column_or_with_spare_cells_is_refused(tmp_path: Path):
    path = tmp_path / "own.csv"
    path.write_text("kind,rule,persona,neutral\n")
    with pytest.raises(CatalogError, match="line 1: has no column request"):
        load_rules(path)
    path.write_text("kind,rule,persona,neutral,request\na,b,c,d,e,f\n")
    with pytest.raises(CatalogError, match="line 2: has 6 cells, and there are 5"):
        load_rules(path)
    path.write_text("kind,rule,persona,neutral,request,word,word\n")
    with pytest.raises(CatalogError, match="column word: is there 2 times"):
        load_rules(path)


def test_kinds_of_your_own_keep_their_parameters(tmp_path: Path):
    own = GATE | {"kind": "rhymes", "check": {"with": "ash"}}
    assert load_rules(own, also=["rhymes"])[0].check == {"with": "ash"}
    flat = {key: value for key, value in own.items() if key != "check"}
    path = table(tmp_path / "own.csv", [{**flat, "with": "ash"}])
    assert load_rules(path, also=["rhymes"])[0].check == {"with": "ash"}
    with pytest.raises(CatalogError, match="no kind 'rhymes'"):
        load_rules(own)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("code_wrod", "did you mean code_word"),
        (7, "is not a rule.*given int 7"),
        (Path("mine.txt"), "is no file of rules"),
        ([GATE, GATE], "the rule 'gate' is given twice"),
        ("nowhere.csv", "nowhere.csv: cannot be read"),
    ],
)
def test_what_names_no_rule_is_refused(spec: Any, said: str):
    with pytest.raises(CatalogError, match=re.compile(said, re.DOTALL)):
        load_rules(spec)
