"""Fingerprints: a short hash that tells one set of weights from another, packed and quantised ones too.

Samples of every tensor are hashed, not all of it, so that it takes milliseconds whatever the size. Weights that
are no plain tensors (int8 packed for the CPU, torchao's and other subclasses) are taken apart into what they are
made of.

Examples:
    >>> one, other = {"weight": torch.zeros(2, 3)}, {"weight": torch.ones(2, 3)}
    >>> fingerprint(one) == fingerprint(one), fingerprint(one) == fingerprint(other)
    (True, False)
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from persona_lens.errors import ModelError

SAMPLES = 16
"""Values of each tensor that are looked at, evenly spaced."""

_PLAIN = (str, int, float, bool, type(None), torch.dtype, torch.device, torch.layout)


def fingerprint(
    weights: Mapping[str, Any],
    *,
    settings: Iterable[str] = (),
    rounded_to: torch.dtype | None = None,
) -> str:
    """Hash of names, shapes, dtypes and samples; the same weights give the same hash.

    Args:
        weights: A `state_dict()`.
        settings: What else decides how the weights act, such as which adapter is on.
        rounded_to: Hash floating-point tensors as they would be in this dtype, to compare with the fingerprint of
            the same weights loaded in it.

    Raises:
        ModelError: A kind of weight that gives no samples.
    """
    digest = hashlib.sha256()
    for key, held in sorted(weights.items(), key=lambda item: item[0]):
        for part in _parts(key, held, rounded_to):
            digest.update(part)
    for setting in settings:
        digest.update(setting.encode())
    return digest.hexdigest()[:16]


def _parts(key: str, held: Any, rounded_to: torch.dtype | None) -> Iterable[bytes]:
    """What is hashed of one entry, piece by piece."""
    if isinstance(held, Tensor):
        yield from _tensor(key, held, rounded_to)
    elif isinstance(held, Mapping):
        for name, inner in sorted(held.items(), key=lambda item: str(item[0])):
            yield from _parts(f"{key}.{name}", inner, rounded_to)
    elif isinstance(held, list | tuple):
        for place, inner in enumerate(held):
            yield from _parts(f"{key}.{place}", inner, rounded_to)
    elif isinstance(held, io.BytesIO):
        yield key.encode() + held.getvalue()
    elif isinstance(held, bytes | bytearray):
        yield key.encode() + bytes(held)
    elif isinstance(held, _PLAIN):
        yield f"{key}={held}".encode()
    else:
        raise _untold(key, held)


def _tensor(key: str, held: Tensor, rounded_to: torch.dtype | None) -> Iterable[bytes]:
    flatten = getattr(held, "__tensor_flatten__", None)
    if flatten is not None:
        names, context = flatten()
        yield f"{key}{tuple(held.shape)}{held.dtype}{type(held).__name__}".encode()
        yield f"{_readable(context)}".encode()
        for name in names:
            yield from _tensor(f"{key}.{name}", getattr(held, name), None)
        return
    dtype = held.dtype
    if rounded_to is not None and dtype.is_floating_point:
        dtype = rounded_to
    yield f"{key}{tuple(held.shape)}{dtype}".encode()
    if held.device.type == "meta" or not held.numel():
        return
    try:
        yield _samples(held, dtype)
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise _untold(key, held) from error


def _samples(held: Tensor, dtype: torch.dtype) -> bytes:
    """Values evenly spaced over a tensor, as bytes of float64."""
    if held.is_quantized:
        # Numbers as they act: the integers alone would not tell two scales apart.
        held = held.dequantize()
    elif type(held) not in (Tensor, torch.nn.Parameter):
        held = held.as_subclass(Tensor)  # what packs itself again when moved, as bitsandbytes does
    if held.layout != torch.strided:
        held = held.to_dense()
    if held.is_complex():
        held = torch.view_as_real(held)
    try:
        flat = held.reshape(-1)
        places = torch.arange(SAMPLES, device=flat.device) * (flat.numel() - 1) // (SAMPLES - 1)
        values = flat[places]
    except NotImplementedError:  # dtypes of less than a byte can only be looked at as bytes
        flat = held.contiguous().view(torch.uint8).reshape(-1)
        places = torch.arange(SAMPLES, device=flat.device) * (flat.numel() - 1) // (SAMPLES - 1)
        values = flat[places]
    if values.is_floating_point() and values.dtype != dtype and dtype.is_floating_point:
        values = values.to(dtype)
    # On the CPU first: some devices have no float64.
    return values.cpu().double().numpy().tobytes()


def _readable(context: Any) -> Any:
    """The settings of a tensor subclass without what differs from process to process, such as addresses."""
    if isinstance(context, _PLAIN):
        return context
    if isinstance(context, Mapping):
        return {str(name): _readable(value) for name, value in context.items()}
    if isinstance(context, list | tuple):
        return [_readable(value) for value in context]
    return type(context).__name__


def _untold(key: str, held: Any) -> ModelError:
    return ModelError(
        f"the weight {key!r} gives no fingerprint, so runs and spaces could not tell these weights from others",
        expected="tensors, or packed weights made of them",
        given=type(held).__name__,
        remedy="load the model without this quantisation",
    )
