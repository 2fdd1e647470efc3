"""The order in which rows of a heat map stand: hierarchical clustering, neighbours as alike as they can be."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import pdist

FEW = 3


def cluster_order(rows: Float[np.ndarray, "row column"]) -> Int[np.ndarray, " row"]:
    """Places of rows so that those that are alike stand together.

    Average linkage of Euclidean distances, leaves ordered so that the sum of distances between neighbours is least
    (Bar-Joseph et al. 2001). The end with the larger mean comes first. Unknown values count as zero.

    Examples:
        >>> cluster_order(np.array([[1.0, 1.0], [-1.0, -1.0], [1.0, 0.9], [-1.0, -0.9]])).tolist()
        [0, 2, 3, 1]
    """
    known = np.nan_to_num(rows)
    if len(known) < FEW:
        order = np.arange(len(known))
    else:
        distances = pdist(known)
        order = leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))
    means = known.mean(axis=1)[order]
    half = len(order) // 2
    return order[::-1] if means[:half].sum() < means[len(order) - half :].sum() else order
