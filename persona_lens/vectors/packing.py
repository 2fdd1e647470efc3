"""Vectors at 8 bits a number: a quarter of the space of float32 for an error far below that of sampling.

Each layer and dimension of each group of vectors has its own offset and scale, because a few dimensions of a
residual stream are hundreds of times larger than the rest, and because role means and trait differences lie far
apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8

from persona_lens.errors import SpaceError

if TYPE_CHECKING:
    from persona_lens.vectors.table import VectorTable

LARGEST = 127
TINY = float(np.finfo(np.float32).tiny)


class Packed(NamedTuple):
    """Codes and what turns them back: `offset + scale * code`, offset and scale of the vector's group.

    Attributes:
        codes: One byte a number.
        offsets: Of each group.
        scales: Of each group.
    """

    codes: Int8[np.ndarray, "vector layer d_model"]
    offsets: Float[np.ndarray, "group layer d_model"]
    scales: Float[np.ndarray, "group layer d_model"]


def pack(
    values: Float[np.ndarray, "vector layer d_model"], groups: Int[np.ndarray, " vector"]
) -> Packed:
    """Round each number to one of 255 levels between the extremes of its group, layer and dimension.

    Args:
        values: Finite.
        groups: Group of each vector, numbered from 0.

    Raises:
        SpaceError: Values that are not finite.

    Examples:
        >>> values = np.random.default_rng(0).normal(size=(50, 2, 8)).astype(np.float32)
        >>> groups = np.zeros(50, dtype=int)
        >>> bool(np.abs(unpack(pack(values, groups), groups) - values).max() < 0.02)
        True
    """
    if not np.isfinite(values).all():
        raise SpaceError("vectors that are not finite cannot be packed")
    shape = (int(groups.max(initial=-1)) + 1, *values.shape[1:])
    offsets, scales = np.zeros(shape, np.float32), np.ones(shape, np.float32)
    codes = np.empty(values.shape, np.int8)
    for group in range(len(offsets)):
        members = groups == group
        if not members.any():
            continue
        low, high = values[members].min(axis=0), values[members].max(axis=0)
        offsets[group] = low / 2 + high / 2
        spread = high / 2 - low / 2
        scales[group] = np.where(spread > LARGEST * TINY, spread, 1.0) / LARGEST
        codes[members] = np.rint((values[members] - offsets[group]) / scales[group])
    return Packed(codes, offsets, scales)


def unpack(
    packed: Packed, groups: Int[np.ndarray, " vector"]
) -> Float[np.ndarray, "vector layer d_model"]:
    """The values again, float32, each within half a level."""
    values = packed.codes.astype(np.float32)
    for group, (offset, scale) in enumerate(zip(packed.offsets, packed.scales, strict=True)):
        members = groups == group
        values[members] = values[members] * scale + offset
    return values


def plain_tensors(table: VectorTable) -> dict[str, np.ndarray]:
    """Vectors and folds of a table as they are."""
    held = {"values": table.values, "folds": table.folds, "fold_counts": table.fold_counts}
    return {name: array for name, array in held.items() if array is not None}


def compact_tensors(table: VectorTable) -> dict[str, np.ndarray]:
    """Vectors, and the difference of two halves of the folds if they are known, at one byte a number."""
    groups = _groups(table.kinds)
    tensors = _named("values", pack(table.values, groups))
    if table.folds is not None and table.fold_counts is not None:
        halved = table.halved()
        assert halved.folds is not None
        assert halved.fold_counts is not None
        # A half without any reply is restored from its count; its difference must only be a number.
        difference = np.nan_to_num(halved.folds[:, 0] - halved.folds[:, 1])
        tensors |= _named("difference", pack(difference, groups))
        tensors["fold_counts"] = halved.fold_counts
    return tensors


def vectors_and_folds(tensors: Mapping[str, np.ndarray], kinds: Sequence[str]) -> dict[str, Any]:
    """`values`, `folds` and `fold_counts` of a table, from the tensors of either kind of file.

    The mean of the two halves, weighted by their replies, is the vector itself; so their difference restores both.
    """
    counts = tensors.get("fold_counts")
    if "values" in tensors:
        return {"values": tensors["values"], "folds": tensors.get("folds"), "fold_counts": counts}
    groups = _groups(kinds)
    values = unpack(_of(tensors, "values"), groups)
    if counts is None:
        return {"values": values, "folds": None, "fold_counts": None}
    difference = unpack(_of(tensors, "difference"), groups)
    share = counts / counts.sum(axis=1, keepdims=True)
    steps = np.stack([share[:, 1], -share[:, 0]], axis=1).astype(np.float32)
    folds = values[:, None] + steps[..., None, None] * difference[:, None]
    folds[counts == 0] = np.nan
    return {"values": values, "folds": folds, "fold_counts": counts}


def _groups(kinds: Sequence[str]) -> Int[np.ndarray, " vector"]:
    """Means of the residual stream (default, roles) and differences of means (traits)."""
    return np.array([int(kind == "trait") for kind in kinds], dtype=int)


def _named(name: str, packed: Packed) -> dict[str, np.ndarray]:
    return {f"{name}.{part}": array for part, array in packed._asdict().items()}


def _of(tensors: Mapping[str, np.ndarray], name: str) -> Packed:
    return Packed(*(tensors[f"{name}.{part}"] for part in Packed._fields))
