"""Which layer to look at: where the axis repeats, the Assistant stands apart, and roles are known held out.

    advice = space.recommend_layer()
    advice.layer, advice.frame
    print(advice)                    # with its reasons

Each measure has a null, and one that beats it at no layer has no say. What remains is brought to one scale, 0 for
chance and 1 for the best layer, and averaged. The last tenth of the depth is no candidate: the residual stream
there serves the next token, and what is changed there has no layers left to act in. The layer is chosen on the
data it is then used on: where a number at that layer is all you report, say how it was chosen, or show every
layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.space.layer import span
from persona_lens.statistics import crossed_means, draw_counts, interval_of, known_mean

if TYPE_CHECKING:
    from persona_lens.space.space import Space

N_DRAWS = 200
NORMAL_95 = 1.96
DEEPEST = 0.9  # relative depth of the last candidate
MEASURES = {
    "stability": "cosine of the axes from two halves of the questions",
    "separation": "the default's distance from the mean of the roles along the axis, in their standard deviations",
    "held out": "probability that a probe scores the true role above another one, questions and prompts held out",
}
"""What each measure is."""
COLUMNS = ("layer", "measure", "value", "low", "high", "chance", "null_95", "standing", "near_best")


@dataclass(frozen=True, eq=False)
class LayerAdvice:
    """The layer to take, and why.

    Attributes:
        layer: Block.
        as_good: Layers at which every measure that counts lies within the 95 % interval of its best.
        frame: A row a measure and layer: layer, measure, value, low and high (95 % interval, of `stability` the
            range of 95 % of the splits), chance, null_95 (95 % of the null stay below), standing (0 at chance, 1
            at the best candidate; NaN for a measure that does not count and for layers that are no candidates),
            near_best (within the 95 % interval of the best candidate).
        reasons: A sentence a measure.
    """

    layer: int
    as_good: tuple[int, ...]
    frame: pd.DataFrame
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        others = [layer for layer in self.as_good if layer != self.layer]
        rest = f" No worse within the intervals: {span(tuple(others))}." if others else ""
        return "\n".join([f"Layer {self.layer}.{rest}", *(f"  {line}" for line in self.reasons)])

    __repr__ = __str__


def recommend(space: Space) -> LayerAdvice:
    """The layer of a fitted space to look at first; see `Space.recommend_layer`."""
    candidates = _candidates(space)
    parts = [
        part for part in (_stability(space), _separation(space), _held_out(space)) if len(part)
    ]
    scored = [_scored(part, candidates) for part in parts]
    frame = pd.concat(scored, ignore_index=True) if scored else pd.DataFrame(columns=list(COLUMNS))
    counted = frame[frame["standing"].notna()]
    if counted.empty:
        layer = space.layers_[len(space.layers_) * 2 // 3]
        why = f"no measure beats its null: {layer} is two thirds up, and no better than others"
        return LayerAdvice(layer, (), frame, (*map(_reason_none, parts), why))
    mean = counted.groupby("layer")["standing"].mean()
    layer = int(mean.index.to_list()[int(np.argmax(np.asarray(mean)))])
    near = counted.groupby("layer")["near_best"].all()
    as_good = tuple(int(each) for each in near.index[near.to_numpy()])
    return LayerAdvice(layer, as_good, frame, tuple(_reason(part, layer) for part in scored))


def _candidates(space: Space) -> list[int]:
    """All layers but the last tenth of the depth; all of them where a space holds no others."""
    deepest = DEEPEST * (space.n_blocks - 1)
    return [layer for layer in space.layers_ if layer <= deepest] or list(space.layers_)


def _stability(space: Space) -> pd.DataFrame:
    """Where the folds of the questions are known."""
    frame = space.stability_
    known = frame[frame["axis_questions"].notna()]
    return pd.DataFrame(
        {
            "layer": known["layer"].astype(int),
            "measure": "stability",
            "value": known["axis_questions"],
            "low": known["axis_questions_low"],
            "high": known["axis_questions_high"],
            "chance": 0.0,
            "null_95": known["random_95"],
        }
    )


def _separation(space: Space) -> pd.DataFrame:
    """How many standard deviations the default lies off the roles, and a role in its place off the others."""
    rows = [space.table.indices(kind="default")[0], *space.table.axis_rows()]
    n_roles = len(rows) - 1
    weights = draw_counts(n_roles, N_DRAWS, np.random.default_rng(space.seed))
    weights = weights[(weights > 0).sum(axis=1) > 1] / n_roles
    whole = np.full((1, n_roles), 1 / n_roles)
    impostors = (1 - np.eye(n_roles)) / (n_roles - 1)
    found = []
    for layer in space.layers_:
        view = space.at(layer)
        values = view.values(rows)
        gram = values @ values.T
        value = float(_distance(gram, np.zeros(1, dtype=int), whole)[0])
        drawn = _distance(gram, np.zeros(len(weights), dtype=int), weights)
        null = _distance(gram, 1 + np.arange(n_roles), impostors)
        # A ratio: its errors are alike on the scale of logarithms.
        spread = NORMAL_95 * float(np.std(np.log(drawn)))
        ends = {"low": value * np.exp(-spread), "high": value * np.exp(spread)}
        chance = {"chance": float(null.mean()), "null_95": float(np.percentile(null, 95))}
        found.append({"layer": layer, "measure": "separation", "value": value, **ends, **chance})
    return pd.DataFrame(found)


def _distance(
    gram: Float[np.ndarray, "unit unit"],
    apart: np.ndarray,
    weights: Float[np.ndarray, "draw role"],
) -> Float[np.ndarray, " draw"]:
    """Distance of `apart[draw]` from the weighted mean of the roles along their difference, in deviations."""
    onto = gram[apart, 1:] - weights @ gram[1:, 1:]
    own = gram[apart, apart] - (weights * gram[1:, apart].T).sum(axis=1)
    mean = (weights * onto).sum(axis=1)
    n_units = np.maximum((weights > 0).sum(axis=1), 2)
    variance = (weights * (onto - mean[:, None]) ** 2).sum(axis=1) * n_units / (n_units - 1)
    return (own - mean) / np.sqrt(np.maximum(variance, np.finfo(float).tiny))


def _held_out(space: Space) -> pd.DataFrame:
    """Where single replies were measured."""
    found = space.separability_
    key = ("identity", "role")
    if found is None or key not in found.scores:
        return pd.DataFrame()
    scores = found.scores[key].astype(np.float64)
    draws = crossed_means(scores, n_draws=N_DRAWS, seed=space.seed)
    values = known_mean(scores.reshape(-1, scores.shape[-1]), axis=0)
    null = np.empty((0, len(found.layers)))
    if key in found.shuffled:
        null = known_mean(found.shuffled[key].astype(np.float64), axis=1)
    rows = []
    for place, layer in enumerate(found.layers):
        if layer not in space.layers_ or not np.isfinite(values[place]):
            continue
        low, high = interval_of(draws[:, place])
        null_95 = float(np.percentile(null[:, place], 95)) if len(null) else 0.5
        row = {"layer": layer, "measure": "held out", "value": float(values[place])}
        rows.append({**row, "low": low, "high": high, "chance": 0.5, "null_95": null_95})
    return pd.DataFrame(rows)


def _scored(part: pd.DataFrame, candidates: Sequence[int]) -> pd.DataFrame:
    """With its standing among the candidates, NaN everywhere if it beats its null at none of them."""
    asked = part["layer"].isin(candidates).to_numpy()
    value, low = part["value"].to_numpy(dtype=float), part["low"].to_numpy(dtype=float)
    counts = asked & (low > part["null_95"].to_numpy(dtype=float))
    standing, near = np.full(len(part), np.nan), np.zeros(len(part), dtype=bool)
    if counts.any():
        above = value - part["chance"].to_numpy(dtype=float)
        best = int(np.argmax(np.where(asked, value, -np.inf)))
        # What chance is may differ by layer: the best value need not stand highest above it.
        standing[asked] = np.clip(above[asked] / above[asked].max(), 0.0, 1.0)
        near = asked & (value >= low[best])
    return part.assign(standing=standing, near_best=near).reindex(columns=list(COLUMNS))


def _reason(part: pd.DataFrame, layer: int) -> str:
    measure = str(part["measure"].iloc[0])
    if part["standing"].isna().all():
        return _reason_none(part)
    among = part.dropna(subset=["standing"])
    best = among.iloc[int(np.argmax(among["value"].to_numpy()))]
    here = part[part["layer"] == layer]
    if here.empty:
        return f"{measure}: not known at this layer"
    row = here.iloc[0]
    most = (
        "the best"
        if int(best["layer"]) == layer
        else f"best {best['value']:.2f}, at layer {int(best['layer'])}"
    )
    return (
        f"{measure}: {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}; {most}; null, 95 % below "
        f"{row['null_95']:.2f}): {MEASURES[measure]}"
    )


def _reason_none(part: pd.DataFrame) -> str:
    measure = str(part["measure"].iloc[0])
    return f"{measure}: beats its null at no layer, and has no say ({MEASURES[measure]})"


def chosen_layer(space: Space, layer: int | None) -> tuple[int, str]:
    """The layer that was asked for, or the recommended one with a line that says so.

    Examples:
        >>> from persona_lens.space import Space
        >>> space = Space.load("smollm2-135m-instruct")
        >>> chosen_layer(space, 12)
        (12, '')
    """
    if layer is not None:
        return layer, ""
    advice = space.recommend_layer()
    names: Sequence[str] = [
        str(name)
        for name in dict.fromkeys(advice.frame.loc[advice.frame["standing"].notna(), "measure"])
    ]
    by = f" by {', '.join(names)}" if names else ""
    return advice.layer, f"Layer {advice.layer} is the recommended one{by}: space.recommend_layer()"
