"""`Forecaster`: from what the user says to where the model's next reply will be, tested on people it has not met.

`persona_lens.drift.forecast` shows its use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from persona_lens.drift.forecast.answering import Answer, answer_of, doubts
from persona_lens.drift.forecast.checks import (
    check_known,
    check_parameters,
    given_places,
    given_vectors,
)
from persona_lens.drift.forecast.embedded import FittedEmbedder
from persona_lens.drift.forecast.explaining import Explanation, explain
from persona_lens.drift.forecast.measuring import MODELS, Measurement
from persona_lens.drift.forecast.predictors import Inputs
from persona_lens.drift.forecast.splits import make_splits
from persona_lens.drift.forecast.turns import Turns, read_turns
from persona_lens.embedding import MINILM, Embedder
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import ModelError, SpaceError

ALPHAS = tuple(float(alpha) for alpha in 10.0 ** np.arange(-3, 6.5, 0.5))


class Forecaster(BaseEstimator):
    """Forecasts where the next reply is along directions, and how far it moves, from the user's message.

    For every direction at once: the embedding of the message, at length 1, then ridge regression with a penalty
    for each target, chosen on inner folds. Folds hold out whole personas (the simulated users), then whole
    domains, then whole simulators. Side by side on the same rows stand the predictors of
    `persona_lens.drift.forecast.predictors.PREDICTORS`; "last", the same place as the last reply, is the one to
    beat.

    Held-out R² is 1 minus the sum of squared errors over the sum of squares about the mean of all scored rows;
    it is negative where a forecast is worse than that mean. `r2_in_sample`, its penalty chosen on five
    folds of single rows and its score taken on the very rows fitted, is there to compare with those who report
    that.

    A change is the next place less the last one, so that whoever knows the last place forecasts part of the
    change from pure noise (regression to the mean): judge "message" and "message+previous" on it against
    "previous", not against 0.

    Projections are in the units of the trace, dot products with a unit direction; positive is the direction's
    own end (on the axis: the Assistant).

    Args:
        embedder: A name, a folder, `EndpointSettings`, or an object as `persona_lens.embedding.Embedder`
            describes; all-MiniLM-L6-v2, offline, by default. None: embeddings are always given.
        alphas: Penalties to choose from.
        folds: Of the main split; no more than there are personas.
        permutations: Draws of the null, in which messages are handed to other conversations of the same domain
            and all is fitted again. A p-value is no smaller than 1 / (permutations + 1).
        draws: Bootstrap samples, for intervals.
        resampled: What intervals draw anew: "persona", all conversations of each, or "conversation". Replies to
            one persona are alike, so that conversations alone make intervals too narrow: where personas differed
            half as much as replies do, those of 95 % held 81 % of the time, against 90 % by personas. A table
            without personas is resampled by conversation.
        confidence: Of the conformal prediction intervals.
        seed: Of folds, null and samples. The same seed gives the same numbers.
        progress: Show bars on standard error.

    Attributes:
        scores_: One row a direction, target ("next", "change"), predictor and split: `r2`, `low`, `high` (95 %,
            see `resampled`), `null_mean`, `null_95`, `p`, `q` (Benjamini-Hochberg over directions),
            `n_rows`, `n_conversations`, `n_groups`, `r2_in_sample`. The null is unknown (NaN) for "turn",
            "domain_mean", "mean", which it leaves as they are, and for the change by "last", which is always 0.
        gains_: R² less that of "last" on the same bootstrap samples: `gain`, `low`, `high`, and the counts.
        question_: Partial R² of the message given the previous position, and of that given the message. None where
            no conversation has two turns.
        coverage_: How often replies of held-out folds lie within intervals that were calibrated without them.
        notes_: What was left out, what is weak about the table, and how chance was drawn. Read them.
        counts_: Rows left out, by reason.
        directions_, targets_: What is forecast.
        rows_: The scored rows: `row` of the table given, `conversation`, `turn`, `message`, and the groups.
        held_out_: By predictor, forecasts of these rows by models of the other folds; a column a target.
        observed_: What came to be, likewise.
        embedder_: What made the embeddings: its name and fingerprint.

    Raises:
        SpaceError: When fitted: the table is malformed, a direction does not vary, there is one persona only,
            or fewer conversations than folds. The message names the column and what to do.

    Source: the predictor of "The Assistant Axis" (arXiv 2601.10387, section 4.2), which reports R² in the sample.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> table = pd.DataFrame({"conversation": np.repeat(np.arange(40), 6), "turn": np.tile(np.arange(6), 40),
        ...     "persona": np.repeat(np.arange(10), 24), "message": [f"message {i}" for i in range(240)]})
        >>> vectors = rng.normal(size=(240, 8))
        >>> vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        >>> table["axis"] = 10 * vectors[:, 0] + rng.normal(size=240)
        >>> forecaster = Forecaster(None, permutations=20, progress=False).fit(table, embeddings=vectors)
        >>> best = forecaster.scores_.query("target == 'next'").set_index("predictor")["r2"]
        >>> bool(best["message"] > 0.8 > 0.1 > best["previous"] > best["last"])
        True
        >>> forecaster.question("axis").verdict
        'the message'
    """

    def __init__(
        self,
        embedder: str | Path | EndpointSettings | Embedder | None = MINILM,
        *,
        alphas: Sequence[float] = ALPHAS,
        folds: int = 5,
        permutations: int = 200,
        draws: int = 1000,
        resampled: str = "persona",
        confidence: float = 0.9,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        self.embedder = embedder
        self.alphas = alphas
        self.folds = folds
        self.permutations = permutations
        self.draws = draws
        self.resampled = resampled
        self.confidence = confidence
        self.seed = seed
        self.progress = progress

    def fit(
        self,
        table: pd.DataFrame,
        directions: Sequence[str] | None = None,
        embeddings: Float[np.ndarray, "row dim"] | None = None,
    ) -> Forecaster:
        """Fit and test on a wide table of turns.

        Args:
            table: As `Trace.wide` gives it, a row an assistant turn: `conversation`, `turn` (from 0), `message`
                (what the user said before that reply), of `persona`, `domain` and `simulator` those there are, a
                column of projections a direction, and `before:<direction>` where known: the projection right
                before the first token of the reply. It is not changed.
            directions: Columns to forecast. By default those that have a `before:` column, and where none has, all
                numeric columns that have no other meaning in a trace.
            embeddings: Of the messages, row by row, if they are known already; brought to length 1.

        Raises:
            SpaceError: See the class.
            ModelError: The embedder cannot be opened, or gives no vectors.
        """
        alphas = check_parameters(self)
        turns = read_turns(table, directions)
        splits, notes = make_splits(turns, self.folds, self.seed)
        vectors, more = self._embedded(table, turns, embeddings)
        inputs = Inputs(turns, vectors, alphas)
        found = Measurement(
            inputs,
            splits,
            resampled=self._unit(turns.frame),
            confidence=self.confidence,
            permutations=self.permutations,
            draws=self.draws,
            seed=self.seed,
            progress=self.progress,
        ).run()
        self.scores_, self.gains_ = found.scores, found.gains
        self.question_, self.coverage_ = found.question, found.coverage
        self.notes_ = (*turns.notes, *notes, *more, *found.notes)
        self.counts_ = dict(turns.counts)
        self.directions_ = turns.directions
        self.targets_ = ("next",) if turns.previous is None else ("next", "change")
        self.rows_ = turns.frame.assign(row=turns.rows)
        self.held_out_ = found.predicted
        self.models_ = {
            name: inputs.final(name, splits[0].outer) for name in MODELS if name in inputs.names
        }
        self.widths_ = found.widths
        self._embeddings = vectors
        self.observed_ = inputs.targets
        self._means = inputs.training_means(splits[0].outer)
        return self

    def question(self, direction: str | None = None) -> Answer:
        """Whether position depends on the last message or on where the model was.

        Args:
            direction: Which; the first by default.

        Raises:
            SpaceError: No conversation has two turns, or there is no such direction.
        """
        self._check_fitted()
        if self.question_ is None:
            raise SpaceError(
                "no conversation has two turns: nothing is known of where the model was",
                remedy="trace conversations of several turns",
            )
        return answer_of(self.question_, check_known(direction, self.directions_, "direction"))

    def explain(
        self,
        direction: str | None = None,
        *,
        target: str = "next",
        k: int | None = None,
        n_messages: int = 10,
    ) -> Explanation:
        """Which messages pull hardest along a direction, by kinds and one by one.

        Args:
            direction: Which; the first by default.
            target: "next" for where the reply is, "change" for how far it moves.
            k: How many kinds; by default the best silhouette among stable counts.
            n_messages: Single messages at each end.

        Raises:
            SpaceError: No such direction or target, or no such count of kinds.
        """
        self._check_fitted()
        direction = check_known(direction, self.directions_, "direction")
        target = check_known(target, self.targets_, "target")
        distinct = self.rows_["message"].nunique()
        if distinct < 3 or (k is not None and not 2 <= k < distinct):
            raise SpaceError(
                "messages cannot be sorted into so many kinds",
                expected=f"2 to {distinct - 1} kinds"
                if distinct > 2
                else "three distinct messages",
                given=f"{'any number of' if k is None else k} kinds of {distinct} distinct messages",
            )
        column = self.targets_.index(target) * len(self.directions_)
        column += self.directions_.index(direction)
        return explain(
            self.rows_,
            self._embeddings,
            (self.held_out_["message"] - self._means)[:, column],
            (self.observed_ - self._means)[:, column],
            direction=direction,
            target=target,
            k=k,
            n_messages=n_messages,
            draws=self.draws,
            units=pd.factorize(self.rows_[self._unit(self.rows_)])[0],
            seed=self.seed,
            notes=doubts(self.scores_, direction, target),
        )

    def predict(
        self,
        messages: Sequence[str] | None = None,
        previous: pd.DataFrame | Mapping[str, Any] | None = None,
        *,
        embeddings: Float[np.ndarray, "message dim"] | None = None,
    ) -> pd.DataFrame:
        """Where replies to messages will be, before there are any.

        Args:
            messages: What the user says.
            previous: Where the reply before was: a frame with a row a message and a column a direction, or a
                mapping of directions to one value or one a message. With it, "message+previous" forecasts, else
                "message".
            embeddings: Of the messages, in place of them.

        Returns:
            One row a message, direction and target: `message` (its place), `direction`, `target`, `predicted`,
            `low`, `high` (conformal, at `confidence`; see `coverage_`), `predictor`.

        Raises:
            SpaceError: Previous positions are missing or not finite, or nothing is known of how positions
                follow one another.
            ModelError: There is no embedder, or it is another one than at the time of fitting.
        """
        self._check_fitted()
        vectors = self._asked(messages, embeddings)
        name = "message" if previous is None else "message+previous"
        design = vectors.astype(float)
        if previous is not None:
            if name not in self.models_:
                raise SpaceError(
                    "nothing is known of how positions follow one another: no conversation had two turns",
                    remedy="leave previous out",
                )
            been = given_places(previous, self.directions_, len(vectors))
            design = np.concatenate([design, been], axis=1)
        found, width = self.models_[name](design), self.widths_[name]
        n_targets = found.shape[1]
        return pd.DataFrame(
            {
                "message": np.repeat(np.arange(len(vectors)), n_targets),
                "direction": np.tile(list(self.directions_) * len(self.targets_), len(vectors)),
                "target": np.tile(np.repeat(self.targets_, len(self.directions_)), len(vectors)),
                "predicted": found.ravel(),
                "low": (found - width).ravel(),
                "high": (found + width).ravel(),
                "predictor": name,
            }
        )

    def save(self, folder: str | Path) -> Path:
        """Write everything to a folder, messages and their embeddings included, without the embedder.

        Args:
            folder: Made if it is not there.
        """
        from persona_lens.drift.forecast.storing import save  # noqa: PLC0415 - which names this class

        self._check_fitted()
        return save(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        embedder: str | Path | EndpointSettings | Embedder | None = None,
    ) -> Forecaster:
        """Read what `save` wrote.

        Args:
            folder: Where it was saved.
            embedder: That of the time of fitting; needed for new messages only. The packaged one is found by
                itself.

        Raises:
            SpaceError: The folder holds none.
            ModelError: The embedder is another one: its vectors would be read as what they are not.
        """
        from persona_lens.drift.forecast.storing import load  # noqa: PLC0415

        return load(cls, folder, embedder)

    # --- what is asked ------------------------------------------------------------------------------

    def _embedded(
        self, table: pd.DataFrame, turns: Turns, embeddings: np.ndarray | None
    ) -> tuple[Float[np.ndarray, "row dim"], list[str]]:
        """Unit vectors of the scored rows, and what has to be said about them."""
        self.embedder_ = FittedEmbedder.open(self.embedder)
        messages = turns.frame["message"].tolist()
        if embeddings is not None:
            vectors = given_vectors(embeddings, len(table))[turns.rows]
            self.embedder_.check_given(vectors, messages)
            return vectors, []
        vectors = self.embedder_.vectors(messages, progress=self.progress)
        cut = self.embedder_.cut(messages)
        said = f"{cut} messages are longer than {self.embedder_.name} reads: their ends are not in the embedding"
        return vectors, [said] if cut else []

    def _asked(
        self, messages: Sequence[str] | None, embeddings: np.ndarray | None
    ) -> Float[np.ndarray, "message dim"]:
        if (messages is None) == (embeddings is None):
            raise SpaceError("give messages, or their embeddings, not both and not neither")
        if messages is None:
            vectors = given_vectors(embeddings, None)
        else:
            asked = [messages] if isinstance(messages, str) else list(messages)
            empty = [at for at, text in enumerate(asked) if not str(text).strip()]
            if empty or not asked:
                raise SpaceError("a message is empty", expected="text", given=f"number {empty[:3]}")
            vectors = self.embedder_.vectors(asked, progress=self.progress)
        expected = self._embeddings.shape[1]
        if vectors.shape[1] != expected:
            raise ModelError(
                "embeddings of another length than those fitted on",
                expected=f"{expected} numbers, by {self.embedder_.name}",
                given=vectors.shape[1],
            )
        return vectors

    def _unit(self, rows: pd.DataFrame) -> str:
        """The column that is resampled."""
        return self.resampled if self.resampled in rows else "conversation"

    def _check_fitted(self) -> None:
        if not hasattr(self, "models_"):
            raise NotFittedError("this Forecaster is not fitted: call fit(table) first")
