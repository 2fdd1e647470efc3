"""Bag of words: TF-IDF by scikit-learn, learned anew on the training rows of each fold, and ridge on top.

Words are counted once. Which there are, and how rare each is, every fold learns from its training rows alone: a
vocabulary learned on all rows would know the words of the messages to be forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from persona_lens.drift.forecast.ridge import compact, fitted

LARGEST_VOCABULARY = 1000
_MIN_ROWS = 2  # a word in a single message forecasts no other one


def count_words(messages: Sequence[str]) -> csr_matrix:
    """How often each word occurs in each message.

    Examples:
        >>> count_words(["so, so good", "good?", "!"]).toarray()
        array([[1, 2],
               [1, 0],
               [0, 0]])
    """
    try:
        return csr_matrix(CountVectorizer().fit_transform(messages))
    except ValueError:  # not one word in all messages
        return csr_matrix((len(messages), 0), dtype=np.int64)


def words_held_out(
    counts: csr_matrix,
    targets: Float[np.ndarray, "row target"],
    outer: Int[np.ndarray, " row"],
    inner: Int[np.ndarray, " row"],
    alphas: Sequence[float],
) -> Float[np.ndarray, "row target"]:
    """Forecast every outer fold from the words of the others; their mean where these share no word.

    Args:
        counts: As of `count_words`, one row a row.
        targets: What is forecast.
        outer: Fold of each row.
        inner: Fold on which penalties are chosen, within the others.
        alphas: Penalties to choose from.
    """
    found = np.empty_like(targets)
    for fold in np.unique(outer):
        test, train = np.flatnonzero(outer == fold), np.flatnonzero(outer != fold)
        found[test] = _forecast(counts[train], targets[train], inner[train], alphas, counts[test])
    return found


def words_in_sample(
    counts: csr_matrix,
    targets: Float[np.ndarray, "row target"],
    folds: Int[np.ndarray, " row"],
    alphas: Sequence[float],
) -> Float[np.ndarray, "row target"]:
    """Forecasts of the very rows the words were learned on."""
    return _forecast(counts, targets, folds, alphas, counts)


def _forecast(
    counts: Any, targets: np.ndarray, folds: np.ndarray, alphas: Sequence[float], asked: Any
) -> np.ndarray:
    totals = np.asarray(counts.sum(axis=0)).ravel()
    known = np.flatnonzero(counts.getnnz(axis=0) >= _MIN_ROWS)
    known = known[np.argsort(-totals[known], kind="stable")[:LARGEST_VOCABULARY]]
    if not len(known):
        return np.broadcast_to(targets.mean(axis=0), (asked.shape[0], targets.shape[1]))
    rarity: Any = TfidfTransformer(sublinear_tf=True).fit(counts[:, known])
    few = compact(rarity.transform(counts[:, known]).toarray())
    scaled = np.zeros(few.rows.shape[1], dtype=bool)
    model = few.unfolded(fitted(few.rows, targets, folds, alphas, scaled=scaled))
    return model(rarity.transform(asked[:, known]).toarray())
