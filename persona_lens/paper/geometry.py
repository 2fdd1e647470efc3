"""What a space says of the paper's geometry: the spectrum, PC1 and the axis, the default's place, who is near.

    findings = geometry_findings(space, layer=15)

Everything comes from the fitted space; nothing is asked of a model. Intervals resample roles or traits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.paper.findings import Finding, about_value
from persona_lens.paper.order import Ordered, ordered
from persona_lens.paper.published import name_lists, pooled_ends
from persona_lens.space import Space
from persona_lens.statistics import draw_rows, interval_of

DRAWS = 200
NOISE_DRAWS = 20
SHARE = 0.7
SHOWN = 5
"""Names at each end of a component in the tables, as in the paper's."""


def geometry_findings(space: Space, layer: int) -> list[Finding]:
    """Sections 2 and 3.1 of the paper.

    Args:
        space: Fitted.
        layer: Block that the figures are of.

    Examples:
        >>> space = Space.load("smollm2-135m-instruct")
        >>> found = {finding.claim.key: finding for finding in geometry_findings(space, 15)}
        >>> found["order_pc1"].n, found["pcs70_roles"].units
        (22, 'roles')
    """
    found = [*_axis_and_pc1(space, layer), *_spectra(space, layer)]
    if space.components_.shape[1] > 1:
        found += _default_place(space, layer)
    return found + _orders(space, layer)


def extremes(space: Space, layer: int) -> pd.DataFrame:
    """The roles at both ends of PC1 to PC3 and on the axis, and the traits along it: Tables 1 and 2.

    Returns:
        `what`, `whose` (a model of the paper's, or "this model"), `plus`, `minus`: names, the outermost first.
    """
    rows = []
    named = role_scores(space, layer)
    ours = {"pc1": named["pc1"], "pc2": named["pc2"], "pc3": named["pc3"]}
    ours |= {"roles": named["likeness"], "traits": trait_cosines(space, layer)}
    for what, scores in ours.items():
        ranked = [str(name) for name in scores.sort_values(ascending=False).index]
        if len(ranked) < 2 * SHOWN:
            continue
        rows += [
            {"what": what, "whose": each.model, "plus": each.plus, "minus": each.minus}
            for each in name_lists(what)
        ]
        ends = {"plus": tuple(ranked[:SHOWN]), "minus": tuple(ranked[::-1][:SHOWN])}
        rows.append({"what": what, "whose": "this model", **ends})
    return pd.DataFrame(rows, columns=["what", "whose", "plus", "minus"])


def role_scores(space: Space, layer: int) -> pd.DataFrame:
    """A row a role on the axis: `pc1`, `pc2`, `pc3` (scores), `likeness` (cosine with the default's direction)."""
    view = space.at(layer)
    rows = list(space.table.axis_rows())
    scores = view.scores(view.values(rows))
    default = view.directions(space.table.indices(kind="default"))[0]
    table = {
        f"pc{k + 1}": scores[:, k] if k < scores.shape[1] else np.full(len(rows), np.nan)
        for k in range(3)
    }
    table["likeness"] = view.directions(rows) @ default
    return pd.DataFrame(table, index=[space.table.names[row] for row in rows])


def trait_cosines(space: Space, layer: int) -> pd.Series:
    """Cosine of every trait with the axis; Assistant positive."""
    view, rows = space.at(layer), list(space.table.trait_rows())
    names = [space.table.names[row] for row in rows]
    return pd.Series(view.directions(rows) @ view.axis if rows else [], index=names, dtype=float)


# PC1 and the axis -----------------------------------------------------------------------------------


def _axis_and_pc1(space: Space, layer: int) -> list[Finding]:
    table = space.stability_.set_index("layer")
    n = len({space.table.names[row] for row in space.table.axis_rows()})
    lowest = int(table["cosine"].to_numpy().argmin())
    found = []
    for key, at in (("cos_pc1_middle", layer), ("cos_pc1_lowest", int(table.index[lowest]))):
        row = table.loc[at]
        found.append(
            Finding.of(
                key,
                row["cosine"],
                (row["cosine_low"], row["cosine_high"]),
                n,
                "roles",
                null=(0.0, max(row["shuffled_95"], row["random_95"])),
                null_is="a role plays the default Assistant; a random direction",
                how=f"layer {at}",
            )
        )
    return found


# The spectrum ---------------------------------------------------------------------------------------


def _spectra(space: Space, layer: int) -> list[Finding]:
    view, scaler = space.at(layer), space.scaling
    rows = list(space.table.indices(kind="role"))
    roles = view.coordinates(view.values(rows))
    how = f"layer {layer}, scaling “{scaler}”"
    named = [space.table.names[row] for row in rows]
    found = [
        _spectral("pcs70_roles", roles, named, components_needed, units="roles", how=how),
        _spectral("pc1_share", roles, named, first_share, units="roles", how=how),
    ]
    traits = list(space.table.trait_rows())
    if len(traits) > 2:
        named = [space.table.names[row] for row in traits]
        found.append(
            _spectral(
                "pcs70_traits",
                view.values(traits),
                named,
                components_needed,
                units="traits",
                how=how,
            )
        )
    return found


