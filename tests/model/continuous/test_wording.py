"""Text comes in whole characters, never with a part of what it stops at, and all of it comes."""

from __future__ import annotations

import random

import pytest

from persona_lens.model.continuous.wording import Wording

TEXTS = ("naïve café", "a 👩‍🚀 in 東京", "x", "", "aaab aab aaaab", "\ufffd in the text")


def said(wording: Wording, ids: list[int]) -> list[str]:
    parts = []
    for length in range(1, len(ids) + 1):
        parts.append(wording.add(ids[:length]))
        if wording.stopped_by is not None:
            return parts
    return [*parts, wording.end(ids)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stop", [(), ("aab",), ("東", "京"), ("never", "é")])
def test_parts_make_the_text_up_to_where_it_stops(text, stop):
    wording = Wording(lambda ids: bytes(ids).decode(errors="replace"), stop)
    parts = said(wording, list(text.encode()))
    ends = [text.find(one) for one in stop if one in text]
    assert "".join(parts) == wording.said == text[: min(ends, default=len(text))]
    assert (wording.stopped_by is None) == (not ends)
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


def test_bytes_that_are_no_characters_come_in_the_end():
    rng = random.Random(0)
    for _ in range(50):
        ids = [rng.choice((65, 0xC3, 0xA9, 0xE6, 0x9D, 0xFF)) for _ in range(rng.randrange(1, 20))]
        wording = Wording(lambda ids: bytes(ids).decode(errors="replace"))
        assert "".join(said(wording, ids)) == bytes(ids).decode(errors="replace")


def test_a_real_tokenizer(smol):
    text = "Naïve 東京 — 👩‍🚀, d'accord ?  Two  spaces\n\n\tand tabs"
    ids = smol.tokenizer(text)["input_ids"]
    parts = said(Wording(smol.encoder.text_of), ids)
    assert "".join(parts) == text
    assert sum(map(bool, parts)) > len(ids) / 2
    stopped = said(Wording(smol.encoder.text_of, ("accord ?  T",)), ids)
    assert "".join(stopped) == text.partition("accord ?  T")[0]
