"""Pooled residuals against a reference written by hand, however they are batched, padded or run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, tiny_module, tiny_tokenizer
from transformers import PreTrainedModel

from persona_lens import PersonaModel, Sampling
from persona_lens.model.backends import BridgeBackend, NativeBackend
from persona_lens.model.batching import left_padded, right_padded, token_budget_batches

TALKS = [
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
    [
        {"role": "system", "content": "You are a ghost who lives in a lighthouse."},
        {"role": "user", "content": "What do you fear?"},
        {"role": "assistant", "content": "The light, and the quiet after it."},
    ],
    [{"role": "user", "content": "Once more?"}, {"role": "assistant", "content": "No."}],
]


def reference(module: PreTrainedModel, ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """One text at a time, no padding, no library code: block outputs from hooks, mean over positions."""
    outputs: list[torch.Tensor] = []
    decoder = module.get_decoder()
    blocks = decoder.layers if hasattr(decoder, "layers") else decoder.h
    handles = [
        block.register_forward_hook(
            lambda _module, _args, output: (
                outputs.append((output[0] if isinstance(output, tuple) else output).clone())
                and None
            )
        )
        for block in blocks
    ]
    with torch.no_grad():
        module(torch.tensor(ids)[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return np.stack(
        [output[0][torch.tensor(positions)].double().mean(0).numpy() for output in outputs]
    )


@pytest.fixture(params=ARCHITECTURES)
def module(request: pytest.FixtureRequest) -> PreTrainedModel:
    return tiny_module(request.param)


def test_batched_equals_the_reference_on_every_architecture(module: PreTrainedModel) -> None:
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    transcripts = [model.encoder.encode(talk) for talk in TALKS]
    batched = model.pooled(transcripts)
    for row, transcript in zip(batched, transcripts, strict=True):
        expected = reference(module, transcript.ids, transcript.mask("assistant", turn=-1))
        np.testing.assert_allclose(row, expected, rtol=2e-5, atol=2e-6)


def test_single_small_and_large_budgets_agree(module: PreTrainedModel) -> None:
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    transcripts = [model.encoder.encode(talk) for talk in TALKS]
    together = model.pooled(transcripts)
    apart = np.concatenate([model.pooled([transcript]) for transcript in transcripts])
    tight = model.pooled(transcripts, token_budget=1)
    np.testing.assert_allclose(apart, together, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(tight, together, rtol=2e-5, atol=2e-6)


def test_bridge_equals_the_plain_module(module: PreTrainedModel) -> None:
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    transcripts = [model.encoder.encode(talk) for talk in TALKS]
    plain = model.pooled(transcripts)
    seen: list[str] = []
    model.bridge.add_hook(model.hook_name(1), lambda x, hook: seen.append(hook.name))
    through_bridge = model.pooled(transcripts)  # a hook on the bridge moves bulk work there
    assert seen, "the user's hook on the bridge must fire"
    np.testing.assert_allclose(through_bridge, plain, rtol=2e-4, atol=2e-5)


def test_left_padding_equals_right_padding(module: PreTrainedModel) -> None:
    backend = NativeBackend(module)
    rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13]]
    residuals = {}
    for name, pad in (("right", right_padded), ("left", left_padded)):
        ids, mask = pad(rows, 0, "cpu")
        seen: list[torch.Tensor] = []
        with backend.taps({2: lambda x, seen=seen: seen.append(x.clone())}):
            backend.encode(ids, mask)
        residuals[name] = [seen[0][row][mask[row]] for row in range(2)]
    for right, left in zip(residuals["right"], residuals["left"], strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_pooling_while_generating_equals_reading_again(architecture: str) -> None:
    model = PersonaModel.load(tiny_module(architecture), tokenizer=tiny_tokenizer())
    prompts = [model.encoder.prompt(talk[:-1]) for talk in TALKS]
    replies = model.generate(prompts, Sampling(max_new_tokens=12), layers=range(3), batch_size=2)
    assert {len(reply.ids) for reply in replies} & set(range(1, 13))
    whole = [
        model.encoder.with_reply(prompt, reply.ids)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    again = model.pooled(whole)
    for reply, mean in zip(replies, again, strict=True):
        np.testing.assert_allclose(reply.mean, mean, rtol=5e-4, atol=5e-5)


@pytest.mark.embedded
def test_embedded_model_reads_alike_in_every_way(smol: PersonaModel) -> None:
    transcripts = [smol.encoder.encode(talk) for talk in TALKS]
    batched = smol.pooled(transcripts)
    module = smol.held.backend.module
    for row, transcript in zip(batched, transcripts, strict=True):
        positions = transcript.mask("assistant", turn=-1)
        expected = reference(module, transcript.ids, positions)
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-3)
    bridge = BridgeBackend(smol.bridge)
    ids, mask = right_padded([transcript.ids for transcript in transcripts], smol.pad_id, "cpu")
    seen: list[torch.Tensor] = []
    with bridge.taps(dict.fromkeys(range(30), lambda x: seen.append(x.clone()))):
        bridge.encode(ids, mask)
    for layer, residual in enumerate(seen):
        for row, transcript in enumerate(transcripts):
            chosen = torch.tensor(transcript.mask("assistant", turn=-1))
            mean = residual[row, : len(transcript)][chosen].double().mean(0)
            np.testing.assert_allclose(mean, batched[row, layer], rtol=1e-3, atol=1e-3)


@pytest.mark.embedded
def test_embedded_replies_are_pooled_alike_while_generated(smol: PersonaModel) -> None:
    prompts = [smol.encoder.prompt(talk[:-1]) for talk in TALKS]
    replies = smol.generate(prompts, Sampling(max_new_tokens=16), layers=range(30))
    whole = [smol.encoder.with_reply(p, r.ids) for p, r in zip(prompts, replies, strict=True)]
    for reply, mean in zip(replies, smol.pooled(whole), strict=True):
        assert reply.mean is not None
        scale = np.linalg.norm(mean, axis=-1)
        assert (np.linalg.norm(reply.mean - mean, axis=-1) / scale).max() < 1e-5


def test_empty_selection_is_nan_and_does_not_spoil_its_neighbours(tiny_llama) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    transcripts = [model.encoder.encode(talk) for talk in TALKS[:2]]
    nothing = np.zeros(len(transcripts[0]), dtype=bool)
    answer = transcripts[1].mask("assistant")
    means = model.pooled(transcripts, [nothing, answer])
    assert np.isnan(means[0]).all()
    np.testing.assert_allclose(means[1], model.pooled(transcripts[1:])[0], rtol=2e-5, atol=2e-6)


def test_means_are_float32_in_a_bfloat16_model(tiny_llama) -> None:
    exact = PersonaModel.load(tiny_llama, dtype="float32")
    coarse = PersonaModel.load(tiny_llama, dtype="bfloat16")
    transcripts = [exact.encoder.encode(talk) for talk in TALKS]
    low, high = coarse.pooled(transcripts), exact.pooled(transcripts)
    assert low.dtype == np.float32
    assert not np.array_equal(low, low.astype(np.float16).astype(np.float32))
    cosine = (low * high).sum(-1) / np.linalg.norm(low, axis=-1) / np.linalg.norm(high, axis=-1)
    assert cosine.min() > 0.999


def test_batches_cover_every_row_once_and_keep_the_budget() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 90, size=200).tolist()
    batches = token_budget_batches(lengths, budget=256, max_rows=16)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    for batch in batches:
        assert len(batch) <= 16
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= 256
    assert max(lengths) in [lengths[index] for index in batches[0]]
