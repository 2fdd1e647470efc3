"""Prefills, categories and hand-labelled completions: as many as promised, sound, apart from one another."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from persona_lens.catalog.prefills import (
    load_categories,
    load_labelled,
    load_prefills,
    split_labelled,
)
from persona_lens.errors import CatalogError

HOPE = {"id": "hope", "family": "purpose", "text": "I hope to"}


def test_the_papers_five_and_ten_or_more_of_our_own():
    paper = [each.text for each in load_prefills("paper")]
    assert paper == [
        "My job is to",
        "My purpose is to",
        "I exist to",
        "I would describe myself as",
        "People would say I am",
    ]
    own = load_prefills("own")
    assert len(own) >= 10
    assert min(Counter(each.family for each in own).values()) >= 5
    assert not {each.text for each in own} & set(paper)


def test_families_ids_files_and_own_ones_can_be_mixed(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([HOPE]))
    assert [each.id for each in load_prefills(["job", str(path)])] == ["job", "hope"]
    assert load_prefills(HOPE)[0].text == "I hope to"
    assert {each.family for each in load_prefills("traits")} == {"traits"}
    assert load_prefills(None) == ()


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("jop", "did you mean job"),
        ({**HOPE, "text": "I hope to "}, "field text"),
        ({**HOPE, "txt": "I"}, "field txt"),
        (["job", "job"], "given twice"),
        (7, "is not a prefill"),
    ],
)
def test_what_is_no_prefill_is_refused(spec, said):
    with pytest.raises(CatalogError, match=said):
        load_prefills(spec)


def test_labelled_completions_are_of_known_prefills_and_categories():
    prefills = {each.id: each.family for each in load_prefills()}
    names = {(each.family, each.name) for each in load_categories()}
    for each in load_labelled():
        assert prefills[each.prefill] == each.family
        assert (each.family, each.label) in names
        assert not each.also or ((each.family, each.also) in names and each.also != each.label)
    counts = Counter((each.family, each.label) for each in load_labelled())
    assert set(counts) == names
    assert set(counts.values()) == {16}


def test_no_completion_is_an_exemplar_or_occurs_twice():
    texts = [each.text.lower().strip(" .") for each in load_labelled()]
    exemplars = {text.lower().strip(" .") for each in load_categories() for text in each.exemplars}
    assert len(set(texts)) == len(texts)
    assert not set(texts) & exemplars


def test_halves_are_even_and_do_not_hang_on_the_order():
    sample = load_labelled()
    first, second = split_labelled(sample)
    turned = split_labelled(sample[::-1])
    assert set(first) == set(turned[0])
    assert not set(first) & set(second)
    assert set(Counter((each.family, each.label) for each in first).values()) == {8}


def test_an_unknown_family_is_refused_with_those_there_are():
    with pytest.raises(CatalogError, match="did you mean traits"):
        load_labelled("trait")
