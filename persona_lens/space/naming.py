"""What a name stands for: the one resolver behind every method of a space that takes one.

    "assistant", "axis"       the Assistant Axis, whatever roles there are
    "default"                 the default Assistant
    "pc1", "PC1", "pc:1"      a component
    "pirate", "dramatic"      a role or a trait; of a judged role "pirate (somewhat)" is its other vector
    "role:x", "trait:x"       where two share a name: "role:assistant" is the role, "trait:stoic" the trait

Nine of the paper's names, and of the packaged ones, are both a role's and a trait's ("stoic", "romantic", ...).
Alone they are refused, unless only one of the two kinds can be meant.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from persona_lens.errors import SpaceError
from persona_lens.spelling import did_you_mean
from persona_lens.vectors.table import VectorTable

Kind = Literal["axis", "component", "default", "role", "trait"]

AXIS_NAMES = ("assistant", "axis")
DEFAULT_NAME = "default"
_SUBJECTS = ("role", "trait")
_ANY: tuple[Kind, ...] = ("axis", "component", "default", *_SUBJECTS)
_COMPONENT = re.compile(r"pc[: ]?([0-9]{1,9})", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Attributes:
        kind: What it is.
        name: Its shortest name that nothing else has: "axis", "pc2", "default", "pirate", "trait:stoic".
        row: Of the table, for the default, roles and traits.
        number: Of a component, counted from one.
    """

    kind: Kind
    name: str
    row: int = -1
    number: int = 0

    @property
    def is_difference(self) -> bool:
        """Whether its vector is a difference of residual vectors, which has no place among them."""
        return self.kind not in ("default", "role")


def resolve(table: VectorTable, name: str, kinds: Collection[str] = _ANY) -> Named:
    """What `name` stands for in a table.

    Args:
        table: The space's vectors.
        name: As in the list above.
        kinds: Those that can be meant; with one of them a shared name is plain.

    Raises:
        SpaceError: Nothing has this name, or both a role and a trait, or what has it is of another kind.

    Examples:
        >>> import numpy as np
        >>> table = VectorTable(np.ones((3, 1, 4)), ("pirate", "stoic", "stoic"), ("role", "role", "trait"),
        ...                     ("all",) * 3, np.ones(3, int), (0,))
        >>> resolve(table, "trait:stoic").row, resolve(table, "stoic", ["role"]).row, resolve(table, "PC2").name
        (2, 1, 'pc2')
        >>> resolve(table, "stoic")
        Traceback (most recent call last):
            ...
        persona_lens.errors.SpaceError: 'stoic' is both a role and a trait
          write "role:stoic" or "trait:stoic"
    """
    if not isinstance(name, str):
        raise SpaceError("this is no name", expected="text", given=f"{type(name).__name__} {name}")
    if name in AXIS_NAMES and "axis" in kinds:
        return Named("axis", "axis")
    number = component_number(name) if "component" in kinds else None
    if number is not None:
        return Named("component", f"pc{number}", number=number)
    prefix, _, rest = name.partition(":")
    if name == DEFAULT_NAME and "default" in kinds:
        rows = table.indices(kind="default")
    else:
        rows = _rows(table, rest, (prefix,)) if prefix in _SUBJECTS else []
        rows = rows or _rows(table, name, _SUBJECTS)
    meant = [row for row in rows if table.kinds[row] in kinds]
    if len({table.kinds[row] for row in meant}) > 1:
        raise SpaceError(
            f"{name!r} is both a role and a trait",
            remedy=f'write "role:{name}" or "trait:{name}"',
        )
    if not meant:
        raise _refusal(table, name, kinds, rows)
    row = meant[0]
    return Named(table.kinds[row], _shortest(table, row), row)  # pyright: ignore[reportArgumentType]


def component_number(name: str) -> int | None:
    """The number, from one, in the name of a component; None for other names.

    Examples:
        >>> component_number("pc1"), component_number("PC:12"), component_number("pca")
        (1, 12, None)
    """
    found = _COMPONENT.fullmatch(name)
    return int(found[1]) if found else None


def display_name(table: VectorTable, found: Named) -> str:
    """How figures and records call it: "stoic (trait)" where a role has the name too.

    Examples:
        >>> import numpy as np
        >>> table = VectorTable(np.ones((2, 1, 4)), ("stoic", "stoic"), ("role", "trait"), ("all",) * 2,
        ...                     np.ones(2, int), (0,))
        >>> display_name(table, resolve(table, "trait:stoic"))
        'stoic (trait)'
    """
    kind, colon, title = found.name.partition(":")
    return f"{title} ({kind})" if found.row >= 0 and colon and kind == found.kind else found.name


def _rows(table: VectorTable, name: str, kinds: Collection[str]) -> list[int]:
    """Rows with this name or title, those of the best label first."""
    titles = table.titles()
    rows = [
        row
        for row in range(len(table))
        if table.kinds[row] in kinds and name in (table.names[row], titles[row])
    ]
    return sorted(rows, key=table.rank)


def _shortest(table: VectorTable, row: int) -> str:
    kind, title = table.kinds[row], table.titles()[row]
    if kind == "default":
        return DEFAULT_NAME
    taken = title in (*AXIS_NAMES, DEFAULT_NAME) or component_number(title) is not None
    shared = {table.kinds[other] for other in _rows(table, title, _SUBJECTS)}
    prefixed = title.partition(":")[0] in _SUBJECTS
    return f"{kind}:{title}" if taken or prefixed or len(shared) > 1 else title


def _refusal(
    table: VectorTable, name: str, kinds: Collection[str], of_other_kinds: list[int]
) -> SpaceError:
    """Why nothing that can be meant has this name."""
    prefix, _, rest = name.partition(":")
    wanted = " or ".join(kind for kind in _SUBJECTS if kind in kinds)
    if of_other_kinds:
        return SpaceError(f"{name!r} is no {wanted}", given=f"a {table.kinds[of_other_kinds[0]]}")
    if prefix in _SUBJECTS and (others := _rows(table, rest, _SUBJECTS)):
        other = _shortest(table, others[0])
        return SpaceError(
            f"{rest!r} is no {prefix}",
            given=f"a {table.kinds[others[0]]}",
            remedy=f"it is called {other!r}",
        )
    if prefix in _SUBJECTS and prefix in kinds:
        name, kinds, wanted = rest, (prefix,), prefix
    known = [_shortest(table, row) for row in range(len(table)) if table.kinds[row] in kinds]
    if ":" in name:  # the kind may be what is spelt wrong
        known += [f"{table.kinds[row]}:{table.titles()[row]}" for row in range(len(table))]
    known += [*AXIS_NAMES, DEFAULT_NAME] if len(kinds) > 1 else []
    what = wanted if len(kinds) == 1 else "vector"
    return SpaceError(
        f"no {what} named {name!r}",
        remedy=did_you_mean(name, dict.fromkeys(known), "see space.table.frame()"),
    )
