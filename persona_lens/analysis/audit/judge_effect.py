"""Does it matter which judge chose the replies? How far axis, first component and map move from judge to judge.

    effect = judge_effect(RunFolder("runs/first"), layers=[10, 20])
    effect[effect["what"] == "axis"]     # cos(axis, axis') for each pair of judges and each layer

A judge that keeps a third of the replies, and drops roles, moves the axis even if it chooses blindly. So every
number stands beside a null: each judge's labels are dealt out at random among the replies of each role, which
leaves it the same roles with as many replies behind every vector. Within the range of the null, a judge only
takes fewer replies; below it, it takes other ones.

Intervals come of drawing roles anew, the same on both sides. Maps are taken as they are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.spatial.distance import pdist, squareform

from persona_lens.analysis.audit.role_means import RoleMeans, read_role_means
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import judge_keys
from persona_lens.runs.vectors import MIN_COUNT
from persona_lens.statistics import draw_counts, fisher_interval
from persona_lens.statistics.correlations import weighted_correlations
from persona_lens.statistics.gram import GramGeometry
from persona_lens.statistics.kappa import Measure, percentiles
from persona_lens.statistics.pca import Spectrum, unit

MEASURES = ("axis", "pc1", "distances", "map")
MIN_ROLES = 3
DEFAULT_LAYERS = 8


def judge_effect(
    run: RunFolder,
    judges: Sequence[str] | None = None,
    *,
    layers: Sequence[int] | None = None,
    min_count: int = MIN_COUNT,
    n_resamples: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what every two of the judges, and no judge at all, make of the same run.

    The axis is the default minus the mean of the vectors fully in role, PCA (centred) is of those somewhat in role
    as well; without a judge both are of the means over all replies.

    Args:
        run: A finished run, labelled by the judges.
        judges: Keys of judges, or beginnings of them; all that have labelled the run by default.
        layers: Blocks; by default up to eight, evenly spaced. The run is read once, whatever their number.
        min_count: Replies a label needs for a vector.
        n_resamples: Bootstrap samples of the roles.
        seed: Of bootstrap and null.

    Returns:
        One row for each pair (`first`, `second`), `layer` and `what`: "axis" and "pc1", the cosine of the two axes
        and |cosine| of the two first components; "distances" and "map", the correlation of the distances between
        all roles that both have, in the whole space and on each side's own PC1 and PC2. Columns `value`, `low`,
        `high`, `null` (mean), `null_low`, `null_high`, `draws` (of the null); `roles_first`, `roles_second` and
        `roles_both` on the axis, `replies_first` and `replies_second` behind all vectors. Where either side has
        fewer than three roles on the axis, or both together, numbers are NaN.

    Raises:
        RunError: The run is not finished, not labelled, or does not cover a layer.
    """
    opened = run.opened()
    keys = judge_keys(opened) if judges is None else list(judges)
    chosen = _spaced(opened.manifest.layers) if layers is None else list(layers)
    default, sides = read_role_means(run, keys, layers=chosen, min_count=min_count, seed=seed)
    drawn = _drawn_roles(sides, n_resamples, np.random.default_rng(seed))
    rows = []
    for place, layer in enumerate(chosen):
        at_layer = [_Side.fit(side, default[place], place, drawn) for side in sides]
        for first, second in combinations(at_layer, 2):
            facts = {"first": first.means.judge, "second": second.means.judge, "layer": layer}
            counted = _counted(first.means, second.means)
            rows += [
                {**facts, "what": what, **vars(measure), **counted}
                for what, measure in zip(MEASURES, _compare(first, second, drawn), strict=True)
            ]
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Space:
    """Axis, first component and map of one layer.

    Attributes:
        roles: Numbers of the roles on the axis.
        distances, on_map: Between them, in the whole space and on PC1 and PC2.
    """

    axis: Float[np.ndarray, " d_model"]
    pc1: Float[np.ndarray, " d_model"]
    roles: Int[np.ndarray, " role"]
    distances: Float[np.ndarray, "role role"]
    on_map: Float[np.ndarray, "role role"]

    @classmethod
    def fit(
        cls,
        means: RoleMeans,
        default: Float[np.ndarray, " d_model"],
        vectors: Float[np.ndarray, "vector d_model"],
    ) -> _Space:
        centred = vectors - vectors.mean(axis=0, dtype=np.float64)
        spectrum = Spectrum.of_gram(centred @ centred.T, vectors.shape[1])
        components = spectrum.components(centred, 2)
        placed = centred[means.on_axis]
        return cls(
            axis=unit(default - vectors[means.on_axis].mean(axis=0, dtype=np.float64)),
            pc1=components[0],
            roles=means.role[means.on_axis],
            distances=squareform(pdist(placed)),
            on_map=squareform(pdist(placed @ components.T)),
        )

    def likeness(self, other: _Space) -> Float[np.ndarray, " measure"]:
        """How alike two spaces are, by each of `MEASURES`."""
        _, *pairs = self.shared_distances(other)
        once = np.ones((1, pairs[0].shape[1]))
        maps = [_correlations(x, y, once)[0] for x, y in zip(*pairs, strict=True)]
        found = np.array([self.axis @ other.axis, abs(self.pc1 @ other.pc1), *maps])
        return np.clip(found, -1.0, 1.0)  # rounding

    def shared_distances(
        self, other: _Space
    ) -> tuple[
        Int[np.ndarray, "2 pair"], Float[np.ndarray, "map pair"], Float[np.ndarray, "map pair"]
    ]:
        """Every pair of roles that both spaces have, and its distances, in the whole space and on the map."""
        both, own, others = np.intersect1d(self.roles, other.roles, return_indices=True)
        one, two = np.triu_indices(len(both), k=1)
        return (
            np.stack([both[one], both[two]]),
            np.stack([matrix[own[one], own[two]] for matrix in (self.distances, self.on_map)]),
            np.stack(
                [matrix[others[one], others[two]] for matrix in (other.distances, other.on_map)]
            ),
        )


