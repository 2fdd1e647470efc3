"""How traits lie to the Assistant Axis, to the components and to the roles, by cosine.

trait_view(space, layer=15)                       # every trait against the axis, with intervals and nulls
aligned(space, layer=15, k=10)                    # those most aligned with either end
trait_view(space, against="roles", layer=15)      # a trait by role table, for a heat map
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import beta
from scipy.stats import t as student_t

from persona_lens.analysis.composition.halves import FEWEST_FOLDS, rows_of
from persona_lens.errors import SpaceError
from persona_lens.statistics import fdr, permutation_p, to_z
from persona_lens.statistics.pca import Spectrum, unit

if TYPE_CHECKING:
    from persona_lens.space import Space

Against = Literal["axis", "components", "roles"]

NULL_DRAWS = 4999


def trait_view(
    space: Space,
    *,
    against: Against = "axis",
    layer: int | None = None,
    n_components: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Cosine of every trait with the axis, with the first components, or with every role.

    Positive is towards the Assistant (axis and components) or towards the role, whose vector is centred on the
    mean of the roles; a trait vector is positive minus negative.

    Args:
        space: Fitted, with traits.
        against: `axis`, `components` or `roles`.
        layer: Block; every layer by default.
        n_components: How many of the components.
        seed: Of the null draws.

    Returns:
        `layer`, `trait`, `target`, `cosine`. Against the axis also `low` and `high` (95 % t interval over folds
        of the questions on the scale of arctanh; NaN where fewer than three are known) and three columns about
        chance: `p_random`, two-sided, for isotropic random directions; `p_matched`, for directions drawn with the
        covariance of the role vectors; and `q`, the false discovery rate of the latter within the layer. The axis
        itself is a main direction of the roles, so that most directions of their space have a sizeable cosine
        with it: the isotropic null calls nearly everything significant and says little.

    Raises:
        SpaceError: Not fitted, no traits, no such layer or component.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> trait_view(space, layer=15).columns.tolist()
        ['layer', 'trait', 'target', 'cosine', 'low', 'high', 'p_random', 'p_matched', 'q']
    """
    roles, traits = rows_of(space.table)
    blocks = space.direction("axis", layers=layer).layers
    names = np.array([space.table.names[row] for row in traits], dtype=object)
    if against == "axis":
        drawn = np.random.default_rng(seed).standard_normal((NULL_DRAWS, len(roles)))
        return pd.concat(
            [_against_axis(space, block, roles, traits, drawn) for block in blocks],
            ignore_index=True,
        )
    if against == "components":
        targets = [f"pc{number + 1}" for number in range(n_components)]
        vectors = [space.direction(target, layers=blocks).values for target in targets]
    elif against == "roles":
        targets = [space.table.names[row] for row in roles]
        places = [space.layer_index(block) for block in blocks]
        vectors = list(space.table.values[roles][:, places] - space.role_mean_[places])
    else:
        raise SpaceError(
            "traits cannot be seen against that",
            expected="axis, components or roles",
            given=against,
        )
    found = []
    for place, block in enumerate(blocks):
        values = space.at(block).directions(traits)
        cosines = values @ unit(np.stack([vector[place] for vector in vectors])).T
        found.append(
            pd.DataFrame(
                {
                    "layer": block,
                    "trait": np.repeat(names, len(targets)),
                    "target": np.tile(np.array(targets, dtype=object), len(names)),
                    "cosine": cosines.ravel(),
                }
            )
        )
    return pd.concat(found, ignore_index=True)


def aligned(space: Space, layer: int, *, k: int = 10) -> pd.DataFrame:
    """The traits most aligned with either end of the axis: `end`, then the columns of `trait_view`.

    Args:
        space: Fitted, with traits.
        layer: Block.
        k: Traits of each end ("Assistant", "roles"), most aligned first; fewer where fewer point there.

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> space = PersonaSpace.load("smollm2-135m-instruct")
        >>> aligned(space, layer=15, k=1)["trait"].tolist()
        ['structuralist', 'dramatic']
    """
    view = trait_view(space, layer=layer).sort_values("cosine", ascending=False)
    ends = {
        "Assistant": view.loc[view["cosine"] > 0].head(k),
        "roles": view.loc[view["cosine"] < 0].tail(k).iloc[::-1],
    }
    frame = pd.concat(ends, names=["end"]).reset_index("end")
    return frame.reset_index(drop=True)


def _against_axis(
    space: Space,
    block: int,
    roles: list[int],
    traits: list[int],
    drawn: Float[np.ndarray, "draw role"],
) -> pd.DataFrame:
    view = space.at(block)
    cosines = view.directions(traits) @ view.axis
    low, high = _interval(space, view.place, traits, cosines)
    null = np.abs(_role_cosines(view.values(roles), view.axis, drawn))
    p_matched = permutation_p(np.abs(cosines), null[:, None])
    return pd.DataFrame(
        {
            "layer": block,
            "trait": [space.table.names[row] for row in traits],
            "target": "axis",
            "cosine": cosines,
            "low": low,
            "high": high,
            # The square of the cosine with an isotropic direction is Beta(1/2, (d - 1)/2).
            "p_random": beta.sf(cosines**2, 0.5, (space.table.d_model - 1) / 2),
            "p_matched": p_matched,
            "q": fdr(p_matched),
        }
    )


def _role_cosines(
    roles: Float[np.ndarray, "role d_model"],
    axis: Float[np.ndarray, " d_model"],
    drawn: Float[np.ndarray, "draw role"],
) -> Float[np.ndarray, " draw"]:
    """Cosines with the axis of directions drawn with the covariance of the roles, along their principal axes."""
    centred = roles - roles.mean(axis=0)
    spectrum = Spectrum.of_gram(centred @ centred.T, roles.shape[1])
    spreads = np.sqrt(spectrum.squares)
    rank = len(spreads)
    components = spectrum.components(centred, rank)
    squares = drawn[:, :rank] ** 2 @ spectrum.squares
    return drawn[:, :rank] @ (spreads * (components @ axis)) / np.sqrt(squares)


def _interval(
    space: Space, place: int, traits: list[int], cosines: Float[np.ndarray, " trait"]
) -> tuple[Float[np.ndarray, " trait"], Float[np.ndarray, " trait"]]:
    """The cosine of each fold's trait with that fold's axis, as the spread about the cosine of all replies."""
    unknown = np.full(len(traits), np.nan)
    table = space.table
    if table.folds is None:
        return unknown, unknown
    roles = table.folds[table.axis_rows(), :, place].astype(np.float64)
    default = table.folds[table.indices(kind="default")[0], :, place]
    counts = np.isfinite(roles[:, :, :1]).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        axes = unit(default - np.nansum(roles, axis=0) / counts)
    folds = unit(table.folds[traits, :, place])
    each = to_z(np.einsum("tfd,fd->tf", folds, axes))
    known = np.isfinite(each).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(each, axis=1) / known
        spread = np.sqrt(np.nansum((each - means[:, None]) ** 2, axis=1) / (known - 1) / known)
        margin = np.where(known >= FEWEST_FOLDS, student_t.ppf(0.975, known - 1) * spread, np.nan)
    centre = to_z(cosines)
    return np.tanh(centre - margin), np.tanh(centre + margin)
