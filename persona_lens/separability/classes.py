"""One unit among the others: identity and silhouette of the replies of one split, under every relabelling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True, eq=False)
class Split:
    """Tested replies, and sums over training replies, in one set of coordinates.

    Attributes:
        tested: Replies of the prompt fold and question fold that are held out.
        sums: Over replies to other questions, for each of the other prompt folds.
        counts: Replies in `sums`.
        labels: Whose prompts each unit gets in these prompt folds; see `Draws`.
        tested_labels: The same in the prompt fold held out.
    """

    tested: Float[np.ndarray, "unit slot d_model"]
    sums: Float[np.ndarray, "fold unit d_model"]
    counts: Float[np.ndarray, "fold unit"]
    labels: Int[np.ndarray, "draw fold unit"]
    tested_labels: Int[np.ndarray, "draw unit"]

    def relabelled(
        self, *, with_norms: bool
    ) -> Iterator[tuple[Float[np.ndarray, "unit reply"], np.ndarray, np.ndarray, np.ndarray]]:
        """For every draw: tested replies on class means, squared norms of the means, who has one, true labels.

        Products with class means are sums of products with the means of prompt folds, which no draw changes.
        """
        n_units, n_slots, d_model = self.tested.shape
        flat = self.tested.reshape(-1, d_model)
        products = [sums @ flat.T for sums in self.sums]
        for labels, tested in zip(self.labels, self.tested_labels, strict=True):
            count = np.take_along_axis(self.counts, labels, axis=1).sum(axis=0)
            share = (1.0 / np.maximum(count, 1.0)).astype(np.float32)
            found = products[0][labels[0]]
            for product, own in zip(products[1:], labels[1:], strict=True):
                found += product[own]
            found *= share[:, None]
            norms = np.zeros(n_units, dtype=np.float32)
            if with_norms:
                mean = self.sums[0][labels[0]]
                for sums, own in zip(self.sums[1:], labels[1:], strict=True):
                    mean += sums[own]
                norms = np.einsum("ud,ud->u", mean, mean) * share**2
            true = np.empty(n_units, dtype=np.intp)
            true[tested] = np.arange(n_units)
            yield found, norms, count > 0, np.repeat(true, n_slots)


def identities(
    split: Split,
) -> Iterator[tuple[Float[np.ndarray, " reply"], Float[np.ndarray, " reply"]]]:
    """Share of other classes that score below the true one, and whether none scores above, for every draw.

    Ties count half, or their share of the first place. The score is that of linear discriminant analysis with
    equal priors, in whitened coordinates.
    """
    for products, norms, known, true in split.relabelled(with_norms=True):
        scores = products - norms[:, None] / 2
        scores[~known] = -np.inf
        columns = np.arange(len(true))
        own = scores[true, columns]
        above = (scores > own).sum(axis=0)
        ties = (scores == own).sum(axis=0) - 1
        others = known.sum() - 1
        with np.errstate(invalid="ignore", divide="ignore"):
            share = 1.0 - (above + ties / 2) / np.where(others > 0, others, np.nan)
        first = np.where(above == 0, 1.0 / (1 + ties), 0.0)
        unknown = ~known[true] | (others < 1)
        share[unknown] = np.nan
        first[unknown] = np.nan
        yield share, first


def silhouettes(split: Split) -> Iterator[Float[np.ndarray, " reply"]]:
    """Silhouette of every tested reply among training replies, for every draw.

    With squared Euclidean distance and replies of norm 1 the mean distance to a class is 2 - 2 x . mean.
    Source: Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7.
    """
    for cosines, _, known, true in split.relabelled(with_norms=False):
        cosines[~known] = -np.inf
        columns = np.arange(len(true))
        own = 2 - 2 * cosines[true, columns]
        cosines[true, columns] = -np.inf
        nearest = 2 - 2 * cosines.max(axis=0)
        larger = np.maximum(own, nearest)
        with np.errstate(invalid="ignore"):
            found = np.where(larger > 0, (nearest - own) / larger, 0.0)
        found[~np.isfinite(own) | ~np.isfinite(nearest)] = np.nan
        yield found


def by_label(
    values: Float[np.ndarray, " reply"],
    known: Bool[np.ndarray, "unit slot"],
    tested_labels: Int[np.ndarray, " unit"],
) -> tuple[Float[np.ndarray, " unit"], Int[np.ndarray, " unit"]]:
    """Sum and number of values of each unit, in a draw."""
    laid = values.reshape(known.shape)
    usable = known & np.isfinite(laid)
    sums = np.where(usable, laid, 0.0).sum(axis=1)
    return sums[tested_labels], usable.sum(axis=1)[tested_labels]
