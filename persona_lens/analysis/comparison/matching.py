"""Which roles and traits two spaces share, and which layers of theirs stand at the same depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from persona_lens.errors import SpaceError
from persona_lens.space import Space
from persona_lens.vectors.table import VectorTable

MIN_SHARED = 10
"""Roles or traits without which a correlation says nothing."""


@dataclass(frozen=True)
class SharedUnits:
    """The roles, or the traits, that both tables have, in the order of the first.

    Attributes:
        kind: `role` or `trait`.
        names: Those shared.
        rows_a, rows_b: Their rows in each table: of a judged role the one fully in role, of a trait the one of
            the filtered pairs.
        left_out_a, left_out_b: Names that only one of the tables has.
    """

    kind: str
    names: tuple[str, ...]
    rows_a: tuple[int, ...]
    rows_b: tuple[int, ...]
    left_out_a: tuple[str, ...]
    left_out_b: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


def shared_units(a: VectorTable, b: VectorTable, kind: str) -> SharedUnits:
    """What both tables have of one kind.

    Examples:
        >>> def table(*names):
        ...     n = len(names)
        ...     return VectorTable(np.zeros((n, 1, 4)), names, ("role",) * n, ("all",) * n, np.ones(n), (0,))
        >>> shared = shared_units(table("bard", "clerk"), table("clerk", "ghost"), "role")
        >>> shared.names, shared.rows_a, shared.rows_b, shared.left_out_b
        (('clerk',), (1,), (0,), ('ghost',))
    """
    rows_of = [
        {
            table.names[row]: row
            for row in (table.axis_rows() if kind == "role" else table.trait_rows())
        }
        for table in (a, b)
    ]
    names = tuple(name for name in rows_of[0] if name in rows_of[1])
    return SharedUnits(
        kind,
        names,
        tuple(rows_of[0][name] for name in names),
        tuple(rows_of[1][name] for name in names),
        tuple(name for name in rows_of[0] if name not in rows_of[1]),
        tuple(name for name in rows_of[1] if name not in rows_of[0]),
    )


def check_shared(roles: SharedUnits) -> None:
    """Refuse to compare spaces with hardly a role in common.

    Raises:
        SpaceError: Fewer than ten shared roles.
    """
    if len(roles) < MIN_SHARED:
        raise SpaceError(
            "the spaces share too few roles to be compared",
            expected=f"at least {MIN_SHARED}",
            given=f"{len(roles)} ({len(roles.left_out_a)} only in the first, "
            f"{len(roles.left_out_b)} only in the second)",
            remedy="collect both with roles of the same names",
        )


def depths(space: Space) -> Float[np.ndarray, " layer"]:
    """Relative depth of each layer of a space, in (0, 1]: block i of n stands at (i + 1) / n.

    The number of blocks is the model's where the card tells, else one more than the last layer.
    """
    known = space.table.card.get("reader", {}).get("n_layers")
    n_blocks = int(known or max(space.table.layers) + 1)
    return (np.array(space.table.layers) + 1) / n_blocks


def match_depths(
    a: Float[np.ndarray, " layer_a"],
    b: Float[np.ndarray, " layer_b"],
    *,
    lead_by_a: bool = False,
) -> Int[np.ndarray, "pair 2"]:
    """For each layer of the one with fewer layers the nearest of the other; of equals, for each of the first.

    Args:
        a, b: Relative depths.
        lead_by_a: For each layer of the first, however many there are.

    Returns:
        Places in `a` and `b`. Two layers at equal distance: the earlier one.

    Examples:
        >>> match_depths(np.array([0.25, 0.5, 0.75, 1.0]), np.array([0.5, 1.0])).tolist()
        [[1, 0], [3, 1]]
    """
    # Rounding keeps 1/3 of one model and 2/6 of the other from being told apart.
    distance = np.round(np.abs(a[:, None] - b[None, :]), 9)
    if lead_by_a or len(a) <= len(b):
        return np.stack([np.arange(len(a)), distance.argmin(axis=1)], axis=1)
    return np.stack([distance.argmin(axis=0), np.arange(len(b))], axis=1)


def same_model(a: Space, b: Space) -> bool:
    """Whether both spaces were read with the same weights, so that their directions can be compared."""
    readers = [space.table.card.get("reader", {}) for space in (a, b)]
    prints = [reader.get("fingerprint") or reader.get("model") for reader in readers]
    return prints[0] is not None and prints[0] == prints[1] and a.table.d_model == b.table.d_model
