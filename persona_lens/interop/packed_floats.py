"""Rows of floats as base64 of their little-endian bytes, as servers take them in JSON."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

_KINDS = {"float16": "<f2", "float32": "<f4", "float64": "<f8"}


def packed(values: Float[np.ndarray, "*shape"], dtype: str) -> str:
    """Base64 of an array.

    Examples:
        >>> packed(np.array([1.0, -2.0]), "float32")
        'AACAPwAAAMA='
        >>> unpacked("AACAPwAAAMA=", "float32", [2])
        array([ 1., -2.], dtype=float32)
    """
    return base64.b64encode(np.ascontiguousarray(values, _KINDS[dtype]).tobytes()).decode("ascii")


def unpacked(data: str, dtype: str, shape: Sequence[int]) -> Float[np.ndarray, "*shape"]:
    """The array again; half precision as float32, in which it is exact.

    Raises:
        ValueError: Not as many numbers as the shape says, or no base64.
        KeyError: Floats of another kind.
    """
    raw = base64.b64decode(data, validate=True)
    if dtype == "bfloat16":  # the upper half of a float32
        wide = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        return wide.reshape(shape).astype(np.float32)
    found = np.frombuffer(raw, _KINDS[dtype]).reshape(shape)
    return found.astype(np.float64 if dtype == "float64" else np.float32)
