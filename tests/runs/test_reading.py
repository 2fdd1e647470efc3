"""Replies read back from their ids or from their text: the same means, by the writer and by others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persona_lens import PersonaModel
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs.engines.reading import read_replies, reply_transcripts
from persona_lens.transcripts import PLAIN_TEMPLATE

SHARD = Shard(
    kind="role",
    name="ghost",
    prompt_index=0,
    system="You are a ghost.",
    requests=(Request(question_id="q01", question="Who are you?"),),
)
LAYERS = (0, 2)
OPENED = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, dtype="float32")


@pytest.fixture(scope="module")
def thinker(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, dtype="float32", chat_template=OPENED)


def sampled(model: PersonaModel, text: str) -> Reply:
    return Reply(ids=np.array(model.tokenizer(text)["input_ids"], dtype=np.int64), text=text)


def served(text: str, **options) -> Reply:
    return Reply(ids=np.empty(0, dtype=np.int64), text=text, **options)


def mean(model: PersonaModel, reply: Reply, *, exact_ids: bool = True) -> np.ndarray:
    return read_replies(model, SHARD, [reply], layers=LAYERS, exact_ids=exact_ids)[0]


@pytest.mark.parametrize("text", ["I keep watch.", "\n I keep watch.\n", "Grüße 🌊"])
def test_a_reply_has_one_mean_whether_its_ids_are_known_or_its_text(
    model: PersonaModel, text: str
) -> None:
    expected = mean(model, sampled(model, text))
    prompt = model.encoder.prompt(model.encoder.messages("Who are you?", system="You are a ghost."))
    by_hand = model.pooled(
        [model.encoder.with_reply(prompt, sampled(model, text).ids)], layers=LAYERS
    )
    np.testing.assert_array_equal(expected, by_hand[0])
    np.testing.assert_array_equal(mean(model, served(text)), expected)
    np.testing.assert_array_equal(mean(model, served(f"{text}<|im_end|>")), expected)
    np.testing.assert_array_equal(mean(model, sampled(model, text), exact_ids=False), expected)


def test_a_thought_behind_an_opened_mark_is_in_no_mean(thinker: PersonaModel) -> None:
    raw = "They ask who I am.\n</think>\n\nA ghost."
    prompt = thinker.encoder.prompt(
        thinker.encoder.messages("Who are you?", system="You are a ghost.")
    )
    whole = thinker.encoder.with_reply(prompt, sampled(thinker, raw).ids)
    answer = np.zeros(len(whole), dtype=bool)
    answer[-len("A ghost.") :] = True
    expected = thinker.pooled([whole], [answer], layers=LAYERS)[0]
    for reply in (
        sampled(thinker, raw),
        served(raw),
        served("A ghost.", thinking="They ask who I am."),
        served("\n\nA ghost.<|im_end|>", thinking="They ask who I am.\n"),
    ):
        np.testing.assert_array_equal(mean(thinker, reply), expected)
    for cut in (served("They ask who I am, so"), served("", thinking="They ask who")):
        assert np.isnan(mean(thinker, cut)).all()


def test_ids_of_another_vocabulary_are_not_taken_for_those_of_the_text(model: PersonaModel) -> None:
    told = Reply(ids=np.array([5, 6, 7], dtype=np.int64), text="I keep watch.")
    np.testing.assert_array_equal(mean(model, told), mean(model, served("I keep watch.")))


def test_ids_that_a_server_tells_with_the_thought_are_read_as_they_are(
    thinker: PersonaModel,
) -> None:
    raw = "They ask.\n</think>\n\nA ghost."
    told = Reply(ids=sampled(thinker, raw).ids, text="A ghost.", thinking="They ask.")
    (said,) = reply_transcripts(thinker, SHARD, [told], exact_ids=True)
    assert said.ids[-len(told.ids) :].tolist() == told.ids.tolist()
    np.testing.assert_array_equal(mean(thinker, told), mean(thinker, sampled(thinker, raw)))


def test_another_reader_has_prompts_of_its_own(tiny_llama: Path) -> None:
    base = PersonaModel.load(tiny_llama, dtype="float32", chat_template=PLAIN_TEMPLATE)
    (said,) = reply_transcripts(base, SHARD, [served("A ghost.")], exact_ids=False)
    assert base.tokenizer.decode(said.ids).endswith("User: Who are you?\n\nAssistant: A ghost.")
    assert base.tokenizer.decode(said.ids[said.mask("assistant", turn=-1)]) == " A ghost."


def test_an_empty_reply_has_no_mean(model: PersonaModel) -> None:
    for empty in (served(""), served("<|im_end|>"), served("\ufffd")):
        assert np.isnan(mean(model, empty)).all()
