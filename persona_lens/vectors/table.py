"""`VectorTable`: named vectors at every layer, with what one must know to trust them.

A table holds one row a vector: the default Assistant, roles (means over replies) and traits (mean of the positive
minus mean of the negative side). Beside the values it keeps each row's kind, label and reply count, the expected
squared error of the mean, and the means over folds of the questions, from which stability is computed without
going back to the replies.

Examples:
    >>> table = VectorTable(
    ...     values=np.ones((2, 3, 4), dtype=np.float32), names=("default", "pirate"),
    ...     kinds=("default", "role"), labels=("all", "all"), counts=np.array([10, 5]), layers=(0, 1, 2))
    >>> table.select(kind="role").names
    ('pirate',)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.arrays import as_floats, plain, without_gaps
from persona_lens.errors import SpaceError
from persona_lens.frames import ResultKind
from persona_lens.vectors.packing import compact_tensors, plain_tensors, vectors_and_folds

_KIND = ResultKind("vectors", card="vectors.json", arrays="vectors.safetensors")
KINDS = ("default", "role", "trait")
AXIS_LABELS = ("fully", "all")
"""Labels of the role vectors whose mean is the far end of the axis: fully in role, or not judged."""
_PREFERRED = (*AXIS_LABELS, "pos-neg-50", "pos-neg", "somewhat")


def _is_plain(held: object) -> bool:
    return isinstance(held, np.ndarray) and held.dtype in (np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class VectorTable:
    """Named vectors at every layer.

    Attributes:
        values: The vectors, in the units of the residual stream.
        names: Name of each vector, unique within kind and label.
        kinds: `default`, `role` or `trait`.
        labels: Which replies were averaged: `all`, those a judge calls `fully` or `somewhat` in role, for traits
            `pos-neg` (all pairs) and `pos-neg-50` (pairs whose scores differ by more than 50).
        counts: Replies behind each vector.
        layers: Blocks the second dimension stands for.
        squared_errors: Expected squared distance of each vector from its value with infinitely many replies.
        folds: The same vectors from disjoint folds of the questions (or prompts); NaN where a fold is empty.
        fold_counts: Replies behind each fold, of traits on the side that has fewer.
        about: What figures show on hover: group, description, ... of each vector.
        card: Where the vectors come from (model, hook point, pooling, sampling, versions).

    Raises:
        SpaceError: Shapes that do not fit together, values that are not finite, or a name that occurs twice.
    """

    values: Float[np.ndarray, "vector layer d_model"]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    labels: tuple[str, ...]
    counts: Int[np.ndarray, " vector"]
    layers: tuple[int, ...]
    squared_errors: Float[np.ndarray, "vector layer"] | None = None
    folds: Float[np.ndarray, "vector fold layer d_model"] | None = None
    fold_counts: Int[np.ndarray, "vector fold"] | None = None
    about: tuple[Mapping[str, Any], ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._take_plainly()
        if self.values.ndim != 3:
            raise SpaceError(
                "vectors have the wrong shape",
                expected="[vector, layer, d_model]",
                given=list(self.values.shape),
            )
        n_vectors, n_layers, d_model = self.values.shape
        for name in ("names", "kinds", "labels", "counts", "about"):
            if len(getattr(self, name)) != n_vectors:
                raise SpaceError(
                    f"`{name}` does not fit the vectors",
                    expected=n_vectors,
                    given=len(getattr(self, name)),
                )
        if len(self.layers) != n_layers or len(set(self.layers)) != n_layers:
            raise SpaceError(
                "`layers` does not fit", expected=f"{n_layers}, each once", given=list(self.layers)
            )
        if self.folds is not None and self.folds.shape[::2] != (n_vectors, n_layers):
            raise SpaceError(
                "`folds` does not fit",
                expected=[n_vectors, "fold", n_layers, d_model],
                given=list(self.folds.shape),
            )
        unknown = set(self.kinds) - set(KINDS)
        if unknown:
            raise SpaceError("unknown kind of vector", expected=", ".join(KINDS), given=unknown)
        keys = list(zip(self.kinds, self.names, self.labels, strict=True))
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise SpaceError("a vector occurs twice", given=twice, remedy="rename one of them")
        broken = [not np.isfinite(vector).all() for vector in self.values]
        if any(broken):
            names = [name for name, bad in zip(self.names, broken, strict=True) if bad]
            raise SpaceError(
                "vectors are not finite",
                given=", ".join(names),
                remedy="leave them out or collect again",
            )

    def _take_plainly(self) -> None:
        """Vectors as NumPy has them, the rest as JSON has it, so that what is made can be saved."""
        for name in ("values", "squared_errors", "folds"):
            held = getattr(self, name)
            if held is not None and not _is_plain(held):
                object.__setattr__(self, name, as_floats(held, f"`{name}`", error=SpaceError))
        object.__setattr__(self, "layers", tuple(plain(list(self.layers))))
        about = self.about or tuple({} for _ in self.names)
        object.__setattr__(self, "about", tuple(without_gaps(entry) for entry in about))
        try:
            json.dumps(self.about)
        except (TypeError, ValueError) as problem:
            raise SpaceError(
                "what is said about the vectors cannot be saved",
                expected="text, numbers, lists of them, or None",
                given=problem,
            ) from problem

    def __len__(self) -> int:
        return len(self.names)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.values.shape[2]

    def indices(self, *, kind: str | None = None, label: str | None = None) -> list[int]:
        """Rows of one kind and label."""
        return [
            index
            for index, (its_kind, its_label) in enumerate(zip(self.kinds, self.labels, strict=True))
            if kind in (None, its_kind) and label in (None, its_label)
        ]

    def axis_rows(self) -> list[int]:
        """Rows of the roles that the axis is made of, one a role."""
        return [row for row in self.indices(kind="role") if self.labels[row] in AXIS_LABELS]

    def trait_rows(self) -> list[int]:
        """One row a trait: from the filtered pairs where there are any, else from all."""
        best: dict[str, int] = {}
        for row in self.indices(kind="trait"):
            name = self.names[row]
            if name not in best or self.rank(row) < self.rank(best[name]):
                best[name] = row
        return list(best.values())

    def titles(self) -> tuple[str, ...]:
        """Names as figures show them; of a role's two vectors, the lesser one says so.

        Examples:
            >>> table = VectorTable(np.zeros((2, 1, 4)), ("pirate", "pirate"), ("role", "role"),
            ...                     ("fully", "somewhat"), np.array([12, 10]), (0,))
            >>> table.titles()
            ('pirate', 'pirate (somewhat)')
        """
        return tuple(
            f"{name} (somewhat)" if label == "somewhat" else name
            for name, label in zip(self.names, self.labels, strict=True)
        )

    def rank(self, row: int) -> int:
        """Which vector of one name comes first: fully in role before somewhat, filtered traits before all."""
        label = self.labels[row]
        return _PREFERRED.index(label) if label in _PREFERRED else len(_PREFERRED)

    def select(self, *, kind: str | None = None, label: str | None = None) -> VectorTable:
        """The table of the rows of one kind and label."""
        return self.take(self.indices(kind=kind, label=label))

    def take(self, rows: Sequence[int]) -> VectorTable:
        """The table of the given rows, in the given order."""
        rows = list(rows)

        def chosen(items: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(items[row] for row in rows)

        return VectorTable(
            values=self.values[rows],
            names=chosen(self.names),
            kinds=chosen(self.kinds),
            labels=chosen(self.labels),
            counts=self.counts[rows],
            layers=self.layers,
            squared_errors=None if self.squared_errors is None else self.squared_errors[rows],
            folds=None if self.folds is None else self.folds[rows],
            fold_counts=None if self.fold_counts is None else self.fold_counts[rows],
            about=chosen(self.about),
            card=self.card,
        )

    def without(self, label: str) -> VectorTable:
        """The table without the vectors of one label; `without("somewhat")` leaves roles fully played alone."""
        return self.take([row for row, held in enumerate(self.labels) if held != label])

    def halved(self) -> VectorTable:
        """The same vectors with two folds, the means of every other fold, weighted by their replies.

        Raises:
            SpaceError: The folds, or the replies behind them, are not known.

        Examples:
            >>> values = np.ones((1, 2, 4), dtype=np.float32)
            >>> table = VectorTable(values, ("pirate",), ("role",), ("all",), np.array([6]), (0, 1),
            ...                     folds=np.ones((1, 3, 2, 4)), fold_counts=np.array([[1, 2, 3]]))
            >>> table.halved().fold_counts
            array([[4, 2]])
        """
        if self.folds is None or self.fold_counts is None:
            raise SpaceError(
                "the folds of these vectors are not known",
                remedy="make the space from its run: PersonaSpace.from_run",
            )
        counts = self.fold_counts
        known = np.where(counts[..., None, None] > 0, self.folds, 0.0)
        halves = np.full((len(self), 2, *self.values.shape[1:]), np.nan, dtype=np.float32)
        for half in (0, 1):
            weights = counts[:, half::2]
            replies = weights.sum(axis=1)
            sums = np.einsum("vf,vfld->vld", weights, known[:, half::2], optimize=True)
            halves[replies > 0, half] = sums[replies > 0] / replies[replies > 0][:, None, None]
        halved_counts = np.stack([counts[:, half::2].sum(axis=1) for half in (0, 1)], axis=1)
        return replace(self, folds=halves, fold_counts=halved_counts)

    def frame(self) -> pd.DataFrame:
        """Name, kind, label, reply count and group of every vector."""
        return pd.DataFrame(
            {
                "name": self.names,
                "kind": self.kinds,
                "label": self.labels,
                "replies": self.counts,
                "group": [entry.get("group") for entry in self.about],
            }
        )

    def save(self, folder: str | Path, *, compact: bool = False) -> Path:
        """Write `vectors.safetensors` and `vectors.json` into `folder`.

        Args:
            folder: Made if it is not there.
            compact: One byte a number, and two folds at most: for a space that is to be handed on.
        """
        tensors = {"counts": np.asarray(self.counts)}
        if self.squared_errors is not None:
            tensors["squared_errors"] = self.squared_errors
        tensors |= compact_tensors(self) if compact else plain_tensors(self)
        card = {
            "names": self.names,
            "kinds": self.kinds,
            "labels": self.labels,
            "layers": self.layers,
            "about": [dict(entry) for entry in self.about],
            "card": dict(self.card),
        }
        return _KIND.save(folder, card, arrays=tensors)

    @classmethod
    def load(cls, folder: str | Path) -> VectorTable:
        """Read what `save` wrote.

        Raises:
            SpaceError: The folder holds no table.
        """
        card, _, tensors = _KIND.load(folder)
        kinds = tuple(card["kinds"])
        return cls(
            names=tuple(card["names"]),
            kinds=kinds,
            labels=tuple(card["labels"]),
            counts=tensors["counts"],
            layers=tuple(card["layers"]),
            squared_errors=tensors.get("squared_errors"),
            **vectors_and_folds(tensors, kinds),
            about=tuple(card["about"]),
            card=card["card"],
        )
