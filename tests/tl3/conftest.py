"""The same tiny weights twice: as a Hugging Face module and as a HookedTransformer."""

from __future__ import annotations

import pytest
import torch
from hooked import RAW, Pair, hooked_transformer
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel

torch.set_num_threads(1)  # on matrices this small, threads only wait for each other


@pytest.fixture(params=["llama", "gpt2"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Raw weights, so every residual must agree."""
    module, tokenizer = tiny_module(request.param), tiny_tokenizer()
    transformer = hooked_transformer(module, RAW)
    return Pair(
        PersonaModel.load(module, tokenizer=tokenizer),
        PersonaModel.load(transformer, tokenizer=tokenizer),
        transformer,
    )
