"""Keys and values of rows that come and go: chosen, cut in front, and put under each other.

Rows end at the same column, so what differs is how far they reach back: the narrower ones are padded in front, and
columns that no row reaches are cut. Layers with a sliding window hold the last columns only, and count the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_KINDS = (DynamicLayer, DynamicSlidingWindowLayer)


def can_join(past: Any) -> bool:
    """Whether a cache of transformers holds keys and values, of all tokens or of a window, and nothing else."""
    layers = getattr(past, "layers", None)
    return bool(layers) and all(type(layer) in _KINDS for layer in layers)


def keep_rows(past: Any, rows: Sequence[int], width: int) -> None:
    """Leave some rows of a cache, in that order, and of them the last `width` columns."""
    for layer in _filled(past):
        held = _columns(layer, width)
        chosen = torch.tensor(list(rows), device=layer.keys.device)
        layer.keys, layer.values = (
            part[:, :, part.shape[2] - held :].index_select(0, chosen)
            for part in (layer.keys, layer.values)
        )
        _count(layer, width)


def put_under(past: Any, other: Any, width: int) -> None:
    """Put the rows of another cache under those of one, both padded in front to `width` columns."""
    for layer, theirs in zip(_filled(past), _filled(other), strict=True):
        held = _columns(layer, width)
        layer.keys, layer.values = (
            torch.cat([_padded(one, held), _padded(two, held)])
            for one, two in ((layer.keys, theirs.keys), (layer.values, theirs.values))
        )
        _count(layer, width)


def _filled(past: Any) -> list[Any]:
    """Its layers; some models have ones that use the keys and values of others."""
    return [layer for layer in past.layers if layer.is_initialized]


def _columns(layer: Any, width: int) -> int:
    """How many of so many columns a layer holds."""
    return min(width, layer.sliding_window - 1) if layer.is_sliding else width


def _count(layer: Any, width: int) -> None:
    if layer.is_sliding:
        layer.cumulative_length = width


def _padded(part: Tensor, columns: int) -> Tensor:
    missing = columns - part.shape[2]
    return pad(part, (0, 0, missing, 0)) if missing else part
