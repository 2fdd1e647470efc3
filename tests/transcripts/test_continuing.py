"""Replies that are known by their text, as the ids that stand for them behind the prompt they were written to."""

from __future__ import annotations

import numpy as np
import pytest
from test_transcripts import KINDS, make_encoder, make_tokenizer
from tiny import tiny_tokenizer

from persona_lens.errors import TranscriptError
from persona_lens.transcripts import Group, TranscriptEncoder
from persona_lens.transcripts.continuing import Continuation, answered

REPLY = "I am the ghost."
SYSTEM_IN_THE_LAST_USER_TURN = (
    "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST]"
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
CHANNELS = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
COMMAND = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}<|START_RESPONSE|>"
    "{{ m.content }}<|END_RESPONSE|>{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def prompt_of(encoder: TranscriptEncoder):
    return encoder.prompt(encoder.messages("Who are you?", system="You are a ghost."))


def ids_of(encoder: TranscriptEncoder, text: str, **options) -> list[int]:
    return Continuation(encoder).ids(prompt_of(encoder), text, **options).tolist()


def heard(encoder: TranscriptEncoder, text: str, **options) -> tuple[str, str]:
    """The words that count as answer, and those that count as thought."""
    prompt = prompt_of(encoder)
    continuation = Continuation(encoder)
    ids = continuation.ids(prompt, text, **options)
    said = encoder.with_reply(prompt, ids, end_ids=continuation.end_ids)
    answer, thought = (said.ids[said.mask(g, turn=-1)] for g in (Group.ASSISTANT, Group.THINKING))
    return str(encoder.tokenizer.decode(answer)), str(encoder.tokenizer.decode(thought))


def encoder_with(template: str, *special: str) -> TranscriptEncoder:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return TranscriptEncoder(tokenizer, chat_template=template)


# Plain replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["chatml", "chatml_default", "llama3", "gemma2", "mistral", "phi3", "zephyr", "qwen3", "base"],
)
def test_the_ids_are_those_a_finished_conversation_shows_where_it_only_goes_on(name, kind):
    encoder = make_encoder(name, kind)
    prompt = prompt_of(encoder)
    messages = encoder.messages("Who are you?", system="You are a ghost.")
    finished = encoder.encode([*messages, {"role": "assistant", "content": REPLY}])
    assert finished.ids[: len(prompt)].tolist() == prompt.ids.tolist()
    last = int(np.flatnonzero(finished.mask("assistant", turn=-1))[-1])
    assert ids_of(encoder, REPLY) == finished.ids[len(prompt) : last + 1].tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["\nBoo", "\n\n  Boo\n", "Grüße 🌊 日本語", "a\tb", " Boo", "cafe\u0301"]
)
def test_whatever_is_said_is_given_back_as_it_is(kind, text):
    encoder = make_encoder("zephyr", kind)
    answer, thought = heard(encoder, text)
    # Decoded alone, sentencepiece drops the first space; behind its prompt it is there.
    prompt = prompt_of(encoder)
    both = encoder.tokenizer.decode([*prompt.ids, *ids_of(encoder, text)])
    assert both == encoder.tokenizer.decode(prompt.ids) + text
    assert (answer.strip(), thought) == (text.strip(), "")


def test_a_text_with_and_without_the_space_of_its_tokenizer_is_the_same_reply():
    encoder = make_encoder("phi3", "sentencepiece")
    tokens = encoder.tokenizer.convert_ids_to_tokens(ids_of(encoder, REPLY))
    assert tokens[0].startswith("▁")
    assert ids_of(encoder, REPLY) == ids_of(encoder, f" {REPLY}")


def test_the_system_text_is_read_where_it_was_sent():
    encoder = encoder_with(SYSTEM_IN_THE_LAST_USER_TURN, "[INST]", "[/INST]")
    prompt = prompt_of(encoder)
    ids = ids_of(encoder, REPLY)
    said = encoder.with_reply(prompt, ids)
    assert "You are a ghost." in encoder.tokenizer.decode(said.ids[said.mask("system")])
    assert ids == encoder.tokenizer(REPLY)["input_ids"]


def test_conversations_that_a_template_does_not_finish_are_read_behind_their_prompts():
    encoder = encoder_with(SYSTEM_IN_THE_LAST_USER_TURN, "[INST]", "[/INST]")
    messages = encoder.messages("Who are you?", system="You are a ghost.")
    said = answered(encoder, [*messages, {"role": "assistant", "content": REPLY}])
    assert said.ids.tolist() == [*prompt_of(encoder).ids, *ids_of(encoder, REPLY)]
    chatml = make_encoder("chatml")
    finished = [*chatml.messages("Who are you?"), {"role": "assistant", "content": REPLY}]
    assert answered(chatml, finished).ids.tolist() == chatml.encode(finished).ids.tolist()


@pytest.mark.parametrize(
    ("text", "rest"),
    [("Boo \ufffd", "Boo "), ("\ufffd\ufffd", ""), ("B\ufffdo", "B\ufffdo"), ("", "")],
)
def test_a_character_that_was_cut_is_left_out(text, rest):
    encoder = make_encoder("chatml")
    assert encoder.tokenizer.decode(ids_of(encoder, text)) == rest


