"""Hugging Face modules turned into HookedTransformers, offline."""

from __future__ import annotations

from typing import Any, NamedTuple

from transformer_lens import HookedTransformer, HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import (
    convert_gpt2_weights,
    convert_llama_weights,
)
from transformers import PretrainedConfig, PreTrainedModel

from persona_lens import PersonaModel

RAW = {
    "fold_ln": False,
    "center_writing_weights": False,
    "center_unembed": False,
    "fold_value_biases": False,
}
PROCESSED = dict.fromkeys(RAW, True)
"""What `HookedTransformer.from_pretrained` does by default."""


class Pair(NamedTuple):
    """A model as Persona Lens takes it from transformers, and from TransformerLens 3."""

    plain: PersonaModel
    hooked: PersonaModel
    transformer: HookedTransformer


def hooked_transformer(module: PreTrainedModel, processing: dict[str, bool]) -> HookedTransformer:
    """A HookedTransformer with the weights of a Llama or a GPT-2."""
    config = module.config
    is_gpt2 = config.model_type == "gpt2"
    family = _gpt2_settings(config) if is_gpt2 else _llama_settings(config)
    hooked_config = HookedTransformerConfig(
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        n_heads=config.num_attention_heads,
        n_ctx=config.max_position_embeddings,
        d_vocab=config.vocab_size,
        model_name=f"a-{config.model_type}",
        dtype=module.dtype,
        device="cpu",
        **family,
    )
    hooked = HookedTransformer(hooked_config)
    convert = convert_gpt2_weights if is_gpt2 else convert_llama_weights
    # Processing writes into its input, which would be the module's own weights.
    weights = {name: held.detach().clone() for name, held in convert(module, hooked_config).items()}
    hooked.load_and_process_state_dict(weights, **processing)
    return hooked.eval()


def _gpt2_settings(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "d_head": config.n_embd // config.n_head,
        "d_mlp": 4 * config.n_embd,
        "act_fn": config.activation_function,
        "eps": config.layer_norm_epsilon,
        "normalization_type": "LN",
    }


def _llama_settings(config: PretrainedConfig) -> dict[str, Any]:
    return {
        "d_head": config.head_dim,
        "d_mlp": config.intermediate_size,
        "act_fn": config.hidden_act,
        "eps": config.rms_norm_eps,
        "normalization_type": "RMS",
        "n_key_value_heads": config.num_key_value_heads,
        "positional_embedding_type": "rotary",
        "rotary_base": config.rope_parameters["rope_theta"],
        "rotary_dim": config.head_dim,
        "rotary_adjacent_pairs": False,
        "final_rms": True,
        "gated_mlp": True,
    }
