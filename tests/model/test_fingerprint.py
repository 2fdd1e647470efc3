"""Fingerprints tell weights apart, whatever they are packed in, and stay what they were."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import ModelError
from persona_lens.model.fingerprint import fingerprint


def by_hand(weights: dict[str, torch.Tensor]) -> str:
    """What runs and spaces hold already: name, shape, dtype and sixteen values of each tensor."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        values = weights[name].double().numpy().ravel()
        digest.update(f"{name}{tuple(weights[name].shape)}{weights[name].dtype}".encode())
        digest.update(values[np.arange(16) * (values.size - 1) // 15].tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_plain_weights_have_the_fingerprint_they_always_had(dtype: torch.dtype) -> None:
    module = tiny_module("llama").to(dtype)
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    assert model.fingerprint == by_hand(module.state_dict())


def test_weights_that_are_trained_on_get_another() -> None:
    module = tiny_module("llama")
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    before = model.fingerprint
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.01)
    assert model.fingerprint == by_hand(module.state_dict()) != before


def test_rounded_to_a_dtype_it_is_that_of_the_weights_in_that_dtype() -> None:
    wide = tiny_module("llama").state_dict()
    narrow = {name: weight.to(torch.bfloat16) for name, weight in wide.items()}
    assert fingerprint(wide, rounded_to=torch.bfloat16) == fingerprint(narrow) != fingerprint(wide)
    assert fingerprint(narrow, rounded_to=torch.float32) != fingerprint(wide)


@pytest.mark.parametrize("packing", [torch.qint8, torch.float16])
def test_weights_packed_for_the_cpu(packing: torch.dtype) -> None:
    def packed(seed: int) -> PersonaModel:
        module = tiny_module("llama", seed=seed)
        packed = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=packing)
        return PersonaModel.load(packed, tokenizer=tiny_tokenizer())

    first, again, other = packed(0).fingerprint, packed(0).card()["fingerprint"], packed(1)
    plain = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    assert first == again
    assert len({first, other.fingerprint, plain.fingerprint}) == 3


def test_a_quantised_token_embedding_runs_and_is_told_from_others() -> None:
    config = torch.ao.quantization.float_qparams_weight_only_qconfig
    prints = []
    for seed in (0, 0, 1):
        module = torch.ao.quantization.quantize_dynamic(
            tiny_module("llama", seed=seed), {torch.nn.Embedding: config}, dtype=torch.quint8
        )
        model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
        said = model.encoder.encode([{"role": "user", "content": "Hi"}])
        assert np.isfinite(model.pooled([said], [np.ones(len(said), dtype=bool)])).all()
        prints.append(model.fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_one_integer_under_two_scales_is_two_weights() -> None:
    values = torch.linspace(-1, 1, 32)
    one, other = (
        {"w": torch.quantize_per_tensor(values * scale, scale / 100, 0, torch.qint8)}
        for scale in (1.0, 2.0)
    )
    assert torch.equal(one["w"].int_repr(), other["w"].int_repr())
    assert fingerprint(one) != fingerprint(other)


class Halves(torch.Tensor):
    """A tensor that holds two others, as torchao's do, and has no storage to look at."""

    @staticmethod
    def __new__(cls, low: torch.Tensor, high: torch.Tensor, scale: float):
        shape = (low.shape[0] + high.shape[0],)
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=low.dtype)  # pyright: ignore

    def __init__(self, low: torch.Tensor, high: torch.Tensor, scale: float) -> None:
        self.low, self.high, self.scale = low, high, scale

    def __tensor_flatten__(self):
        return ["low", "high"], {"scale": self.scale, "kernel": object()}

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError("this tensor can only be multiplied with")


def test_a_tensor_made_of_tensors_is_known_by_all_of_them() -> None:
    def halves(low: float, high: float, scale: float) -> str:
        return fingerprint({"w": Halves(torch.full((4,), low), torch.full((4,), high), scale)})

    assert halves(1, 2, 3) == halves(1, 2, 3)
    assert len({halves(1, 2, 3), halves(9, 2, 3), halves(1, 9, 3), halves(1, 2, 9)}) == 4


@pytest.mark.parametrize(
    "kept",
    [
        lambda value: torch.full((20,), value).to(torch.float8_e4m3fn),
        lambda value: torch.full((20,), value).to(torch.uint8).view(torch.float4_e2m1fn_x2),
        lambda value: torch.complex(torch.zeros(20), torch.full((20,), value)),
        lambda value: torch.full((4, 5), value).to_sparse(),
        lambda value: (torch.full((20,), value), None, torch.qint8),
        lambda value: {"state": torch.full((20,), value), "bits": 4},
        lambda value: io.BytesIO(bytes([int(value)])),
        lambda value: bytes([int(value)]),
        lambda value: value,
    ],
)
def test_whatever_a_state_dict_may_hold(kept) -> None:
    one, again, other = (fingerprint({"w": kept(value)}) for value in (2.0, 2.0, 4.0))
    assert one == again != other


def test_what_cannot_be_looked_into_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"(?s)weight 'blob' gives no fingerprint.*given object"):
        fingerprint({"blob": object()})
