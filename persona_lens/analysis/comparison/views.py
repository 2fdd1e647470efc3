"""One space as a comparison sees it: every matrix that a measure needs, for the shared units at every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persona_lens.analysis.comparison.pairs import centred_gram, cosines
from persona_lens.analysis.comparison.procrustes import reduced
from persona_lens.space import Space
from persona_lens.statistics.pca import Spectrum, unit


@dataclass(frozen=True, eq=False)
class View:
    """The shared roles, or the shared traits, of one space.

    Attributes:
        places: Of roles the projection on the axis (paper section 4.1), of traits, which are differences, the
            cosine with it (section 3.1).
        loadings: Cosine of each centred vector with the components of its kind (section 3). They are the
            space's own: of all its roles or traits, shared or not.
        cosines: Cosine of every pair, roles centred on the mean of those shared.
        grams: Inner product of every pair, centred as unbiased CKA wants it.
        scores: Coordinates on the leading components of the shared units.
    """

    places: Float[np.ndarray, "layer unit"]
    loadings: Float[np.ndarray, "layer unit component"]
    cosines: Float[np.ndarray, "layer unit unit"]
    grams: Float[np.ndarray, "layer unit unit"]
    scores: Float[np.ndarray, "layer unit score"]

    @classmethod
    def of(
        cls,
        space: Space,
        kind: str,
        rows: Sequence[int],
        at: Sequence[int],
        n_components: int,
    ) -> View:
        """See a space.

        Args:
            space: A fitted space.
            kind: `role` or `trait`.
            rows: The shared units in its table.
            at: Places of the layers in its arrays.
            n_components: Components; fewer where there are fewer.
        """
        looked = [_layer(space, kind, list(rows), place, n_components) for place in at]
        return cls(*(np.stack(parts) for parts in zip(*looked, strict=True)))


def _layer(
    space: Space, kind: str, rows: list[int], place: int, n_components: int
) -> tuple[np.ndarray, ...]:
    vectors = space.table.values[rows, place].astype(np.float64)
    axis = unit(space.axis_[place])
    centred = vectors - vectors.mean(axis=0)
    is_role = kind == "role"
    return (
        (vectors if is_role else unit(vectors)) @ axis,
        (_role_loadings if is_role else _trait_loadings)(space, rows, place, n_components),
        cosines(centred if is_role else vectors),
        centred_gram(vectors),
        reduced(vectors),
    )


def _role_loadings(
    space: Space, rows: list[int], place: int, n_components: int
) -> Float[np.ndarray, "unit component"]:
    view = space.at(space.layers_[place])
    return unit(view.coordinates(view.values(rows))) @ view.components[:n_components].T


def _trait_loadings(
    space: Space, rows: list[int], place: int, n_components: int
) -> Float[np.ndarray, "unit component"]:
    values = space.table.values[:, place].astype(np.float64)
    everyone = values[space.table.trait_rows()]
    mean = everyone.mean(axis=0)
    centred = everyone - mean
    spectrum = Spectrum.of_gram(centred @ centred.T, space.table.d_model)
    return unit(values[rows] - mean) @ spectrum.components(centred, n_components).T
