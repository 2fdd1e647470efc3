"""The refusal direction, and how far an axis lies along it: what a change in harm may come of without any persona.

    refusal = refusal_direction(model, refused, complied)        # requests that you bring
    refusal.overlap(space)            # cos(axis, refusal), interval, two nulls, at each layer
    with_overlap(harm_table(result.replies), refusal.overlap(space, layers=[15]))

A direction that has nothing to do with refusing can still change how often a model refuses, by the little that it
shares with this one (arXiv 2603.24543): so cos(axis, refusal) belongs beside every result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.metrics import roc_auc_score

from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.harmless_pairs import HARMLESS_PAIRS
from persona_lens.interventions import Direction, Origin
from persona_lens.statistics import fisher_interval, permutation_p

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

DRAWS = 500
FEWEST = 4
_FOLDS = 4
Texts = Sequence[str | Sequence[Mapping[str, str]]]


@dataclass(frozen=True, eq=False)
class RefusalDirection:
    """Mean residual of prompts that are refused minus that of prompts that are not, at their last token.

    Attributes:
        direction: Positive is toward refusing; a vector at each of its layers.
        refused: Residuals of each prompt that is refused.
        complied: And of each that is not.
        packaged: Whether they are the packaged harmless pairs, which stand in for requests of your own.
    """

    direction: Direction
    refused: Float[np.ndarray, "prompt layer d_model"]
    complied: Float[np.ndarray, "prompt layer d_model"]
    packaged: bool = False

    @property
    def layers(self) -> tuple[int, ...]:
        """Where it is known."""
        return self.direction.layers

    def overlap(
        self,
        axis: Space | Direction,
        *,
        layers: Sequence[int] | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Cosine with an axis.

        Args:
            axis: A space, whose Assistant axis is taken, or a direction.
            layers: Of both; all that both have by default.
            seed: Of the draws.

        Returns:
            One row a layer: `layer`, `axis`; `cosine` (positive: toward the Assistant is toward refusing), `low`
            and `high` (95 %, prompts resampled), `null_low`, `null_high` and `p` (which prompts are refused
            shuffled, so that the direction is what such prompts give by chance), `random_low`, `random_high`
            (random directions in the same residual stream); `separation`, the held-out area under the curve of
            refused against other prompts along the direction, 0.5 for a direction that tells nothing; `n` prompts,
            `packaged`.

        Raises:
            EvaluationError: The two have no layer in common.
        """
        other = axis if isinstance(axis, Direction) else axis.direction("assistant")
        wanted = [layer for layer in (layers or self.layers) if layer in other.layers]
        wanted = [layer for layer in wanted if layer in self.layers]
        if not wanted:
            raise EvaluationError(
                "axis and refusal direction have no layer in common",
                expected=f"some of {list(self.layers)}",
                given=list(other.layers if layers is None else layers),
            )
        return pd.DataFrame([self._at(layer, other, seed) for layer in wanted])

    def _at(self, layer: int, axis: Direction, seed: int) -> dict[str, Any]:
        place = self.direction.index(layer)
        unit = axis.units[axis.index(layer)]
        here = np.concatenate([self.refused[:, place], self.complied[:, place]]).astype(np.float64)
        is_refused = np.arange(len(here)) < len(self.refused)
        rng = np.random.default_rng([seed, layer])
        value = _cosines(_weights(is_refused), here, unit).item()
        drawn = np.stack([_resampled(is_refused, rng) for _ in range(DRAWS)])
        low, high = fisher_interval(value, _cosines(drawn, here, unit))
        shuffled = np.stack([_weights(rng.permutation(is_refused)) for _ in range(DRAWS)])
        null = _cosines(shuffled, here, unit)
        directions = rng.standard_normal((DRAWS, len(unit)))
        random = directions @ unit / np.linalg.norm(directions, axis=1)
        return {
            "layer": layer,
            "axis": axis.name,
            "cosine": value,
            "low": low,
            "high": high,
            "null_low": float(np.quantile(null, 0.025)),
            "null_high": float(np.quantile(null, 0.975)),
            "p": float(permutation_p(value, null, "two-sided")),
            "random_low": float(np.quantile(random, 0.025)),
            "random_high": float(np.quantile(random, 0.975)),
            "separation": _separation(here, is_refused, rng),
            "n": len(here),
            "packaged": self.packaged,
        }


