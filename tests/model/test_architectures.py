"""Readings, log-probabilities, KL and replies of many architectures equal plain forward passes, row by row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer
from tiny_architectures import OTHERS, SCALED, STATEFUL, tiny_case
from transformers import PreTrainedModel

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import ModelError
from persona_lens.interventions import Add, Direction, Plan

REPLIES = ([40, 41, 42, 43, 44, 45], [60, 61, 62], [80, 81, 82, 83])


def loaded(architecture: str) -> tuple[PersonaModel, PreTrainedModel]:
    module = tiny_case(architecture)
    return PersonaModel.load(module, tokenizer=tiny_tokenizer()), module


def push(d_model: int) -> Plan:
    vector = np.random.default_rng(0).standard_normal((1, d_model))
    return Plan.of(Add(Direction("push", (1,), vector), lengths=5.0)).where("all", sinks=True)


@torch.no_grad()
def plain(
    model: PersonaModel, module: PreTrainedModel, ids: list[int], plan: Plan | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities of one row by the whole module, and its residuals after block 1."""
    block = model.held.backend.layers[1]  # pyright: ignore[reportAttributeAccessIssue]
    name = next(name for name, part in model.held.backend.module.named_modules() if part is block)
    seen = []

    def hook(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple | list) else output
        if plan is not None:
            operation = plan.steps[0].operation
            unit = torch.tensor(operation.direction.units[0], dtype=torch.float32)
            hidden = hidden + 5.0 * unit
        seen.append(hidden[0])
        return (hidden, *output[1:]) if isinstance(output, tuple | list) else hidden

    handle = module.get_submodule(name).register_forward_hook(hook)
    try:
        logits = module(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()
    finally:
        handle.remove()
    return logits.log_softmax(dim=-1).numpy(), seen[0].numpy()


@pytest.mark.parametrize("architecture", [*SCALED, *STATEFUL, *OTHERS])
def test_numbers_are_those_of_plain_forward_passes(architecture: str) -> None:
    model, module = loaded(architecture)
    close = {"rtol": 1e-3, "atol": 1e-3}
    texts = ("Hi", "Who keeps the lamp?", "Hi")
    prompts = [model.encoder.prompt(model.encoder.messages(text)) for text in texts]
    whole = [
        model.encoder.with_reply(p, np.array(r)) for p, r in zip(prompts, REPLIES, strict=True)
    ]
    plan = push(model.d_model)
    without = model.log_probs(prompts, REPLIES)
    with model.intervene(plan):
        acting = model.log_probs(prompts, REPLIES)
    nats = model.kl(plan, whole)
    masks = [np.arange(len(said)) >= 2 for said in whole]
    means = model.pooled(whole, masks, layers=[1])
    for row, (prompt, reply) in enumerate(zip(prompts, REPLIES, strict=True)):
        ids = [*map(int, prompt.ids), *reply]
        before, residuals = plain(model, module, ids)
        after, _ = plain(model, module, ids, plan)
        places = np.arange(len(prompt) - 1, len(ids) - 1)
        np.testing.assert_allclose(without[row], before[places, reply], **close)
        np.testing.assert_allclose(acting[row], after[places, reply], **close)
        divergence = (np.exp(before) * (before - after)).sum(axis=-1)[places]
        np.testing.assert_allclose(nats[row], divergence, **close)
        np.testing.assert_allclose(means[row, 0], residuals[2:].mean(axis=0), **close)
    greedy = Sampling(temperature=0, max_new_tokens=4)
    for prompt, said in zip(prompts, model.generate(prompts, greedy, log_probs=True), strict=True):
        ids = [*map(int, prompt.ids), *map(int, said.ids)]
        scores, _ = plain(model, module, ids)
        places = np.arange(len(prompt) - 1, len(ids) - 1)
        assert said.log_probs is not None
        np.testing.assert_allclose(said.log_probs, scores[places, said.ids], **close)
        np.testing.assert_allclose(said.log_probs, scores[places].max(axis=-1), **close)


def test_shortcuts_are_taken_only_where_they_hold() -> None:
    conducts = {name: loaded(name)[0].conduct for name in ("llama", "mamba", "rwkv", "openai-gpt")}
    found = {
        name: (each.shares_prompts, each.pads_in_front, each.feeds_once)
        for name, each in conducts.items()
    }
    assert found == {
        "llama": (True, True, True),
        "mamba": (False, True, True),
        "rwkv": (False, False, True),
        "openai-gpt": (False, True, False),
    }


def test_replies_of_a_model_that_is_fed_the_whole_text_are_not_steered() -> None:
    model, _ = loaded("openai-gpt")
    prompt = model.encoder.prompt(model.encoder.messages("Hi"))
    with model.intervene(push(16)), pytest.raises(ModelError, match="whole text for every token"):
        model.generate([prompt], Sampling(max_new_tokens=2))


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("gemma3n_text", "several streams.*altup_num_inputs"),
        ("deepseek_v4", "several streams.*hc_mult"),
        ("hrm_text", "blocks.*runs once"),
    ],
)
def test_blocks_without_one_residual_stream_are_refused_by_name(
    architecture: str, reason: str
) -> None:
    with pytest.raises(ModelError, match=f"(?s){reason}"):
        loaded(architecture)


