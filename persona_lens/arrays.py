"""Numbers as people hold them: tensors of any dtype and device, with gradients, in lists, by layer; numpy in JSON.

NumPy takes no bfloat16 tensor and no tensor with a gradient, and JSON takes no NumPy number. So whatever is given
for an array comes through `as_floats`, and whatever is written as JSON through `plain`.

Examples:
    >>> import torch
    >>> as_floats([torch.ones(2, dtype=torch.bfloat16), torch.zeros(2, requires_grad=True)])
    array([[1., 1.],
           [0., 0.]], dtype=float32)
    >>> plain({np.int64(3): np.float32(0.5), "layers": np.arange(2)})
    {3: 0.5, 'layers': [0, 1]}
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.errors import PersonaLensError

_EXPECTED = "an array, a tensor or lists of numbers"


def as_floats(
    given: Any,
    what: str = "the vectors",
    *,
    error: type[PersonaLensError] = PersonaLensError,
    dtype: Any = np.float32,
    layers: Iterable[Any] | None = None,
) -> Float[np.ndarray, "*any"]:
    """A copy of what was given for an array, in floating point.

    Args:
        given: Array, tensor (any dtype of real numbers, device, layout; a gradient is left behind), number, data
            frame or series; a sequence of such; a mapping from layer to such.
        what: Its name in errors.
        error: What to raise.
        dtype: Of the copy; None keeps single and double precision, and whole numbers become double.
        layers: Of a mapping, the layers wanted, in this order; by default all of them in ascending order.

    Raises:
        PersonaLensError: No numbers, complex ones, rows of several lengths, a tensor without data, or a layer that
            is missing. Not for NaN and infinity, which mean something in places.

    Examples:
        >>> as_floats({3: [1.0, 2.0], 2: [0.0, 4.0]}, layers=[2])
        array([[0., 4.]], dtype=float32)
    """
    if isinstance(given, Mapping):
        by_layer = _by_layer(given, what, error)
        wanted = list(by_layer) if layers is None else [_whole(layer) for layer in layers]
        missing = [layer for layer in wanted if layer not in by_layer]
        if missing:
            raise error(
                f"{what} are not given at every layer",
                expected=f"layers {', '.join(map(str, wanted))}",
                given=f"none at {', '.join(map(str, missing))}",
            )
        given = [by_layer[layer] for layer in wanted]
    try:
        found = _numbers(given)
        if dtype is None:
            dtype = found.dtype if found.dtype in (np.float32, np.float64) else np.float64
        return np.array(found, dtype=dtype)  # a copy, which nobody else can change
    except (TypeError, ValueError, OverflowError, RuntimeError, NotImplementedError) as problem:
        raise error(
            f"{what} are no array of numbers",
            expected=_EXPECTED,
            given=_said(given, problem),
        ) from problem


def layers_of(
    given: Any, what: str = "the vectors", error: type[PersonaLensError] = PersonaLensError
) -> tuple[int, ...] | None:
    """The layers that a mapping from layer to vector has, ascending; None of anything else.

    Examples:
        >>> layers_of({np.int64(3): [1.0], 2: [0.0]})
        (2, 3)
    """
    return tuple(_by_layer(given, what, error)) if isinstance(given, Mapping) else None


def plain(content: Any) -> Any:
    """The same for JSON: NumPy and torch numbers and arrays become Python's, in keys as well; the rest stays.

    Examples:
        >>> plain((np.float64(0.5), np.array([True]), "text", None))
        [0.5, [True], 'text', None]
    """
    if isinstance(content, Mapping):
        return {_plain_key(key): plain(value) for key, value in content.items()}
    if isinstance(content, np.generic | np.ndarray):
        return content.tolist()
    if _is_tensor(content):
        return content.detach().cpu().tolist()
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return content


def without_gaps(content: Any) -> Any:
    """`plain`, with None for NaN and infinity, as data frames have them where a cell is empty.

    Examples:
        >>> without_gaps({"group": float("nan"), "replies": np.int64(3)})
        {'group': None, 'replies': 3}
    """
    content = plain(content)
    if isinstance(content, dict):
        return {key: without_gaps(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_gaps(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _plain_key(key: Any) -> Any:
    return key.item() if isinstance(key, np.generic) else key


def _is_tensor(given: Any) -> bool:
    """Told without importing torch, which may not be needed."""
    return hasattr(given, "detach") and hasattr(given, "cpu")


def _numbers(given: Any) -> np.ndarray:
    if _is_tensor(given):
        return _of_tensor(given)
    if isinstance(given, np.ma.MaskedArray):
        return np.ma.filled(given.astype(np.float64), np.nan)
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        # One by one, since NumPy asks each tensor in a list for its numbers.
        if any(not isinstance(entry, int | float | np.generic) for entry in given):
            return np.stack([_numbers(entry) for entry in given])
        given = list(given)
    found = np.asarray(given)
    if found.dtype.kind == "O":  # a column of numbers that a data frame holds as objects
        found = np.array([_one(entry) for entry in found.flat]).reshape(found.shape)
    # Other libraries' bfloat16 has no kind of its own.
    if found.dtype.kind not in "fiu" and found.dtype.name not in ("bfloat16", "float8_e4m3fn"):
        raise TypeError(f"{found.dtype}")
    return found


def _one(entry: Any) -> float:
    if isinstance(entry, bool | str | bytes | complex):
        raise TypeError(type(entry).__name__)
    return float(entry)


def _of_tensor(given: Any) -> np.ndarray:
    if given.device.type == "meta":
        raise ValueError("a tensor on the meta device, which has no data")
    if given.is_complex() or str(given.dtype) == "torch.bool":
        raise TypeError(f"{given.dtype}")
    held = given.detach()
    held = held.dequantize() if held.is_quantized else held
    held = held.cpu()
    held = held.to_dense() if str(held.layout) != "torch.strided" else held
    # Half precision is exact in float32.
    return (held.float() if held.element_size() < 4 else held).numpy(force=True)


def _by_layer(given: Mapping[Any, Any], what: str, error: type[PersonaLensError]) -> dict[int, Any]:
    try:
        found = {_whole(layer): value for layer, value in given.items()}
    except (TypeError, ValueError) as problem:
        raise error(
            f"{what} are a mapping from something other than layers",
            expected="numbers of blocks",
            given=", ".join(map(repr, list(given)[:3])),
        ) from problem
    return dict(sorted(found.items()))


def _whole(layer: Any) -> int:
    if isinstance(layer, str) and layer.isdigit():  # as JSON and names of tensors have them
        return int(layer)
    return operator.index(layer)  # pyright: ignore[reportArgumentType]


def _said(given: Any, problem: Exception) -> str:
    said = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return f"{type(given).__name__} ({said})"
