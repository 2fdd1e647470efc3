"""Ridge regression whose penalty is chosen by groups, for many targets at once, from sums over blocks of rows.

scikit-learn's `RidgeCV` either leaves out single rows, which belong to groups others of which stay, or fits every
penalty on every fold anew. Here rows are summed once by block (a fold of an outer and an inner split); what any
fit needs is a sum of blocks, and one eigendecomposition gives all penalties and all targets:

    coefficients(alpha) = V (W + alpha)^-1 V' X'Y        with X'X = V W V', X and Y centred on the training rows

The numbers are those of `RidgeCV(alphas, cv=inner folds, scoring="neg_mean_squared_error")`, a penalty a target; a
permutation test of 200 refits takes a minute where that takes hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import eigh, svd


class Linear(NamedTuple):
    """A fitted model: `design @ coefficients + intercept`.

    Attributes:
        coefficients: One column a target.
        intercept: One a target.
        alphas: The penalty of each target.
    """

    coefficients: Float[np.ndarray, "feature target"]
    intercept: Float[np.ndarray, " target"]
    alphas: Float[np.ndarray, " target"]

    def __call__(self, design: Float[np.ndarray, "row feature"]) -> Float[np.ndarray, "row target"]:
        """What it forecasts."""
        return design @ self.coefficients + self.intercept


class HeldOut(NamedTuple):
    """Forecasts of rows by models that have seen none of their fold.

    Attributes:
        predicted: NaN nowhere.
        alphas: Penalties, by outer fold.
        inner: For each outer fold the rows outside of it, and forecasts of these by models that have seen neither
            that fold nor their own inner fold: what intervals are calibrated on.
    """

    predicted: Float[np.ndarray, "row target"]
    alphas: Float[np.ndarray, "fold target"]
    inner: tuple[tuple[Int[np.ndarray, " other"], Float[np.ndarray, "other target"]], ...]


@dataclass(eq=False)
class _Sums:
    """What least squares needs of some rows."""

    count: int
    x: Float[np.ndarray, " feature"]
    y: Float[np.ndarray, " target"]
    xx: Float[np.ndarray, "feature feature"]
    xy: Float[np.ndarray, "feature target"]
    yy: Float[np.ndarray, " target"]

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> _Sums:
        return cls(len(x), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, (y * y).sum(axis=0))

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.count + other.count,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
            self.yy + other.yy,
        )


class _Path(NamedTuple):
    """All penalties at once, of one set of training rows."""

    x_mean: Float[np.ndarray, " feature"]
    y_mean: Float[np.ndarray, " target"]
    basis: Float[np.ndarray, "feature rank"]  # eigenvectors, in the units of the design
    values: Float[np.ndarray, " rank"]
    rotated: Float[np.ndarray, "rank target"]

    def coefficients(
        self, alphas: Float[np.ndarray, " target"] | float
    ) -> Float[np.ndarray, "feature target"]:
        return self.basis @ (self.rotated / (self.values[:, None] + alphas))


class Ridge:
    """Least squares with a penalty, by blocks of rows.

    Args:
        design: One row a row.
        targets: Likewise.
        blocks: Number of the block each row is in.
        alphas: Penalties to choose from.
        scaled: Columns that are brought to standard deviation 1, on the training rows of each fit.
    """

    def __init__(
        self,
        design: Float[np.ndarray, "row feature"],
        targets: Float[np.ndarray, "row target"],
        blocks: Int[np.ndarray, " row"],
        alphas: Sequence[float],
        scaled: Bool[np.ndarray, " feature"],
    ) -> None:
        # A shift changes no fit with an intercept, and keeps the sums small.
        self._x_shift, self._y_shift = design.mean(axis=0), targets.mean(axis=0)
        self._x, self._y = design - self._x_shift, targets - self._y_shift
        self._sums = {
            int(block): _Sums.of(self._x[blocks == block], self._y[blocks == block])
            for block in np.unique(blocks)
        }
        self._alphas = np.asarray(alphas, dtype=float)
        self._scaled = scaled
        self._paths: dict[frozenset[int], _Path] = {}

    def errors(
        self, train: Iterable[int], test: Iterable[int]
    ) -> Float[np.ndarray, "alpha target"]:
        """Squared errors on the rows of some blocks, by models of the rows of others, at every penalty."""
        path, held = self._path(frozenset(train)), self._added(test)
        # Sums of the held-out rows about the means of the training rows.
        x = held.x - held.count * path.x_mean
        y = held.y - held.count * path.y_mean
        xx = held.xx - np.outer(held.x, path.x_mean) - np.outer(path.x_mean, x)
        xy = held.xy - np.outer(held.x, path.y_mean) - np.outer(path.x_mean, y)
        yy = held.yy - 2 * held.y * path.y_mean + held.count * path.y_mean**2
        # In the basis of the eigenvectors a penalty is a division.
        rotated_xx, rotated_xy = path.basis.T @ xx @ path.basis, path.basis.T @ xy
        shape = (len(path.values), len(self._alphas), held.y.size)
        weights = path.rotated[:, None] / (path.values[:, None] + self._alphas)[:, :, None]
        moved = (rotated_xx @ weights.reshape(shape[0], -1)).reshape(shape)
        return yy + (weights * (moved - 2 * rotated_xy[:, None])).sum(axis=0)

    def choose(self, train: Sequence[tuple[int, ...]]) -> Float[np.ndarray, " target"]:
        """The penalty of least squared error for each target, each group of blocks left out in turn."""
        every = {block for group in train for block in group}
        errors = sum(self.errors(every - set(group), group) for group in train)
        assert isinstance(errors, np.ndarray), "no blocks to choose a penalty on"
        return self._alphas[np.argmin(errors, axis=0)]

    def fit(self, train: Iterable[int], alphas: Float[np.ndarray, " target"]) -> Linear:
        """The model of the rows of some blocks, in the units of the design."""
        path = self._path(frozenset(train))
        coefficients = path.coefficients(alphas)
        x_mean, y_mean = path.x_mean + self._x_shift, path.y_mean + self._y_shift
        return Linear(coefficients, y_mean - x_mean @ coefficients, alphas)

    def _added(self, blocks: Iterable[int]) -> _Sums:
        first, *others = (self._sums[block] for block in sorted(blocks))
        for other in others:
            first = first + other
        return first

    def _path(self, train: frozenset[int]) -> _Path:
        if train not in self._paths:
            sums = self._added(train)
            x_mean, y_mean = sums.x / sums.count, sums.y / sums.count
            xx = sums.xx - np.outer(sums.x, x_mean)
            xy = sums.xy - np.outer(sums.x, y_mean)
            spread = np.sqrt(np.maximum(np.diag(xx), 0) / sums.count)
            scale = np.where(self._scaled & (spread > 0), spread, 1.0)
            values, vectors = eigh(xx / np.outer(scale, scale), driver="evd", check_finite=False)
            basis = vectors / scale[:, None]
            self._paths[train] = _Path(x_mean, y_mean, basis, np.maximum(values, 0), basis.T @ xy)
        return self._paths[train]


def held_out(
    design: Float[np.ndarray, "row feature"],
    targets: Float[np.ndarray, "row target"],
    outer: Int[np.ndarray, " row"],
    inner: Int[np.ndarray, " row"],
    alphas: Sequence[float],
    *,
    scaled: Bool[np.ndarray, " feature"],
    calibrating: bool = False,
) -> HeldOut:
    """Forecast every outer fold from the others, penalties chosen on the inner folds of those others alone.

    Args:
        design: Features of each row.
        targets: What is forecast.
        outer: Fold of each row; numbers from 0.
        inner: Inner fold of each row; may be `outer` again. Outside of any outer fold there are at least two.
        alphas: Penalties to choose from.
        scaled: Features brought to standard deviation 1.
        calibrating: Give `inner` forecasts too.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(60, 2))
        >>> folds = np.arange(60) % 5
        >>> found = held_out(x, x @ np.array([[1.0], [2.0]]), folds, folds, [1e-6], scaled=np.zeros(2, bool))
        >>> bool(np.allclose(found.predicted[:, 0], x @ [1, 2], atol=1e-5))
        True
    """
    pairs, blocks = np.unique(np.stack([outer, inner]), axis=1, return_inverse=True)
    blocks = blocks.ravel()
    ridge = Ridge(design, targets, blocks, alphas, scaled)
    predicted = np.full(targets.shape, np.nan)
    chosen, calibration = [], []
    for fold in np.unique(outer):
        others = np.flatnonzero(pairs[0] != fold)
        groups = [
            tuple(others[pairs[1][others] == part].tolist()) for part in np.unique(pairs[1][others])
        ]
        penalties = ridge.choose(groups)
        here = outer == fold
        predicted[here] = ridge.fit(others.tolist(), penalties)(design[here])
        chosen.append(penalties)
        if calibrating:
            calibration.append(_inner(ridge, design, blocks, groups, penalties))
    return HeldOut(predicted, np.array(chosen), tuple(calibration))


def fitted(
    design: Float[np.ndarray, "row feature"],
    targets: Float[np.ndarray, "row target"],
    folds: Int[np.ndarray, " row"],
    alphas: Sequence[float],
    *,
    scaled: Bool[np.ndarray, " feature"],
) -> Linear:
    """The model of all rows, with the penalty that forecasts folds left out in turn best."""
    ridge = Ridge(design, targets, folds, alphas, scaled)
    blocks = [int(fold) for fold in np.unique(folds)]
    return ridge.fit(blocks, ridge.choose([(block,) for block in blocks]))


class Compact(NamedTuple):
    """A design in no more coordinates than it has rows.

    Attributes:
        rows: `(design - mean) @ back`.
        mean: Of the rows of the design.
        back: Orthonormal columns.
    """

    rows: Float[np.ndarray, "row rank"]
    mean: Float[np.ndarray, " feature"]
    back: Float[np.ndarray, "feature rank"]

    def unfolded(self, model: Linear, extra: int = 0) -> Linear:
        """A model of these rows, and of `extra` features after them, as one of the design and of those."""
        own = len(model.coefficients) - extra
        coefficients = self.back @ model.coefficients[:own]
        intercept = model.intercept - self.mean @ coefficients
        both = np.concatenate([coefficients, model.coefficients[own:]])
        return Linear(both, intercept, model.alphas)


def compact(design: Float[np.ndarray, "row feature"]) -> Compact:
    """The same rows in fewer coordinates where there are fewer rows than features; distances stay as they are.

    Ridge regression is blind to rotations and shifts, so that nothing is lost.

    Examples:
        >>> found = compact(np.eye(3, 50))
        >>> found.rows.shape, found.back.shape
        ((3, 3), (50, 3))
    """
    design = np.asarray(design, dtype=float)
    mean = design.mean(axis=0)
    if design.shape[1] <= len(design):
        return Compact(design - mean, mean, np.eye(design.shape[1]))
    left, values, right = svd(design - mean, full_matrices=False)
    return Compact(left * values, mean, right.T)


def _inner(
    ridge: Ridge,
    design: np.ndarray,
    blocks: np.ndarray,
    groups: Sequence[tuple[int, ...]],
    penalties: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    every = {block for group in groups for block in group}
    rows, found = [], []
    for group in groups:
        here = np.flatnonzero(np.isin(blocks, group))
        rows.append(here)
        found.append(ridge.fit(every - set(group), penalties)(design[here]))
    return np.concatenate(rows), np.concatenate(found)
