"""From a run to its vectors: one pass over the shards; memory grows with vectors, not with replies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import compress, groupby
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.errors import RunError
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.runs.accumulating import Moments, Rows
from persona_lens.runs.engines.reading import POOLING
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels
from persona_lens.runs.store.manifest import Manifest
from persona_lens.runs.store.open_run import OpenRun
from persona_lens.vectors.table import VectorTable

LABEL_ALL = "all"
LABEL_FULLY = "fully"
LABEL_SOMEWHAT = "somewhat"
NOT_PLAYED = "not"
LABEL_TRAIT = "pos-neg"
LABEL_TRAIT_FILTERED = "pos-neg-50"
MIN_COUNT = 10
"""Replies behind a vector of one label (paper section 2.1.2)."""
MIN_GAP = 50.0
"""Points between the scores of a trait's two sides (paper appendix C.1)."""
FoldBy = Literal["questions", "prompts"]
MAX_FOLDS = 8
MAX_FOLD_BYTES = 2 * 2**30


def vector_table(
    run: RunFolder,
    *,
    judge: str | None = None,
    min_count: int = MIN_COUNT,
    fold_by: FoldBy = "questions",
) -> VectorTable:
    """The vectors of a run: the default Assistant, every role, and every trait.

    The default vector is the mean over all of its replies (label "all"). Without a judge, so are role vectors;
    with one, each role has up to two, the means over the replies labelled "fully" and "somewhat", if there are
    enough of them. Traits are the positive minus the negative mean over all replies (label "pos-neg") and, if the
    judge has labelled traits, also over the pairs whose scores differ by more than 50 (label "pos-neg-50"). Empty
    replies are left out.

    Args:
        run: A finished run.
        judge: Key, or beginning of the key, of a judge that has labelled it.
        min_count: Replies a label needs for a vector, pairs a filtered trait needs; the paper's 10 by default.
            What falls below is in the table's card under "below_minimum".
        fold_by: What the folds are made of: `questions`, or `prompts` (of a trait: its pairs).

    Raises:
        RunError: The run is not finished or not labelled, or something never got a reply.

    Source: paper section 2.1.2 and appendix C.1.
    """
    opened = run.opened()
    manifest = opened.manifest
    opened.check_read()
    labels = None if judge is None else Labels.find(opened, judge)
    questions = question_order(manifest)
    prompts = sorted({shard.prompt_index for shard in manifest.shards})
    foldable: list[Any] = questions if fold_by == "questions" else prompts
    grouped = list(_by_vector(manifest))
    shape = (len(manifest.layers), int(manifest.reader["d_model"]))
    most = len(grouped) * (1 if labels is None else 2)
    n_folds = _affordable_folds(len(foldable), most, shape)
    reader = _Reader(
        opened,
        labels,
        fold_by,
        {what: index % n_folds for index, what in enumerate(foldable)},
        (n_folds, *shape),
    )
    rows = Rows(most, n_folds, shape)
    counts: dict[str, dict[str, int]] = {}
    below: list[dict[str, Any]] = []
    for (kind, name), shards in grouped:
        for label, plus, minus in reader.sums(kind, shards):
            count = plus.count if minus is None else min(plus.count, minus.count)
            counts.setdefault(f"{kind}-{name}", {})[label] = count
            if label in (LABEL_ALL, LABEL_TRAIT):
                if count == 0:
                    raise RunError(
                        f"{kind} {name!r} has no reply with any answer",
                        remedy="look at its replies (a thought alone is none: raise max_new_tokens), change its "
                        "prompts, and collect again",
                    )
            elif label == NOT_PLAYED:
                continue
            elif count < min_count:
                below.append({"kind": kind, "name": name, "label": label, "count": count})
                continue
            about = manifest.about.get(f"{kind}-{name}", {})
            rows.add((kind, name, label), plus, minus, about)
    if labels is not None and not any(label == LABEL_FULLY for label in rows.labels):
        raise _nobody_plays(labels, min_count, below)
    return rows.table(
        layers=manifest.layers,
        card={
            "reader": manifest.reader,
            "reader_key": manifest.reader_key,
            "writer": manifest.conditions,
            "hook_point": "blocks.{layer}.hook_resid_post",
            "pooling": POOLING[manifest.reader.get("tokens", "answer")],
            **_thoughts(opened),
            "questions": len(questions),
            "prompts": _prompts_asked(manifest),
            "fold_by": fold_by,
            "folds": n_folds,
            "judge": None if labels is None else {"key": labels.key, **labels.card()},
            "min_count": None if labels is None else min_count,
            "label_counts": counts,
            "below_minimum": below,
            "versions": manifest.versions,
        },
    )


def _thoughts(run: OpenRun) -> dict[str, Any]:
    """How many replies think, for the card; nothing where none does."""
    count = run.thoughts()
    return {"thoughts": asdict(count)} if count.thinking else {}