@dataclass(frozen=True, eq=False)
class _Side:
    """What one judge makes of a layer; spaces are None where there are too few roles.

    Attributes:
        dealt: Spaces of labels dealt out at random; the space itself where there is no judge.
        axes, pc1: Of the bootstrap samples.
    """

    means: RoleMeans
    space: _Space | None
    dealt: list[_Space]
    axes: Float[np.ndarray, "resample d_model"]
    pc1: Float[np.ndarray, "resample d_model"]

    @classmethod
    def fit(
        cls,
        means: RoleMeans,
        default: Float[np.ndarray, " d_model"],
        place: int,
        drawn: Int[np.ndarray, "resample role"],
    ) -> _Side:
        vectors = means.values[:, place]
        if not _has_space(means):
            return cls(means, None, [], np.empty((0, 0)), np.empty((0, 0)))
        space = _Space.fit(means, default, vectors)
        return cls(
            means,
            space,
            [_Space.fit(means, default, draw[:, place]) for draw in means.dealt] or [space],
            *_resampled(means, default, vectors, drawn),
        )


def _compare(first: _Side, second: _Side, drawn: Int[np.ndarray, "resample role"]) -> list[Measure]:
    """Each of `MEASURES` with interval and null."""
    if first.space is None or second.space is None:
        return [Measure(np.nan, np.nan, np.nan)] * len(MEASURES)
    values = first.space.likeness(second.space)
    roles, *pairs = first.space.shared_distances(second.space)
    # Only pairs of different roles count: one drawn twice is at no distance from itself on either side.
    weights = (drawn[:, roles[0]] * drawn[:, roles[1]]).astype(float)
    resampled = [
        (first.axes * second.axes).sum(axis=1),
        np.abs((first.pc1 * second.pc1).sum(axis=1)),
        *(_correlations(x, y, weights) for x, y in zip(*pairs, strict=True)),
    ]
    n_draws = max(len(first.dealt), len(second.dealt))
    null = np.array(
        [
            first.dealt[draw % len(first.dealt)].likeness(second.dealt[draw % len(second.dealt)])
            for draw in range(n_draws)
        ]
    )
    found = []
    for what, value, anew, dealt in zip(MEASURES, values.tolist(), resampled, null.T, strict=True):
        low, high = fisher_interval(value, anew)
        low = (
            max(low, 0.0) if what == "pc1" else low
        )  # PC1 has no sign, so its cosine has none either
        found.append(Measure(value, low, high, float(dealt.mean()), *percentiles(dealt)))
    return found


def _resampled(
    means: RoleMeans,
    default: Float[np.ndarray, " d_model"],
    vectors: Float[np.ndarray, "vector d_model"],
    drawn: Int[np.ndarray, "resample role"],
) -> tuple[Float[np.ndarray, "resample d_model"], Float[np.ndarray, "resample d_model"]]:
    """Unit axes and first components when roles count as often as they are drawn."""
    rows = np.concatenate([default[None], vectors]) - vectors.mean(axis=0, dtype=np.float64)
    gram = rows @ rows.T
    spectrum = Spectrum.of_gram(gram[1:, 1:], rows.shape[1])
    geometry = GramGeometry(gram, spectrum, means.on_axis)
    weights = np.concatenate([np.zeros((len(drawn), 1)), drawn[:, means.role]], axis=1)
    found = geometry.resample(weights, np.zeros(len(drawn), dtype=int))
    return unit(found.axes.rows.T @ rows), unit(found.pc1.rows.T @ rows)


def _drawn_roles(
    sides: Sequence[RoleMeans], n_resamples: int, rng: np.random.Generator
) -> Int[np.ndarray, "resample role"]:
    """How often each role is drawn; draws that leave a side without an axis are left out."""
    n_roles = int(max(side.role.max(initial=-1) for side in sides)) + 1
    drawn = draw_counts(n_roles, n_resamples, rng)
    for side in sides:
        if _has_space(side):
            drawn = drawn[drawn[:, side.role[side.on_axis]].sum(axis=1) > 0]
    return drawn


def _has_space(means: RoleMeans) -> bool:
    return int(means.on_axis.sum()) >= MIN_ROLES


def _correlations(
    x: Float[np.ndarray, " pair"],
    y: Float[np.ndarray, " pair"],
    weights: Float[np.ndarray, "resample pair"],
) -> Float[np.ndarray, " resample"]:
    """Pearson's correlation under each set of weights; NaN where there is too little to correlate."""
    if len(x) < MIN_ROLES:
        return np.full(len(weights), np.nan)
    return weighted_correlations(x[:, None], y[:, None], weights)[:, 0]


def _counted(first: RoleMeans, second: RoleMeans) -> dict[str, int]:
    roles = [set(side.role[side.on_axis].tolist()) for side in (first, second)]
    return {
        "draws": max(len(first.dealt), len(second.dealt)),
        "roles_first": len(roles[0]),
        "roles_second": len(roles[1]),
        "roles_both": len(roles[0] & roles[1]),
        "replies_first": int(first.counts.sum()),
        "replies_second": int(second.counts.sum()),
    }


def _spaced(layers: Sequence[int]) -> list[int]:
    """Up to `DEFAULT_LAYERS` of the layers, evenly spaced, the last one among them."""
    places = np.linspace(len(layers) - 1, 0, min(len(layers), DEFAULT_LAYERS)).round().astype(int)
    return [layers[place] for place in sorted(places.tolist())]
