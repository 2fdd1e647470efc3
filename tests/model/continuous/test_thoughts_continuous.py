"""Replies with thoughts, as `generate` has them: the text keeps their marks, answer and means are without."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from alone import directions, end_of, greedy, prompt
from tiny import CHATML, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.model.continuous import ContinuousBatch, Finished, Request
from persona_lens.model.continuous.rows import Row


@dataclass(frozen=True)
class Thinker:
    """A model with marks of thoughts, and a reply that it shall give."""

    template: str
    says: str
    special: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)

    def model(self) -> PersonaModel:
        tokenizer, module = tiny_tokenizer(), tiny_module("llama")
        tokenizer.add_special_tokens({"additional_special_tokens": self.special})
        module.resize_token_embeddings(len(tokenizer))
        options = {"chat_template": self.template, "template_kwargs": self.variables}
        return PersonaModel.load(module, tokenizer=tokenizer, **options)


CHANNELS = Thinker(
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Boo!",
    special=["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"],
)
OPENED = Thinker(
    CHATML.replace(
        "assistant\n{% endif %}",
        "assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}",
    ),
    "Hm.\n</think>\n\nBoo!",
    variables={"enable_thinking": True},
)


def told(
    thinker: Thinker, model: PersonaModel, monkeypatch: pytest.MonkeyPatch, **options
) -> Finished:
    """Have a row say what it shall, whatever it would say."""
    said = [*model.tokenizer(thinker.says, add_special_tokens=False)["input_ids"]]
    said.append(model.end_ids[0])
    take = Row.take
    monkeypatch.setattr(
        Row, "take", lambda row, picked: take(row, replace(picked, id=said[len(row.ids)]))
    )
    with ContinuousBatch(model, along=directions(model, (1, 2))) as batch:
        batch.add(Request(prompt(model, "Who are you?"), greedy(200), **options))
        return end_of(batch.run(), 0)


@pytest.mark.parametrize("thinker", [CHANNELS, OPENED], ids=["channels", "opened"])
def test_a_thought_is_in_the_text_and_not_in_the_answer(thinker, monkeypatch):
    model = thinker.model()
    end = told(thinker, model, monkeypatch)
    assert (end.reply.text, end.reply.answer) == (thinker.says, "Boo!")
    assert (end.reply.thought, end.reply.finish) == ("whole", "stop")
    whole = model.encoder.with_reply(prompt(model, "Who are you?"), end.reply.ids)
    read = model.pooled([whole], layers=[1, 2])[0]
    np.testing.assert_allclose(end.reply.mean, read, rtol=1e-4, atol=1e-4)
    assert end.after is not None
    assert len(end.after) == len(end.reply.ids)


def test_a_text_that_stops_a_reply_may_stop_it_amid_its_thought(monkeypatch):
    thinker = replace(OPENED, says="Hm. Boo! And")
    end = told(thinker, thinker.model(), monkeypatch, stop=(" Boo",))
    assert (end.reply.text, end.reply.answer, end.reply.thought) == ("Hm.", "", "cut")
