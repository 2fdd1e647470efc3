"""Orthogonal matching pursuit for many vectors at once, from inner products alone.

The atoms of a dictionary D and the vectors X enter only as D Dᵀ and X Dᵀ. Each vector keeps an orthonormal basis
q_1, q_2, ... of the atoms it has chosen; a step is one Gram-Schmidt step for all vectors together:

    q_j = (d_s - sum_i <q_i, d_s> q_i) / norm        <x, q_j> = correlation of the residual with d_s / norm

The approximation with j atoms is the sum of the first j terms <x, q_i> q_i, so that its products with any other
vector, for every j, are a cumulative sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

DEPENDENT = 1e-9
"""Squared length of what is left of a unit atom below which it lies in the span of those chosen before."""


@dataclass(frozen=True, eq=False)
class Pursuit:
    """Atoms chosen for each vector, in order, and their orthonormal bases.

    Attributes:
        atoms: Place of each atom in the dictionary.
        triangle: <q_i, d_j> of the chosen atoms, upper triangular.
        scores: <x, q_j> of the vectors learnt from.
    """

    atoms: Int[np.ndarray, "vector k"]
    triangle: Float[np.ndarray, "vector k k"]
    scores: Float[np.ndarray, "vector k"]

    def scores_of(
        self, products: Float[np.ndarray, "vector atom"]
    ) -> Float[np.ndarray, "vector k"]:
        """<y, q_j> of other vectors y, one for each of those learnt from.

        Args:
            products: <y, d> with every atom.
        """
        wanted = np.take_along_axis(products, self.atoms, axis=1)
        found = np.zeros_like(wanted)
        for step in range(wanted.shape[1]):
            column = self.triangle[:, : step + 1, step]
            left = wanted[:, step] - (column[:, :step] * found[:, :step]).sum(axis=1)
            found[:, step] = left * _inverse(column[:, step])
        return found

    def products(
        self, products: Float[np.ndarray, "vector atom"]
    ) -> tuple[Float[np.ndarray, "vector k"], Float[np.ndarray, "vector k"]]:
        """<x̂, y> and <x̂, x̂> of the approximations x̂ with 1 to k atoms and of other vectors y.

        Args:
            products: <y, d> with every atom.

        Examples:
            >>> found = omp(np.eye(2), np.array([[3.0, 1.0]]), k=2)
            >>> found.products(np.array([[2.0, 0.0]]))
            (array([[6., 6.]]), array([[ 9., 10.]]))
        """
        cross = np.cumsum(self.scores * self.scores_of(products), axis=1)
        return cross, np.cumsum(self.scores**2, axis=1)

    def weights(self, k: int | None = None) -> Float[np.ndarray, "vector k"]:
        """Least-squares weights of the first k atoms, in the order of `atoms`; all of them by default."""
        size = self.atoms.shape[1] if k is None else k
        found = np.zeros_like(self.scores[:, :size])
        for step in reversed(range(size)):
            row = self.triangle[:, step, :size]
            left = self.scores[:, step] - (row[:, step + 1 :] * found[:, step + 1 :]).sum(axis=1)
            found[:, step] = left * _inverse(row[:, step])
        return found


def omp(
    gram: Float[np.ndarray, "atom atom"], products: Float[np.ndarray, "vector atom"], k: int
) -> Pursuit:
    """Orthogonal matching pursuit of every vector over the same dictionary of unit atoms.

    Args:
        gram: D Dᵀ.
        products: X Dᵀ.
        k: Atoms a vector; at most as many as there are.

    Source: Pati, Rezaiifar and Krishnaprasad 1993; the Gram form after Rubinstein, Zibulevsky and Elad 2008.

    Examples:
        >>> atoms, vectors = np.eye(3), np.array([[0.0, 2.0, 1.0]])
        >>> found = omp(atoms @ atoms.T, vectors @ atoms.T, k=2)
        >>> found.atoms, found.weights()
        (array([[1, 2]]), array([[2., 1.]]))
    """
    n_vectors, n_atoms = products.shape
    k = min(k, n_atoms)
    each = np.arange(n_vectors)
    left = products.astype(np.float64)
    basis = np.zeros((n_vectors, k, n_atoms))
    atoms = np.zeros((n_vectors, k), dtype=np.int64)
    scores = np.zeros((n_vectors, k))
    for step in range(k):
        chosen = np.abs(left).argmax(axis=1)
        earlier = basis[each, :step, chosen]
        row = gram[chosen] - (earlier[:, None, :] @ basis[:, :step])[:, 0]
        length = _inverse(np.sqrt(np.maximum(row[each, chosen], 0.0)))
        basis[:, step] = row * length[:, None]
        atoms[:, step], scores[:, step] = chosen, left[each, chosen] * length
        left -= scores[:, step, None] * basis[:, step]
        left[each, chosen] = 0.0
    triangle = np.take_along_axis(basis, atoms[:, None, :].repeat(k, axis=1), axis=2)
    return Pursuit(atoms, np.triu(triangle), scores)


def shared_omp(
    gram: Float[np.ndarray, "atom atom"],
    products: Float[np.ndarray, "vector atom"],
    k: int,
    training: Bool[np.ndarray, " vector"],
) -> Pursuit:
    """Simultaneous pursuit: one set of atoms for all vectors, chosen on those in training.

    Args:
        gram: D Dᵀ.
        products: X Dᵀ of all vectors.
        k: Atoms.
        training: Vectors whose squared correlations, summed, decide which atom comes next.

    Source: Tropp, Gilbert and Strauss 2006, with the sum of squares as the norm.

    Examples:
        >>> vectors = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
        >>> shared_omp(np.eye(3), vectors, 1, np.array([True, False])).atoms
        array([[1],
               [1]])
    """
    n_vectors, n_atoms = products.shape
    k = min(k, n_atoms)
    trained = products * training[:, None]
    # Summed squares of the correlations of the residuals, which themselves are never formed.
    squares = (trained**2).sum(axis=0)
    basis = np.zeros((k, n_atoms))
    atoms = np.zeros(k, dtype=np.int64)
    scores = np.zeros((n_vectors, k))
    for step in range(k):
        chosen = int(squares.argmax())
        row = gram[chosen] - basis[:step, chosen] @ basis[:step]
        length = _inverse(np.sqrt(max(row[chosen], 0.0)))
        left = products[:, chosen] - scores[:, :step] @ basis[:step, chosen]
        basis[step], atoms[step], scores[:, step] = row * length, chosen, left * length
        own = scores[:, step] * training
        along = own @ trained - (own @ scores[:, :step]) @ basis[:step]
        squares += basis[step] * (basis[step] * (own @ own) - 2 * along)
        squares[atoms[: step + 1]] = 0.0
    return Pursuit(
        np.broadcast_to(atoms, (n_vectors, k)),
        np.broadcast_to(np.triu(basis[:, atoms]), (n_vectors, k, k)),
        scores,
    )


def pursued(
    gram: Float[np.ndarray, "atom atom"],
    products: Float[np.ndarray, "vector atom"],
    atoms: Int[np.ndarray, " k"],
) -> Pursuit:
    """The bases and scores of atoms chosen by something else, the same for every vector."""
    place = list(atoms)
    found = _triangle(gram[np.ix_(place, place)])
    n_vectors = len(products)
    shaped = Pursuit(
        np.broadcast_to(np.asarray(place, dtype=np.int64), (n_vectors, len(place))),
        np.broadcast_to(found, (n_vectors, *found.shape)),
        np.zeros((n_vectors, len(place))),
    )
    return Pursuit(shaped.atoms, shaped.triangle, shaped.scores_of(products))


def _triangle(gram: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """<q_i, d_j> of atoms orthonormalised in the order given."""
    triangle = np.zeros_like(gram, dtype=np.float64)
    for step in range(len(gram)):
        row = gram[step] - triangle[:step, step] @ triangle[:step]
        triangle[step] = row * _inverse(np.sqrt(max(row[step], 0.0)))
    return np.triu(triangle)


def _inverse(length: np.ndarray | float) -> np.ndarray:
    """1 / length; 0 where the atom adds nothing to those before it."""
    length = np.asarray(length, dtype=np.float64)
    known = length > np.sqrt(DEPENDENT)
    return np.where(known, 1 / np.where(known, length, 1.0), 0.0)