def _nobody_plays(labels: Labels, min_count: int, below: Sequence[Mapping[str, Any]]) -> RunError:
    best = max(
        (entry for entry in below if entry["label"] == LABEL_FULLY),
        key=lambda entry: entry["count"],
        default={"name": "no role", "count": 0},
    )
    return RunError(
        f"no role has enough replies that {labels.key} calls fully in role",
        expected=f"at least {min_count}",
        given=f"{best['count']} of {best['name']}, the most there are",
        remedy="collect more questions or prompts, lower min_count, or fit without a judge",
    )


@dataclass(frozen=True)
class _Reader:
    """Sums up the replies of a role, a trait or the default, by label."""

    run: OpenRun
    labels: Labels | None
    fold_by: FoldBy
    fold_of: dict[Any, int]
    shape: tuple[int, int, int]

    def sums(self, kind: str, shards: Sequence[Shard]) -> list[tuple[str, Moments, Moments | None]]:
        """Label, sum over its (positive) replies, and sum over its negative ones for traits."""
        if kind == "trait":
            return self._of_trait(shards)
        judged = kind == "role" and self.labels is not None
        names = (LABEL_FULLY, LABEL_SOMEWHAT, NOT_PLAYED) if judged else (LABEL_ALL,)
        found = {name: Moments(self.shape) for name in names}
        for shard in shards:
            means, folds, spoken = self._read(shard)
            given = np.full(len(means), LABEL_ALL, dtype=object)
            if judged and self.labels is not None:
                # No verdict, no vector: such replies count for nothing, not even for "not".
                given = np.array([v.label or "" for v in self.labels.read(shard)], dtype=object)
            for name, moments in found.items():
                chosen = spoken & (given == name)
                moments.add(means[chosen], folds[chosen])
        return [(name, moments, None) for name, moments in found.items()]

    def _of_trait(self, shards: Sequence[Shard]) -> list[tuple[str, Moments, Moments | None]]:
        judged = self.labels is not None and any(self.labels.file(s).is_file() for s in shards)
        names = (LABEL_TRAIT, LABEL_TRAIT_FILTERED) if judged else (LABEL_TRAIT,)
        found = {name: (Moments(self.shape), Moments(self.shape)) for name in names}
        by_prompt = groupby(shards, key=lambda shard: shard.prompt_index)
        for _, pair in by_prompt:
            sides = sorted(pair, key=lambda shard: shard.side, reverse=True)  # positive first
            read = [self._read(shard) for shard in sides]
            wide = self._wide_apart(sides) if judged else read[0][2]
            for (means, folds, spoken), index in zip(read, (0, 1), strict=True):
                for name in names:
                    chosen = spoken if name == LABEL_TRAIT else read[0][2] & read[1][2] & wide
                    found[name][index].add(means[chosen], folds[chosen])
        return [(name, plus, minus) for name, (plus, minus) in found.items()]

    def _wide_apart(self, sides: Sequence[Shard]) -> Bool[np.ndarray, " reply"]:
        """Which questions got a positive and a negative reply whose scores differ by more than `MIN_GAP`."""
        assert self.labels is not None
        scores = [
            np.array(
                [
                    np.nan if verdict.refused or verdict.score is None else verdict.score
                    for verdict in self.labels.read(shard)
                ]
            )
            for shard in sides
        ]
        return scores[0] - scores[1] > MIN_GAP  # NaN compares false

    def _read(
        self, shard: Shard
    ) -> tuple[
        Float[np.ndarray, "reply layer d_model"],
        Int[np.ndarray, " reply"],
        Bool[np.ndarray, " reply"],
    ]:
        means = self.run.read_activations(shard)
        folds = np.array(
            [
                self.fold_of[
                    request.question_id if self.fold_by == "questions" else shard.prompt_index
                ]
                for request in shard.requests
            ]
        )
        return means, folds, _with_text(means, shard)


def _affordable_folds(n_foldable: int, n_vectors: int, shape: tuple[int, int]) -> int:
    """Eight folds, or fewer where those of a large model would not fit in memory, but at least two."""
    one = n_vectors * shape[0] * shape[1] * np.dtype(np.float32).itemsize
    return min(n_foldable, max(2, min(MAX_FOLDS, MAX_FOLD_BYTES // one)))


def reply_means(
    run: RunFolder,
) -> Iterator[tuple[Shard, list[Request], Float[np.ndarray, "reply layer d_model"]]]:
    """The mean residual of every reply with text, a shard at a time, with what each answers.

    Raises:
        RunError: The run is not finished, or a mean is not finite.
    """
    opened = run.opened()
    for shard in opened.shards:
        means = opened.read_activations(shard)
        spoken = _with_text(means, shard)
        yield shard, list(compress(shard.requests, spoken)), means[spoken]


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


def _prompts_asked(manifest: Manifest) -> dict[str, int]:
    """Most system prompts a role, a trait (pairs) and the default have, by kind."""
    most: dict[str, int] = {}
    for shard in manifest.shards:
        most[shard.kind] = max(most.get(shard.kind, 0), shard.prompt_index + 1)
    return most


def question_order(manifest: Manifest) -> list[str]:
    """Ids of all questions, in the order they are first asked."""
    ids = [request.question_id for shard in manifest.shards for request in shard.requests]
    return list(dict.fromkeys(ids))
