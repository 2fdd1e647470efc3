"""Halves of the questions: vectors to learn from, and the same vectors from other questions to be tried on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from persona_lens.errors import SpaceError
from persona_lens.statistics import even_splits
from persona_lens.statistics.pca import unit
from persona_lens.vectors.table import VectorTable

FEWEST_FOLDS = 3
"""For an interval over folds: with two, that of Student's t is as wide as whatever it is about."""


def question_halves(n_folds: int, at_most: int, seed: int = 0) -> Bool[np.ndarray, "halving fold"]:
    """Which folds of the questions make the first half; some of the even splits, each once.

    Args:
        n_folds: Folds there are.
        at_most: Splits wanted; drawn at random where there are more.
        seed: Of that draw.

    Examples:
        >>> question_halves(2, at_most=4)
        array([[ True, False]])
        >>> len(question_halves(6, at_most=4))
        4
    """
    splits = even_splits(n_folds)
    rng = np.random.default_rng(seed)
    return splits[np.sort(rng.choice(len(splits), min(at_most, len(splits)), replace=False))]


@dataclass(frozen=True, eq=False)
class Half:
    """Vectors of one layer to learn from, and the roles again from the other half of the questions.

    Attributes:
        roles: From this half, centred on their mean; a role without replies in one of the halves is zero.
        others: The same roles from the other half, centred on theirs.
        known: Roles with replies in both halves.
        traits: Unit vectors from this half; zero where a trait has no replies in it.
    """

    roles: Float[np.ndarray, "role d_model"]
    others: Float[np.ndarray, "role d_model"]
    known: Bool[np.ndarray, " role"]
    traits: Float[np.ndarray, "trait d_model"]


def halves(
    table: VectorTable,
    roles: Sequence[int],
    traits: Sequence[int],
    layer: int,
    splits: Bool[np.ndarray, "halving fold"],
) -> Iterator[Half]:
    """Both halves of every split in turn: learn from the first and try on the second, then the other way.

    Args:
        table: With folds.
        roles: Rows of the roles.
        traits: Rows of the traits.
        layer: Place of the layer in the table.
        splits: See `question_halves`.
    """
    folds = known_folds(table)
    of_roles = folds[list(roles), :, layer].astype(np.float64)
    of_traits = folds[list(traits), :, layer].astype(np.float64)
    for split in splits:
        both = [half_mean(of_roles, half) for half in (split, ~split)]
        known = np.isfinite(both[0][:, 0]) & np.isfinite(both[1][:, 0])
        centred = [np.where(known[:, None], x - x[known].mean(axis=0), 0.0) for x in both]
        for side, half in enumerate((split, ~split)):
            atoms = np.nan_to_num(unit(half_mean(of_traits, half)))
            yield Half(centred[side], centred[1 - side], known, atoms)


def half_mean(
    folds: Float[np.ndarray, "vector fold d_model"], half: Bool[np.ndarray, " fold"]
) -> Float[np.ndarray, "vector d_model"]:
    """Mean over the folds of a half that are not empty; NaN where all of them are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of vectors without any reply in this half
        return np.nanmean(folds[:, half], axis=1)


def known_folds(table: VectorTable) -> Float[np.ndarray, "vector fold layer d_model"]:
    """The folds of a table.

    Raises:
        SpaceError: There are none, or only one.
    """
    if table.folds is None or table.folds.shape[1] < 2:
        raise SpaceError(
            "nothing to hold out: the folds of the questions are not known",
            expected="vectors from at least two folds of the questions",
            given="none" if table.folds is None else table.folds.shape[1],
            remedy="use a space of a run: PersonaSpace.from_run(run).fit()",
        )
    return table.folds


def rows_of(table: VectorTable) -> tuple[list[int], list[int]]:
    """Rows of the roles that the axis is made of, and of the traits.

    Raises:
        SpaceError: No trait, or fewer than three roles.
    """
    roles, traits = table.axis_rows(), table.trait_rows()
    if len(roles) < 3 or not traits:
        raise SpaceError(
            "roles and traits are both needed",
            expected="at least 3 roles and 1 trait",
            given=f"{len(roles)} and {len(traits)}",
            remedy='collect with roles="core", traits="core"',
        )
    return roles, traits
