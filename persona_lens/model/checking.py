"""What readings are asked for, checked before anything runs: layers, masks, directions, replies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from persona_lens.arrays import as_floats
from persona_lens.errors import ModelError
from persona_lens.interventions.blocks import block_number, nearest_blocks
from persona_lens.transcripts import Transcript


def checked_layers(layers: Any, n_layers: int) -> tuple[int, ...]:
    """Numbers of blocks, each once; numpy's integers are fine.

    Raises:
        ModelError: No layers, one that is no block, twice the same, or something that is no whole number.

    Examples:
        >>> checked_layers(np.arange(2, 5), n_layers=30)
        (2, 3, 4)
    """
    expected = f"numbers of blocks, 0 to {n_layers - 1}, each once"
    if isinstance(layers, str | bytes) or not isinstance(layers, Iterable):
        raise ModelError("layers is no list", expected=expected, given=repr(layers))
    given = list(layers)
    if not given:
        raise ModelError("no layers to read", expected=expected, given="none")
    chosen = tuple(block_number(layer, ModelError) for layer in given)
    wrong = [layer for layer in chosen if not 0 <= layer < n_layers]
    if wrong:
        raise ModelError(
            "no such layer",
            expected=expected,
            given=", ".join(map(str, wrong[:8])),
            remedy=nearest_blocks(wrong[0], range(n_layers))
            or "layer i is the residual stream after block i; count from 0",
        )
    if len(set(chosen)) < len(chosen):
        twice = sorted({layer for layer in chosen if chosen.count(layer) > 1})
        raise ModelError("a layer is named twice", expected=expected, given=twice)
    return chosen


def checked_positions(
    positions: Any, transcripts: Sequence[Transcript]
) -> list[Bool[np.ndarray, " token"]]:
    """One mask a transcript, as long as it.

    Raises:
        ModelError: Another number of masks, a mask of another length, or indices instead of a mask.

    Examples:
        >>> checked_positions([], [])
        []
    """
    expected = "one mask of True and False a transcript, as long as the transcript"
    if not isinstance(positions, Sequence | np.ndarray | torch.Tensor):
        raise ModelError("positions is no list", expected=expected, given=type(positions).__name__)
    if len(positions) != len(transcripts):
        raise ModelError(
            "masks and transcripts do not fit together",
            expected=expected,
            given=f"{len(positions)} for {len(transcripts)}",
        )
    masks = []
    for place, (held, transcript) in enumerate(zip(positions, transcripts, strict=True)):
        mask = np.asarray(held.cpu() if isinstance(held, torch.Tensor) else held)
        if mask.dtype != np.bool_ or mask.shape != (len(transcript),):
            raise ModelError(
                f"the mask at place {place} does not fit its transcript",
                expected=f"{len(transcript)} of True and False",
                given=f"{mask.dtype} {list(mask.shape)}",
                remedy="make a mask of indices with np.isin(np.arange(len(transcript)), indices)",
            )
        masks.append(mask)
    return masks


def checked_units(
    units: Any, n_layers: int, d_model: int
) -> Float[np.ndarray, "layer direction d_model"]:
    """Directions at each of some layers, in float32.

    Args:
        units: An array or tensor.
        n_layers: Number of layers that are read.
        d_model: Width of the residual stream.

    Raises:
        ModelError: Another shape, or numbers that are not finite.

    Examples:
        >>> checked_units(torch.eye(2, 8, dtype=torch.bfloat16)[None], n_layers=1, d_model=8).shape
        (1, 2, 8)
    """
    found = as_floats(units, "the directions", error=ModelError)
    if found.ndim != 3 or (len(found), found.shape[-1]) != (n_layers, d_model):
        raise ModelError(
            "the directions do not fit what is read",
            expected=f"[layer, direction, d_model] = [{n_layers}, any, {d_model}]",
            given=list(found.shape),
        )
    if not np.isfinite(found).all():
        raise ModelError("a direction is not finite", expected="numbers", given="NaN or infinity")
    return found


def checked_replies(
    replies: Any, prompts: Sequence[Transcript], n_tokens: int
) -> list[tuple[int, ...]]:
    """Token ids of one reply a prompt.

    Args:
        replies: Sequences of ids.
        prompts: What they answer.
        n_tokens: Size of the vocabulary.

    Raises:
        ModelError: Another number of replies, text instead of ids, or an id that is no token.
    """
    expected = f"a list of token ids, 0 to {n_tokens - 1}, for each prompt"
    if isinstance(replies, str) or len(replies) != len(prompts):
        raise ModelError(
            "replies and prompts do not fit together",
            expected=expected,
            given="text"
            if isinstance(replies, str)
            else f"{len(replies)} replies to {len(prompts)} prompts",
        )
    found = []
    for place, reply in enumerate(replies):
        ids = np.asarray(reply.cpu() if isinstance(reply, torch.Tensor) else reply)
        whole = ids.ndim == 1 and (ids.dtype.kind in "iu" or not ids.size)
        if not whole or (ids.size and not 0 <= ids.min() <= ids.max() < n_tokens):
            raise ModelError(
                f"the reply at place {place} is no list of token ids",
                expected=expected,
                given=repr(reply)[:60],
                remedy="model.tokenizer(text, add_special_tokens=False)['input_ids'] has those of a text",
            )
        found.append(tuple(ids.tolist()))
    return found
