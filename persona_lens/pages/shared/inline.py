"""Numbers and names inside a web page: compact, and unable to end the script they stand in."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
from jaxtyping import Float, Int8
from markupsafe import Markup

COSINE_STEP = 0.01
"""Cosines of the large tables are kept in steps of this size, so they are at most half of it off."""
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_TYPES = {"float32": "Float32Array", "int16": "Int16Array", "int8": "Int8Array"}


def script_json(content: Any) -> Markup:
    r"""JSON that may stand in a script tag: no name in it can close the tag or open another.

    Args:
        content: Anything JSON can hold, without NaN.

    Examples:
        >>> print(script_json({"name": "</script>"}))
        {"name":"\u003c/script\u003e"}
    """
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return Markup(text)


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as base64 of its little-endian bytes, with the name of its type in JavaScript.

    Examples:
        >>> packed(np.array([[1, -1]], np.int8))
        {'type': 'Int8Array', 'shape': [1, 2], 'data': 'Af8='}
    """
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "type": _TYPES[array.dtype.name],
        "shape": list(array.shape),
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def quantised(cosines: Float[np.ndarray, "*batch"]) -> Int8[np.ndarray, "*batch"]:
    """Cosines as whole steps of `COSINE_STEP`, at most 0.005 from the truth.

    Examples:
        >>> quantised(np.array([-1.0, 0.004, 0.256])).tolist()
        [-100, 0, 26]
    """
    return np.rint(cosines / COSINE_STEP).astype(np.int8)


def deflated(values: Int8[np.ndarray, "layer trait role"]) -> str:
    """Differences between layers, deflated, as base64: neighbouring layers are alike, so little is left.

    Examples:
        >>> unpacked = zlib.decompress(base64.b64decode(deflated(np.array([[[5]], [[7]]], np.int8))))
        >>> list(unpacked)
        [5, 2]
    """
    steps = np.diff(values, axis=0, prepend=np.zeros_like(values[:1]))  # modulo 256, and so undone
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode("ascii")


def listed(values: Float[np.ndarray, " value"]) -> list[float | None]:
    """Numbers for JSON; those that are not finite become null.

    Examples:
        >>> listed(np.array([1.0, np.nan]))
        [1.0, None]
    """
    return [float(value) if np.isfinite(value) else None for value in values]
