"""The full set: the paper's names, nothing missing, nothing double, nothing given away."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from persona_lens.catalog import load_defaults, load_questions, load_roles, load_traits
from persona_lens.catalog.checking import check_catalog
from persona_lens.catalog.report import Report
from persona_lens.catalog.rules import FULL
from persona_lens.catalog.texts import catalog_texts
from persona_lens.model.text_embedding import TokenEmbedder


@pytest.fixture(scope="module")
def report(embedder: TokenEmbedder) -> Report:
    entries = [load("full") for load in (load_roles, load_traits, load_questions, load_defaults)]
    return check_catalog(*entries, embedder=embedder, standard=FULL)


def test_the_checker_finds_nothing_to_mend(report: Report):
    assert not report.faults, "\n".join(map(str, report.faults))


def test_the_checker_looked_at_everything(report: Report):
    assert report.counts["system prompts"] == 275 * 5 + 240 * 10 + 4  # one default is empty
    assert report.counts["questions of single entries"] == 240 * 40
    searched = {(each.family, each.search): each.texts for each in report.measures}
    assert searched["question", "words"] == searched["question", "meaning"] == 240 + 240 * 40
    assert sum(searched.values()) == 2 * report.counts["texts"]


@pytest.mark.parametrize(
    ("load", "digest"),
    [(load_roles, "79402e8cffa1adae"), (load_traits, "8945e3a2a451efa1")],
)
def test_names_are_those_of_the_paper(load, digest: str):
    names = "\n".join(entry.name for entry in load("full"))
    assert hashlib.sha256(names.encode()).hexdigest()[:16] == digest


def test_entries_are_in_order():
    for load in (load_roles, load_traits):
        names = [entry.name for entry in load("full")]
        assert names == sorted(names)
    assert [question.id for question in load_questions("full")] == [
        f"q{number:02}" for number in range(1, 241)
    ]


def test_questions_cover_six_subjects_evenly():
    subjects = Counter(question.tags[0] for question in load_questions("full"))
    assert set(subjects.values()) == {40}
    assert len(subjects) == 6


def test_every_role_prompt_names_its_role():
    for role in load_roles("full"):
        stem = role.name.split("_")[0][:5]
        for prompt in role.prompts:
            assert stem in prompt.lower(), (role.name, prompt)


def test_two_sides_of_a_pair_are_of_like_length():
    for trait in load_traits("full"):
        for pair in trait.pairs:
            gap = len(pair.positive.split()) - len(pair.negative.split())
            assert abs(gap) <= 7, pair


def test_texts_are_plain_ascii_and_say_nothing_of_ai():
    texts = catalog_texts(load_roles("full"), load_traits("full"), load_questions("full"))
    for text in texts:
        assert text.text.isascii(), text
        assert not re.search(r"\b(AI|language models?|chatbots?)\b", text.text), text


def test_the_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    page = Path(__file__).parents[2] / "docs" / "catalog.md"
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})


def test_the_page_tells_what_the_checker_finds(report: Report):
    page = (Path(__file__).parents[2] / "docs" / "catalog.md").read_text("utf-8")
    assert f"{report.counts['texts']:,} texts" in page
    for each in report.measures:
        assert f"{each.highest:.2f} ({each.limit:.2f})" in page, each
