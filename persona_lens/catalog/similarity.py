"""Which texts are alike, of all pairs: by the words they share, by the direction of their vectors.

Both searches are products of matrices taken in blocks of rows, so that all pairs of ten thousand
texts take seconds and the whole table of them is never held.

Examples:
    >>> texts = ["Why does the tide come in?", "Who are you?", "Say why does the tide come in."]
    >>> found = search_words(texts, owners=[0, 1, 2], bounds=(0.5, 0.5))
    >>> [(pair.first, pair.second, round(pair.score, 2)) for pair in found.pairs]
    [(0, 2, 1.0)]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

GRAM = 3
"""Words in a row that count as one thing to share."""
FEWEST_SHARED = 3
"""Runs that two texts share at least: `what is a` alone makes no pair."""
_BLOCK = 1024

Bounds = tuple[float, float]
"""From which likeness on two texts are too alike: of two entries, and of one."""


@dataclass(frozen=True)
class Pair:
    """Two texts that are too alike.

    Attributes:
        first: Index of one text.
        second: Index of the other, which is larger.
        score: How alike, at most 1.
    """

    first: int
    second: int
    score: float


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        pairs: Those at or above the limits, most alike first.
        nearest: For each text, its likeness to the nearest text of another entry.
        nearest_own: The same for the other texts of its own entry.
    """

    pairs: list[Pair]
    nearest: Float[np.ndarray, " text"]
    nearest_own: Float[np.ndarray, " text"]


def words(text: str) -> list[str]:
    """Words in lower case, with apostrophes and without other punctuation.

    Examples:
        >>> words("Don't you?  A 2nd time!")
        ["don't", 'you', 'a', '2nd', 'time']
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower())


def search_words(
    texts: Sequence[str],
    owners: Sequence[int],
    bounds: Bounds,
    *,
    exempt: Sequence[int] | None = None,
) -> Found:
    """Find texts that share runs of three words.

    The likeness of two texts is the number of runs they share, over the number that the shorter one
    has. So a text that was made longer is still like the one it came from.

    Args:
        texts: Texts.
        owners: For each text, a number for the entry it belongs to.
        bounds: From which likeness on they are too alike.
        exempt: For each text a number; two texts with the same one are never too alike.
    """
    shared = _run_matrix(texts)
    sizes = np.asarray(shared.sum(axis=1)).ravel()

    def block(rows: slice) -> Float[np.ndarray, "row text"]:
        counts = (shared[rows] @ shared.T).toarray()
        smaller = np.minimum(sizes[rows, None], sizes[None, :])
        return np.where(counts >= FEWEST_SHARED, counts / np.maximum(smaller, 1), 0.0)

    return _search(block, owners, bounds, exempt)


def search_vectors(
    vectors: Float[np.ndarray, "text d"],
    owners: Sequence[int],
    bounds: Bounds,
    *,
    exempt: Sequence[int] | None = None,
) -> Found:
    """Find texts whose unit vectors have a large cosine; for the rest see `search_words`."""
    return _search(lambda rows: vectors[rows] @ vectors.T, owners, bounds, exempt)


def _search(
    block: Callable[[slice], Float[np.ndarray, "row text"]],
    owners: Sequence[int],
    bounds: Bounds,
    exempt: Sequence[int] | None,
) -> Found:
    count = len(owners)
    entries = np.array(owners)
    groups = np.arange(count) if exempt is None else np.array(exempt)
    pairs: list[Pair] = []
    nearest, nearest_own = np.zeros(count), np.zeros(count)
    for start in range(0, count, _BLOCK):
        rows = slice(start, min(start + _BLOCK, count))
        scores = block(rows)
        own = entries[rows, None] == entries[None, :]
        scores[groups[rows, None] == groups[None, :]] = 0.0  # a text is exempt from itself
        nearest[rows] = np.where(own, 0.0, scores).max(axis=1)
        nearest_own[rows] = np.where(own, scores, 0.0).max(axis=1)
        alike = np.where(own, scores >= bounds[1], scores >= bounds[0])
        for row, column in np.argwhere(alike).tolist():
            if start + row < column:  # each pair once
                pairs.append(Pair(start + row, column, float(scores[row, column])))
    return Found(sorted(pairs, key=lambda pair: -pair.score), nearest, nearest_own)


def _run_matrix(texts: Sequence[str]) -> csr_matrix:
    """A row for each text, with ones at the runs of words that it has."""
    known: dict[tuple[str, ...], int] = {}
    columns: list[int] = []
    ends = [0]
    for text in texts:
        spoken = words(text)
        runs = {tuple(spoken[i : i + GRAM]) for i in range(len(spoken) - GRAM + 1)}
        columns += [known.setdefault(run, len(known)) for run in runs]
        ends.append(len(columns))
    ones = np.ones(len(columns), dtype=np.float32)
    return csr_matrix((ones, columns, ends), shape=(len(texts), len(known)))
