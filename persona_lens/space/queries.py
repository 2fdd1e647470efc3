"""What a space is asked about: names of its vectors, or vectors of the user's, at one layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from persona_lens.arrays import as_floats
from persona_lens.errors import SpaceError
from persona_lens.space.naming import Named, resolve
from persona_lens.spelling import check_choice
from persona_lens.vectors import VectorTable


def named(table: VectorTable, name: str, kind: str | None = None) -> Named:
    """What a name stands for; see `Space.named`."""
    if kind is None:
        return resolve(table, name)
    check_choice(kind, ("role", "trait"), "unknown kind of vector", error=SpaceError)
    return resolve(table, name, (kind,))


def vectors_at(
    table: VectorTable, vectors: np.ndarray | Sequence[str], place: int, kind: str | None
) -> tuple[Float[np.ndarray, "*batch d_model"], Bool[np.ndarray, " *batch"]]:
    """Vectors at a layer, by name or as given, and which of them are differences of residual vectors."""
    names = _names(vectors)
    if names is not None:
        found = [_placed(table, name, kind) for name in names]
        rows = [each.row for each in found]
        differences = np.array([each.is_difference for each in found], dtype=bool)
        return table.values[rows, place], differences
    vectors = given_at(table, vectors, place, "the vectors")
    if vectors.shape[-1:] != (table.d_model,):
        raise SpaceError(
            "vectors have the wrong width",
            expected=f"[..., {table.d_model}]",
            given=list(vectors.shape),
        )
    return vectors, np.zeros(vectors.shape[:-1], dtype=bool)


def direction_at(table: VectorTable, onto: Any, place: int) -> Float[np.ndarray, " d_model"]:
    """A direction of the user's at one layer, float64."""
    direction = given_at(table, onto, place, "the direction").astype(np.float64)
    if direction.shape != (table.d_model,):
        raise SpaceError(
            "the direction has the wrong shape",
            expected=[table.d_model],
            given=list(direction.shape),
        )
    return direction


def given_at(
    table: VectorTable, vectors: Any, place: int, what: str
) -> Float[np.ndarray, "*batch d_model"]:
    """Vectors of the user's; of a mapping from layer to vector, the one at this layer."""
    if isinstance(vectors, Mapping):
        layer = [table.layers[place]]
        return as_floats(vectors, what, error=SpaceError, dtype=None, layers=layer)[0]
    return as_floats(vectors, what, error=SpaceError, dtype=None)


def _placed(table: VectorTable, name: str, kind: str | None) -> Named:
    """What a name stands for that has a vector of its own; among roles, the axis would be a wrong number."""
    found = named(table, name, kind)
    if found.row < 0:
        raise SpaceError(
            f"{name!r} is the axis, which is no vector among others"
            if found.kind == "axis"
            else f"{name!r} is a component, which is no vector among others",
            expected='a role, a trait or "default", which is the default Assistant',
            remedy=f'write "role:{name}" for a role of that name, or pass kind="role"',
        )
    return found


def _names(vectors: object) -> list[str] | None:
    """Names, in a list or in a column of a frame; None for vectors."""
    if isinstance(vectors, pd.Series | pd.Index | np.ndarray) and vectors.dtype.kind in "OUT":
        vectors = list(vectors)
    if isinstance(vectors, Sequence) and all(isinstance(name, str) for name in vectors):
        return [str(name) for name in vectors]
    return None
