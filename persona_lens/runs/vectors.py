"""From a run to its vectors: one pass over the shards, with memory for one vector at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from jaxtyping import Float, Int

from persona_lens.errors import RunError
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.folder import Manifest, RunFolder
from persona_lens.vectors import VectorTable

LABEL_ALL = "all"
LABEL_TRAIT = "pos-neg"
MAX_FOLDS = 8


@dataclass
class _Moments:
    """Sums over replies, a fold of the questions at a time, in float64."""

    shape: tuple[int, int, int]
    sums: Float[np.ndarray, "fold layer d_model"] = field(init=False)
    counts: Int[np.ndarray, " fold"] = field(init=False)
    squares: Float[np.ndarray, " layer"] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.shape)
        self.counts = np.zeros(self.shape[0], dtype=np.int64)
        self.squares = np.zeros(self.shape[1])

    def add(
        self, means: Float[np.ndarray, "reply layer d_model"], folds: Int[np.ndarray, " reply"]
    ) -> None:
        """Add the replies of a shard; empty replies (NaN) do not count."""
        spoken = np.isfinite(means[:, 0, 0])
        for mean, fold in zip(means[spoken], folds[spoken], strict=True):
            self.sums[fold] += mean
            self.counts[fold] += 1
            self.squares += np.einsum("ld,ld->l", mean, mean, dtype=np.float64)

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def mean(self) -> Float[np.ndarray, "layer d_model"]:
        return self.sums.sum(axis=0) / self.count

    def fold_means(self) -> Float[np.ndarray, "fold layer d_model"]:
        counts = np.where(self.counts == 0, np.nan, self.counts)
        return self.sums / counts[:, None, None]

    def squared_error(self) -> Float[np.ndarray, " layer"]:
        """Trace of the covariance of the mean: E|x - mean|^2 / (n - 1); infinite for a single reply."""
        if self.count < 2:
            return np.full(self.shape[1], np.inf)
        spread = self.squares / self.count - np.einsum("ld,ld->l", self.mean(), self.mean())
        return np.maximum(spread, 0.0) / (self.count - 1)


def vector_table(run: RunFolder) -> VectorTable:
    """The vectors of a run: the default Assistant, every role, and every trait.

    The default and role vectors are means over replies (label "all"), trait vectors the positive minus the
    negative mean (label "pos-neg"). Empty replies are left out; a vector without any reply is an error.

    Raises:
        RunError: The run is not finished, or something never got a reply.

    Source: paper section 2.1.2 and appendix C.1.
    """
    manifest = run.manifest()
    questions = _question_order(manifest)
    n_folds = min(MAX_FOLDS, len(questions))
    fold_of = {question: index % n_folds for index, question in enumerate(questions)}

    values, folds, errors, counts = [], [], [], []
    names, kinds, labels, about = [], [], [], []
    for (kind, name), shards in _by_vector(manifest):
        plus, minus = _accumulate(run, manifest, shards, fold_of, n_folds)
        if plus.count == 0 or (kind == "trait" and minus.count == 0):
            raise RunError(
                f"{kind} {name!r} has no reply with any text",
                remedy="look at its replies, change its prompts, and collect again",
            )
        trait = kind == "trait"
        values.append(plus.mean() - minus.mean() if trait else plus.mean())
        folds.append(plus.fold_means() - minus.fold_means() if trait else plus.fold_means())
        errors.append(
            plus.squared_error() + minus.squared_error() if trait else plus.squared_error()
        )
        counts.append(plus.count + minus.count)
        names.append(name)
        kinds.append(kind)
        labels.append(LABEL_TRAIT if trait else LABEL_ALL)
        about.append(manifest.about.get(f"{kind}-{name}", {}))
    return VectorTable(
        values=np.stack(values).astype(np.float32),
        names=tuple(names),
        kinds=tuple(kinds),
        labels=tuple(labels),
        counts=np.array(counts),
        layers=manifest.layers,
        squared_errors=np.stack(errors).astype(np.float32),
        folds=np.stack(folds).astype(np.float32),
        about=tuple(about),
        card={
            "reader": manifest.reader,
            "writer": manifest.conditions,
            "hook_point": "blocks.{layer}.hook_resid_post",
            "pooling": "mean over reply tokens, without thinking, special tokens and attention sinks",
            "questions": len(questions),
            "versions": manifest.versions,
        },
    )


def reply_means(
    run: RunFolder,
) -> Iterator[tuple[Shard, Float[np.ndarray, "reply layer d_model"]]]:
    """The mean residual of every reply with text, a shard at a time."""
    manifest = run.manifest()
    for shard in manifest.shards:
        means = run.read_activations(manifest, shard)
        yield shard, means[np.isfinite(means[:, 0, 0])]


def _by_vector(manifest: Manifest) -> Iterator[tuple[tuple[str, str], list[Shard]]]:
    """Shards that share a vector: all prompts of a role, all pairs of a trait, all default prompts."""

    def key(shard: Shard) -> tuple[str, str]:
        return shard.kind, "default" if shard.kind == "default" else shard.name

    order = {key(shard): index for index, shard in reversed(list(enumerate(manifest.shards)))}
    ordered = sorted(manifest.shards, key=lambda shard: order[key(shard)])
    for name, shards in groupby(ordered, key):
        yield name, list(shards)


def _accumulate(
    run: RunFolder,
    manifest: Manifest,
    shards: list[Shard],
    fold_of: dict[str, int],
    n_folds: int,
) -> tuple[_Moments, _Moments]:
    shape = (n_folds, len(manifest.layers), int(manifest.reader["d_model"]))
    plus, minus = _Moments(shape), _Moments(shape)
    for shard in shards:
        moments = minus if shard.side == "negative" else plus
        folds = np.array([fold_of[request.question_id] for request in shard.requests])
        moments.add(run.read_activations(manifest, shard), folds)
    return plus, minus


def _question_order(manifest: Manifest) -> list[str]:
    ids = [request.question_id for shard in manifest.shards for request in shard.requests]
    return list(dict.fromkeys(ids))
