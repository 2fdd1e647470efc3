"""The predictors, side by side: the same rows, the same folds, next place and change at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix

from persona_lens.drift.forecast.ridge import Compact, HeldOut, Linear, compact, fitted, held_out
from persona_lens.drift.forecast.splits import Split
from persona_lens.drift.forecast.turns import Turns
from persona_lens.drift.forecast.words import count_words, words_held_out, words_in_sample

PREDICTORS: Mapping[str, str] = {
    "message": "embedding of the user's message, ridge",
    "message+previous": "that, and where the last reply was along all directions, ridge",
    "previous": "where the last reply was along all directions, ridge",
    "last": "the same place as the last reply: the one to beat",
    "before": "projections right before the first token of the reply, ridge: costs no reply, but a forward pass",
    "words": "TF-IDF of the message's words, ridge",
    "length": "logarithm of the count of words in the message, ridge",
    "turn": "count of turns so far, ridge",
    "domain_mean": "mean of the domain in the training rows; their mean for a domain they lack",
    "mean": "mean of the training rows",
}
SHUFFLED: Mapping[str, str | None] = {
    "message": "messages",
    "message+previous": "messages",
    "previous": "places",
    "last": "places",
    "before": "places",
    "words": "messages",
    "length": "messages",
    "turn": None,
    "domain_mean": None,
    "mean": None,
}
"""What the null of a predictor hands to other conversations; None where a domain and a turn tell it all."""

Rows = Int[np.ndarray, " row"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What predictors may look at, by row.

    Attributes:
        turns: The rows.
        embeddings: Unit vectors of their messages.
        alphas: Penalties to choose from.
    """

    turns: Turns
    embeddings: Float[np.ndarray, "row dim"]
    alphas: tuple[float, ...]

    @property
    def names(self) -> list[str]:
        """Predictors that the table allows, in the order of `PREDICTORS`."""
        lacking: set[str] = set()
        if self.turns.previous is None:
            lacking |= {"message+previous", "previous", "last"}
        if self.turns.before is None:
            lacking.add("before")
        if "domain" not in self.turns.frame:
            lacking.add("domain_mean")
        return [name for name in PREDICTORS if name not in lacking]

    @cached_property
    def targets(self) -> Float[np.ndarray, "row target"]:
        """The next place along each direction and, behind all of these, the change along each."""
        turns = self.turns
        if turns.previous is None:
            return turns.place
        return np.concatenate([turns.place, turns.place - turns.previous], axis=1)

    @cached_property
    def compacted(self) -> Compact:
        """The embeddings in as many coordinates as they need."""
        return compact(self.embeddings)

    def design(
        self, name: str, messages: Rows | None = None, places: Rows | None = None
    ) -> tuple[Float[np.ndarray, "row feature"], Bool[np.ndarray, " feature"]]:
        """The features of a ridge predictor, and which are brought to standard deviation 1.

        Args:
            name: Of the predictor.
            messages: Whose message each row is given; its own by default.
            places: Whose projections.
        """
        said = slice(None) if messages is None else messages
        been = slice(None) if places is None else places
        if name in ("length", "turn"):
            values = (
                self._lengths[said] if name == "length" else self.turns.frame["turn"].to_numpy()
            )
            return values.astype(float)[:, None], np.array([True])
        if name == "before":
            assert self.turns.before is not None
            return self.turns.before[been], np.ones(self.turns.before.shape[1], dtype=bool)
        parts, scaled = [], []
        if name.startswith("message"):
            parts.append(self.compacted.rows[said])
            scaled.append(np.zeros(parts[-1].shape[1], dtype=bool))
        if name.endswith("previous"):
            assert self.turns.previous is not None
            parts.append(self.turns.previous[been])
            scaled.append(np.ones(parts[-1].shape[1], dtype=bool))
        return np.concatenate(parts, axis=1), np.concatenate(scaled)

    def held_out(
        self,
        name: str,
        split: Split,
        *,
        messages: Rows | None = None,
        places: Rows | None = None,
        calibrating: bool = False,
    ) -> HeldOut:
        """Forecasts of every row by models of the other folds."""
        if name == "words":
            said = self._words if messages is None else self._words[messages]
            found = words_held_out(said, self.targets, split.outer, split.inner, self.alphas)
            return HeldOut(found, np.zeros((0, 0)), ())
        if name in ("last", "mean", "domain_mean"):
            return HeldOut(self._plain(name, split.outer, places), np.zeros((0, 0)), ())
        design, scaled = self.design(name, messages, places)
        return held_out(
            design,
            self.targets,
            split.outer,
            split.inner,
            self.alphas,
            scaled=scaled,
            calibrating=calibrating,
        )

    def shuffled(self, name: str, split: Split, what: str, order: Rows) -> HeldOut:
        """Forecasts from the "messages" or "places" of other rows."""
        if what == "messages":
            return self.held_out(name, split, messages=order)
        return self.held_out(name, split, places=order)

    def in_sample(self, name: str, folds: Rows) -> Float[np.ndarray, "row target"]:
        """Forecasts of the rows that a model was fitted on, penalties chosen on folds: how others report R²."""
        if name == "words":
            return words_in_sample(self._words, self.targets, folds, self.alphas)
        if name in ("last", "mean", "domain_mean"):
            return self._plain(name, None, None)
        design, scaled = self.design(name)
        return fitted(design, self.targets, folds, self.alphas, scaled=scaled)(design)

    def final(self, name: str, folds: Rows) -> Linear:
        """The model of all rows, in terms of embeddings and, behind them, of previous places."""
        design, scaled = self.design(name)
        model = fitted(design, self.targets, folds, self.alphas, scaled=scaled)
        return self.compacted.unfolded(model, extra=int(scaled.sum()))

    def training_means(self, outer: Rows) -> Float[np.ndarray, "row target"]:
        """For each row the mean of the rows outside of its fold."""
        return self._plain("mean", outer, None)

    @cached_property
    def _said(self) -> list[str]:
        return self.turns.frame["message"].tolist()

    @cached_property
    def _words(self) -> csr_matrix:
        return count_words(self._said)

    @cached_property
    def _lengths(self) -> Float[np.ndarray, " row"]:
        return np.log1p([len(message.split()) for message in self._said])

    def _plain(self, name: str, outer: Rows | None, places: Rows | None) -> np.ndarray:
        if name == "last":
            assert self.turns.previous is not None
            last = self.turns.previous if places is None else self.turns.previous[places]
            return np.concatenate([last, np.zeros_like(last)], axis=1)
        groups = (
            self.turns.codes("domain") if name == "domain_mean" else np.zeros(len(self.turns), int)
        )
        found = np.empty_like(self.targets)
        folds: Sequence[int | None] = [None] if outer is None else list(np.unique(outer))
        for fold in folds:
            test = np.ones(len(found), bool) if fold is None else outer == fold
            train = test if fold is None else ~test
            for group in np.unique(groups[test]):
                like = train & (groups == group)
                source = like if like.any() else train
                found[test & (groups == group)] = self.targets[source].mean(axis=0)
        return found
