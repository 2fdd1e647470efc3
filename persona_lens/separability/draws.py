"""What is redrawn for the nulls: the same draws at every layer, so that a draw has a curve over layers too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from persona_lens.separability.design import Design

N_HALVINGS = 6


@dataclass(frozen=True, eq=False)
class Draws:
    """Relabellings of one kind; draw 0 leaves everything as it is.

    Attributes:
        labels: Whose prompts each unit gets, within each prompt fold: the replies to a prompt stay together.
        sides: 1 or -1: which side the replies of each side are taken for, under each prompt fold. The sides of
            a trait are swapped pair by pair. The prompts of a role and those of the default are dealt to two
            sides of equal size; the default's prompts go the same way for all roles, who share their noise.
        partners: The prompt fold of the opposite that is held out with each prompt fold of a unit, always one
            taken for the other side.
        directions: Random directions, one a column.
        halvings: For each halving, prompt folds and question folds of the first half; the rest are the second.
    """

    labels: Int[np.ndarray, "draw prompt_fold unit"]
    sides: Float[np.ndarray, "draw unit side prompt_fold"]
    partners: Int[np.ndarray, "draw unit prompt_fold"]
    directions: Float[np.ndarray, "d_model random"]
    halvings: tuple[tuple[np.ndarray, np.ndarray], ...]

    @classmethod
    def of(cls, design: Design, d_model: int, n_shuffles: int, n_random: int, seed: int) -> Draws:
        """Draw them."""
        rng = np.random.default_rng([seed, len(design.kind), len(design.names)])
        n_units, n_prompts = len(design.names), design.n_prompt_folds
        labels = np.tile(np.arange(n_units), (1 + n_shuffles, n_prompts, 1))
        labels[1:] = rng.permuted(labels[1:], axis=2)
        sides = np.ones((1 + n_shuffles, n_units, 2, n_prompts), dtype=np.float32)
        sides[:, :, 1] = -1.0
        deal = _swapped_pairs if design.kind == "trait" else _dealt_prompts
        sides[1:] = deal(n_shuffles, n_units, n_prompts, rng)
        partners = np.tile(np.arange(n_prompts), (1 + n_shuffles, n_units, 1))
        if design.kind == "role":
            partners[1:] = _partners(sides[1:], rng)
        halvings = tuple(
            (_half(n_prompts, rng), _half(design.n_question_folds, rng)) for _ in range(N_HALVINGS)
        )
        directions = rng.standard_normal((d_model, n_random), dtype=np.float32)
        return cls(labels, sides, partners, directions, halvings)


def _half(n: int, rng: np.random.Generator) -> Int[np.ndarray, " fold"]:
    """Half of the folds, rounded down."""
    return np.sort(rng.permutation(n)[: n // 2])


def _swapped_pairs(
    n_draws: int, n_units: int, n_prompts: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw unit side prompt_fold"]:
    """Each pair as it is or swapped."""
    first = rng.choice([-1.0, 1.0], size=(n_draws, n_units, n_prompts))
    return np.stack([first, -first], axis=2)


def _dealt_prompts(
    n_draws: int, n_units: int, n_prompts: int, rng: np.random.Generator
) -> Float[np.ndarray, "draw unit side prompt_fold"]:
    """Half of the prompts of a unit and of its opposite together to each side, every deal as likely."""
    both = np.repeat([1.0, -1.0], n_prompts)
    opposite = rng.permuted(np.tile(both, (n_draws, 1)), axis=1)[:, :n_prompts]
    n_swapped = (opposite > 0).sum(axis=1)
    own = np.where(np.arange(n_prompts) < n_swapped[:, None], -1.0, 1.0)
    own = rng.permuted(np.repeat(own[:, None], n_units, axis=1), axis=2)
    return np.stack([own, np.repeat(opposite[:, None], n_units, axis=1)], axis=2)


def _partners(
    sides: Float[np.ndarray, "draw unit side prompt_fold"], rng: np.random.Generator
) -> Int[np.ndarray, "draw unit prompt_fold"]:
    """For each prompt fold of a unit one of the opposite with the other sign, drawn at random."""
    own, opposite = (
        np.argsort(sides[:, :, side] * sign + rng.uniform(0, 0.5, sides[:, :, side].shape), axis=-1)
        for side, sign in ((0, 1.0), (1, -1.0))
    )
    found = np.empty_like(own)
    np.put_along_axis(found, own, opposite, axis=-1)
    return found
