"""Kinds of messages: clusters of their embeddings, how many there are, and the words each is known by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import adjusted_rand_score, pairwise_distances_argmin, silhouette_score

MOST = 12
_STABLE = 0.6  # adjusted Rand index of clusters found in two halves of the conversations
_HALVINGS = 4
_SAMPLED = 2000  # rows for the silhouette, which compares all pairs


class Kinds(NamedTuple):
    """Clusters of messages.

    Attributes:
        labels: Kind of each row.
        centres: One a kind.
        choice: One row a count tried: `k`, `silhouette` (-1 to 1), `stability` (adjusted Rand index of clusters
            from two halves of the conversations, mean of four halvings; 1 is the same clusters, 0 chance).
        why: How the count was chosen, in a sentence.
    """

    labels: Int[np.ndarray, " row"]
    centres: Float[np.ndarray, "kind dim"]
    choice: pd.DataFrame
    why: str


def find_kinds(
    embeddings: Float[np.ndarray, "row dim"],
    conversations: Int[np.ndarray, " row"],
    k: int | None,
    seed: int,
) -> Kinds:
    """Group messages by k-means.

    Args:
        embeddings: Unit vectors.
        conversations: Of each row, as numbers from 0.
        k: How many kinds; None takes the best silhouette among the counts that are stable.
        seed: Of starts and halves.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> rows = np.repeat(np.eye(3), 40, axis=0) + rng.normal(scale=0.05, size=(120, 3))
        >>> len(find_kinds(rows, np.arange(120) % 20, None, 0).centres)
        3
    """
    distinct = len(np.unique(embeddings.round(6), axis=0))
    tried = [k] if k is not None else list(range(2, min(MOST, distinct - 1) + 1))
    fits = {count: _fit(embeddings, count, seed) for count in tried}
    choice = pd.DataFrame(
        {
            "k": tried,
            "silhouette": [_silhouette(embeddings, fits[count][0], seed) for count in tried],
            "stability": [_stability(embeddings, conversations, count, seed) for count in tried],
        }
    )
    rated = np.nan_to_num(np.asarray(choice["silhouette"], dtype=float), nan=-1.0)
    stable = np.asarray(choice["stability"] >= _STABLE)
    best = choice.iloc[int(np.argmax(np.where(stable, rated, -2.0) if stable.any() else rated))]
    chosen = int(best["k"])
    if k is not None:
        why = f"{k} kinds, as asked for"
    else:
        why = f"{chosen} kinds: the best silhouette among counts of {tried[0]} to {tried[-1]} "
        why += (
            f"whose clusters come out alike in halves of the conversations (adjusted Rand {_STABLE:g} or more)"
            if stable.any()
            else f"although none is stable (adjusted Rand below {_STABLE:g}): take them as a rough sorting"
        )
    why += f"; silhouette {best['silhouette']:.2f}, stability {best['stability']:.2f}"
    return Kinds(*fits[chosen], choice, why)


def typical_words(
    messages: Sequence[str], labels: Int[np.ndarray, " row"], count: int = 4
) -> list[str]:
    """The words each kind is known by: class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794).

    A word weighs as often as it occurs in a kind, times log(1 + words per kind / occurrences in all kinds).
    English words without meaning of their own are left out; where nothing else is left, they stay.

    Examples:
        >>> typical_words(["sort this list", "sort that array", "I feel sad"], np.array([0, 0, 1]), count=1)
        ['sort', 'feel']
    """
    documents = [
        " ".join(message for message, own in zip(messages, labels, strict=True) if own == kind)
        for kind in range(int(labels.max()) + 1)
    ]
    for stopped in ("english", None):
        try:
            words = CountVectorizer(stop_words=stopped)
            found: Any = words.fit_transform(documents)
            counts = found.toarray().astype(float)
            break
        except ValueError:  # no word is left
            continue
    else:
        return ["(no words)"] * len(documents)
    per_kind = counts.sum() / len(documents)
    weights = (
        counts
        / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        * np.log1p(per_kind / counts.sum(axis=0))
    )
    names = [str(name) for name in words.get_feature_names_out()]
    return [
        ", ".join(
            names[place] for place in np.argsort(-row, kind="stable")[:count] if row[place] > 0
        )
        or "(no words)"
        for row in weights
    ]


def _fit(
    embeddings: np.ndarray, count: int, seed: int, starts: int = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Kind of each row, and the centres."""
    kmeans: Any = KMeans  # typed as if n_init were text alone
    means = kmeans(count, n_init=starts, random_state=seed).fit(embeddings)
    return means.labels_, means.cluster_centers_


def _silhouette(embeddings: np.ndarray, labels: np.ndarray, seed: int) -> float:
    if not 1 < len(np.unique(labels)) < len(labels):
        return float("nan")
    sampled = _SAMPLED if len(labels) > _SAMPLED else None
    return float(silhouette_score(embeddings, labels, sample_size=sampled, random_state=seed))


def _stability(embeddings: np.ndarray, conversations: np.ndarray, count: int, seed: int) -> float:
    """How alike all messages are sorted by clusters of one half of the conversations and of the other."""
    rng = np.random.default_rng(seed)
    agreement = []
    for _ in range(_HALVINGS):
        half = rng.permutation(int(conversations.max()) + 1)[conversations] % 2 == 0
        if min(half.sum(), (~half).sum()) < count:
            return float("nan")
        centres = [_fit(embeddings[side], count, seed, starts=3)[1] for side in (half, ~half)]
        sorted_by = [pairwise_distances_argmin(embeddings, found) for found in centres]
        agreement.append(adjusted_rand_score(*sorted_by))
    return float(np.mean(agreement))
