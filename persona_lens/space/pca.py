"""PCA of the role vectors at every layer, through the Gram matrix.

There are some hundred vectors and some thousand dimensions, so the eigenvectors of the vector-by-vector matrix
X Xᵀ give the same components as a singular value decomposition of X at a fraction of the cost. The products are
taken in float64: squaring would otherwise lose the small components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
from jaxtyping import Float

from persona_lens.errors import SpaceError

Scaling = Literal["center", "zscore", "l2"]
SCALINGS: tuple[Scaling, ...] = ("center", "zscore", "l2")


@dataclass(frozen=True, eq=False)
class Scaler:
    """Puts vectors into the coordinates in which PCA is done.

    `center` subtracts the mean of the roles (the paper, appendix B.1), `zscore` divides by the standard deviation
    of each dimension besides, `l2` brings every vector to unit length before the mean is subtracted.
    """

    scaling: Scaling
    mean: Float[np.ndarray, "layer d_model"]
    scale: Float[np.ndarray, "layer d_model"] | None

    @classmethod
    def fit(
        cls,
        vectors: Float[np.ndarray, "vector layer d_model"],
        rows: Sequence[int],
        scaling: Scaling,
    ) -> Scaler:
        """Learn mean and scale from the given rows, the roles.

        Raises:
            SpaceError: Unknown scaling.
        """
        if scaling not in SCALINGS:
            raise SpaceError("unknown scaling", expected=", ".join(SCALINGS), given=scaling)
        mean = np.zeros(vectors.shape[1:], dtype=np.float64)
        square = np.zeros_like(mean)
        for row in rows:  # one at a time: a float64 copy of a large table would double its memory
            mean += _unit(vectors[row]) if scaling == "l2" else vectors[row]
        mean /= len(rows)
        if scaling != "zscore":
            return cls(scaling, mean, None)
        for row in rows:
            square += (vectors[row] - mean) ** 2 / len(rows)
        scale = np.sqrt(square)
        return cls(scaling, mean, np.where(scale == 0, 1.0, scale))

    def __call__(
        self, vectors: Float[np.ndarray, "*vector d_model"], layer: int
    ) -> Float[np.ndarray, "*vector d_model"]:
        """Vectors of one layer in PCA coordinates, float64. `layer` counts the layers of the table."""
        value = _unit(vectors) if self.scaling == "l2" else np.asarray(vectors, dtype=np.float64)
        centred = value - self.mean[layer]
        return centred if self.scale is None else centred / self.scale[layer]


def _unit(vectors: np.ndarray) -> np.ndarray:
    values = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(norms == 0, 1.0, norms)


def principal_components(
    centred: Float[np.ndarray, "vector d_model"], n_components: int
) -> tuple[Float[np.ndarray, "component d_model"], Float[np.ndarray, " rank"]]:
    """Unit components and the whole spectrum of variances of centred vectors, largest first.

    Args:
        centred: Vectors whose mean is zero.
        n_components: How many components to return; the spectrum is always whole.

    Returns:
        Components and variances; a variance is that of scikit-learn's `explained_variance_`.

    Examples:
        >>> components, variances = principal_components(np.array([[2.0, 0.0], [-2.0, 0.0]]), 1)
        >>> np.abs(components), variances
        (array([[1., 0.]]), array([8.]))
    """
    n_vectors, d_model = centred.shape
    rank = min(n_vectors - 1, d_model)
    gram = centred @ centred.T
    values, vectors = scipy.linalg.eigh(gram)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    values = np.maximum(values, 0.0)
    kept = min(n_components, rank)
    components = vectors[:, :kept].T @ centred
    norms = np.linalg.norm(components, axis=1, keepdims=True)
    return components / np.where(norms == 0, 1.0, norms), values / (n_vectors - 1)
