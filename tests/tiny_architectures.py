"""Tiny random models of every text architecture that transformers offers and TransformerLens bridges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from tiny import VERIFIED, tiny_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

_SHAPE: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 512,
}
_MOE: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
_MLA: dict[str, Any] = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "num_key_value_heads": 4,
}
_LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
}
_MAMBA2: dict[str, Any] = {
    "mamba_d_ssm": 32,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
    "mamba_expand": 2,
}
_WINDOW = {"sliding_window": 8}

SCALED = ("granite", "granitemoe", "cohere", "cohere2", "falcon_h1", "nanochat", "recurrent_gemma")
"""Architectures that scale or cap their logits in words of their own."""
STATEFUL = ("mamba", "mamba2", "falcon_mamba", "rwkv", "jamba", "lfm2", "nemotron_h", "zamba2")
"""Architectures that keep something else than keys and values."""
OTHERS = ("bloom", "mpt", "opt", "llama4_text", "modernbert-decoder", "qwen3_next", "openai-gpt")
"""Without positions, with the decoder in an unusual place, with layers of several kinds, without a cache."""

REAL = {"llama": "SmolLM2 135M", "gemma3_text": "Gemma 3 270M"}
"""Architectures of the embedded models, which `verify` is tested on too."""
GPU_RESULTS = Path(__file__).parents[1] / "benchmarks" / "gpu" / "results" / "verify_models.md"
"""The table that `benchmarks/gpu/verify_models.py` has printed on a GPU, if one was ever at hand."""

CASES: dict[str, dict[str, Any]] = {
    "afmoe": {**_MOE, **_WINDOW, "num_dense_layers": 1},
    "apertus": {},
    "arcee": {},
    "bamba": {**_MAMBA2, "attn_layer_indices": [1]},
    "bert": {"is_decoder": True},
    "bitnet": {},
    "bloom": {"n_layer": 3, "n_head": 4},
    "codegen": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 512, "rotary_dim": 4},
    "cohere": {},
    "cohere2": _WINDOW,
    "deepseek_v2": {**_MOE, **_MLA},
    "deepseek_v3": {**_MOE, **_MLA},
    "deepseek_v4": {**_MOE},
    "ernie4_5": {},
    "ernie4_5_moe": {**_MOE, "moe_num_experts": 4, "moe_k": 2},
    "exaone4": _WINDOW,
    "falcon": {"head_dim": None},
    "falcon_h1": _MAMBA2,
    "falcon_mamba": {"state_size": 8},
    "flex_olmo": _MOE,
    "gemma": {},
    "gemma2": _WINDOW,
    "gemma3_text": {**_WINDOW, "sliding_window_pattern": 2},
    "gemma3n_text": {
        "vocab_size_per_layer_input": 259,
        "hidden_size_per_layer_input": 8,
        "num_kv_shared_layers": 0,
        "laurel_rank": 4,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "activation_sparsity_pattern": [0.0] * 3,
    },
    "gemma4_text": {
        **_WINDOW,
        "vocab_size_per_layer_input": 259,
        "hidden_size_per_layer_input": 8,
        "global_head_dim": 8,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "num_kv_shared_layers": 0,
    },
    "glm": {},
    "glm4": {},
    "glm4_moe": _MOE,
    "glm4_moe_lite": {**_MOE, **_MLA},
    "glm_moe_dsa": {**_MOE, **_MLA},
    "gpt2": {
        "num_key_value_heads": None,
        "n_embd": 16,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 512,
    },
    "gpt_bigcode": {"n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 512},
    "gpt_neo": {
        "num_layers": 3,
        "num_heads": 4,
        "attention_types": [[["global", "local", "global"], 1]],
        "window_size": 8,
    },
    "gpt_neox": {"num_key_value_heads": None},
    "gpt_oss": {**_MOE, **_WINDOW},
    "gptj": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 512, "rotary_dim": 4},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {**_MOE, "logits_scaling": 8.0},
    "granitemoehybrid": {
        **_MOE,
        **_MAMBA2,
        "layer_types": ["mamba", "attention", "mamba"],
        "shared_intermediate_size": 16,
    },
    "hrm_text": {},
    "hunyuan_v1_dense": {},
    "jais2": {},
    "jamba": {
        "mamba_d_state": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "attn_layer_period": 3,
        "attn_layer_offset": 1,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "jetmoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "kv_channels": 8},
    "laguna": {**_MOE, **_WINDOW},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "lfm2_moe": {**_MOE, "layer_types": ["conv", "full_attention", "conv"]},
    "llama": {},
    "llama4_text": {**_MOE, "intermediate_size_mlp": 32, "attention_chunk_size": 16},
    "mamba": {"state_size": 8, "max_position_embeddings": None},
    "mamba2": {"num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 16, "state_size": 8},
    "minimax_m2": _MOE,
    "ministral3": {},
    "mistral": _WINDOW,
    "mixtral": _MOE,
    "modernbert-decoder": {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2},
    "mpt": {"d_model": 16, "n_heads": 4, "n_layers": 3, "max_seq_len": 512},
    "nanochat": {},
    "nemotron": {},
    "nemotron_h": {
        **_MOE,
        "layers_block_type": ["mamba", "attention", "moe"],
        "mamba_num_heads": 4,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 1,
        "chunk_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    },
    "olmo": {},
    "olmo2": {},
    "olmo3": _WINDOW,
    "olmo_hybrid": _LINEAR,
    "olmoe": _MOE,
    "openai-gpt": {
        "num_key_value_heads": None,
        "n_embd": 16,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 512,
    },
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "phi": {},
    "phi3": {},
    "qwen2": {},
    "qwen2_moe": {**_MOE, "shared_expert_intermediate_size": 16},
    "qwen3": {},
    "qwen3_5_text": _LINEAR,
    "qwen3_5_moe_text": {**_MOE, **_LINEAR, "shared_expert_intermediate_size": 16},
    "qwen3_moe": _MOE,
    "qwen3_next": {**_MOE, **_LINEAR, "shared_expert_intermediate_size": 16},
    "recurrent_gemma": {"w_init_variance_scale": 1.0, "lru_width": 16, "attention_window_size": 8},
    "rwkv": {"attention_hidden_size": 16},
    "seed_oss": {},
    "smollm3": {},
    "stablelm": {"hidden_size": 32, "head_dim": 8},
    "starcoder2": _WINDOW,
    "vaultgemma": _WINDOW,
    "xglm": {"d_model": 16, "ffn_dim": 32, "num_layers": 3, "attention_heads": 4},
    "youtu": {**_MLA},
    "zamba2": {
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "layer_types": ["mamba", "hybrid", "mamba"],
        "mamba_d_state": 8,
        "mamba_ngroups": 1,
        "n_mamba_heads": 4,
        "chunk_size": 16,
        "num_mem_blocks": 1,
        "adapter_rank": 4,
    },
}
"""What each architecture needs beside the shape they all share, by its model type in transformers."""


def where_run(architecture: str) -> tuple[str, str, str]:
    """What tests do with it, with which real weights, and what was run on a GPU: cells of docs/models.md."""
    tested = "verify" if architecture in VERIFIED else ""
    if architecture in (*SCALED, *STATEFUL, *OTHERS):
        tested = "numbers"
    return tested, REAL.get(architecture, ""), _on_a_gpu(architecture)


def _on_a_gpu(architecture: str) -> str:
    """The dtypes in which every check of `verify` has passed on one."""
    text = GPU_RESULTS.read_text() if GPU_RESULTS.exists() else ""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    passed = [
        row[1] for row in rows if row[0] == architecture and re.fullmatch(r"(\d+) of \1", row[3])
    ]
    return ", ".join(dict.fromkeys(passed)) or "not run"


def tiny_shape(architecture: str) -> dict[str, Any]:
    """Arguments of its configuration, without the vocabulary; weights large enough that logits differ clearly."""
    shape = {"initializer_range": 0.3, **_SHAPE, **CASES[architecture]}
    return {name: value for name, value in shape.items() if value is not None}


def tiny_case(architecture: str, *, seed: int = 0) -> PreTrainedModel:
    """A random model of some thousand parameters in float32."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        architecture,
        **{
            "vocab_size": len(tokenizer),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **tiny_shape(architecture),
        },
    )
    module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    module.config.architectures = [type(module).__name__]
    return module
