"""Who is on the atlas: the default Assistant, roles and traits, in the order all its arrays share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.plots.parts.style import UNGROUPED, group_looks
from persona_lens.space import Space
from persona_lens.space.layer import LayerView

_SHAPES = {
    "circle": "●",
    "square": "■",
    "triangle-up": "▲",
    "diamond": "◆",
    "pentagon": "⬟",
    "triangle-down": "▼",
    "hexagon": "⬢",
    "cross": "✚",
}


@dataclass(frozen=True, eq=False)
class Units:
    """Rows of the table that are shown: the default first, then all role vectors, then one vector a trait.

    Attributes:
        space: Fitted.
        rows: Of the space's table.
    """

    space: Space
    rows: tuple[int, ...]

    @classmethod
    def of(cls, space: Space) -> Units:
        """All units of a fitted space."""
        table = space.table
        kinds = (table.indices(kind="default"), table.indices(kind="role"), table.trait_rows())
        return cls(space, tuple(row for rows in kinds for row in rows))

    def __len__(self) -> int:
        return len(self.rows)

    def places(self, kind: str) -> list[int]:
        """Where units of a kind stand; of the roles only those that make up the axis."""
        table = self.space.table
        shown = set(table.axis_rows()) if kind == "role" else set(table.indices(kind=kind))
        return [place for place, row in enumerate(self.rows) if row in shown]

    def at(self, place: int) -> LayerView:
        """The layer with this place among the space's layers."""
        return self.space.at(self.space.layers_[place])

    def values(self, place: int) -> Float[np.ndarray, "unit d_model"]:
        """Vectors at a layer."""
        return self.at(place).values(self.rows)

    def directions(self, place: int) -> Float[np.ndarray, "unit d_model"]:
        """Unit vectors: default and roles from the mean of the roles, traits as they are."""
        return self.at(place).directions(self.rows)

    def described(self) -> list[dict[str, Any]]:
        """What the page says of each, and the key by which links find it."""
        table = self.space.table
        titles = table.titles()
        on_axis = set(table.axis_rows())
        twice = Counter(titles[row] for row in self.rows)
        spaced = Counter(titles[row].replace("_", " ") for row in self.rows)
        found = []
        for row in self.rows:
            about, kind, title = table.about[row], table.kinds[row], titles[row]
            name = title.replace("_", " ")
            if spaced[name] > twice[title]:  # another one would look the same
                name = title
            found.append(
                {
                    "key": title if twice[title] == 1 else f"{kind}:{title}",
                    "name": "default Assistant" if kind == "default" else name,
                    "kind": kind,
                    "group": (about.get("group") or UNGROUPED) if kind == "role" else None,
                    "description": str(about.get("description") or ""),
                    "replies": int(table.counts[row]),
                    "label": table.labels[row],
                    "onAxis": row in on_axis,
                }
            )
        return found

    def looks(self) -> dict[str, dict[str, str]]:
        """Colour and symbol of each group, as in all figures, and the symbol as a character."""
        table = self.space.table
        groups = [
            table.about[row].get("group") or UNGROUPED
            for row in self.rows
            if table.kinds[row] == "role"
        ]
        return {
            name: {
                "colour": look.colour,
                "symbol": look.symbol,
                "character": _SHAPES.get(look.symbol, "●"),
            }
            for name, look in group_looks(groups).items()
        }
