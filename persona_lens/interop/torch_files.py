"""Other people's `.pt` files, read as data: tensors and plain containers, never pickled code."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.arrays import as_floats, layers_of
from persona_lens.contents import check_content
from persona_lens.errors import PersonaLensError, SpaceError
from persona_lens.files import whole_or_nothing

_DAMAGED = (
    *(RuntimeError, EOFError, ValueError, LookupError),
    *(AttributeError, TypeError, AssertionError, struct.error),
)
"""What torch raises over bytes that are no file of its own, such as the pointers git leaves for large files."""


def read_torch(path: Path) -> Any:
    """What a file holds, on the CPU.

    Raises:
        SpaceError: No such file, a damaged one, or one with more in it than tensors and plain containers.

    Examples:
        >>> import tempfile, torch
        >>> file = Path(tempfile.mkdtemp()) / "axis.pt"
        >>> read_torch(write_torch(file, {"axis": torch.ones(1, 2)}))
        {'axis': tensor([[1., 1.]])}
    """
    import torch  # noqa: PLC0415

    check_content(path, SpaceError)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SpaceError("no such file", given=path) from error
    except pickle.UnpicklingError as error:
        raise SpaceError(
            f"{path.name} cannot be read as tensors alone; code in it has not been run",
            expected="tensors, numbers and text in dicts and lists, as torch.save writes them",
            given=path,
            remedy="ask its author for a file without pickled objects, or download it again",
        ) from error
    except (*_DAMAGED, OSError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0]
        raise SpaceError(
            f"{path.name} is damaged or no torch file: {reason}",
            given=path,
            remedy="download it again",
        ) from error


def write_torch(path: Path, content: Any) -> Path:
    """Write tensors and plain containers, in full or not at all."""
    import torch  # noqa: PLC0415

    with whole_or_nothing(path) as partial:
        torch.save(content, partial)
    return path


def as_array(
    value: Any, *, ndim: int, source: Path, what: str = "vector"
) -> Float[np.ndarray, "*dims"]:
    """A tensor out of a file as float32 (bfloat16 is exact in it).

    Args:
        value: What should be a tensor, or for [layer, d_model] a mapping from each layer, 0 on, to one.
        ndim: Dimensions it should have.
        source: Where it comes from, for the error.
        what: What it is, for the error.

    Raises:
        SpaceError: It is no tensor of numbers, or has another shape.
    """
    try:
        # Rows of a mapping are found by their place later on, so it must begin with the first and leave none out.
        layers = layers_of(value, error=SpaceError)
        found = None if layers not in (None, tuple(range(len(value)))) else as_floats(value)
    except PersonaLensError:
        found = None
    if found is None or found.ndim != ndim:
        raise SpaceError(
            f"{source.name} holds no {what} as expected",
            expected=f"a tensor with {ndim} dimension" + ("" if ndim == 1 else "s"),
            given=f"shape {list(value.shape)}" if hasattr(value, "shape") else type(value),
        )
    return found
