"""The rule of verdicts, with planted numbers, and the published figures it is held against."""

from __future__ import annotations

import math

import numpy as np
import pytest

from persona_lens.catalog import load_roles, load_traits
from persona_lens.paper.findings import Finding, about_value
from persona_lens.paper.published import claims, models, name_lists, pooled_ends, protocol
from persona_lens.paper.verdicts import FEWEST, because, verdict

POSITIVE, NEGATIVE = (0.0, math.inf), (-math.inf, 0.0)


@pytest.mark.parametrize(
    ("kind", "published", "interval", "null", "said"),
    [
        ("amount", (0.5, 0.6), (0.55, 0.7), (0.0, 0.2), "agrees"),
        ("amount", (0.5, 0.6), (0.6, 0.7), (0.0, 0.2), "agrees"),
        ("amount", (0.5, 0.6), (0.61, 0.7), (0.0, 0.2), "differs"),
        ("amount", (0.5, 0.6), (0.1, 0.3), (0.0, 0.2), "differs"),
        ("amount", (0.5, 0.6), (0.1, 0.55), (0.0, 0.2), "too small to tell"),
        ("amount", (0.5, 0.6), (0.55, 0.7), None, "too small to tell"),
        ("amount", (0.5, 0.6), (math.nan, 0.7), (0.0, 0.2), "too small to tell"),
        ("sign", NEGATIVE, (-0.4, -0.1), (0.0, 0.0), "agrees"),
        ("sign", NEGATIVE, (-0.4, 0.1), (0.0, 0.0), "too small to tell"),
        ("sign", NEGATIVE, (0.1, 0.4), (0.0, 0.0), "differs"),
        ("sign", NEGATIVE, (0.0, 0.4), (0.0, 0.0), "differs"),
        ("sign", POSITIVE, (-0.4, 0.0), (0.0, 0.0), "differs"),
        ("sign", POSITIVE, (0.1, 0.4), (-0.3, 0.05), "agrees"),
        ("sign", POSITIVE, (0.1, 0.4), (-0.3, 0.2), "too small to tell"),
        ("within", (0.2, 0.5), (0.25, 0.45), None, "agrees"),
        ("within", (0.2, 0.5), (0.15, 0.45), None, "too small to tell"),
        ("within", (0.2, 0.5), (0.55, 0.6), None, "differs"),
    ],
)
def test_the_rule(kind, published, interval, null, said) -> None:
    held = {"published": published, "interval": interval, "null": null}
    assert verdict(kind, **held, n=FEWEST) == said
    assert verdict(kind, **held, n=FEWEST - 1) == "too small to tell"


def test_no_change_is_told_by_the_margin_and_not_by_the_published_change() -> None:
    held = {"published": (0.001, 0.002), "null": None, "n": 100, "margin": 0.03}
    assert verdict("absence", interval=(-0.02, 0.01), **held) == "agrees"
    assert verdict("absence", interval=(-0.2, 0.1), **held) == "too small to tell"
    assert verdict("absence", interval=(-0.2, -0.1), **held) == "differs"
    assert "margin" in because("absence", interval=(-0.2, -0.1), **held)


def test_a_finding_says_why() -> None:
    few = Finding.of("cos_pc1_middle", 0.8, (0.7, 0.9), 4, "roles", null=(0, 0.5), how="")
    assert (few.verdict, few.because) == (
        "too small to tell",
        "4 independent units; 10 are needed",
    )
    none = Finding.of("cos_pc1_middle", 0.8, (math.nan, math.nan), 40, "roles", how="")
    assert none.because == "there is no interval"
    row = Finding.of("drift_therapy", -1, (-2, -0.5), 20, "conversations", null=(-0.2, 0.2), how="")
    assert row.row()["published_low"] is None
    assert row.row()["verdict"] == "agrees"


def test_what_was_published_is_whole() -> None:
    assert len(claims()) > 30
    for claim in claims().values():
        assert claim.section
        assert claim.range[0] <= claim.range[1]
        assert (claim.kind == "absence") == (claim.margin is not None)
        for stated in claim.values:
            assert stated.low <= stated.high
    assert all(set(line.values) == set(models()) for line in protocol())
    # 275 roles x 5 prompts x 240 questions, and 240 traits x 2 sides x 5 x 240
    asked = {line.what: line.values[models()[0]] for line in protocol()}
    assert asked["replies in roles"] == 275 * 5 * 240
    assert asked["replies of traits"] == 240 * 2 * 5 * 240


def test_relative_changes_follow_from_the_numbers_they_are_noted_with() -> None:
    for key in ("cap_harm", "cap_instructions", "cap_arithmetic", "cap_knowledge", "cap_emotion"):
        for stated in claims()[key].values:
            if " to " not in stated.note:
                continue
            before, after = map(float, stated.note.split(" to "))
            change = (after - before) / before if key == "cap_harm" else after - before
            assert stated.low == stated.high == pytest.approx(change, abs=6e-4)


def test_published_names_are_in_the_catalogue() -> None:
    roles = {role.name for role in load_roles("full")}
    traits = {trait.name for trait in load_traits("full")}
    for key in ("pc1", "pc2", "pc3", "roles", "traits"):
        known = traits if key == "traits" else roles
        for found in name_lists(key):
            assert {*found.plus, *found.minus} <= known
    plus, minus = pooled_ends("roles")
    assert "synthesizer" in plus
    assert not {*plus} & {*minus}


def test_an_interval_stands_about_its_value() -> None:
    draws = np.random.default_rng(0).normal(3.0, 1.0, 4000)  # resamples lie lower
    low, high = about_value(10.0, draws)
    assert low == pytest.approx(10 - 1.96, abs=0.15)
    assert high == pytest.approx(10 + 1.96, abs=0.15)
