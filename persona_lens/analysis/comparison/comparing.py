"""`compare`: two fitted spaces, measure by measure and depth by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from persona_lens.analysis.comparison.arrangement import (
    LayerPairs,
    Resampling,
    compare_arrangements,
)
from persona_lens.analysis.comparison.directions import compare_directions
from persona_lens.analysis.comparison.matching import (
    MIN_SHARED,
    SharedUnits,
    check_shared,
    depths,
    match_depths,
    same_model,
    shared_units,
)
from persona_lens.analysis.comparison.result import Comparison
from persona_lens.errors import SpaceError
from persona_lens.progress import StageProgress
from persona_lens.space import Space

_NAMES_PERMUTED = "names permuted"
MEASURES = {
    "pc_loadings": (
        "|r| of the loadings on component k of the one and component k of the other",
        _NAMES_PERMUTED,
    ),
    "pc_matched": (
        "|r| of the loadings on components matched one to one",
        f"{_NAMES_PERMUTED} and components matched anew",
    ),
    "axis_ranks": ("Spearman correlation of places on the two axes", _NAMES_PERMUTED),
    "similarity": ("correlation of the cosines of all pairs", f"{_NAMES_PERMUTED} (Mantel)"),
    "cka": ("linear CKA without its bias", _NAMES_PERMUTED),
    "procrustes": ("held-out R² of rotation, scale and shift", f"{_NAMES_PERMUTED}, fitted anew"),
    "axis_cosine": ("cosine of the two axes", "a role plays the default in the second"),
    "pc_cosine": (
        "|cosine| of components matched one to one",
        "random directions from the spread of the second's roles, matched anew",
    ),
}
"""What each measure is, and what its null is."""
_COLUMNS = (
    *("measure", "component", "partner", "value", "low", "high"),
    *("null_mean", "null_95", "p", "n"),
)


def compare(
    space_a: Space,
    space_b: Space,
    *,
    layers: Sequence[int] | None = None,
    n_components: int = 5,
    n_draws: int = 200,
    n_permutations: int = 200,
    seed: int = 0,
    cosines: bool | None = None,
    progress: bool = True,
) -> Comparison:
    """Compare how two spaces arrange the roles and the traits that both have.

    Each measure comes with a 95 % interval over the shared units, axis and components taken as given, and with a
    null (`MEASURES` says which); only in the measures of directions are axis and components found anew in every
    sample. Measures of arrangement need no common residual stream, so that models of any width can be compared.
    Noise in the vectors lowers all of them: the same model collected twice does not reach one.

    Traits are compared likewise where both spaces have at least ten in common.

    Args:
        space_a: Fitted.
        space_b: Fitted; of any width and depth.
        layers: Blocks of the first to compare; all by default. Each is matched with the nearest block of the
            second by relative depth; by default, each of the space with fewer layers with the nearest of the
            other.
        n_components: Components of each space to compare.
        n_draws: Bootstrap samples of the units.
        n_permutations: Permutations of the names; draws of the other nulls.
        seed: Of samples and permutations.
        cosines: Compare directions too. By default where both spaces were read with the same weights; say True
            for a base model and its tune (paper appendix B.3).
        progress: Show a progress bar.

    Raises:
        SpaceError: Not fitted, fewer than ten shared roles, unknown or no layers, too few samples, permutations or
            components, or cosines of different widths.

    Source: paper sections 2.1.3 and 3 (loadings of the roles on the first component correlate at 0.92 to 0.94
    across three models; on the second at 0.55 to 0.89).

    Examples:
        >>> from persona_lens import PersonaSpace
        >>> rng = np.random.default_rng(0)
        >>> roles = {f"role_{i}": rng.normal(size=(2, 8)) for i in range(12)}
        >>> wider = {name: np.pad(vector, [(0, 0), (0, 3)]) for name, vector in roles.items()}
        >>> a = PersonaSpace.from_vectors(roles, default=np.ones((2, 8))).fit()
        >>> b = PersonaSpace.from_vectors(wider, default=np.pad(np.ones((2, 8)), [(0, 0), (0, 3)])).fit()
        >>> frame = compare(a, b, n_draws=20, n_permutations=20, progress=False).frame
        >>> frame[frame["measure"] == "axis_ranks"]["value"].round(3).tolist()
        [1.0, 1.0]
    """
    for space in (space_a, space_b):
        if not hasattr(space, "axis_"):
            raise SpaceError("this space is not fitted", remedy="call space.fit() first")
    units = [shared_units(space_a.table, space_b.table, kind) for kind in ("role", "trait")]
    check_shared(units[0])
    directions = same_model(space_a, space_b) if cosines is None else cosines
    if directions and space_a.table.d_model != space_b.table.d_model:
        raise SpaceError(
            "directions of different width have no cosine",
            expected=space_a.table.d_model,
            given=space_b.table.d_model,
            remedy="leave out cosines=True",
        )
    if (
        min(n_draws, n_permutations) < 2
        or n_components < 1
        or (layers is not None and len(layers) == 0)
    ):
        raise SpaceError(
            "nothing to compare with so little",
            expected="two samples, two permutations, one component and one layer at least",
            given=f"{n_draws}, {n_permutations}, {n_components}, layers {layers}",
        )
    pairs = _layer_pairs(space_a, space_b, layers)
    compared = [shared for shared in units if len(shared) >= MIN_SHARED]
    bar = StageProgress(
        "Comparing", len(pairs.depth) * (len(compared) + directions), shown=progress, unit="layers"
    )
    streams = np.random.SeedSequence(seed).spawn(3)
    # The products are small: more than one thread each only makes them wait for each other.
    with threadpool_limits(1), bar.running():
        rows: list[dict[str, Any]] = []
        similarity, places = [], []
        for shared, stream in zip(compared, streams, strict=False):
            resampling = Resampling(n_draws, n_permutations, np.random.default_rng(stream))
            found = compare_arrangements(
                (space_a, space_b),
                shared,
                pairs,
                n_components=n_components,
                resampling=resampling,
                advance=bar.advance,
            )
            rows += found[0]
            similarity.append(found[1])
            places.append(found[2])
        if directions:
            resampling = Resampling(n_draws, n_permutations, np.random.default_rng(streams[2]))
            rows += compare_directions(
                (space_a, space_b),
                pairs,
                n_components=n_components,
                resampling=resampling,
                advance=bar.advance,
            )
    frame = pd.DataFrame(rows).astype({"component": "Int64", "partner": "Int64"})
    order = {measure: place for place, measure in enumerate(MEASURES)}
    frame = frame.sort_values(
        ["kind", "measure", "depth", "component"],
        key=lambda column: column.map(order) if column.name == "measure" else column,
        ignore_index=True,
    )
    return Comparison(
        frame[["depth", "layer_a", "layer_b", "kind", *_COLUMNS]],
        pd.concat(similarity, ignore_index=True),
        pd.concat(places, ignore_index=True),
        _card(space_a, space_b, units, compared, set(frame["measure"]))
        | {
            "layers": "the block of the second space nearest in relative depth"
            if layers is not None or len(space_a.layers_) <= len(space_b.layers_)
            else "the block of the first space nearest in relative depth",
            "n_components": n_components,
            "n_draws": n_draws,
            "n_permutations": n_permutations,
            "seed": seed,
        },
    )


def _layer_pairs(a: Space, b: Space, layers: Sequence[int] | None) -> LayerPairs:
    chosen = list(range(len(a.layers_))) if layers is None else [a.layer_index(i) for i in layers]
    depth_a, depth_b = depths(a)[chosen], depths(b)
    places = match_depths(depth_a, depth_b, lead_by_a=layers is not None)
    return LayerPairs(
        tuple(a.layers_[place] for place in chosen),
        b.layers_,
        places,
        (depth_a[places[:, 0]] + depth_b[places[:, 1]]) / 2,
    )


def _card(
    a: Space,
    b: Space,
    units: Sequence[SharedUnits],
    compared: Sequence[SharedUnits],
    measures: set[str],
) -> dict[str, Any]:
    return {
        "a": _name(a),
        "b": _name(b),
        "shared": {shared.kind: len(shared) for shared in compared},
        "too_few": {shared.kind: len(shared) for shared in units if shared not in compared},
        "left_out_a": {shared.kind: list(shared.left_out_a) for shared in units},
        "left_out_b": {shared.kind: list(shared.left_out_b) for shared in units},
        "replies_a": int(a.table.counts.sum()),
        "replies_b": int(b.table.counts.sum()),
        "measures": {name: MEASURES[name][0] for name in MEASURES if name in measures},
        "nulls": {name: MEASURES[name][1] for name in MEASURES if name in measures},
    }


def _name(space: Space) -> str:
    """Model, and judge if there is one: what usually tells two spaces apart."""
    model = space.table.card.get("reader", {}).get("model")
    judge = (space.table.card.get("judge") or {}).get("key")
    name = "a model that is not named" if model is None else str(model)
    return name if judge is None else f"{name}, judged by {judge}"