def test_streams_that_no_config_declares_are_seen() -> None:
    module = tiny_module("llama")
    block = type(module.model.layers[0])

    class Doubled(block):
        def forward(self, hidden_states, *args, **options):
            one = hidden_states if hidden_states.ndim == 3 else hidden_states[0]
            return torch.stack([super().forward(one, *args, **options)] * 2)

    for layer in module.model.layers:
        layer.__class__ = Doubled
    module.model.norm.forward = lambda states: states[0]
    with pytest.raises(ModelError, match=r"(?s)several streams"):
        PersonaModel.load(module, tokenizer=tiny_tokenizer())


def test_a_block_that_runs_twice_is_refused() -> None:
    module = tiny_module("llama")
    block = type(module.model.layers[0])

    class Recurrent(block):
        def __call__(self, hidden_states, *args, **options):
            once = super().__call__(hidden_states, *args, **options)
            return super().__call__(once, *args, **options)

    module.model.layers[1].__class__ = Recurrent
    with pytest.raises(ModelError, match="block 1 runs 2 times"):
        PersonaModel.load(module, tokenizer=tiny_tokenizer())


def test_models_that_look_ahead_are_refused() -> None:
    module = tiny_module("llama")
    for layer in module.model.layers:
        layer.self_attn.is_causal = False
    module.model.config._attn_implementation = "eager"
    forward = type(module.model).forward

    class Encoder(type(module.model)):
        def forward(self, input_ids=None, attention_mask=None, **options):
            everywhere = torch.zeros(1, 1, input_ids.shape[1], input_ids.shape[1])
            return forward(self, input_ids=input_ids, attention_mask=everywhere, **options)

    module.model.__class__ = Encoder
    with pytest.raises(ModelError, match="depends on the tokens behind it"):
        PersonaModel.load(module, tokenizer=tiny_tokenizer())


def test_logits_that_depend_on_more_than_the_states_are_refused() -> None:
    module = tiny_module("llama")

    class Odd(type(module)):
        def forward(self, input_ids=None, **options):
            output = super().forward(input_ids=input_ids, **options)
            output.logits = output.logits + 3 * torch.nn.functional.one_hot(
                input_ids, output.logits.shape[-1]
            )
            return output

    module.__class__ = Odd
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    prompt = model.encoder.prompt(model.encoder.messages("Hi"))
    with pytest.raises(ModelError, match="would not be the model's own"):
        model.log_probs([prompt], [[40, 41]])
    with pytest.raises(ModelError, match="would not be the model's own"):
        model.kl(push(16), [model.encoder.with_reply(prompt, np.array([40, 41]))])
    assert np.isfinite(model.pooled([model.encoder.with_reply(prompt, np.array([40]))])).all()


def test_a_module_that_rescales_its_weights_is_taken_once_it_has(tmp_path: Path) -> None:
    module = tiny_case("rwkv")
    module.config.rescale_every = 1
    with pytest.raises(ModelError, match="rescales its weights in place"):
        PersonaModel.load(module, tokenizer=tiny_tokenizer())
    module.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = module(input_ids=torch.arange(40, 52)[None]).logits[0].log_softmax(-1)
    tiny_tokenizer().save_pretrained(tmp_path)
    for source in (module, tmp_path):
        model = PersonaModel.load(source, tokenizer=tiny_tokenizer(), dtype="float32", device="cpu")
        before = model.fingerprint
        found = model.held.backend.logits(torch.arange(40, 52)[None])[0].log_softmax(-1)
        torch.testing.assert_close(found, expected, atol=5e-3, rtol=1e-3)
        assert model.fingerprint == before
