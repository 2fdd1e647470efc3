"""Laying out turns: in one text where that is what each turn was asked in, in texts of their own elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.conversations import Conversation
from persona_lens.drift.turns import TurnFinder
from persona_lens.errors import ConversationError, TranscriptError

TEMPLATES = Path(__file__).parents[1] / "templates"
SAID = [
    ("system", "Be brief."),
    ("user", "Is water wet?"),
    ("assistant", "To the touch, yes."),
    ("user", "Is ice?"),
    ("assistant", "Only when it melts."),
    ("user", "And fog"),
    ("assistant", "A little"),
]


def model_with(template: str) -> PersonaModel:
    source = (TEMPLATES / f"{template}.jinja").read_text()
    return PersonaModel.load(
        shared_module("llama"), tokenizer=tiny_tokenizer(), chat_template=source
    )


@pytest.mark.parametrize("template", ["chatml", "llama3", "zephyr", "phi3", "gemma2"])
def test_templates_that_write_the_past_as_it_was_share_one_text(template):
    texts = TurnFinder(model_with(template)).texts(Conversation.of(SAID, id="a"))
    assert [[turn.number for turn in text.turns] for text in texts] == [[0, 1, 2]]


@pytest.mark.parametrize("template", ["mistral", "magistral"])
def test_templates_that_write_the_past_otherwise_give_turns_texts_of_their_own(template):
    finder = TurnFinder(model_with(template))
    texts = finder.texts(Conversation.of(SAID, id="a"))
    assert sorted(turn.number for text in texts for turn in text.turns) == [0, 1, 2]
    if template == "mistral":  # the system text stands with the last message of the user
        assert len(texts) == 3


@pytest.mark.parametrize("reply", [" To the touch.", "To the touch.\n\n"])
@pytest.mark.parametrize("template", ["llama3", "gemma2"])
def test_a_reply_that_a_template_trims_is_read_as_it_was_given(template, reply):
    model = model_with(template)
    said = [("user", "Wet?"), ("assistant", reply), ("user", "Ice?"), ("assistant", "No.")]
    shared, apart = TurnFinder(model).texts(Conversation.of(said, id="a"))
    assert [turn.number for turn in shared.turns] == [1]
    (turn,) = apart.turns
    assert turn.number == 0
    assert model.tokenizer.decode(apart.transcript.ids[turn.chosen]) == reply


def test_where_there_is_no_system_text_none_is_invented():
    model = model_with("chatml_default")
    chat = Conversation.of([("user", "Hi"), ("assistant", "Hello.")], id="a")
    (text,) = TurnFinder(model).texts(chat)
    assert (
        text.transcript.text
        == model.encoder.encode(
            [*model.encoder.messages("Hi"), {"role": "assistant", "content": "Hello."}]
        ).text
    )


def test_what_the_user_says_last_is_not_read():
    chat = Conversation.of([*SAID, ("user", "And dew?")], id="a")
    (text,) = TurnFinder(model_with("chatml")).texts(chat)
    assert "And dew?" not in text.transcript.text


def test_segments_hold_the_reply_and_the_token_before_it():
    model = model_with("chatml")
    (text,) = TurnFinder(model).texts(Conversation.of(SAID, id="a"))
    numbers = text.segments()
    decoded = [
        model.tokenizer.decode(text.transcript.ids[numbers == number]) for number in range(6)
    ]
    assert decoded[::2] == ["To the touch, yes.", "Only when it melts.", "A little"]
    assert decoded[1::2] == ["\n"] * 3


def test_an_empty_reply_is_a_turn_without_tokens():
    said = [("user", "Hi"), ("assistant", ""), ("user", "Hello?"), ("assistant", "Yes.")]
    texts = TurnFinder(model_with("chatml")).texts(Conversation.of(said, id="a"))
    turns = {turn.number: int(turn.chosen.sum()) for text in texts for turn in text.turns}
    assert turns == {0: 0, 1: 4}


def test_paper_tokens_are_those_of_the_paper_span():
    model = model_with("chatml")
    texts = TurnFinder(model, tokens="paper").texts(Conversation.of(SAID, id="a"))
    assert [[turn.number for turn in text.turns] for text in texts] == [[0], [1], [2]]
    from persona_lens.transcripts.paper_span import paper_reply

    messages = [{"role": role, "content": content} for role, content in SAID]
    whole, chosen = paper_reply(model.encoder, messages[:5], qwen=False)
    assert np.array_equal(texts[1].transcript.ids, whole.ids)
    assert np.array_equal(texts[1].turns[0].chosen, chosen)


def test_a_conversation_without_a_reply_is_refused():
    with pytest.raises(ConversationError, match="no reply to read"):
        TurnFinder(model_with("chatml")).texts(Conversation.of([("user", "Hi")], id="a"))


def test_a_greeting_answers_nothing_and_is_in_the_past_of_what_follows():
    said = [("assistant", "Welcome!"), ("user", "Hi"), ("assistant", "What can I do?")]
    (text,) = TurnFinder(model_with("chatml")).texts(Conversation.of(said, id="a"))
    assert [turn.number for turn in text.turns] == [1]
    assert "Welcome!" in text.transcript.text


def test_a_template_that_insists_on_alternation_refuses_in_its_own_words():
    said = [("user", "Hi"), ("user", "Are you there?"), ("assistant", "Yes.")]
    with pytest.raises(TranscriptError, match="in turn"):
        TurnFinder(model_with("gemma2")).texts(Conversation.of(said, id="a"))


LONG = [
    ("system", "Be brief."),
    *(
        said
        for number in range(8)
        for said in (("user", f"Question {number}?"), ("assistant", f"Answer {number}."))
    ),
]


class TestLongConversations:
    def test_refused_with_the_way_out(self):
        finder = TurnFinder(model_with("chatml"), context=200)
        with pytest.raises(ConversationError, match=r"(?s)at most 200 tokens.*long=\"windows\""):
            finder.texts(Conversation.of(LONG, id="a"))

    def test_in_windows_every_turn_is_read_once_with_its_past(self):
        finder = TurnFinder(model_with("chatml"), context=250, long="windows")
        texts = finder.texts(Conversation.of(LONG, id="a"))
        assert [turn.number for text in texts for turn in text.turns] == list(range(8))
        assert len(texts) > 1
        for text in texts:
            assert len(text.transcript) <= 250
            assert "Be brief." in text.transcript.text
            for turn in text.turns:
                assert f"Question {turn.since}?" in text.transcript.text
                assert f"Question {turn.since - 1}?" not in text.transcript.text
                # Half a context is nearly two exchanges of 55 tokens.
                assert turn.number == 0 or turn.since < turn.number

    def test_a_turn_that_fits_nowhere_is_named(self):
        said = [("user", "Hi"), ("assistant", "Hello."), ("user", "More"), ("assistant", "a" * 300)]
        finder = TurnFinder(model_with("chatml"), context=200, long="windows")
        with pytest.raises(ConversationError, match="turn 1 does not fit"):
            finder.texts(Conversation.of(said, id="a"))
