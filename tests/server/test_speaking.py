"""Replies as their text comes: what was said is not said again."""

from __future__ import annotations

import pytest

from persona_lens.server.speaking import Speech


@pytest.mark.parametrize("length", [10, 199, 200, 201, 600])
def test_nothing_is_said_twice_however_long_a_reply_is(tiny_model, length):
    encoder = tiny_model.encoder
    speech = Speech(encoder, encoder.prompt(encoder.messages("Hi")))
    text = "".join(chr(97 + place % 26) for place in range(length))
    said = "".join(speech.hear(text[at : at + 7]).answer for at in range(0, length, 7))
    assert said + speech.end(text).answer == text
