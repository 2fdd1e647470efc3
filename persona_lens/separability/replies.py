"""Replies as arrays: the mean residual of each, with who wrote it, under which prompt and to which question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from persona_lens.errors import RunError
from persona_lens.rollouts.plan import n_requests
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.vectors import question_order, reply_means

MAX_WIDTH = 1024
"""Dimensions measured in; wider residuals are projected at random first."""
DEFAULT = "default"


@dataclass(frozen=True, eq=False)
class Replies:
    """Mean residuals of replies, and what each replies to.

    Attributes:
        values: In the units of the residual stream.
        kind: `default`, `role` or `trait`.
        unit: Name of the role or trait.
        side: `positive` or `negative` for traits, else empty.
        prompt: Number of the system prompt; the two sides of a pair of a trait share it.
        question: Number of the question; equal numbers are the same question.
        layers: Blocks the second dimension stands for; counted from 0 if left out.

    Raises:
        RunError: Lengths that differ, values that are not finite, or a kind or side there is not.

    Examples:
        >>> replies = Replies(values=np.ones((2, 3, 4), dtype=np.float32), kind=np.array(["role", "role"]),
        ...     unit=np.array(["pirate", "ghost"]), side=np.array(["", ""]), prompt=np.array([0, 0]),
        ...     question=np.array([0, 1]))
        >>> replies.layers
        (0, 1, 2)
    """

    values: Float[np.ndarray, "reply layer d_model"]
    kind: Shaped[np.ndarray, " reply"]
    unit: Shaped[np.ndarray, " reply"]
    side: Shaped[np.ndarray, " reply"]
    prompt: Int[np.ndarray, " reply"]
    question: Int[np.ndarray, " reply"]
    layers: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.layers:
            object.__setattr__(self, "layers", tuple(range(self.values.shape[1])))
        lengths = {
            name: len(getattr(self, name))
            for name in ("values", "kind", "unit", "side", "prompt", "question")
        }
        if len(set(lengths.values())) > 1 or len(self.layers) != self.values.shape[1]:
            raise RunError(
                "arrays of replies do not fit together",
                expected="one entry a reply, and one layer a column",
                given={**lengths, "layers": len(self.layers)},
            )
        of_trait = self.kind == "trait"
        known = np.where(
            of_trait,
            np.isin(self.side, ("positive", "negative")),
            np.isin(self.kind, (DEFAULT, "role")),
        )
        if not known.all():
            raise RunError(
                "a reply is of no known kind or side",
                expected="default, role, or trait with side positive or negative",
                given=f"{self.kind[~known][0]} with side {self.side[~known][0]!r}",
            )
        if not np.isfinite(self.values).all():
            raise RunError(
                "a mean residual is not finite",
                remedy="leave out empty replies; collect with dtype float32 or bfloat16",
            )


def random_projection(d_model: int, seed: int) -> Float[np.ndarray, "d_model width"] | None:
    """Orthonormal directions drawn without a look at the data; None where the model is narrow enough.

    Cost grows with the cube of the width. A random projection keeps angles and ratios of distances up to a
    few percent (Johnson and Lindenstrauss 1984), and tests nothing on what it was chosen by.

    Examples:
        >>> random_projection(576, seed=0) is None, random_projection(1500, seed=0).shape
        (True, (1500, 1024))
    """
    if d_model <= MAX_WIDTH:
        return None
    drawn = np.random.default_rng(seed).standard_normal((d_model, MAX_WIDTH), dtype=np.float32)
    return np.linalg.qr(drawn)[0]


def read_replies(
    run: RunFolder,
    positions: Sequence[int],
    projection: Float[np.ndarray, "d_model width"] | None,
) -> Replies:
    """Read some layers of every reply with text.

    Args:
        run: A finished run.
        positions: Which of the layers of the run, by position.
        projection: Applied to each shard as it is read.

    Raises:
        RunError: The run is not finished, or a mean is not finite.
    """
    manifest = run.manifest()
    number = {question: index for index, question in enumerate(question_order(manifest))}
    width = int(manifest.reader["d_model"]) if projection is None else projection.shape[1]
    planned = n_requests(manifest.shards)
    values = np.empty((planned, len(positions), width), dtype=np.float32)
    about: dict[str, list[Any]] = {
        name: [] for name in ("kind", "unit", "side", "prompt", "question")
    }
    count = 0
    for shard, requests, means in reply_means(run):
        chosen = means[:, list(positions)]
        n = len(requests)
        values[count : count + n] = chosen if projection is None else chosen @ projection
        count += n
        name = DEFAULT if shard.kind == DEFAULT else shard.name
        entry: Mapping[str, Any] = {
            "kind": shard.kind,
            "unit": name,
            "side": shard.side,
            "prompt": shard.prompt_index,
        }
        for key, value in entry.items():
            about[key] += [value] * n
        about["question"] += [number[request.question_id] for request in requests]
    return Replies(
        values=values[:count],
        layers=tuple(manifest.layers[position] for position in positions),
        **{key: np.array(entries) for key, entries in about.items()},
    )
