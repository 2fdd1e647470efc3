"""Other sparse approximations for many vectors at once: non-negative weights, and the lasso.

Both give dense weights at every size: what the best approximation with at most 1, 2, ..., k atoms weighs. They
cost more than `persona_lens.analysis.composition.sparse.omp`, because atoms may leave again.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

Weights = Float[np.ndarray, "k vector atom"]

_NOTHING = 1e-10
"""Change of a correlation, relative to the first, that counts as none."""


def nonnegative(
    gram: Float[np.ndarray, "atom atom"], products: Float[np.ndarray, "vector atom"], k: int
) -> Weights:
    """Non-negative orthogonal matching pursuit: at each step the atom that correlates most, then weights >= 0.

    The weights solve non-negative least squares over the atoms chosen so far; one whose weight falls to zero is
    out again, so that there may be fewer atoms than steps. A vector that no atom correlates with positively stays
    as it is.

    Args:
        gram: D Dᵀ of unit atoms.
        products: X Dᵀ.
        k: Steps.

    Source: Lawson and Hanson 1974, chapter 23; Bruckstein, Elad and Zibulevsky 2008.

    Examples:
        >>> nonnegative(np.eye(2), np.array([[-3.0, 2.0]]), k=2)[:, 0]
        array([[0., 2.],
               [0., 2.]])
    """
    n_vectors, n_atoms = products.shape
    each = np.arange(n_vectors)
    floor = _NOTHING * np.abs(products).max(axis=1, initial=0.0)
    weights = np.zeros((n_vectors, n_atoms))
    active = np.zeros((n_vectors, n_atoms), dtype=bool)
    path = np.zeros((k, n_vectors, n_atoms))
    for step in range(k):
        left = np.where(active, -np.inf, products - weights @ gram)
        chosen = left.argmax(axis=1)
        grows = left[each, chosen] > floor
        active[each[grows], chosen[grows]] = True
        busy = np.flatnonzero(grows)
        while len(busy):
            wanted = _least_squares(gram, products[busy], active[busy])
            now, used = weights[busy], active[busy]
            falls = used & (wanted <= 0)
            # As far towards the solution as no weight turns negative; those that reach zero leave.
            with np.errstate(divide="ignore", invalid="ignore"):
                shares = np.where(falls, now / (now - wanted), 1.0)
            share = np.nan_to_num(shares).min(axis=1, keepdims=True)
            moved = np.maximum(now + share * (wanted - now), 0.0)
            out = falls & (np.nan_to_num(shares) <= share)
            weights[busy] = np.where(out | ~used, 0.0, moved)
            active[busy] = used & ~out
            busy = busy[falls.any(axis=1)]
        path[step] = weights
    return path


def lasso(
    gram: Float[np.ndarray, "atom atom"], products: Float[np.ndarray, "vector atom"], k: int
) -> Weights:
    """The lasso along its path: for each size, the last solution with no more atoms, so the least shrunken one.

    Between two events (an atom enters or leaves) the weights are linear in the penalty, so the path is followed
    from event to event.

    Args:
        gram: D Dᵀ of unit atoms.
        products: X Dᵀ.
        k: Largest size.

    Source: Efron, Hastie, Johnstone and Tibshirani 2004 (LARS with the lasso modification).

    Examples:
        >>> lasso(np.eye(2), np.array([[3.0, 1.0]]), k=2)[:, 0]
        array([[2., 0.],
               [3., 1.]])
    """
    n_vectors, n_atoms = products.shape
    each = np.arange(n_vectors)
    k = min(k, n_atoms)
    left = products.astype(np.float64)
    largest = np.abs(left).max(axis=1)
    tiny = _NOTHING * largest
    weights = np.zeros((n_vectors, n_atoms))
    active = np.zeros((n_vectors, n_atoms), dtype=bool)
    active[each, np.abs(left).argmax(axis=1)] = largest > 0
    barred = np.zeros_like(active)  # an atom that has just left is as correlated as those that stay
    path = np.zeros((k, n_vectors, n_atoms))
    running = largest > 0
    for _ in range(8 * k):
        if not running.any():
            break
        penalty = np.abs(np.where(active, left, 0.0)).max(axis=1)
        ways = _least_squares(gram, np.sign(left), active)
        slopes = ways @ gram
        with np.errstate(divide="ignore", invalid="ignore"):
            enter = np.minimum(
                _ahead((penalty[:, None] - left) / (1 - slopes), tiny),
                _ahead((penalty[:, None] + left) / (1 + slopes), tiny),
            )
            leave = np.where(active, _ahead(-weights / ways, 0 * tiny), np.inf)
        enter = np.where(active | barred, np.inf, enter)
        step = np.minimum.reduce([enter.min(axis=1), leave.min(axis=1), penalty])
        step = np.where(running, step, 0.0)
        weights = weights + step[:, None] * ways
        left = left - step[:, None] * slopes
        leaves = running & (leave.min(axis=1) <= step)
        enters = running & ~leaves & (enter.min(axis=1) <= step)
        gone = leave.argmin(axis=1)
        sizes = active.sum(axis=1)
        weights[each[leaves], gone[leaves]] = 0.0
        _note(path, weights, sizes - leaves, running)
        active[each[leaves], gone[leaves]] = False
        active[each[enters], enter.argmin(axis=1)[enters]] = True
        barred[:] = False
        barred[each[leaves], gone[leaves]] = True
        running &= (leaves | enters) & (sizes - leaves <= k)
    return path


def path_products(
    weights: Weights,
    gram: Float[np.ndarray, "atom atom"],
    products: Float[np.ndarray, "vector atom"],
) -> tuple[Float[np.ndarray, "vector k"], Float[np.ndarray, "vector k"]]:
    """<x̂, y> and <x̂, x̂> of the approximations x̂ along a path, from <y, d> and D Dᵀ."""
    cross = np.einsum("kva,va->vk", weights, products)
    return cross, np.einsum("kva,kva->vk", weights @ gram, weights)


def _note(path: Weights, weights: np.ndarray, sizes: np.ndarray, running: np.ndarray) -> None:
    """Keep the weights as the best of their size, and of all larger ones until those are known."""
    for size in np.unique(sizes[running]):
        these = running & (sizes == size)
        path[max(size - 1, 0) :, these] = weights[these]


def _ahead(steps: np.ndarray, tiny: Float[np.ndarray, " vector"]) -> np.ndarray:
    """Steps forward; those back, or of no length, never happen."""
    return np.where(steps > tiny[:, None], steps, np.inf)


def _least_squares(
    gram: Float[np.ndarray, "atom atom"],
    products: Float[np.ndarray, "vector atom"],
    active: Bool[np.ndarray, "vector atom"],
) -> Float[np.ndarray, "vector atom"]:
    """Weights of each vector's active atoms that solve its normal equations; zero elsewhere."""
    size = int(active.sum(axis=1).max(initial=0))
    places = np.argsort(~active, axis=1, kind="stable")[:, :size]
    used = np.take_along_axis(active, places, axis=1)
    system = gram[places[:, :, None], places[:, None, :]]
    system = np.where(used[:, :, None] & used[:, None, :], system, 0.0)
    # Slots without an atom become equations of their own; the trace of a ridge keeps twins apart.
    system += np.eye(size) * np.where(used, 1e-12, 1.0)[:, None, :]
    wanted = np.where(used, np.take_along_axis(products, places, axis=1), 0.0)
    solved = np.linalg.solve(system, wanted[:, :, None])[:, :, 0]
    found = np.zeros(products.shape)
    np.put_along_axis(found, places, np.where(used, solved, 0.0), axis=1)
    return found
