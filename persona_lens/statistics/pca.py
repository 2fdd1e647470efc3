"""PCA of the role vectors at every layer, through the Gram matrix.

There are some hundred vectors and some thousand dimensions, so the eigenvectors of the vector-by-vector matrix
X Xᵀ give the same components as a singular value decomposition of X at a fraction of the cost. The products are
taken in float64: squaring would otherwise lose the small components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.spelling import did_you_mean

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
    def unfitted(cls, n_layers: int, d_model: int, scaling: Scaling) -> Scaler:
        """A scaler that has yet to see the roles of each layer.

        Raises:
            SpaceError: Unknown scaling.
        """
        if scaling not in SCALINGS:
            raise SpaceError(
                "unknown scaling",
                expected=", ".join(SCALINGS),
                given=scaling,
                remedy=did_you_mean(scaling, SCALINGS),
            )
        scale = np.ones((n_layers, d_model)) if scaling == "zscore" else None
        return cls(scaling, np.zeros((n_layers, d_model)), scale)

    def fit_layer(self, roles: Float[np.ndarray, "role d_model"], layer: int) -> None:
        """Learn mean and scale of one layer from its role vectors."""
        values = unit(roles) if self.scaling == "l2" else roles
        self.mean[layer] = values.mean(axis=0, dtype=np.float64)
        if self.scale is not None:
            deviation = roles.std(axis=0, dtype=np.float64)
            self.scale[layer] = np.where(deviation == 0, 1.0, deviation)

    def __call__(
        self, vectors: Float[np.ndarray, "*vector d_model"], layer: int
    ) -> Float[np.ndarray, "*vector d_model"]:
        """Vectors of one layer in PCA coordinates, float64. `layer` counts the layers of the table."""
        values = unit(vectors) if self.scaling == "l2" else vectors
        centred = np.subtract(values, self.mean[layer], dtype=np.float64)
        return centred if self.scale is None else centred / self.scale[layer]


def unit(vectors: Float[np.ndarray, "*batch d_model"]) -> Float[np.ndarray, "*batch d_model"]:
    """Vectors of length one, float64; zero stays zero."""
    values = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(norms == 0, 1.0, norms)


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvectors of the Gram matrix of centred vectors, leading first, and their eigenvalues.

    `squares / (n_vectors - 1)` are the variances scikit-learn calls `explained_variance_`.
    """

    vectors: Float[np.ndarray, "vector rank"]
    squares: Float[np.ndarray, " rank"]

    @classmethod
    def of_gram(cls, gram: Float[np.ndarray, "vector vector"], d_model: int) -> Spectrum:
        """Decompose X Xᵀ of centred vectors of width `d_model`."""
        rank = min(len(gram) - 1, d_model)
        values, vectors = scipy.linalg.eigh(gram, driver="evd", check_finite=False)
        return cls(vectors[:, ::-1][:, :rank], np.maximum(values[::-1][:rank], 0.0))

    def components(
        self, centred: Float[np.ndarray, "vector d_model"], n_components: int
    ) -> Float[np.ndarray, "component d_model"]:
        """The first principal components of `centred`, of unit length.

        Examples:
            >>> centred = np.array([[2.0, 0.0], [-2.0, 0.0]])
            >>> spectrum = Spectrum.of_gram(centred @ centred.T, d_model=2)
            >>> np.abs(spectrum.components(centred, 1)), spectrum.squares
            (array([[1., 0.]]), array([8.]))
        """
        components = self.vectors[:, :n_components].T @ centred
        norms = np.linalg.norm(components, axis=1, keepdims=True)
        return components / np.where(norms == 0, 1.0, norms)
