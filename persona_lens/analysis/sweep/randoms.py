"""Random directions for nulls, drawn once for all layers.

A Gaussian vector of width d, seen in an orthonormal basis of a few dimensions that are of interest, is Gaussian
there. What is left of n such vectors outside of them lies in a space of its own, where only their inner
products matter: those follow a Wishart distribution, which Bartlett's triangle draws with n²/2 numbers however
large d is (Bartlett 1933). So nothing here grows with the width of the residual stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, eq=False)
class RandomDirections:
    """Unit vectors, uniform over all directions in d_model dimensions.

    Attributes:
        directions: In the basis of the layer first, then in that of the rest.
        cosines: Between the vectors of each draw.
    """

    directions: Float[np.ndarray, "draw unit basis"]
    cosines: Float[np.ndarray, "draw unit unit"]

    @classmethod
    def draw(
        cls, n_units: int, n_basis: int, d_model: int, n_draws: int, rng: np.random.Generator
    ) -> RandomDirections:
        """Draw `n_units` directions, `n_draws` times.

        Args:
            n_units: Directions in a draw.
            n_basis: Dimensions of interest.
            d_model: All dimensions.
            n_draws: Draws.
            rng: Source of randomness.

        Examples:
            >>> drawn = RandomDirections.draw(5, 3, 1000, 2, np.random.default_rng(0))
            >>> drawn.directions.shape, bool(np.allclose(drawn.cosines[:, 0, 0], 1, atol=1e-6))
            ((2, 5, 8), True)
        """
        n_rest = d_model - n_basis
        width = n_basis + min(n_units, n_rest)
        directions = rng.standard_normal((n_draws, n_units, width), dtype=np.float32)
        if n_rest > n_units:
            triangle = np.tril(directions[:, :, n_basis:], k=-1)
            place = np.arange(n_units)
            triangle[:, place, place] = np.sqrt(rng.chisquare(n_rest - place, (n_draws, n_units)))
            directions[:, :, n_basis:] = triangle
        directions /= np.linalg.norm(directions, axis=2, keepdims=True)
        return cls(directions, directions @ directions.transpose(0, 2, 1))
