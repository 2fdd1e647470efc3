"""Vectors in the making: sums over replies by fold of the questions, and the rows of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from persona_lens.vectors.table import VectorTable


@dataclass
class Moments:
    """Sums over replies, a fold of the questions at a time, in float64."""

    shape: tuple[int, int, int]
    sums: Float[np.ndarray, "fold layer d_model"] = field(init=False)
    counts: Int[np.ndarray, " fold"] = field(init=False)
    squares: Float[np.ndarray, " layer"] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.shape)
        self.counts = np.zeros(self.shape[0], dtype=np.int64)
        self.squares = np.zeros(self.shape[1])

    def add(
        self, means: Float[np.ndarray, "reply layer d_model"], folds: Int[np.ndarray, " reply"]
    ) -> None:
        """Add replies."""
        for mean, fold in zip(means, folds, strict=True):
            self.sums[fold] += mean
            self.counts[fold] += 1
            self.squares += np.einsum("ld,ld->l", mean, mean, dtype=np.float64)

    @property
    def count(self) -> int:
        """Replies added."""
        return int(self.counts.sum())

    def mean(self) -> Float[np.ndarray, "layer d_model"]:
        """Of all replies."""
        return self.sums.sum(axis=0) / self.count

    def fold_means(self) -> Float[np.ndarray, "fold layer d_model"]:
        """Of the replies in each fold; NaN where there are none."""
        counts = np.where(self.counts == 0, np.nan, self.counts)
        return self.sums / counts[:, None, None]

    def squared_error(self) -> Float[np.ndarray, " layer"]:
        """Trace of the covariance of the mean: E|x - mean|^2 / (n - 1); infinite for a single reply."""
        if self.count < 2:
            return np.full(self.shape[1], np.inf)
        spread = self.squares / self.count - np.einsum("ld,ld->l", self.mean(), self.mean())
        return np.maximum(spread, 0.0) / (self.count - 1)


class Rows:
    """Vectors as they are made; room for the most there can be is only taken up as it is filled."""

    def __init__(self, most: int, n_folds: int, shape: tuple[int, int]) -> None:
        self._values = np.empty((most, *shape), dtype=np.float32)
        self._folds = np.empty((most, n_folds, *shape), dtype=np.float32)
        self._errors = np.empty((most, shape[0]), dtype=np.float32)
        self._fold_counts = np.zeros((most, n_folds), dtype=np.int64)
        self._counts: list[int] = []
        self._about: list[Mapping[str, Any]] = []
        self.kinds: list[str] = []
        self.names: list[str] = []
        self.labels: list[str] = []

    def add(
        self,
        key: tuple[str, str, str],
        plus: Moments,
        minus: Moments | None,
        about: Mapping[str, Any],
    ) -> None:
        """Add a mean, or the difference of two, under its kind, name and label."""
        row = len(self.names)
        kind, name, label = key
        self._values[row], self._folds[row] = plus.mean(), plus.fold_means()
        self._errors[row] = plus.squared_error()
        self._fold_counts[row] = plus.counts
        if minus is not None:
            self._fold_counts[row] = np.minimum(plus.counts, minus.counts)
            self._values[row] -= minus.mean()
            self._folds[row] -= minus.fold_means()
            self._errors[row] += minus.squared_error()
        self._counts.append(plus.count + (0 if minus is None else minus.count))
        self._about.append(about)
        self.kinds.append(kind)
        self.names.append(name)
        self.labels.append(label)

    def table(self, *, layers: tuple[int, ...], card: Mapping[str, Any]) -> VectorTable:
        """The table of what was added."""
        n = len(self.names)
        return VectorTable(
            values=self._values[:n],
            names=tuple(self.names),
            kinds=tuple(self.kinds),
            labels=tuple(self.labels),
            counts=np.array(self._counts, dtype=np.int64),
            layers=layers,
            squared_errors=self._errors[:n],
            folds=self._folds[:n],
            fold_counts=self._fold_counts[:n],
            about=tuple(self._about),
            card=card,
        )
