"""From a run to its vectors: one pass over the shards; memory grows with vectors, not with replies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.errors import RunError
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.folder import RunFolder
from persona_lens.runs.manifest import Manifest
from persona_lens.vectors import VectorTable

LABEL_ALL = "all"
LABEL_TRAIT = "pos-neg"
MAX_FOLDS = 8
MAX_FOLD_BYTES = 2 * 2**30


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
        """Add replies."""
        for mean, fold in zip(means, folds, strict=True):
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
    grouped = list(_by_vector(manifest))
    shape = (len(manifest.layers), int(manifest.reader["d_model"]))
    n_folds = _affordable_folds(len(questions), len(grouped), shape)
    fold_of = {question: index % n_folds for index, question in enumerate(questions)}
    values = np.empty((len(grouped), *shape), dtype=np.float32)
    folds = np.empty((len(grouped), n_folds, *shape), dtype=np.float32)
    errors = np.empty((len(grouped), shape[0]), dtype=np.float32)
    counts = np.empty(len(grouped), dtype=np.int64)
    for row, ((kind, name), shards) in enumerate(grouped):
        plus, minus = _accumulate(run, manifest, shards, fold_of, (n_folds, *shape))
        if plus.count == 0 or (kind == "trait" and minus.count == 0):
            raise RunError(
                f"{kind} {name!r} has no reply with any text",
                remedy="look at its replies, change its prompts, and collect again",
            )
        values[row], folds[row], errors[row] = plus.mean(), plus.fold_means(), plus.squared_error()
        counts[row] = plus.count + minus.count
        if kind == "trait":
            values[row] -= minus.mean()
            folds[row] -= minus.fold_means()
            errors[row] += minus.squared_error()
    kinds = tuple(kind for (kind, _), _ in grouped)
    return VectorTable(
        values=values,
        names=tuple(name for (_, name), _ in grouped),
        kinds=kinds,
        labels=tuple(LABEL_TRAIT if kind == "trait" else LABEL_ALL for kind in kinds),
        counts=counts,
        layers=manifest.layers,
        squared_errors=errors,
        folds=folds,
        about=tuple(manifest.about.get(f"{kind}-{name}", {}) for (kind, name), _ in grouped),
        card={
            "reader": manifest.reader,
            "reader_key": manifest.reader_key,
            "writer": manifest.conditions,
            "hook_point": "blocks.{layer}.hook_resid_post",
            "pooling": "mean over reply tokens, without thinking, special tokens and attention sinks",
            "questions": len(questions),
            "versions": manifest.versions,
        },
    )


def _affordable_folds(n_questions: int, n_vectors: int, shape: tuple[int, int]) -> int:
    """Eight folds, or fewer where those of a large model would not fit in memory, but at least two."""
    one = n_vectors * shape[0] * shape[1] * np.dtype(np.float32).itemsize
    return min(n_questions, max(2, min(MAX_FOLDS, MAX_FOLD_BYTES // one)))


def reply_means(
    run: RunFolder,
) -> Iterator[tuple[Shard, Float[np.ndarray, "reply layer d_model"]]]:
    """The mean residual of every reply with text, a shard at a time.

    Raises:
        RunError: The run is not finished, or a mean is not finite.
    """
    manifest = run.manifest()
    for shard in manifest.shards:
        means = run.read_activations(manifest, shard)
        yield shard, means[_with_text(means, shard)]


def _with_text(
    means: Float[np.ndarray, "reply layer d_model"], shard: Shard
) -> Bool[np.ndarray, " reply"]:
    """Which replies are not empty: the mean of an empty one is NaN throughout."""
    empty = np.array([bool(np.isnan(mean).all()) for mean in means])
    if not np.isfinite(means[~empty]).all():
        raise RunError(
            f"a mean residual of {shard.key} is not finite",
            remedy="collect with dtype float32 or bfloat16: the residual stream overflows in float16",
        )
    return ~empty


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
    shape: tuple[int, int, int],
) -> tuple[_Moments, _Moments]:
    plus, minus = _Moments(shape), _Moments(shape)
    for shard in shards:
        moments = minus if shard.side == "negative" else plus
        folds = np.array([fold_of[request.question_id] for request in shard.requests])
        means = run.read_activations(manifest, shard)
        spoken = _with_text(means, shard)
        moments.add(means[spoken], folds[spoken])
    return plus, minus


def _question_order(manifest: Manifest) -> list[str]:
    ids = [request.question_id for shard in manifest.shards for request in shard.requests]
    return list(dict.fromkeys(ids))
