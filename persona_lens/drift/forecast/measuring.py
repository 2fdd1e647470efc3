"""What is measured of forecasts: scores, gains over the last place, the question, coverage."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.drift.forecast.calibrating import Calibration
from persona_lens.drift.forecast.predictors import SHUFFLED, Inputs
from persona_lens.drift.forecast.ridge import HeldOut
from persona_lens.drift.forecast.scoring import Scorer
from persona_lens.drift.forecast.shuffling import Shuffler
from persona_lens.drift.forecast.splits import Split
from persona_lens.progress import StageProgress
from persona_lens.statistics import fdr, permutation_p

MODELS = ("message", "message+previous")
"""Those that are kept for forecasts of new messages."""

_ROW_FOLDS = 5


@dataclass(eq=False)
class Measured:
    """What was found, before it is told.

    Attributes:
        scores: As `Forecaster.scores_`.
        gains: As `Forecaster.gains_`.
        question: As `Forecaster.question_`; None where no conversation has two turns.
        coverage: As `Forecaster.coverage_`.
        predicted: Forecasts of the main split, by predictor.
        widths: Half-widths of the intervals of new forecasts, by model kept: one a target.
        notes: What has to be said.
    """

    scores: pd.DataFrame
    gains: pd.DataFrame
    question: pd.DataFrame | None
    coverage: pd.DataFrame
    predicted: dict[str, Float[np.ndarray, "row target"]]
    widths: dict[str, Float[np.ndarray, " target"]]
    notes: list[str] = field(default_factory=list)


class Measurement:
    """Measures every predictor in every split.

    Args:
        inputs: What predictors look at.
        splits: The main one first.
        resampled: Column of what is resampled for intervals.
        confidence: Of the conformal intervals.
        permutations: Draws of the null.
        draws: Bootstrap samples.
        seed: Of both.
        progress: Show a bar.
    """

    def __init__(
        self,
        inputs: Inputs,
        splits: list[Split],
        *,
        resampled: str,
        confidence: float,
        permutations: int,
        draws: int,
        seed: int,
        progress: bool,
    ) -> None:
        self._inputs, self._splits = inputs, splits
        self._confidence = confidence
        self._permutations = permutations
        self._seed = seed
        self._conversations = inputs.turns.codes("conversation")
        units = inputs.turns.codes(resampled)
        self._scorer = Scorer(inputs.targets, units, draws=draws, seed=seed)
        self._shuffler = Shuffler(inputs.turns, seed)
        self._inside: dict[str, np.ndarray] = {}
        self._partial: list[
            np.ndarray
        ] = []  # of messages of other conversations, beside the last place
        # As others choose their penalty, who report R² in the sample: on folds of single rows.
        self._rowwise = np.random.default_rng(seed).permutation(len(inputs.turns)) % _ROW_FOLDS
        kinds = ("next", "change") if inputs.turns.previous is not None else ("next",)
        directions = inputs.turns.directions
        self._keys = pd.DataFrame(
            {
                "direction": list(directions) * len(kinds),
                "target": np.repeat(kinds, len(directions)),
            }
        )
        steps = len(splits) * len(inputs.names) * (1 + permutations)
        steps += permutations if len(kinds) > 1 else 0  # of the question
        self._bar = StageProgress("Forecasting", steps, shown=progress, unit="fits")

    def run(self) -> Measured:
        """Fit, score, shuffle and fit again."""
        scores, gains, questions = [], [], []
        found: dict[str, HeldOut] = {}
        with self._bar.running():
            orders = [self._shuffler.draw() for _ in range(self._permutations)]
            for split in self._splits:
                held = self._held_out(split, calibrating=split is self._splits[0])
                found = found or held
                nulls = {name: self._null(name, split, orders, held) for name in held}
                scores += [self._scores(name, split, held[name], nulls[name]) for name in held]
                gains += [self._gains(name, split, held) for name in held if name != "last"]
                if split is self._splits[0] and "last" in held:
                    questions.append(self._question(split, held, orders))
        calibration = Calibration(self._inputs, self._splits[0], self._confidence)
        coverage = pd.concat(
            [
                self._keys.assign(
                    predictor=name,
                    **calibration.coverage(found[name], self._scorer),
                    **self._counts(self._splits[0]),
                )
                for name in MODELS
                if name in found
            ],
            ignore_index=True,
        )
        table = pd.concat(scores, ignore_index=True)
        _insert_q(table, ["target", "predictor", "split"])
        return Measured(
            scores=table,
            gains=pd.concat(gains, ignore_index=True) if "last" in found else pd.DataFrame(),
            question=questions[0] if questions else None,
            coverage=coverage,
            predicted={name: held.predicted for name, held in found.items()},
            widths={
                name: calibration.widths(found[name].predicted) for name in MODELS if name in found
            },
            notes=[*calibration.notes, *self._chance_notes(), *self._edge_notes(found)],
        )

    def _held_out(self, split: Split, *, calibrating: bool) -> dict[str, HeldOut]:
        found = {}
        for name in self._inputs.names:
            found[name] = self._inputs.held_out(
                name, split, calibrating=calibrating and name in MODELS
            )
            self._bar.advance(1)
        return found

    def _null(
        self, name: str, split: Split, orders: list[np.ndarray], held: dict[str, HeldOut]
    ) -> np.ndarray:
        """R² with inputs of other conversations; NaN where nothing is there to hand over."""
        what = SHUFFLED[name]
        if what is None or not orders:
            self._bar.advance(self._permutations)
            return np.full((len(orders), len(self._keys)), np.nan)
        draws = []
        for order in orders:
            forecast = self._inputs.shuffled(name, split, what, order).predicted
            draws.append(self._scorer.r2(forecast))
            if name == "message+previous" and split is self._splits[0]:
                self._partial.append(self._scorer.partial(forecast, held["previous"].predicted))
            self._bar.advance(1)
        null = np.array(draws)
        if name == "last":  # which forecasts no change, whatever it is told
            null[:, [target == "change" for target in self._keys["target"]]] = np.nan
        return null

    def _scores(self, name: str, split: Split, held: HeldOut, null: np.ndarray) -> pd.DataFrame:
        r2 = self._scorer.r2(held.predicted)
        low, high = self._scorer.intervals(self._scorer.r2_draws(held.predicted))
        if name not in self._inside:
            forecast = self._inputs.in_sample(name, self._rowwise)
            self._inside[name] = self._scorer.r2(forecast)
        return self._keys.assign(
            predictor=name,
            split=split.name,
            r2=r2,
            low=low,
            high=high,
            **_summary(r2, null),
            **self._counts(split),
            r2_in_sample=self._inside[name],
        )

    def _gains(self, name: str, split: Split, held: dict[str, HeldOut]) -> pd.DataFrame:
        if "last" not in held:
            return pd.DataFrame()
        mine, last = held[name].predicted, held["last"].predicted
        draws = self._scorer.r2_draws(mine) - self._scorer.r2_draws(last)
        low, high = self._scorer.intervals(draws)
        return self._keys.assign(
            predictor=name,
            split=split.name,
            gain=self._scorer.r2(mine) - self._scorer.r2(last),
            low=low,
            high=high,
            **self._counts(split),
        )

    def _question(
        self, split: Split, held: dict[str, HeldOut], orders: list[np.ndarray]
    ) -> pd.DataFrame:
        both = held["message+previous"].predicted
        tables = []
        places = []
        for order in orders:
            forecast = self._inputs.shuffled("message+previous", split, "places", order).predicted
            places.append(self._scorer.partial(forecast, held["message"].predicted))
            self._bar.advance(1)
        for of, given, null in (
            ("message", "previous", self._partial),
            ("previous", "message", places),
        ):
            less = held[given].predicted
            value = self._scorer.partial(both, less)
            low, high = self._scorer.intervals(self._scorer.partial_draws(both, less))
            table = self._keys.assign(
                of=of,
                given=given,
                split=split.name,
                partial_r2=value,
                low=low,
                high=high,
                **_summary(value, np.array(null)),
                **self._counts(split),
            )
            table = table.loc[table["target"] == "next"].drop(columns="target")
            _insert_q(table, ["of"])
            tables.append(table)
        return pd.concat(tables, ignore_index=True)

    def _chance_notes(self) -> list[str]:
        if not self._permutations:
            return ["no permutations were asked for: p, q and the null are unknown"]
        what, ways = self._shuffler.unit, self._shuffler.arrangements
        said = f"the null hands messages of whole {what}s to others of the same domain"
        if ways < 100:
            said += f", which can be done in {ways:.0f} ways only: p-values are coarse"
        notes, directions = [said], len(self._inputs.turns.directions)
        needed = 20 * directions - 1
        if self._permutations < needed:
            notes.append(
                f"with {self._permutations} permutations p is at least {1 / (self._permutations + 1):.3f}: a "
                f"direction that alone of {directions} can be forecast has q above 0.05; {needed} would show it"
            )
        return notes

    def _edge_notes(self, found: dict[str, HeldOut]) -> list[str]:
        """Penalties at the small end of what was offered; at the large end there is only the mean."""
        least = min(self._inputs.alphas)
        at_end = [
            f"{self._keys.at[place, 'direction']} ({self._keys.at[place, 'target']})"
            for place, alphas in enumerate(found["message"].alphas.T)
            if (alphas <= least).any()
        ]
        said = f"the smallest penalty, {least:g}, was chosen for {', '.join(at_end)}: offer smaller ones"
        return [said] if at_end else []

    def _counts(self, split: Split) -> dict[str, int]:
        return {
            "n_rows": len(self._inputs.turns),
            "n_conversations": int(self._conversations.max()) + 1,
            "n_groups": split.n_groups,
        }


def _summary(value: np.ndarray, null: np.ndarray) -> dict[str, np.ndarray]:
    known = len(null) > 0 and bool(np.isfinite(null).any())
    unknown = np.full(len(value), np.nan)
    if not known:
        return {"null_mean": unknown, "null_95": unknown, "p": unknown}
    told = np.isfinite(null).all(axis=0)
    return {
        "null_mean": null.mean(axis=0),
        "null_95": np.quantile(null, 0.95, axis=0),
        "p": np.where(told, permutation_p(value, null), np.nan),
    }


def _insert_q(table: pd.DataFrame, among: list[str]) -> None:
    """Put q behind p: Benjamini-Hochberg over the directions of each group."""
    q = table.groupby(among)["p"].transform(lambda p: fdr(np.asarray(p)))
    table.insert(list(table.columns).index("p") + 1, "q", q)
