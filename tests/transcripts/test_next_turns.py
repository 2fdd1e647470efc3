"""The prompt of the next turn: the ids that were sent and came back, or the conversation rendered anew and why."""

from __future__ import annotations

import numpy as np
import pytest
from test_continuing import CHANNELS, SYSTEM_IN_THE_LAST_USER_TURN, encoder_with
from test_transcripts import KINDS, make_encoder

from persona_lens.errors import TranscriptError
from persona_lens.transcripts import Transcript, TranscriptEncoder
from persona_lens.transcripts.next_turns import DROPPED, MOVED, NextTurn, next_turn

KEEPS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>\n"
    "{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPS_THOUGHTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def talk(
    encoder: TranscriptEncoder, *replies: str, system: str = ""
) -> tuple[Transcript, list[dict[str, str]], list[NextTurn]]:
    """A conversation whose replies are sampled letter by letter, as no tokenizer would write them."""
    messages = encoder.messages("Who are you?", system=system)
    prompt, turns = encoder.prompt(messages), []
    for number, reply in enumerate(replies):
        ids = [token for letter in reply for token in encoder.reader.encode(letter)[0].tolist()]
        said = encoder.with_reply(prompt, ids)
        heard = encoder.said(prompt, ids).answer
        messages += [
            {"role": "assistant", "content": heard},
            {"role": "user", "content": f"And {number}?"},
        ]
        turns.append(next_turn(encoder, said, messages))
        prompt = turns[-1].prompt
    return said, messages, turns


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["chatml", "chatml_default", "llama3", "gemma2", "phi3", "zephyr"])
def test_sampled_ids_stay_and_the_rest_is_what_the_template_writes(name, kind):
    encoder = make_encoder(name, kind)
    said, messages, (turn,) = talk(encoder, "Boo", system="You are a ghost.")
    assert turn.anew == ""
    assert turn.prompt.ids[: len(said)].tolist() == said.ids.tolist()
    anew = encoder.prompt(messages)
    last = int(np.flatnonzero(anew.mask("assistant", turn=0))[-1])
    behind = turn.prompt.ids[len(said) :]
    assert behind.tolist() == anew.ids[last + 1 :].tolist()
    assert turn.prompt.groups[len(said) :].tolist() == anew.groups[last + 1 :].tolist()
    assert turn.prompt.turns[len(said) :].tolist() == anew.turns[last + 1 :].tolist()
    assert turn.prompt.generating
    counts = turn.prompt.user_turns, turn.prompt.assistant_turns
    assert counts == (anew.user_turns, anew.assistant_turns) == (2, 1)


def test_of_three_turns_every_reply_is_as_it_was_sampled():
    encoder = make_encoder("chatml")
    _, _, turns = talk(encoder, "Boo hoo", "Indeed", "Yes")
    first, second, third = (turn.prompt for turn in turns)
    assert second.ids[: len(first)].tolist() == first.ids.tolist()
    assert third.ids[: len(second)].tolist() == second.ids.tolist()
    words = [
        encoder.tokenizer.decode(third.ids[third.mask("assistant", turn=turn)]) for turn in range(3)
    ]
    assert words == ["Boo hoo", "Indeed", "Yes"]
    assert encoder.tokenizer.decode(third.ids[third.mask("user", turn=-1)]) == "And 2?"


def test_an_empty_reply_leaves_the_turn_empty():
    encoder = make_encoder("chatml")
    said, messages, (turn,) = talk(encoder, "")
    assert turn.anew == ""
    assert turn.prompt.ids[: len(said)].tolist() == said.ids.tolist()
    assert turn.prompt.text == encoder.prompt(messages).text


def test_white_space_at_the_end_of_a_reply_stays():
    encoder = make_encoder("gemma2")  # its template trims
    _said, messages, (turn,) = talk(encoder, "Boo \n")
    assert turn.anew == ""
    assert "Boo \n" in turn.prompt.text
    assert "Boo \n" not in encoder.prompt(messages).text


def test_a_system_text_that_moves_is_rendered_anew():
    encoder = encoder_with(SYSTEM_IN_THE_LAST_USER_TURN, "[INST]", "[/INST]")
    _, messages, (turn,) = talk(encoder, "Boo", system="You are a ghost.")
    assert turn.anew == MOVED
    assert turn.prompt.ids.tolist() == encoder.prompt(messages).ids.tolist()
    _, _, (without,) = talk(encoder, "Boo")
    assert without.anew == ""


@pytest.mark.parametrize(("template", "anew"), [(KEEPS_THOUGHTS, ""), (DROPS_THOUGHTS, DROPPED)])
def test_thoughts_stay_where_the_template_keeps_them(template, anew):
    encoder = encoder_with(template)
    _said, _messages, (turn,) = talk(encoder, "<think>\nWho asks?\n</think>\n\nA ghost.")
    assert turn.anew == anew
    assert ("Who asks?" in turn.prompt.text) == (not anew)
    _, _, (without,) = talk(encoder, "A ghost.")
    assert without.anew == ""


def test_a_generation_prompt_that_is_no_part_of_the_past_is_rendered_anew():
    encoder = make_encoder("qwen3")  # its prompt has an empty thought, its past has none
    _, messages, (turn,) = talk(encoder, "Boo")
    assert turn.anew == MOVED
    assert turn.prompt.text == encoder.prompt(messages).text


def test_channels_that_the_past_shows_too_go_on():
    encoder = encoder_with(CHANNELS, "<|start|>", "<|channel|>", "<|message|>", "<|end|>")
    _, _, (turn,) = talk(encoder, "<|channel|>final<|message|>A ghost.")
    assert turn.anew == ""
    assert turn.prompt.text.count("<|channel|>final") == 1
    _, _, (bare,) = talk(encoder, "A ghost.")
    assert bare.anew == MOVED


def test_only_a_user_can_speak_next():
    encoder = make_encoder("chatml")
    said, messages, _ = talk(encoder, "Boo")
    with pytest.raises(TranscriptError, match="goes on with a message of the user's"):
        next_turn(encoder, said, messages[:-1])
