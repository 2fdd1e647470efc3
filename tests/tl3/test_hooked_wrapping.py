"""What `PersonaModel.load` makes of a HookedTransformer, and which it refuses."""

from __future__ import annotations

import pytest
import torch
from hooked import PROCESSED, RAW, Pair, hooked_transformer
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import ModelError

QUESTION = [{"role": "user", "content": "What do you fear?"}]


def test_it_has_the_shape_of_the_plain_model(pair: Pair) -> None:
    plain, hooked, transformer = pair
    assert (hooked.n_layers, hooked.d_model) == (plain.n_layers, plain.d_model) == (3, 16)
    assert (hooked.dtype, hooked.device) == (torch.float32, torch.device("cpu"))
    assert hooked.end_ids == plain.end_ids
    assert hooked.pad_id == plain.pad_id
    assert hooked.hook_name(1) in transformer.hook_dict
    card = hooked.card()
    assert card["model"] == transformer.cfg.model_name
    assert card["architecture"] == "HookedTransformer"


def test_the_fingerprint_tells_weights_apart() -> None:
    modules = [tiny_module("llama", seed=seed) for seed in (0, 0, 1)]
    first, same, other = (
        PersonaModel.load(hooked_transformer(module, RAW), tokenizer=tiny_tokenizer())
        for module in modules
    )
    assert first.fingerprint == same.fingerprint
    assert first.fingerprint != other.fingerprint


def test_folded_weights_with_rms_norm_are_taken_and_read_the_same() -> None:
    module, tokenizer = tiny_module("llama"), tiny_tokenizer()
    plain = PersonaModel.load(module, tokenizer=tokenizer)
    folded = PersonaModel.load(hooked_transformer(module, PROCESSED), tokenizer=tokenizer)
    said = [plain.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])]
    torch.testing.assert_close(
        torch.tensor(folded.pooled(said)), torch.tensor(plain.pooled(said)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_centred_weights_with_layer_norm_are_refused(dtype: torch.dtype) -> None:
    transformer = hooked_transformer(tiny_module("gpt2").to(dtype), PROCESSED)
    with pytest.raises(ModelError, match=r"(?s)centred.*from_pretrained_no_processing"):
        PersonaModel.load(transformer, tokenizer=tiny_tokenizer())


def test_folded_but_not_centred_weights_with_layer_norm_read_the_same() -> None:
    module, tokenizer = tiny_module("gpt2"), tiny_tokenizer()
    plain = PersonaModel.load(module, tokenizer=tokenizer)
    processing = {**PROCESSED, "center_writing_weights": False}
    folded = PersonaModel.load(hooked_transformer(module, processing), tokenizer=tokenizer)
    said = [plain.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])]
    torch.testing.assert_close(
        torch.tensor(folded.pooled(said)), torch.tensor(plain.pooled(said)), rtol=1e-4, atol=1e-4
    )


def test_a_tokenizer_is_asked_for(pair: Pair) -> None:
    with pytest.raises(ModelError, match=r"(?s)no tokenizer.*a-.*tokenizer=\.\.\."):
        PersonaModel.load(pair.transformer)


def test_there_is_no_bridge(pair: Pair) -> None:
    with pytest.raises(ModelError, match=r"(?s)no bridge.*HookedTransformer you passed"):
        _ = pair.hooked.bridge


def test_hooks_of_the_users_act_and_stay(pair: Pair) -> None:
    _, hooked, transformer = pair
    said = [hooked.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])]
    before = hooked.pooled(said)
    assert not hooked.has_bridge_hooks
    transformer.add_hook(hooked.hook_name(1), lambda residual, hook: residual + 1.0)
    shifted = hooked.pooled(said)
    assert hooked.has_bridge_hooks
    torch.testing.assert_close(torch.tensor(shifted[:, 1]), torch.tensor(before[:, 1] + 1.0))
    torch.testing.assert_close(torch.tensor(shifted[:, 0]), torch.tensor(before[:, 0]))
    transformer.reset_hooks()
    torch.testing.assert_close(torch.tensor(hooked.pooled(said)), torch.tensor(before))
