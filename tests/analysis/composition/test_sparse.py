"""Sparse approximations of many vectors at once are what scikit-learn and scipy find for each."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import lars_path_gram, orthogonal_mp_gram

from persona_lens.analysis.composition.paths import lasso, nonnegative, path_products
from persona_lens.analysis.composition.sparse import omp, pursued, shared_omp

K = 8


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated atoms, vectors near their span, and other vectors."""
    rng = np.random.default_rng(3)
    atoms = rng.normal(size=(30, 50)) + rng.normal(size=(30, 3)) @ rng.normal(size=(3, 50))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    vectors = rng.normal(size=(25, 30)) @ atoms + 0.3 * rng.normal(size=(25, 50))
    return atoms, vectors, vectors + rng.normal(size=vectors.shape)


def dense(atoms: np.ndarray, weights: np.ndarray, n_atoms: int) -> np.ndarray:
    found = np.zeros((len(weights), n_atoms))
    np.put_along_axis(found, atoms[:, : weights.shape[1]], weights, axis=1)
    return found


def test_batched_omp_is_that_of_scikit_learn(case: tuple[np.ndarray, ...]) -> None:
    atoms, vectors, _ = case
    gram, products = atoms @ atoms.T, vectors @ atoms.T
    found = omp(gram, products, K)
    for k in (1, 3, K):
        expected = np.asarray(orthogonal_mp_gram(gram, products.T, n_nonzero_coefs=k)).T
        np.testing.assert_allclose(
            dense(found.atoms, found.weights(k), len(atoms)), expected, atol=1e-9
        )


def test_products_of_a_pursuit_are_those_of_its_approximations(
    case: tuple[np.ndarray, ...],
) -> None:
    atoms, vectors, others = case
    found = omp(atoms @ atoms.T, vectors @ atoms.T, K)
    cross, squares = found.products(others @ atoms.T)
    for k in (1, 4, K):
        close = dense(found.atoms, found.weights(k), len(atoms)) @ atoms
        np.testing.assert_allclose(cross[:, k - 1], (close * others).sum(axis=1))
        np.testing.assert_allclose(squares[:, k - 1], (close**2).sum(axis=1))


def test_atoms_chosen_elsewhere_are_fitted_by_least_squares(case: tuple[np.ndarray, ...]) -> None:
    atoms, vectors, _ = case
    place = np.array([7, 2, 19])
    found = pursued(atoms @ atoms.T, vectors @ atoms.T, place)
    expected = np.linalg.lstsq(atoms[place].T, vectors.T)[0].T
    np.testing.assert_allclose(found.weights(), expected)


def test_a_twin_of_a_chosen_atom_adds_nothing() -> None:
    atoms = np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    vectors = np.array([[2.0, 0.0, 5.0]])
    found = omp(atoms @ atoms.T, vectors @ atoms.T, 3)
    np.testing.assert_allclose(found.products(vectors @ atoms.T)[0], [[4.0, 4.0, 4.0]])
    assert np.isfinite(found.weights()).all()
    nothing = omp(np.zeros((2, 2)), np.zeros((1, 2)), 2)  # atoms without replies in this half
    np.testing.assert_array_equal(nothing.scores, 0)


def test_shared_atoms_are_chosen_on_training_vectors_alone(case: tuple[np.ndarray, ...]) -> None:
    atoms, vectors, _ = case
    gram, training = atoms @ atoms.T, np.arange(len(vectors)) < 15
    found = shared_omp(gram, vectors @ atoms.T, K, training)
    changed = np.where(training[:, None], vectors, -3 * vectors[::-1])
    again = shared_omp(gram, changed @ atoms.T, K, training)
    np.testing.assert_array_equal(found.atoms, again.atoms)
    # Step by step, the plain way.
    chosen: list[int] = []
    left = vectors
    for _ in range(K):
        squares = ((left[training] @ atoms.T) ** 2).sum(axis=0)
        squares[chosen] = 0
        chosen.append(int(squares.argmax()))
        basis = atoms[chosen]
        left = vectors - np.linalg.lstsq(basis.T, vectors.T)[0].T @ basis
    np.testing.assert_array_equal(found.atoms[0], chosen)
    np.testing.assert_allclose(
        found.products(vectors @ atoms.T)[1][:, -1], ((vectors - left) ** 2).sum(axis=1)
    )


def test_nonnegative_weights_solve_their_least_squares(case: tuple[np.ndarray, ...]) -> None:
    atoms, vectors, _ = case
    path = nonnegative(atoms @ atoms.T, vectors @ atoms.T, K)
    assert (path >= 0).all()
    sizes = (path > 0).sum(axis=2)
    assert (sizes <= np.arange(1, K + 1)[:, None]).all()
    assert sizes[-1].mean() > K / 2
    for vector, weights in zip(vectors, path[-1], strict=True):
        kept = np.flatnonzero(weights)
        np.testing.assert_allclose(weights[kept], nnls(atoms[kept].T, vector)[0], atol=1e-7)


def test_nonnegative_pursuit_stops_where_nothing_points_that_way() -> None:
    path = nonnegative(np.eye(3), np.array([[-1.0, -2.0, -3.0]]), 2)
    np.testing.assert_array_equal(path, 0)


def test_the_batched_lasso_is_that_of_scikit_learn(case: tuple[np.ndarray, ...]) -> None:
    atoms, vectors, _ = case
    gram, products = atoms @ atoms.T, vectors @ atoms.T
    path = lasso(gram, products, K)
    for number, product in enumerate(products):
        knots = lars_path_gram(product, gram, n_samples=1, method="lasso")[2]
        sizes = (np.abs(knots) > 1e-9).sum(axis=0)
        end = np.flatnonzero(sizes > K)[0]
        for k in (1, 4, K):
            last = [knot for knot in range(end) if sizes[knot] <= k][-1]
            np.testing.assert_allclose(path[k - 1, number], knots[:, last], atol=1e-7)


def test_products_of_a_path_are_those_of_its_approximations(case: tuple[np.ndarray, ...]) -> None:
    atoms, vectors, others = case
    path = lasso(atoms @ atoms.T, vectors @ atoms.T, 3)
    cross, squares = path_products(path, atoms @ atoms.T, others @ atoms.T)
    close = path @ atoms
    np.testing.assert_allclose(cross, (close * others).sum(axis=2).T)
    np.testing.assert_allclose(squares, (close**2).sum(axis=2).T)
