"""Which few traits compose a role, or which few roles a trait.

explain(space, "pirate", layer=15, k=5)              # weights, shares, and what holds on other questions
composed_direction(space, "pirate", layer=15, k=5)   # their weighted sum, to steer with
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student_t

from persona_lens.analysis.composition.halves import (
    FEWEST_FOLDS,
    half_mean,
    question_halves,
    rows_of,
)
from persona_lens.analysis.composition.paths import lasso, nonnegative
from persona_lens.analysis.composition.sides import Method
from persona_lens.analysis.composition.sparse import Pursuit, omp, pursued
from persona_lens.errors import SpaceError
from persona_lens.interventions import Direction
from persona_lens.spelling import check_choice
from persona_lens.statistics.pca import unit

if TYPE_CHECKING:
    from persona_lens.space import Space
    from persona_lens.vectors.table import VectorTable


By = Literal["traits", "roles"]
BY = ("traits", "roles")

_HALVINGS = 10


def explain(
    space: Space,
    name: str,
    layer: int,
    *,
    k: int = 5,
    method: Method = "omp",
    by: By = "traits",
) -> pd.DataFrame:
    """The few traits that compose a role, in the order they are chosen.

    The role's vector is centred on the mean of the roles. Whatever the method that chooses, weights and shares are
    of least squares over the traits chosen. Noise in the trait vectors shrinks weights, which their intervals do
    not allow for.

    Args:
        space: With roles and traits; with folds of the questions for everything that is held out.
        name: Of the role; of the trait where `by="roles"`.
        layer: Block.
        k: Traits at most.
        method: How they are chosen: `omp`, `nnls` (weights >= 0) or `lasso`.
        by: `traits` for a role; `roles` for a trait, from centred roles.

    Returns:
        One row a step: `trait` (or `role`); `weight` on its unit vector, in units of the residual stream, with
        `low` and `high` (95 % t interval over folds of the questions, at least three, the choice taken as given);
        `cosine` with the role; `share` of its squared norm explained after this step; `held_out`, the R² of as
        many steps repeated on one half of the questions, choice and all, for the role from the other half;
        `chosen`, the share of halves that choose this trait among their k. What is held out is NaN where folds are
        not known.

    Raises:
        SpaceError: Unknown name, layer or method, no traits.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> found = explain(space, "pirate", layer=15, k=2)
        >>> found["trait"].tolist(), found["weight"].round().tolist()
        (['calculating', 'epicurean'], [-6.0, 5.0])
    """
    case = _Case.of(space, name, layer, by)
    target, atoms = case.whole()
    place = _choose(method, target, atoms, k)
    pursuit = _fit(target, atoms, place)
    squares = pursuit.products(target @ atoms.T)[1][0]
    names = [case.table.names[case.pool[atom]] for atom in place]
    low, high = case.interval(pursuit.weights()[0], place)
    held_out, chosen = case.held_out(method, k)
    return pd.DataFrame(
        {
            by.removesuffix("s"): names,
            "weight": pursuit.weights()[0],
            "low": low,
            "high": high,
            "cosine": (unit(target) @ atoms[place].T)[0],
            "share": squares / max(float((target**2).sum()), np.finfo(float).tiny),
            "held_out": held_out[: len(place)],
            "chosen": chosen[place],
        }
    )


def composed_direction(
    space: Space, name: str, layer: int, *, k: int = 5, method: Method = "omp"
) -> Direction:
    """The weighted sum of the traits that `explain` finds, as a direction at that layer.

    Raises:
        SpaceError: As for `explain`, or no trait is chosen.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> composed_direction(space, "pirate", layer=15, k=2).name
        '- calculating + epicurean'
    """
    case = _Case.of(space, name, layer, "traits")
    target, atoms = case.whole()
    place = _choose(method, target, atoms, k)
    if not len(place):
        raise SpaceError(f"no trait points towards {name!r}", remedy='use method="omp"')
    weights = _fit(target, atoms, place).weights()[0]
    names = [case.table.names[case.pool[atom]] for atom in place]
    signs = ["-" if weight < 0 else "+" for weight in weights]
    text = " ".join(f"{sign} {name}" for sign, name in zip(signs, names, strict=True))
    block = case.table.layers[case.place]
    values = (weights @ atoms[place])[None]
    return Direction(text.removeprefix("+ "), (block,), values, origin=space.origin)


@dataclass(frozen=True, eq=False)
class _Case:
    """A vector and those it may be composed of, at one layer.

    Attributes:
        table: Where they are.
        row: Of the vector.
        pool: Rows of those it may be composed of.
        roles: Rows of the roles, on whose mean roles are centred.
        place: Of the layer.
    """

    table: VectorTable
    row: int
    pool: list[int]
    roles: list[int]
    place: int

    @classmethod
    def of(cls, space: Space, name: str, layer: int, by: By) -> _Case:
        roles, traits = rows_of(space.table)
        check_choice(by, BY, "nothing to compose from", error=SpaceError)
        own, pool = (roles, traits) if by == "traits" else (traits, roles)
        found = space.named(name, "role" if by == "traits" else "trait")
        if found.row not in own:
            raise SpaceError(
                f"{name!r} is not among the vectors that are composed",
                expected="a role of the axis" if by == "traits" else "a trait",
                remedy="in a judged space these are the roles with replies fully in role",
            )
        return cls(space.table, found.row, pool, roles, space.layer_index(layer))

    def whole(self) -> tuple[Float[np.ndarray, "1 d_model"], Float[np.ndarray, "atom d_model"]]:
        """The vector, and the others at unit length, from all replies."""
        return self._centred(self.table.values[:, self.place].astype(np.float64))

    def half(
        self, folds: Bool[np.ndarray, " fold"]
    ) -> tuple[Float[np.ndarray, "1 d_model"], Float[np.ndarray, "atom d_model"]]:
        """The same from some folds of the questions; NaN where the vector has no replies, zero for the others."""
        assert self.table.folds is not None
        target, atoms = self._centred(half_mean(self.table.folds[:, :, self.place], folds))
        return target, np.nan_to_num(atoms)

    def _centred(
        self, values: Float[np.ndarray, "vector d_model"]
    ) -> tuple[Float[np.ndarray, "1 d_model"], Float[np.ndarray, "atom d_model"]]:
        roles = values[self.roles]
        mean = roles[np.isfinite(roles[:, 0])].mean(axis=0)
        kinds = self.table.kinds

        def differences(rows: list[int]) -> Float[np.ndarray, "row d_model"]:
            return np.stack([values[row] - (mean if kinds[row] == "role" else 0.0) for row in rows])

        return differences([self.row]), unit(differences(self.pool))

    def interval(
        self, weights: Float[np.ndarray, " chosen"], place: Int[np.ndarray, " chosen"]
    ) -> tuple[Float[np.ndarray, " chosen"], Float[np.ndarray, " chosen"]]:
        """Weights give or take their t interval over the folds."""
        unknown = np.full(len(weights), np.nan)
        if self.table.folds is None:
            return unknown, unknown
        each = []
        for fold in np.eye(self.table.folds.shape[1], dtype=bool):
            target, atoms = self.half(fold)
            if np.isfinite(target).all() and atoms[place].any(axis=1).all():
                each.append(_fit(target, atoms, place).weights()[0])
        if len(each) < FEWEST_FOLDS:
            return unknown, unknown
        error = np.std(each, axis=0, ddof=1) / np.sqrt(len(each))
        margin = student_t.ppf(0.975, len(each) - 1) * error
        return weights - margin, weights + margin

    def held_out(
        self, method: Method, k: int
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " atom"]]:
        """R² on the other half of the questions by number of steps, and how often each atom is chosen."""
        nothing = np.full(k, np.nan), np.full(len(self.pool), np.nan)
        if self.table.folds is None or self.table.folds.shape[1] < 2:
            return nothing
        errors, norms, chosen = [], [], []
        for split in question_halves(self.table.folds.shape[1], _HALVINGS):
            views = [self.half(split), self.half(~split)]
            if not all(np.isfinite(target).all() for target, _ in views):
                continue
            for (target, atoms), (other, _) in (views, views[::-1]):
                place = _choose(method, target, atoms, k)
                cross, squares = _fit(target, atoms, place).products(other @ atoms.T)
                error = (other**2).sum() + np.append(0.0, squares[0] - 2 * cross[0])
                steps = np.minimum(np.arange(1, k + 1), len(place))  # fewer may be all there are
                errors.append(error[steps])
                norms.append((other**2).sum())
                chosen.append(np.isin(np.arange(len(self.pool)), place))
        if not norms:
            return nothing
        return 1 - np.sum(errors, axis=0) / np.sum(norms), np.mean(chosen, axis=0)


def _choose(
    method: Method,
    target: Float[np.ndarray, "1 d_model"],
    atoms: Float[np.ndarray, "atom d_model"],
    k: int,
) -> Int[np.ndarray, " chosen"]:
    """Places of the atoms a method weighs, in the order they enter."""
    if k < 1:
        raise SpaceError("a composition needs parts", expected="k of at least 1", given=k)
    gram, products = atoms @ atoms.T, target @ atoms.T
    if method == "omp":
        found = omp(gram, products, k)
        return found.atoms[0][found.scores[0] != 0]
    check_choice(method, ("omp", "nnls", "lasso"), "unknown method", error=SpaceError)
    path = (nonnegative if method == "nnls" else lasso)(gram, products, k)[:, 0]
    kept = np.flatnonzero(path[-1])
    return kept[np.argsort((path[:, kept] != 0).argmax(axis=0), kind="stable")]


def _fit(
    target: Float[np.ndarray, "1 d_model"],
    atoms: Float[np.ndarray, "atom d_model"],
    place: Int[np.ndarray, " chosen"],
) -> Pursuit:
    return pursued(atoms @ atoms.T, target @ atoms.T, place)
