"""One unit against its opposite: area under the ROC curve and d' along held-out directions.

A direction is the mean over training prompt folds of one side less that of the other. One product of each tested
reply with the mean of every training fold gives its projection under every relabelling of prompts.

Replies are compared within a split only, along one direction: same prompt fold, same question fold. Across splits
the prompt of one reply would have trained the direction of the other, which pushes areas below 0.5 where labels
mean nothing. Within a split, swapping what is tested turns an area of A into 1 - A, so that they give 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.statistics import known_mean

_CHUNK = 2**24


@dataclass(frozen=True, eq=False)
class Contrast:
    """Tested replies of one split on the means of training blocks, in one set of coordinates.

    A block is one side under one prompt fold; the blocks of the first side come first.

    Attributes:
        plus: Replies of the first side on the mean of each block, which is 0 for blocks without replies.
        minus: The same of the opposite side, for each prompt fold that may be held out of it.
        gram: Products of the means.
    """

    plus: Float[np.ndarray, "unit slot block"]
    minus: Float[np.ndarray, "fold unit slot block"]
    gram: Float[np.ndarray, "unit block block"]

    @classmethod
    def of(
        cls,
        plus: Float[np.ndarray, "unit slot d_model"],
        minus: Float[np.ndarray, "fold _ slot d_model"],
        means: Sequence[Float[np.ndarray, "fold _ d_model"]],
    ) -> Contrast:
        """From tested replies and fold means of both sides; the opposite may be the same for all units."""
        blocks = [np.broadcast_to(side, (len(side), *means[0].shape[1:])) for side in means]
        # unit, d_model, block
        across = np.ascontiguousarray(np.concatenate(blocks).transpose(1, 2, 0))
        return cls(plus @ across, minus @ across, across.swapaxes(1, 2) @ across)

    def projections(
        self,
        weights: Float[np.ndarray, "draw unit block"],
        held_out: Int[np.ndarray, "draw unit"],
    ) -> tuple[Float[np.ndarray, "draw unit slot"], Float[np.ndarray, "draw unit slot"]]:
        """Tested replies of both sides on the unit direction of every draw.

        Args:
            weights: See `block_weights`.
            held_out: Which fold of the opposite side is tested, by position in `minus`.
        """
        by_unit = weights.transpose(1, 2, 0)  # unit, block, draw
        squares = np.einsum("ubd,ubd->ud", by_unit, self.gram @ by_unit)
        scale = 1.0 / np.sqrt(np.maximum(squares, np.finfo(np.float32).tiny))
        plus = (self.plus @ by_unit * scale[:, None]).transpose(2, 0, 1)
        every = (self.minus @ by_unit * scale[:, None]).transpose(3, 1, 2, 0)
        return plus, taken(every, held_out)


def taken(
    values: Float[np.ndarray, "#draw #unit slot fold"], fold: Int[np.ndarray, "draw unit"]
) -> Float[np.ndarray, "draw unit slot"]:
    """The values of one fold for each draw and unit."""
    shape = (*fold.shape, *values.shape[2:])
    found = np.take_along_axis(np.broadcast_to(values, shape), fold[..., None, None], axis=-1)
    return found[..., 0]


def block_weights(
    sides: Float[np.ndarray, "draw unit block"], known: Bool[np.ndarray, "block unit"]
) -> Float[np.ndarray, "draw unit block"]:
    """What each training block counts in the difference of means; NaN where a side has no block.

    Args:
        sides: 1 or -1: which side a block is taken for; 0 if it is held out.
        known: Blocks with replies.

    Examples:
        >>> block_weights(np.array([[[1.0, 1.0, -1.0, -1.0, 0.0]]]), np.ones((5, 1), dtype=bool))
        array([[[ 0.5,  0.5, -0.5, -0.5,  0. ]]], dtype=float32)
    """
    first, second = (sides > 0) & known.T, (sides < 0) & known.T
    counts = [chosen.sum(axis=2, keepdims=True) for chosen in (first, second)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (first / counts[0] - second / counts[1]).astype(np.float32)


@dataclass(eq=False)
class Separation:
    """Collects areas and gaps of every split of a kind.

    Args:
        n_draws: Relabellings or directions.
        n_units: Roles or traits.
        n_prompt_folds: Of the grid.
        n_question_folds: Of the grid.
    """

    n_draws: int
    n_units: int
    n_prompt_folds: int
    n_question_folds: int
    _areas: Float[np.ndarray, "draw unit prompt_fold question_fold"] = field(init=False)
    _gaps: Float[np.ndarray, "draw unit prompt_fold question_fold"] = field(init=False)
    _noise: Float[np.ndarray, "draw unit prompt_fold question_fold"] = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.n_draws, self.n_units, self.n_prompt_folds, self.n_question_folds)
        self._areas, self._gaps, self._noise = (np.full(shape, np.nan) for _ in range(3))

    def add(
        self,
        cell: tuple[int, int],
        projections: tuple[np.ndarray, np.ndarray],
        known: tuple[np.ndarray, np.ndarray],
        signs: Float[np.ndarray, "draw unit"],
    ) -> None:
        """Add one split.

        Args:
            cell: Its prompt fold and question fold.
            projections: Of both sides [draw, unit, slot].
            known: Where there is a reply [draw or 1, unit, slot].
            signs: -1 where the sides are swapped.
        """
        place = (slice(None), slice(None), *cell)
        areas = areas_between(projections, known)
        self._areas[place] = 0.5 + signs * (areas - 0.5)
        means, noise = [], 0.0
        for values, there in zip(projections, known, strict=True):
            count = there.sum(axis=-1)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = np.where(there, values, 0.0).sum(axis=-1) / count
                away = np.where(there, values - mean[..., None], 0.0)
                noise = noise + np.einsum("dus,dus->du", away, away) / count
            means.append(mean)
        self._gaps[place] = signs * (means[0] - means[1])
        self._noise[place] = noise

    def areas(self) -> Float[np.ndarray, "draw unit question_fold"]:
        """Mean over prompt folds of the area within each split."""
        return known_mean(self._areas, axis=2)

    def d_prime(self) -> Float[np.ndarray, "draw unit question_fold"]:
        """Mean gap of the two sides over prompt folds, over the root of the mean of their variances.

        What questions do to both sides alike is no variance here, as it is none for the area. The variance of
        the difference of two single replies is that of the gap over question folds, plus the share of the
        variance within cells that averaging over the replies of a cell has taken away: SS / n of each side.
        """
        known = np.isfinite(self._gaps)
        n_cells = known.sum(axis=3)
        center = known_mean(self._gaps, axis=3)[..., None]
        squares = np.where(known, self._gaps - center, 0.0) ** 2
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = squares.sum(axis=3) / (n_cells - 1) + known_mean(self._noise, axis=3)
            variance[n_cells < 2] = np.nan
            pooled = known_mean(variance, axis=2)[..., None] / 2
            gap = known_mean(self._gaps, axis=2)
            return np.where(pooled > 0, gap / np.sqrt(pooled), np.nan)


def areas_between(
    projections: tuple[np.ndarray, np.ndarray], known: tuple[np.ndarray, np.ndarray]
) -> Float[np.ndarray, "draw unit"]:
    """Probability that a value of the first side lies above one of the second, ties half; NaN without both.

    Examples:
        >>> areas_between((np.array([[[3.0, 1.0]]]), np.array([[[2.0, 0.0]]])),
        ...               (np.ones((1, 1, 2), dtype=bool), np.ones((1, 1, 2), dtype=bool)))
        array([[0.75]])
    """
    plus, minus = projections
    n_draws, n_units = plus.shape[:2]
    size = max(1, _CHUNK // (n_units * plus.shape[2] * minus.shape[2]))
    above, pairs = np.empty((n_draws, n_units)), np.empty((n_draws, n_units))
    for start in range(0, n_draws, size):
        rows = slice(start, start + size)
        there, other = (side[rows] if len(side) > 1 else side for side in known)
        weights = there[..., :, None] & other[..., None, :]
        first, second = plus[rows, ..., :, None], minus[rows, ..., None, :]
        higher = ((first > second) & weights).sum(axis=(-2, -1))
        ties = ((first == second) & weights).sum(axis=(-2, -1))
        above[rows] = higher + ties / 2
        pairs[rows] = weights.sum(axis=(-2, -1))
    # A direction that is unknown has projections that are: comparisons with NaN are false.
    unknown = (pairs == 0) | np.isnan(plus).any(axis=-1) | np.isnan(minus).any(axis=-1)
    return np.where(unknown, np.nan, above / np.maximum(pairs, 1))
