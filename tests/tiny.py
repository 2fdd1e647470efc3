"""Tiny random models of several architectures, with a byte-level tokenizer, made on the spot."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from persona_lens import PersonaModel

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
}
_EXTRA = {
    "gemma2": {"sliding_window": 8},
    "gemma3_text": {"sliding_window": 8, "sliding_window_pattern": 2},
    "mistral": {"sliding_window": 8},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}
_GPT2_SHAPE = {"n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 512}

ARCHITECTURES = ("llama", "qwen3", "gemma2", "gpt2", "qwen3_moe")
"""Those most tests run on."""

VERIFIED = (*ARCHITECTURES, "gemma3_text", "qwen2", "mistral", "phi3", "olmo2")
"""Those the self-check is tested on."""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, ChatML markers as special tokens; no merges, so any text splits alike everywhere."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate([*specials, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        chat_template=CHATML,
    )


def tiny_module(architecture: str, *, seed: int = 0) -> PreTrainedModel:
    """A random model; weights large enough that layers and positions differ clearly."""
    tokenizer = tiny_tokenizer()
    shape = _GPT2_SHAPE if architecture == "gpt2" else {**_SHAPE, **_EXTRA.get(architecture, {})}
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
        **shape,
    )
    torch.manual_seed(seed)
    module = AutoModelForCausalLM.from_config(config).eval()
    module.config.architectures = [type(module).__name__]
    return module


@cache
def shared_module(architecture: str) -> PreTrainedModel:
    """The same, once for all who leave it as it is."""
    return tiny_module(architecture)


@cache
def shared_model(architecture: str) -> PersonaModel:
    """One loaded with a module of its own, once for all who leave hooks, weights and settings as they are."""
    return PersonaModel.load(tiny_module(architecture), tokenizer=tiny_tokenizer())


def tiny_folder(path: Path, architecture: str, *, seed: int = 0) -> Path:
    """The same, saved as a folder."""
    tiny_module(architecture, seed=seed).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path