def refusal_direction(
    model: PersonaModel,
    refused: Texts | None = None,
    complied: Texts | None = None,
    layer: int | Sequence[int] | None = None,
) -> RefusalDirection:
    """Difference of mean residuals at the last token of the prompt, where the reply is about to begin.

    Args:
        model: Is read, nothing is written.
        refused: Requests that this model refuses: texts, or messages that end with the user's.
        complied: Requests that it does not. Without either, 16 packaged pairs of requests that no model can fulfil
            and ones like them that it can: harmless, and about being unable more than about being unwilling.
        layer: A block or several; all by default.

    Raises:
        EvaluationError: There are fewer than four requests of a kind, only one kind is given, or one is of both.

    Source: arXiv 2406.11717 has the difference of means; ours is not tuned for an effect.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> found = refusal_direction(model, layer=12)
        >>> found.direction.layers, found.refused.shape
        ((12,), (16, 1, 576))
    """
    packaged = refused is None and complied is None
    if packaged:
        refused, complied = zip(*HARMLESS_PAIRS, strict=True)
    counts = {"refused": len(refused or ()), "complied": len(complied or ())}
    if min(counts.values()) < FEWEST:
        raise EvaluationError(
            "too few requests for a refusal direction",
            expected=f"at least {FEWEST} refused and {FEWEST} complied with",
            given=", ".join(f"{n} {name}" for name, n in counts.items()),
            remedy="bring both kinds, alike in length and subject; or neither, for the packaged pairs",
        )
    assert refused is not None
    assert complied is not None
    both = {str(each) for each in refused} & {str(each) for each in complied}
    if both:
        raise EvaluationError(
            "a request is among the refused and among the others", given=f"{len(both)} of them"
        )
    layers = list(range(model.n_layers)) if layer is None else list(np.atleast_1d(layer))
    layers = [int(each) % model.n_layers for each in layers]
    read = [_residuals(model, texts, layers) for texts in (refused, complied)]
    values = read[0].mean(axis=0, dtype=np.float64) - read[1].mean(axis=0, dtype=np.float64)
    direction = Direction("refusal", tuple(layers), values, origin=Origin.of_card(model.card()))
    return RefusalDirection(direction, read[0], read[1], packaged)


def with_overlap(table: pd.DataFrame, overlap: pd.DataFrame) -> pd.DataFrame:
    """A table of results with cos(axis, refusal) and its nulls in every row.

    Args:
        table: Of `harm_table`, `persona_effect` or `projection_effect`.
        overlap: Of `RefusalDirection.overlap`, of one layer.

    Raises:
        EvaluationError: It is of several layers.
    """
    if len(overlap) != 1:
        raise EvaluationError(
            "one overlap stands beside a result",
            expected="one layer",
            given=f"{len(overlap)}",
            remedy="refusal.overlap(space, layers=[...]) at the layer that is steered or read",
        )
    row = overlap.iloc[0]
    names = ("cosine", "low", "high", "null_low", "null_high", "random_low", "random_high")
    told = {f"refusal_{name}": float(row[name]) for name in names}
    return table.assign(refusal_layer=int(row["layer"]), **told)


def _residuals(
    model: PersonaModel, texts: Texts, layers: Sequence[int]
) -> Float[np.ndarray, "prompt layer d_model"]:
    encoder = model.encoder
    messages = [
        encoder.messages(each) if isinstance(each, str) else [dict(m) for m in each]
        for each in texts
    ]
    prompts = [encoder.prompt(each) for each in messages]
    masks = [np.arange(len(prompt)) == len(prompt) - 1 for prompt in prompts]
    found = model.pooled(prompts, masks, layers=layers)
    if not np.isfinite(found).all():
        raise EvaluationError("residuals of some requests are not finite", remedy="use float32")
    return found


def _weights(is_refused: np.ndarray) -> Float[np.ndarray, " prompt"]:
    """Such that their sum over residuals is the difference of the means."""
    return is_refused / is_refused.sum() - ~is_refused / (~is_refused).sum()


def _resampled(is_refused: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, " prompt"]:
    weights = np.zeros(len(is_refused))
    for side, sign in ((is_refused, 1.0), (~is_refused, -1.0)):
        places = np.flatnonzero(side)
        drawn = rng.choice(places, size=len(places))
        weights += sign * np.bincount(drawn, minlength=len(weights)) / len(places)
    return weights


def _cosines(weights: np.ndarray, here: np.ndarray, unit: np.ndarray) -> Float[np.ndarray, " draw"]:
    differences = np.atleast_2d(weights) @ here
    return differences @ unit / np.maximum(np.linalg.norm(differences, axis=1), 1e-30)


def _separation(here: np.ndarray, is_refused: np.ndarray, rng: np.random.Generator) -> float:
    """Held-out area under the curve, mean over folds with both kinds."""
    fold = np.empty(len(here), dtype=int)
    for side in (is_refused, ~is_refused):
        fold[rng.permutation(np.flatnonzero(side))] = np.arange(side.sum()) % _FOLDS
    found = []
    for number in range(_FOLDS):
        out = fold == number
        known = is_refused[~out]
        along = here[out] @ (_weights(known) @ here[~out])
        found.append(roc_auc_score(is_refused[out], along))
    return float(np.mean(found))
