"""What is found: scores by unit, question fold and layer, with what chance gives beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from persona_lens.errors import SpaceError
from persona_lens.frames import ResultKind
from persona_lens.statistics import known_mean, permutation_p
from persona_lens.vectors.packing import Packed, pack, unpack

METRICS: Mapping[str, str] = {
    "identity": "probability that a linear probe scores the true role (trait, by its positive side) above "
    "another one drawn at random",
    "identity_top1": "share of replies whose true role or trait scores highest",
    "auc": "area under the ROC curve along the difference of means: a role against the default, a trait's "
    "positive against its negative side; replies of one prompt fold and question fold are compared",
    "auc_probe": "the same along that difference times the inverse of the shrunk within-class covariance",
    "d_prime": "distance of the two sides along the difference of means, in standard deviations",
    "silhouette": "how much nearer a reply is to its own role (trait, positive side) than to the nearest "
    "other, on replies of norm 1",
    "fisher": "variance between over variance within roles (traits, positive side), on replies of norm 1, "
    "free of bias by noise",
    "reliability": "cosine of two vectors of the same role (less the mean of roles) or trait (positive less "
    "negative), from halves that share no question and no system prompt",
}
CHANCE: Mapping[str, float | None] = {
    "identity": 0.5,
    "identity_top1": None,
    "auc": 0.5,
    "auc_probe": 0.5,
    "d_prime": 0.0,
    "silhouette": None,
    "fisher": 0.0,
    "reliability": 0.0,
}
_KIND = ResultKind("separability", card="separability.json", arrays="separability.safetensors")
Key = tuple[str, str]


@dataclass(frozen=True, eq=False)
class Separability:
    """How well replies are told apart at every layer.

    Attributes:
        layers: Blocks measured.
        names: Names of the roles and of the traits, by kind.
        scores: By metric and kind; NaN where unknown. `fisher` and `reliability` have one question fold.
        shuffled: The same, averaged over question folds, with labels shuffled between system prompts: replies
            to one prompt stay together. `auc`, `auc_probe` and `d_prime` have the prompts of the two sides
            shuffled instead, as has the reliability of traits. A draw is the same shuffle at every layer.
            Few prompts allow few shuffles: five pairs have 16 that differ, so that p is at least 1/16, and two
            prompts against two of the default six, a third of which are the truth: no power.
        random: The same along random directions, for `auc` and `d_prime`. Which end of a random direction is
            which means nothing, so that values lie on both sides of chance: test against both.
        chance: What labels without meaning give on average; None where it depends on the data, see `shuffled`.
        counts: Replies behind each unit, by kind.
        card: How it was measured, and of what.

    Examples:
        >>> found = Separability(layers=(0, 1), names={"role": ("pirate",)},
        ...     scores={("auc", "role"): np.array([[[0.5, 0.8], [0.7, 1.0]]])},
        ...     shuffled={("auc", "role"): np.full((4, 1, 2), 0.5)}, random={}, chance={"auc": 0.5},
        ...     counts={"role": np.array([8])})
        >>> found.values("auc", "role").round(2)
        array([[0.6, 0.9]])
    """

    layers: tuple[int, ...]
    names: Mapping[str, tuple[str, ...]]
    scores: Mapping[Key, Float[np.ndarray, "unit question_fold layer"]]
    shuffled: Mapping[Key, Float[np.ndarray, "draw unit layer"]]
    random: Mapping[Key, Float[np.ndarray, "draw unit layer"]]
    chance: Mapping[str, float | None]
    counts: Mapping[str, Int[np.ndarray, " unit"]]
    card: Mapping[str, Any] = field(default_factory=dict)

    def values(self, metric: str, kind: str) -> Float[np.ndarray, "unit layer"]:
        """Mean of a metric over question folds; NaN where no fold knows it.

        Raises:
            SpaceError: It was not measured.
        """
        try:
            scores = self.scores[metric, kind]
        except KeyError as error:
            raise SpaceError(
                f"{metric!r} of {kind!r} was not measured",
                expected=", ".join(f"{metric} of {kind}" for metric, kind in self.scores),
            ) from error
        return known_mean(scores, axis=1)

    def frame(self, metric: str) -> pd.DataFrame:
        """One row a role or trait and layer: value, and the shuffled null beside it.

        Columns: kind, name, layer, value, shuffled_mean, shuffled_95 (95th percentile of the draws), p (share
        of draws at least as high, one-sided; no smaller than 1 / (draws + 1)), count.

        Raises:
            SpaceError: No such metric.
        """
        kinds = [kind for kind in self.names if (metric, kind) in self.scores]
        if not kinds:
            raise SpaceError(
                f"no metric {metric!r}",
                expected=", ".join(dict.fromkeys(metric for metric, _ in self.scores)),
            )
        frames = []
        for kind in kinds:
            values, null = self.values(metric, kind), self.shuffled[metric, kind]
            n_units, n_layers = values.shape
            some = len(null) > 0
            unknown = np.full_like(values, np.nan)
            frames.append(
                pd.DataFrame(
                    {
                        "kind": kind,
                        "name": np.repeat(self.names[kind], n_layers),
                        "layer": np.tile(self.layers, n_units),
                        "value": values.ravel(),
                        "shuffled_mean": (null.mean(axis=0) if some else unknown).ravel(),
                        "shuffled_95": (
                            np.quantile(null, 0.95, axis=0) if some else unknown
                        ).ravel(),
                        "p": (permutation_p(values, null) if some else unknown).ravel(),
                        "count": np.repeat(self.counts[kind], n_layers),
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def save(self, folder: str | Path, *, compact: bool = False) -> Path:
        """Write `separability.safetensors` and `separability.json`; draws of the nulls in half precision.

        Args:
            folder: Made if it is not there.
            compact: Scores in half precision, and draws of the nulls at one byte each.
        """
        tensors = {f"counts/{kind}": counts for kind, counts in self.counts.items()}
        for (metric, kind), values in self.scores.items():
            dtype = np.float16 if compact else np.float32
            tensors[f"scores/{metric}/{kind}"] = values.astype(dtype)
        for name, found in (("shuffled", self.shuffled), ("random", self.random)):
            for (metric, kind), draws in found.items():
                key = f"{name}/{metric}/{kind}"
                if compact and np.isfinite(draws).all():
                    tensors |= {f"{key}/{part}": held for part, held in _packed(draws).items()}
                else:
                    tensors[key] = draws.astype(np.float16)
        card = {
            "layers": self.layers,
            "names": dict(self.names),
            "chance": dict(self.chance),
            "card": dict(self.card),
        }
        return _KIND.save(folder, card, arrays=tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Separability:
        """Read what `save` wrote.

        Raises:
            SpaceError: The folder holds none.
        """
        card, _, tensors = _KIND.load(folder)
        found: dict[str, dict[Key, np.ndarray]] = {"scores": {}, "shuffled": {}, "random": {}}
        counts = {}
        for name, values in tensors.items():
            part, *key = name.split("/")
            if part == "counts":
                counts[key[0]] = values
            elif len(key) == 2:
                found[part][key[0], key[1]] = values.astype(np.float32)
            elif key[2] == "codes":
                parts = (tensors[f"{part}/{key[0]}/{key[1]}/{field}"] for field in Packed._fields)
                found[part][key[0], key[1]] = _unpacked(Packed(*parts))
        return cls(
            layers=tuple(card["layers"]),
            names={kind: tuple(names) for kind, names in card["names"].items()},
            scores=found["scores"],
            shuffled=found["shuffled"],
            random=found["random"],
            chance=card["chance"],
            counts=counts,
            card=card["card"],
        )


def _packed(draws: Float[np.ndarray, "draw unit layer"]) -> dict[str, np.ndarray]:
    """Codes of the draws, with one offset and scale a layer."""
    flat = draws.reshape(-1, 1, draws.shape[2])
    packed = pack(flat, np.zeros(len(flat), dtype=int))
    return {**packed._asdict(), "codes": packed.codes.reshape(draws.shape)}


def _unpacked(packed: Packed) -> Float[np.ndarray, "draw unit layer"]:
    shape = packed.codes.shape
    flat = packed._replace(codes=packed.codes.reshape(-1, 1, shape[2]))
    return unpack(flat, np.zeros(len(flat.codes), dtype=int)).reshape(shape)