def components_needed(vectors: Float[np.ndarray, "vector d_model"]) -> float:
    """Components for 70 % of the variance of vectors, which are centred first."""
    shares = _shares(vectors)
    return float((shares.cumsum() < SHARE - 1e-12).sum() + 1)


def first_share(vectors: Float[np.ndarray, "vector d_model"]) -> float:
    """Share of the variance that the first component explains."""
    return float(_shares(vectors)[0])


def _spectral(
    key: str,
    vectors: np.ndarray,
    named: Sequence[str],
    number: Callable[[np.ndarray], float],
    *,
    units: str,
    how: str,
) -> Finding:
    """A number of the spectrum; the vectors of one role are drawn together."""
    rng = np.random.default_rng(0)
    # A rotation changes no spectrum: in the vectors' own span resamples are cheap.
    kept = _within_span(vectors)
    codes = pd.factorize(np.array(named))[0]
    members = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
    drawn = np.array(
        [
            number(kept[np.concatenate([members[unit] for unit in some])])
            for some in draw_rows(len(members), DRAWS, rng)
        ]
    )
    noise = np.array([number(rng.normal(size=vectors.shape)) for _ in range(NOISE_DRAWS)])
    value = number(kept)
    return Finding.of(
        key,
        value,
        about_value(value, drawn),
        len(members),
        units,
        null=(noise.min(), noise.max()),
        null_is=f"as many vectors of white noise, {NOISE_DRAWS} draws",
        how=f"{how}, {len(vectors)} vectors",
    )


def _within_span(vectors: np.ndarray) -> np.ndarray:
    left, sizes, _ = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    return left * sizes


def _shares(vectors: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(axis=0)
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    squares = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0.0)
    return squares / max(squares.sum(), 1e-300)


# Where the default Assistant lies -------------------------------------------------------------------


def _default_place(space: Space, layer: int) -> list[Finding]:
    view = space.at(layer)
    rows = list(space.table.axis_rows())
    roles = view.scores(view.values(rows))[:, :10]
    default = view.scores(view.values(space.table.indices(kind="default")))[0, :10]
    drawn = draw_rows(len(rows), DRAWS, np.random.default_rng(0))
    draws = np.array([edge_distance(roles[some], default) for some in drawn])
    ours = edge_distance(roles, default)
    others = edge_distance(roles, roles)
    found = [
        Finding.of(
            "edge_pc1",
            ours[0],
            interval_of(draws[:, 0]),
            len(rows),
            "roles",
            null=(float(np.quantile(others[:, 0], 0.05)), 0.5),
            null_is="a role in its place: 95 % lie further in",
            how=f"layer {layer}",
        )
    ]
    if ours.shape[0] > 1:
        found.append(
            Finding.of(
                "edge_rest",
                ours[1:].mean(),
                interval_of(draws[:, 1:].mean(axis=1)),
                len(rows),
                "roles",
                how=f"layer {layer}, {ours.shape[0] - 1} components",
            )
        )
    return found


def edge_distance(
    roles: Float[np.ndarray, "role component"], place: Float[np.ndarray, "*batch component"]
) -> Float[np.ndarray, "*batch component"]:
    """Distance to the nearer end of the roles' range, over its length; 0 at an end and beyond it.

    Examples:
        >>> edge_distance(np.array([[0.0], [10.0]]), np.array([8.0])).tolist()
        [0.2]
    """
    low, high = roles.min(axis=0), roles.max(axis=0)
    return np.maximum(np.minimum(place - low, high - place), 0.0) / (high - low)


# Who is near ----------------------------------------------------------------------------------------


def _orders(space: Space, layer: int) -> list[Finding]:
    named = role_scores(space, layer)
    told = [
        ("order_pc1", "pc1", named["pc1"], "roles", "score on PC1"),
        ("order_roles", "roles", named["likeness"], "roles", "cosine with the default"),
        ("order_traits", "traits", trait_cosines(space, layer), "traits", "cosine with the axis"),
    ]
    found = []
    for key, names, scores, units, how in told:
        plus, minus = pooled_ends(names)
        apart = ordered({str(name): float(at) for name, at in scores.items()}, plus, minus)
        found.append(_order(key, apart, units, f"layer {layer}, {how}, names of all three models"))
    return found


def _order(key: str, apart: Ordered, units: str, how: str) -> Finding:
    missing: Sequence[str] = apart.missing
    if missing:
        how += f"; {len(missing)} of them are not in this space"
    return Finding.of(
        key,
        apart.area,
        apart.interval,
        apart.n,
        units,
        null=apart.null,
        null_is="as many names drawn at random",
        how=how,
    )
