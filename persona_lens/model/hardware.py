"""Where a model runs and in which numbers: what was asked for, if it can work here, else the fastest."""

from __future__ import annotations

import logging
from typing import Literal

import torch

from persona_lens.errors import ModelError

DtypeName = Literal["auto", "float32", "bfloat16", "float16", "float64"]

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Those that all operations of a decoder are written for."""

logger = logging.getLogger("persona_lens")


def choose_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, else CUDA, else Apple's MPS, else the CPU.

    Raises:
        ModelError: There is no such device here, or nothing can be computed on it.

    Examples:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device is None:
        return _accelerators()[0] if _accelerators() else torch.device("cpu")
    try:
        chosen = torch.device(device)
        if chosen.type != "meta":
            torch.ones(1, device=chosen).add(1).item()
    except (RuntimeError, AssertionError, TypeError, ValueError, ImportError) as error:
        raise _no_device(device) from error
    if chosen.type == "meta":  # shapes without numbers
        raise _no_device(device)
    return chosen


def choose_dtype(dtype: DtypeName | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype asked for; `auto` is bfloat16 where the hardware multiplies it natively, else float32.

    Hardware flags decide, not a stop-watch, so that the same machine always chooses alike and a run can be
    resumed. On a CPU with AMX or AVX512-BF16, bfloat16 reads 2 to 3 times faster than float32
    (`benchmarks/README.md`); emulated, it is slower. float16 is never chosen: its largest number is 65,504, and
    residual streams go beyond.

    Raises:
        ModelError: A decoder cannot compute in it, or there is no such dtype.

    Examples:
        >>> choose_dtype("float32", torch.device("cpu"))
        torch.float32
    """
    name = str(dtype).removeprefix("torch.")
    if name in DTYPES:
        return getattr(torch, name)
    if name != "auto":
        raise ModelError(
            "a decoder does not compute in this dtype",
            expected=f"auto, {', '.join(DTYPES)}",
            given=repr(name),
            remedy="load weights that are quantised with transformers and pass the module",
        )
    fast = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": _cpu_multiplies_bfloat16,
    }.get(device.type, lambda: False)()
    chosen = torch.bfloat16 if fast else torch.float32
    logger.info("dtype auto: %s on %s", str(chosen).removeprefix("torch."), device)
    return chosen


def _accelerators() -> list[torch.device]:
    found = [torch.device("cuda")] if torch.cuda.is_available() else []
    return found + ([torch.device("mps")] if torch.backends.mps.is_available() else [])


def _no_device(device: object) -> ModelError:
    here = [str(found) for found in (*_accelerators(), torch.device("cpu"))]
    return ModelError(
        "nothing can be computed on this device",
        expected=" or ".join(here),
        given=repr(str(device)),
        remedy="leave device out for the fastest there is",
    )


def _cpu_multiplies_bfloat16() -> bool:
    flags = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)