def test_text_that_the_tokenizer_has_no_tokens_for_is_refused():
    tokenizer = make_tokenizer("chatml")
    tokenizer.backend_tokenizer.normalizer = None
    encoder = encoder_with("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}")
    encoder.reader.encode = lambda text: (
        np.array([9] * len(text)),
        [(i, i + 1) for i in range(len(text))],
    )
    with pytest.raises(TranscriptError, match="no tokens stand for the text"):
        Continuation(encoder).ids(
            make_encoder("chatml").prompt([{"role": "user", "content": "Hi"}]), "Boo"
        )


# Ends of turns --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("chatml", "<|im_end|>"),
        ("llama3", "<|eot_id|>"),
        ("gemma2", "<end_of_turn>"),
        ("phi3", "<|end|>"),
        ("mistral", "</s>"),
    ],
)
def test_what_ends_the_turn_is_no_part_of_the_reply(name, end, kind):
    encoder = make_encoder(name, kind)
    expected = ids_of(encoder, REPLY)
    header = {
        "chatml": "<|im_start|>user\n",
        "gemma2": "<start_of_turn>user\n",
        "phi3": "<|user|>\n",
    }
    for left in (end, f"{end}\n", f"{end}{end}", f"{end}\n{header.get(name, end)}And you?"):
        assert ids_of(encoder, REPLY + left) == expected, left
    assert ids_of(encoder, end) == []


def test_a_reply_that_speaks_of_the_token_spelled_it_out():
    encoder = make_encoder("chatml")
    ids = ids_of(encoder, "It ends with <|im_end|> always.<|im_end|>")
    assert encoder.tokenizer.decode(ids) == "It ends with <|im_end|> always."
    assert encoder.special_ids.isdisjoint(ids)


def test_what_is_no_token_of_this_tokenizer_is_plain_text():
    encoder = make_encoder("chatml")
    assert encoder.tokenizer.decode(ids_of(encoder, f"{REPLY}<|eot_id|>")) == f"{REPLY}<|eot_id|>"


# Thoughts that were given apart ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thinking", "text"),
    [("Hm.", "Boo"), ("\nHm.\n", "\n\nBoo"), ("\nHm.", "Boo"), ("Hm.\n", "\n\nBoo")],
)
def test_a_thought_stands_where_the_template_would_put_it(thinking, text):
    encoder = make_encoder("qwen3", enable_thinking=True)
    sampled = encoder.reader.encode("<think>\nHm.\n</think>\n\nBoo")[0].tolist()
    assert ids_of(encoder, text, thinking=thinking) == sampled
    assert heard(encoder, text, thinking=thinking) == ("Boo", "Hm.")


def test_a_thought_that_the_prompt_has_opened_is_closed():
    encoder = make_encoder("opened_thinking")
    sampled = encoder.reader.encode("Hm.\n</think>\n\nBoo")[0].tolist()
    assert ids_of(encoder, "Boo", thinking="Hm.") == sampled
    assert ids_of(encoder, "Hm.\n</think>\n\nBoo") == sampled
    assert heard(encoder, "Boo", thinking="Hm.") == ("Boo", "Hm.")
    assert heard(encoder, "They ask who I am, so I") == ("", "They ask who I am, so I")


def test_a_thought_without_an_answer_was_cut():
    for name, options in (("qwen3", {"enable_thinking": True}), ("opened_thinking", {})):
        assert heard(make_encoder(name, **options), "", thinking="Hm.") == ("", "Hm.")


def test_where_the_prompt_has_no_place_for_a_thought_it_is_left_out():
    for encoder in (make_encoder("qwen3"), make_encoder("chatml")):
        assert not Continuation(encoder).frame.holds_thoughts
        assert ids_of(encoder, "Boo", thinking="Hm.") == ids_of(encoder, "Boo")


def test_a_model_that_may_think_and_did_not_has_no_empty_thought():
    encoder = make_encoder("qwen3", enable_thinking=True)
    assert encoder.tokenizer.decode(ids_of(encoder, "Boo")) == "Boo"


def test_headers_of_the_answer_are_put_back():
    marks = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>")
    harmony = encoder_with(CHANNELS, *marks)
    raw = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Boo"
    sampled = harmony.reader.encode(raw)[0].tolist()
    assert ids_of(harmony, "Boo", thinking="Hm.") == sampled
    assert ids_of(harmony, f"{raw}<|return|>")[: len(sampled)] == sampled
    assert (
        heard(harmony, "Boo", thinking="Hm.")
        == heard(harmony, f"{raw}<|return|>")
        == ("Boo", "Hm.")
    )
    assert heard(harmony, "Boo") == ("Boo", "")
    assert harmony.tokenizer.decode(ids_of(harmony, "Boo")) == "<|channel|>final<|message|>Boo"
    command = encoder_with(COMMAND, "<|START_RESPONSE|>", "<|END_RESPONSE|>")
    assert command.tokenizer.decode(ids_of(command, "Boo")) == "<|START_RESPONSE|>Boo"
    assert (
        heard(command, "Boo")
        == heard(command, "<|START_RESPONSE|>Boo<|END_RESPONSE|>")
        == ("Boo", "")
    )


# Before anything is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["chatml", "mistral", "opened_thinking", "qwen3", "moody", "base"])
def test_prompts_whose_replies_can_be_read_pass(name):
    encoder = make_encoder(name)
    Continuation(encoder).check(prompt_of(encoder))
