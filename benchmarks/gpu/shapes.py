"""Shapes of published models, from their configurations, and how many of their layers a device holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from kit import memory_there, random_module

SHARE = 0.7
"""Of the free memory that weights may take; the rest is for caches and what a pass needs."""


@dataclass(frozen=True)
class Shape:
    """A model by its numbers.

    Attributes:
        kind: Its model type in transformers.
        layers: Blocks of the whole model.
        numbers: The rest of its configuration.
    """

    kind: str
    layers: int
    numbers: dict[str, Any]

    def config(self, layers: int) -> dict[str, Any]:
        """The same with so many blocks."""
        return {**self.numbers, "num_hidden_layers": layers}

    def bytes(self, layers: int, dtype: torch.dtype) -> int:
        """What the weights of so many blocks take, counted without memory for them."""
        meta = torch.device("meta")
        one, two = (
            sum(part.numel() for part in module.parameters())
            for module in (
                random_module(self.kind, self.config(count), dtype=dtype, device=meta)
                for count in (1, 2)
            )
        )
        return dtype.itemsize * (one + (layers - 1) * (two - one))

    def layers_that_fit(self, device: torch.device, dtype: torch.dtype) -> int:
        """All of them, or as many as `SHARE` of what is free holds.

        Raises:
            torch.OutOfMemoryError: Not even one.
        """
        room = SHARE * memory_there(device)
        first = self.bytes(1, dtype)
        each = self.bytes(2, dtype) - first
        if first > room:
            raise torch.OutOfMemoryError("not a single layer fits")
        return min(self.layers, 1 + int((room - first) / each))


SHAPES = {
    "Llama-3.1-8B": Shape(
        "llama",
        32,
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
        },
    ),
    "Qwen3-32B": Shape(
        "qwen3",
        64,
        {
            "hidden_size": 5120,
            "intermediate_size": 25600,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "max_position_embeddings": 40960,
        },
    ),
    "Gemma-2-27B": Shape(
        "gemma2",
        46,
        {
            "hidden_size": 4608,
            "intermediate_size": 36864,
            "num_attention_heads": 32,
            "num_key_value_heads": 16,
            "head_dim": 128,
            "query_pre_attn_scalar": 144,
            "sliding_window": 4096,
            "vocab_size": 256000,
            "max_position_embeddings": 8192,
        },
    ),
    "Llama-3.3-70B": Shape(
        "llama",
        80,
        {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
        },
    ),
}

TOY = Shape(
    "llama",
    3,
    {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 300,
        "max_position_embeddings": 2048,
    },
)
"""For seeing that a script runs."""


def shapes(toy: bool) -> dict[str, Shape]:
    """Those to be measured."""
    return {"toy": TOY} if toy else SHAPES
