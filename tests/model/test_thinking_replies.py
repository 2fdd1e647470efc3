"""Replies that think: what `generate` hands out, what ends them, and the template's variables on the card."""

import numpy as np
import pytest
import torch
from tiny import CHATML, tiny_module, tiny_tokenizer
from transformers import PreTrainedTokenizerFast

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import TranscriptError
from persona_lens.runs.engines.worker_spec import ModelSpec

THINKING = CHATML.replace(
    "assistant\n{% endif %}", "assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}"
    "<|message|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
QUESTIONS_ONLY = (
    "{% for m in messages if m.role == 'user' %}USER:\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:\n{% endif %}"
)
CHANNELS = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"]


def made(template: str, special: list[str] | None = None, **options) -> PersonaModel:
    """A random model whose tokenizer has some more special tokens."""
    tokenizer: PreTrainedTokenizerFast = tiny_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": special or []})
    module = tiny_module("llama")
    module.resize_token_embeddings(len(tokenizer))
    return PersonaModel.load(module, tokenizer=tokenizer, chat_template=template, **options)


def saying(model: PersonaModel, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the model say a text, whatever it is asked."""
    backend = model.held.backend
    said = torch.tensor(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    end = torch.tensor([model.tokenizer.eos_token_id])

    def generate(ids, mask, *, max_new_tokens, **options):
        new = torch.cat([said, end])[:max_new_tokens]
        return torch.cat([ids, new.expand(len(ids), -1)], dim=1)

    monkeypatch.setattr(backend, "generate", generate, raising=False)


def ask(model: PersonaModel, text: str, monkeypatch: pytest.MonkeyPatch, tokens: int = 200):
    saying(model, text, monkeypatch)
    prompt = model.encoder.prompt(model.encoder.messages("Who are you?"))
    return model.generate([prompt], Sampling(max_new_tokens=tokens))[0]


def test_a_reply_keeps_its_text_whole_and_knows_its_answer(monkeypatch):
    model = made(HARMONY, CHANNELS)
    text = (
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Boo!"
    )
    reply = ask(model, text, monkeypatch)
    assert (reply.text, reply.answer, reply.thought) == (text, "Boo!", "whole")
    short = ask(model, text, monkeypatch, tokens=5)
    assert (short.answer, short.thought, short.unanswered) == ("", "cut", True)
    assert not model.chat("Hi", sampling=Sampling(max_new_tokens=9)).startswith("analysis")


def test_a_prompt_that_opens_a_thought(monkeypatch):
    model = made(THINKING, template_kwargs={"enable_thinking": True})
    assert ask(model, "Hm.\n</think>\n\nBoo!", monkeypatch).answer == "Boo!"
    cut = ask(model, "Hm. Who asks", monkeypatch)
    assert (cut.text, cut.answer, cut.thought) == ("Hm. Who asks", "", "cut")


def test_what_ends_a_thought_does_not_end_the_reply():
    model = made(HARMONY, CHANNELS)
    assert model.tokenizer.convert_ids_to_tokens(list(model.end_ids)) == ["<|im_end|>"]
    plain = made(
        HARMONY.replace("<|channel|>final", "").replace("<|message|>", ":"),
        ["<|start|>", "<|end|>"],
    )
    assert "<|end|>" in plain.tokenizer.convert_ids_to_tokens(list(plain.end_ids))


def test_a_template_that_prints_no_answers_can_be_sampled_and_read():
    model = made(QUESTIONS_ONLY)
    assert model.end_ids == (model.tokenizer.eos_token_id,)
    prompt = model.encoder.prompt(model.encoder.messages("Who are you?", system="Be a ghost."))
    (reply,) = model.generate([prompt], Sampling(max_new_tokens=6), layers=[1])
    whole = model.encoder.with_reply(prompt, reply.ids)
    assert np.allclose(model.pooled([whole], layers=[1])[0], reply.mean, atol=1e-4)
    with pytest.raises(TranscriptError, match="drops the assistant text"):
        model.encoder.encode(
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        )


def test_template_variables_reach_the_prompt_and_the_card():
    told = made(THINKING, template_kwargs={"enable_thinking": True})
    plain = made(THINKING)
    ends = [
        m.encoder.prompt(m.encoder.messages("Hi")).text.endswith("<think>\n") for m in (told, plain)
    ]
    assert ends == [True, False]
    assert told.card()["template_kwargs"] == {"enable_thinking": True}
    assert "template_kwargs" not in plain.card()
    assert told.card()["template_hash"] != plain.card()["template_hash"]


def test_a_bridge_and_a_kept_specification_take_them_too(tiny_llama):
    bridge = made(CHATML).bridge
    options = {"chat_template": THINKING, "template_kwargs": {"enable_thinking": True}}
    again = PersonaModel.load(bridge, tokenizer=tiny_tokenizer(), **options)
    loaded = ModelSpec(str(tiny_llama), dtype="float32", device="cpu", **options).load()
    assert (
        again.encoder.template_kwargs == loaded.encoder.template_kwargs == {"enable_thinking": True}
    )


def test_a_variable_that_the_template_does_not_know_is_refused():
    with pytest.raises(
        TranscriptError, match=r"(?s)no variable 'thinking'.*did you mean 'enable_thinking'"
    ):
        made(THINKING, template_kwargs={"thinking": True})
