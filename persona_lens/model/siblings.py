"""Whether two models are tunes of one another: the cosine of their weights, matrix by matrix.

    similarity = weight_similarity(base, instruct)
    similarity.cosine, similarity.null        # siblings: near one; strangers of the same shape: near zero

Fine-tuning moves weights little against their size, and training anew shares nothing with them, so this tells a
sibling from a stranger where names do not. Samples of every matrix are compared, not all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from persona_lens.errors import ModelError

if TYPE_CHECKING:
    from persona_lens.model.loaded import LoadedModel

SAMPLES = 4096
"""Weights of each matrix that are looked at, evenly spaced."""


@dataclass(frozen=True)
class WeightSimilarity:
    """How alike two models' weights are.

    Attributes:
        cosine: Median over matrices.
        low: That of the least alike matrix.
        null: 95 % of matrices have a smaller |cosine| when the weights of one are shuffled.
        matrices: How many have the same name and shape in both.
    """

    cosine: float
    low: float
    null: float
    matrices: int

    @property
    def related(self) -> bool:
        """Whether most matrices are more alike than chance, and than halfway to the same."""
        return self.cosine > max(0.5, self.null)


def weight_similarity(one: LoadedModel, other: LoadedModel, *, seed: int = 0) -> WeightSimilarity:
    """Cosines of the matrices that both models have.

    Args:
        one: A model.
        other: Another, held in the same way.
        seed: Of the shuffles.

    Raises:
        ModelError: They have no matrix of one name and shape.
    """
    mine, theirs = (model.held.backend.module.state_dict() for model in (one, other))
    pairs = [
        (_sample(weight), _sample(theirs[name]))
        for name, weight in mine.items()
        if _is_matrix(weight)
        and _is_matrix(theirs.get(name))
        and weight.shape == theirs[name].shape
    ]
    if not pairs:
        raise ModelError(
            "these two models have no weights in common that could be compared",
            expected="matrices of the same names and shapes, not packed",
            given=f"{type(one.held.backend.module).__name__} and {type(other.held.backend.module).__name__}",
        )
    rng = np.random.default_rng(seed)
    cosines = np.array([_cosine(a, b) for a, b in pairs])
    shuffled = np.array([_cosine(a, rng.permutation(b)) for a, b in pairs])
    return WeightSimilarity(
        float(np.median(cosines)),
        float(cosines.min()),
        float(np.quantile(np.abs(shuffled), 0.95)),
        len(pairs),
    )


def _is_matrix(weight: object) -> bool:
    return isinstance(weight, Tensor) and weight.ndim == 2 and weight.is_floating_point()


def _sample(weight: Tensor) -> Float[np.ndarray, " sample"]:
    flat = weight.detach().reshape(-1)
    step = max(1, flat.numel() // SAMPLES)
    return flat[::step].float().cpu().numpy().astype(np.float64)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
