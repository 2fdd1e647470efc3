"""One half of the questions learnt from, the other tried: what every dictionary explains of the roles.

Everything comes from inner products: of atoms with atoms, and with the roles of either half.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.analysis.composition.dictionaries import (
    Atoms,
    component_atoms,
    mixtures,
    principal_coordinates,
)
from persona_lens.analysis.composition.halves import Half
from persona_lens.analysis.composition.paths import lasso, nonnegative, path_products
from persona_lens.analysis.composition.sparse import omp, shared_omp

Method = Literal["omp", "nnls", "lasso"]
HeldOut = Literal["questions", "roles"]

Products = tuple[Float[np.ndarray, "role size"], Float[np.ndarray, "role size"]]
"""<x̂, y> and <x̂, x̂> of approximations x̂ with 1, 2, ... atoms and the same roles y from the other half."""

Found = dict[tuple[HeldOut, Method], Products]


@dataclass(frozen=True, eq=False)
class Reference:
    """What approximations are compared with; zero for a role without replies in one of the halves.

    Attributes:
        norms: |y|² of the roles from the other half.
        repeats: <x, y>.
        misses: |y - x|².
    """

    norms: Float[np.ndarray, " role"]
    repeats: Float[np.ndarray, " role"]
    misses: Float[np.ndarray, " role"]

    @classmethod
    def of(
        cls, roles: Float[np.ndarray, "role d_model"], others: Float[np.ndarray, "role d_model"]
    ) -> Reference:
        """Of the roles from both halves."""
        return cls(
            (others**2).sum(axis=1),
            (others * roles).sum(axis=1),
            ((others - roles) ** 2).sum(axis=1),
        )


class Side:
    """The roles of one layer, from the half that is learnt from and from the other.

    Args:
        half: See `persona_lens.analysis.composition.halves`.
        parts: The part in which each role is held out.
        methods: How approximations that are a role's own are found.
        k: Largest size.
    """

    def __init__(
        self, half: Half, parts: Int[np.ndarray, " role"], methods: Sequence[Method], k: int
    ) -> None:
        self.half = half
        self.methods = tuple(methods)
        self.k = k
        self.groups = [
            ((parts == part) & half.known, (parts != part) & half.known)
            for part in range(int(parts.max()) + 1)
        ]

    @cached_property
    def references(self) -> dict[HeldOut, Reference]:
        """About the mean of all roles where questions are held out; of those in training where roles are."""
        about_training = np.zeros((2, *self.half.roles.shape))
        for test, training in self.groups:
            for place, values in enumerate((self.half.roles, self.half.others)):
                about_training[place, test] = _about(values, training)[test]
        return {
            "questions": Reference.of(self.half.roles, self.half.others),
            "roles": Reference.of(about_training[0], about_training[1]),
        }

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """Of the traits, see `principal_coordinates`."""
        return principal_coordinates(self.half.traits)

    def of_atoms(self, atoms: Atoms, *, slow: bool) -> Found:
        """What a dictionary that knows nothing of the roles explains.

        Args:
            atoms: Unit vectors, or zero.
            slow: By the methods that take long, too.
        """
        gram, learnt, tried = atoms @ atoms.T, self.half.roles @ atoms.T, self.half.others @ atoms.T
        found: Found = {
            ("questions", method): _own(method, gram, learnt, tried, self.k)
            for method in self._used(slow)
        }
        found["roles", "omp"] = self._joined(
            (group[0], _others(gram, learnt, tried, group, self.k)) for group in self.groups
        )
        return found

    def of_mixtures(self, drawn: Float[np.ndarray, "atom role"], *, slow: bool) -> Found:
        """What random mixtures of the roles explain: for each part of the roles, mixtures of the other parts.

        Args:
            drawn: Standard normal.
            slow: By the methods that take long, too.
        """
        parts: dict[tuple[HeldOut, Method], list[tuple[np.ndarray, Products]]] = {}
        within, across = self._gram
        for test, training in self.groups:
            weights = mixtures(drawn, training)
            learnt = within @ weights.T
            gram = weights @ learnt
            lengths = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
            gram, learnt = gram / np.outer(lengths, lengths), learnt / lengths
            tried = across.T @ weights.T / lengths
            for method in self._used(slow):
                own = _own(method, gram, learnt[test], tried[test], self.k)
                parts.setdefault(("questions", method), []).append((test, own))
            others = _others(gram, learnt, tried, (test, training), self.k)
            parts.setdefault(("roles", "omp"), []).append((test, others))
        return {key: self._joined(some) for key, some in parts.items()}

    def of_components(self) -> Found:
        """What the first principal components of the roles explain: of all, and of those in training."""
        half = self.half
        parts = []
        for test, training in self.groups:
            atoms = component_atoms(half.roles, training, self.k)
            roles, others = _about(half.roles, training), _about(half.others, training)
            parts.append((test, _projected(atoms, roles[test], others[test])))
        atoms = component_atoms(half.roles, half.known, self.k)
        return {
            ("questions", "omp"): _projected(atoms, half.roles, half.others),
            ("roles", "omp"): self._joined(parts),
        }

    @cached_property
    def _gram(self) -> tuple[Float[np.ndarray, "role role"], Float[np.ndarray, "role role"]]:
        """<x, x> and <x, y> of every pair of roles."""
        return self.half.roles @ self.half.roles.T, self.half.roles @ self.half.others.T

    def _used(self, slow: bool) -> tuple[Method, ...]:
        return tuple(method for method in self.methods if slow or method == "omp")

    def _joined(self, parts: Iterable[tuple[Bool[np.ndarray, " role"], Products]]) -> Products:
        """Every role from the part it was held out in, in as many sizes as all parts have."""
        parts = list(parts)
        width = min(along.shape[1] for _, (along, _) in parts)
        joined = np.zeros((2, len(self.half.known), width))
        for test, (along, squares) in parts:
            joined[0, test], joined[1, test] = along[:, :width], squares[:, :width]
        return joined[0], joined[1]


def _own(
    method: Method,
    gram: Float[np.ndarray, "atom atom"],
    learnt: Float[np.ndarray, "role atom"],
    tried: Float[np.ndarray, "role atom"],
    k: int,
) -> Products:
    """Each role from atoms of its own."""
    if method == "omp":
        return omp(gram, learnt, k).products(tried)
    path = (nonnegative if method == "nnls" else lasso)(gram, learnt, k)
    return path_products(path, gram, tried)


def _others(
    gram: Float[np.ndarray, "atom atom"],
    learnt: Float[np.ndarray, "role atom"],
    tried: Float[np.ndarray, "role atom"],
    group: tuple[Bool[np.ndarray, " role"], Bool[np.ndarray, " role"]],
    k: int,
) -> Products:
    """The roles tested, first of the group, from atoms chosen for those in training, second."""
    test, training = group
    pursuit = shared_omp(gram, _about(learnt, training), k, training)
    along, squares = pursuit.products(_about(tried, training))
    return along[test], squares[test]


def _about(values: np.ndarray, training: Bool[np.ndarray, " role"]) -> np.ndarray:
    """Vectors, or their products with atoms, centred on the mean of the roles in training."""
    return values - values[training].mean(axis=0)


def _projected(
    atoms: Atoms,
    roles: Float[np.ndarray, "role d_model"],
    others: Float[np.ndarray, "role d_model"],
) -> Products:
    """Of the projections of the roles on the first 1, 2, ... of orthonormal atoms."""
    scores = roles @ atoms.T
    return np.cumsum(scores * (others @ atoms.T), axis=1), np.cumsum(scores**2, axis=1)
