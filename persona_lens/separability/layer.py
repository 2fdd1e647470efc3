"""All metrics of one kind at one layer: sums of every cell once, then each split from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from persona_lens.separability.classes import Split, by_label, identities, silhouettes
from persona_lens.separability.contrasts import Contrast, Separation, block_weights, taken
from persona_lens.separability.design import Cells, Design
from persona_lens.separability.draws import Draws
from persona_lens.separability.halves import (
    fisher,
    reliability_of_differences,
    reliability_of_means,
)
from persona_lens.separability.probe import Whitening, class_scatter
from persona_lens.statistics import known_mean

_ROUNDING = 1e-6


class Measured(NamedTuple):
    """What a layer gives for one metric; `random` is None for metrics without a direction."""

    scores: Float[np.ndarray, "unit question_fold"]
    shuffled: Float[np.ndarray, "draw unit"]
    random: Float[np.ndarray, "draw unit"] | None = None

    @classmethod
    def of(
        cls,
        draws: Float[np.ndarray, "draw unit question_fold"],
        random: Float[np.ndarray, "draw unit question_fold"] | None = None,
    ) -> Measured:
        """The first draw is the score, the others are means over question folds."""
        along = None if random is None else known_mean(random, axis=-1)
        return cls(draws[0], known_mean(draws[1:], axis=-1), along)


@dataclass(frozen=True, eq=False)
class Grid:
    """Replies of one side on the grid, and their sums by cell."""

    values: Float[np.ndarray, "prompt_fold question_fold unit slot d_model"]
    known: Bool[np.ndarray, "prompt_fold question_fold unit slot"]
    sums: Float[np.ndarray, "prompt_fold question_fold unit d_model"]
    counts: Float[np.ndarray, "prompt_fold question_fold unit"]

    @classmethod
    def of(cls, cells: Cells, values: Float[np.ndarray, "reply d_model"]) -> Grid:
        """Lay replies out."""
        laid = cells.gather(values)
        return cls(laid, cells.known, laid.sum(axis=3), cells.counts.astype(float))

    def other_questions(
        self, fold: int
    ) -> tuple[Float[np.ndarray, "prompt_fold unit d_model"], np.ndarray]:
        """Sums and counts of the replies to the questions of all other folds, by prompt fold."""
        others = np.arange(self.sums.shape[1]) != fold
        return self.sums[:, others].sum(axis=1), self.counts[:, others].sum(axis=1)

    def scatter(self) -> Float[np.ndarray, "prompt_fold question_fold d_model d_model"]:
        """Sum of outer products of the replies of each cell, over units."""
        flat = self.values.reshape(*self.values.shape[:2], -1, self.values.shape[-1])
        return np.matmul(flat.swapaxes(2, 3), flat)


def measure_layer(
    values: Float[np.ndarray, "reply d_model"], design: Design, draws: Draws
) -> dict[str, Measured]:
    """Every metric that the design allows; see `METRICS`."""
    norms = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    of_unit_norm = Grid.of(design.plus, values / norms)
    rows = design.plus.rows[design.plus.known]
    # Far from the origin products would lose digits; no metric but those of unit norm depends on it.
    centred = values - values[rows].mean(axis=0, dtype=np.float64).astype(values.dtype)
    plus = Grid.of(design.plus, centred)
    minus = None if design.minus is None else Grid.of(design.minus, centred)

    found = _Splits(design, draws, plus, minus, of_unit_norm).measure()
    found["fisher"] = Measured.of(fisher(of_unit_norm.sums, plus.counts, draws)[..., None])
    if design.kind == "role":
        reliability = reliability_of_means(plus.sums, plus.counts, draws)
    elif minus is not None:
        both = (plus.sums, minus.sums), (plus.counts, minus.counts)
        reliability = reliability_of_differences(*both, draws)
    else:
        reliability = np.full((len(draws.labels), len(design.names)), np.nan)
    found["reliability"] = Measured.of(reliability[..., None])
    return found


class _Splits:
    """Metrics that need a split: training cells have another prompt fold and another question fold."""

    def __init__(
        self, design: Design, draws: Draws, plus: Grid, minus: Grid | None, of_unit_norm: Grid
    ) -> None:
        self.design, self.draws = design, draws
        self.plus, self.minus, self.of_unit_norm = plus, minus, of_unit_norm
        self.sides = [plus] if minus is None else [plus, minus]
        self.scatter = np.add.reduce([side.scatter() for side in self.sides])
        shape = (len(draws.labels), len(design.names), design.n_question_folds)
        self.sums = {name: np.zeros(shape) for name in ("identity", "identity_top1", "silhouette")}
        self.numbers = {name: np.zeros(shape) for name in self.sums}
        self.along = {
            name: Separation(*shape[:2], *plus.counts.shape[:2]) for name in ("mean", "probe")
        }

    def measure(self) -> dict[str, Measured]:
        """Go through the splits."""
        for question in range(self.design.n_question_folds):
            self._question_fold(question)
        with np.errstate(invalid="ignore"):
            found = {
                name: Measured.of(total / self.numbers[name]) for name, total in self.sums.items()
            }
        along, random = self.along["mean"], None
        if self.minus is not None:
            random = self._random_directions()
        found["auc"] = Measured.of(along.areas(), None if random is None else random.areas())
        found["d_prime"] = Measured.of(
            along.d_prime(), None if random is None else random.d_prime()
        )
        found["auc_probe"] = Measured.of(self.along["probe"].areas())
        return found

    def _question_fold(self, question: int) -> None:
        trained = [side.other_questions(question) for side in self.sides]
        of_unit_norm, _ = self.of_unit_norm.other_questions(question)
        n_prompts = self.design.n_prompt_folds
        for prompt in range(n_prompts):
            cell = (prompt, question)
            others = np.flatnonzero(np.arange(n_prompts) != prompt)
            sums = [s[others] for s, _ in trained]
            counts = [n[others] for _, n in trained]
            whiten = self._whitening(cell, sums, counts)
            means = _means(sums[0], counts[0])
            means_white, white = whiten(means), whiten(self.plus.values[cell])

            labels = self.draws.labels[:, others], self.draws.labels[:, prompt]
            white_sums = means_white * counts[0][..., None].astype(means.dtype)
            split = Split(white, white_sums, counts[0], *labels)
            for draw, (share, first) in enumerate(identities(split)):
                self._add("identity", draw, share, cell)
                self._add("identity_top1", draw, first, cell)
            split = Split(self.of_unit_norm.values[cell], of_unit_norm[others], counts[0], *labels)
            for draw, silhouette in enumerate(silhouettes(split)):
                self._add("silhouette", draw, silhouette, cell)
            if self.minus is not None:
                self._contrast(cell, self.minus, (means, means_white), white, whiten)

    def _whitening(
        self,
        cell: tuple[int, int],
        sums: list[np.ndarray],
        counts: list[np.ndarray],
    ) -> Whitening:
        """From the training cells of all units, on both sides."""
        cells = np.ix_(
            np.arange(self.design.n_prompt_folds) != cell[0],
            np.arange(self.design.n_question_folds) != cell[1],
        )
        total = self.scatter[cells].sum(axis=(0, 1))
        n_replies = int(sum(n.sum() for n in counts))
        floor = _ROUNDING * float(np.trace(total)) / max(n_replies, 1)
        for s, n in zip(sums, counts, strict=True):
            total -= class_scatter(s.sum(axis=0), n.sum(axis=0))
        return Whitening(total, n_replies, floor)

    def _add(
        self, name: str, draw: int, values: Float[np.ndarray, " reply"], cell: tuple[int, int]
    ) -> None:
        total, number = by_label(values, self.plus.known[cell], self.draws.labels[draw, cell[0]])
        self.sums[name][draw, :, cell[1]] += total
        self.numbers[name][draw, :, cell[1]] += number

    def _contrast(
        self,
        cell: tuple[int, int],
        minus: Grid,
        means: tuple[np.ndarray, np.ndarray],
        white: Float[np.ndarray, "unit slot d_model"],
        whiten: Whitening,
    ) -> None:
        prompt, question = cell
        others = np.arange(self.design.n_prompt_folds) != prompt
        # The two sides of a pair stay together; of the default, a draw may hold out any prompt fold.
        tested_folds = np.arange(len(others)) if self.design.kind == "role" else np.array([prompt])
        sums, counts = minus.other_questions(question)
        opposite, tested = _means(sums, counts), minus.values[tested_folds, question]

        sides, partners = self.draws.sides, self.draws.partners[:, :, prompt]
        held_out = np.arange(len(others)) == partners[..., None]
        blocks = [sides[:, :, 0, others], np.where(held_out, 0.0, sides[:, :, 1])]
        n_units = sides.shape[1]
        _, trained = self.plus.other_questions(question)
        known = [trained[others] > 0, np.broadcast_to(counts > 0, (len(others), n_units))]
        weights = block_weights(np.concatenate(blocks, axis=2), np.concatenate(known))
        position = np.searchsorted(tested_folds, partners)
        there = np.moveaxis(minus.known[tested_folds, question], 0, -1)[None]
        both_known = (self.plus.known[cell][None], taken(there, position))
        for name, own, ours, theirs, other in (
            ("mean", self.plus.values[cell], means[0], tested, opposite),
            ("probe", white, means[1], whiten(tested), whiten(opposite)),
        ):
            contrast = Contrast.of(own, theirs, (ours, other))
            projections = contrast.projections(weights, position)
            self.along[name].add(cell, projections, both_known, sides[:, :, 0, prompt])

    def _random_directions(self) -> Separation:
        """The sides along directions that no reply has trained."""
        directions = self.draws.directions
        shape = (directions.shape[1], len(self.design.names))
        found = Separation(*shape, *self.plus.counts.shape[:2])
        for prompt, question in np.ndindex(self.plus.counts.shape[:2]):
            cell = (prompt, question)
            plus, minus = (
                np.moveaxis(side.values[cell] @ directions, -1, 0) for side in self.sides
            )
            known = [
                np.broadcast_to(side.known[cell], (1, shape[1], side.known.shape[-1]))
                for side in self.sides
            ]
            found.add(cell, (plus, minus), (known[0], known[1]), np.ones(shape))
        return found


def _means(
    sums: Float[np.ndarray, "fold unit d_model"], counts: Float[np.ndarray, "fold unit"]
) -> Float[np.ndarray, "fold unit d_model"]:
    """Means, 0 where there is nothing."""
    return sums / np.maximum(counts, 1.0)[..., None].astype(sums.dtype)
