"""How many tokens a model takes, by its config; texts that are longer are refused before anything runs.

Beyond it a model with learned positions fails, and one with rotary positions goes on and invents numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from persona_lens.errors import ModelError

_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Names configs have for it."""

_TRAINED_AT = ("context_length", "seq_length")
"""Names of a length that models without positions (RWKV, BLOOM) were trained at, which is no limit."""

_STRETCHING = {"linear", "dynamic", "yarn"}
"""Ways of scaling rotary positions that `max_position_embeddings` does not count; others (Llama 3's) it does."""


def context_limit(config: Any) -> int | None:
    """Most tokens a model takes; None for ALiBi and recurrent models, which have no limit.

    Args:
        config: Of the text model.

    Examples:
        >>> from transformers import GPT2Config, LlamaConfig, MambaConfig
        >>> context_limit(GPT2Config(n_positions=1024)), context_limit(MambaConfig())
        (1024, None)
        >>> stretched = {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}
        >>> context_limit(LlamaConfig(max_position_embeddings=2048, rope_parameters=stretched))
        8192
    """
    names = getattr(config, "attribute_map", {})
    for name in _NAMES:
        limit = getattr(config, name, None)
        if isinstance(limit, int) and limit > 0 and names.get(name) not in _TRAINED_AT:
            # ALiBi goes on for ever, but where its table has a length (MPT).
            unlimited = _has_alibi(config) and name != "max_seq_len"
            return (
                None if unlimited else _stretched(limit, getattr(config, "rope_parameters", None))
            )
    return None


def _has_alibi(config: Any) -> bool:
    kind = getattr(config, "position_embedding_type", None)
    return getattr(config, "alibi", False) is True or kind == "alibi"


def _stretched(limit: int, rope: Any) -> int:
    """The limit with rotary positions scaled.

    Models that scale them in some kinds of layer only (Gemma 3) give the scaled length as their limit.
    """
    if not isinstance(rope, dict) or rope.get("rope_type") not in _STRETCHING:
        return limit
    before = rope.get("original_max_position_embeddings") or limit
    stretched = int(before * (rope.get("factor") or 1)) if before <= limit else limit
    return max(limit, stretched)


def check_context(
    lengths: Iterable[int],
    context: int | None,
    *,
    problem: str = "transcripts do not fit the model's context",
    remedy: str = "shorten them, or leave out the first turns",
) -> None:
    """Refuse texts that are longer than the model's context.

    Args:
        lengths: In tokens.
        context: Most tokens the model takes; None for no limit.
        problem: What does not fit.
        remedy: What to do about it.

    Raises:
        ModelError: With the longest and the number of those that are too long.
    """
    if context is None:
        return
    longer = [length for length in lengths if length > context]
    if longer:
        raise ModelError(
            problem,
            expected=f"at most {context} tokens",
            given=f"{max(longer)} (of those given, {len(longer)} do not fit)",
            remedy=remedy,
        )
