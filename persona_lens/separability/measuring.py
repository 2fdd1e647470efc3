"""Every layer, a thread a layer: from replies in memory, or from a run that is read in blocks of layers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from persona_lens.errors import RunError
from persona_lens.progress import StageProgress
from persona_lens.rollouts.plan import n_requests
from persona_lens.runs.store.folder import RunFolder
from persona_lens.separability.design import Design, designs
from persona_lens.separability.draws import N_HALVINGS, Draws
from persona_lens.separability.layer import Measured, measure_layer
from persona_lens.separability.probe import SHRINKAGE
from persona_lens.separability.replies import (
    MAX_WIDTH,
    Replies,
    random_projection,
    read_replies,
)
from persona_lens.separability.result import CHANCE, METRICS, Separability

MAX_BLOCK_BYTES = 2**30
MAX_THREADS = 8
"""Each needs a few times the replies of one layer."""


def measure(
    replies: Replies,
    *,
    n_shuffles: int = 20,
    n_random: int = 20,
    seed: int = 0,
    progress: bool = False,
) -> Separability:
    """Measure replies that are in memory.

    Args:
        replies: Of roles, traits and the default; whatever is there is measured.
        n_shuffles: Relabellings for `shuffled`.
        n_random: Random directions for `random`.
        seed: Of the nulls, the halvings, and the projection of models wider than 1024.
        progress: Show a bar over layers.

    Raises:
        RunError: Fewer than two questions, or fewer than two system prompts of everything in a kind.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> prompt, question, unit = (axis.ravel() for axis in np.indices((2, 2, 3)))
        >>> values = rng.normal(size=(12, 1, 8)) + 9 * np.eye(8)[unit][:, None]
        >>> found = measure(Replies(values=values.astype("f4"), kind=np.full(12, "role"),
        ...     unit=np.array(["pirate", "ghost", "poet"])[unit], side=np.full(12, ""), prompt=prompt,
        ...     question=question))
        >>> found.values("identity", "role").mean().item()
        1.0
    """
    _check_draws(n_shuffles, n_random)
    projection = random_projection(replies.values.shape[2], seed)
    d_model = replies.values.shape[2]
    if projection is not None:
        replies = replace(replies, values=replies.values @ projection)
    bar = StageProgress("Separability", len(replies.layers), shown=progress, unit="layers")
    with bar.running():
        blocks = iter([replies])
        return _measure(
            blocks,
            bar,
            n_shuffles=n_shuffles,
            n_random=n_random,
            seed=seed,
            about={"d_model": d_model},
        )


def measure_run(
    run: RunFolder,
    *,
    layers: Sequence[int] | None = None,
    n_shuffles: int = 20,
    n_random: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> Separability:
    """Measure all replies of a run, whatever a judge says of them.

    Args:
        run: A finished run, whose replies have been read.
        layers: Blocks to measure; all that were read by default.
        n_shuffles: Relabellings for `shuffled`.
        n_random: Random directions for `random`.
        seed: Of the nulls, the halvings, and the projection of models wider than 1024.
        progress: Show a bar over layers.

    Raises:
        RunError: The run is not finished or not read, a layer is not in it, or it has fewer than two questions
            or fewer than two system prompts of everything in a kind.
    """
    _check_draws(n_shuffles, n_random)
    opened = run.opened()
    opened.check_read()
    manifest = opened.manifest
    wanted = manifest.layers if layers is None else tuple(layers)
    missing = [layer for layer in wanted if layer not in manifest.layers]
    if missing or not wanted:
        raise RunError(
            "these layers were not read", expected=f"some of {manifest.layers}", given=wanted
        )
    positions = [manifest.layers.index(layer) for layer in wanted]
    d_model = int(manifest.reader["d_model"])
    projection = random_projection(d_model, seed)
    one_layer = n_requests(manifest.shards) * min(d_model, MAX_WIDTH) * 4
    size = max(1, MAX_BLOCK_BYTES // one_layer)
    n_blocks = -(-len(positions) // size)
    bar = StageProgress("Separability", len(positions), shown=progress, unit="layers")

    def blocks() -> Iterator[Replies]:
        for chosen in np.array_split(positions, n_blocks):
            yield read_replies(run, chosen.tolist(), projection)

    about = {
        "d_model": d_model,
        "reader": manifest.reader,
        "writer": manifest.conditions,
        "hook_point": "blocks.{layer}.hook_resid_post",
        "pooling": "mean over reply tokens, without thinking, special tokens and attention sinks",
        "judge": "not asked: all replies with text count",
    }
    with bar.running():
        return _measure(
            blocks(), bar, n_shuffles=n_shuffles, n_random=n_random, seed=seed, about=about
        )


def _check_draws(n_shuffles: int, n_random: int) -> None:
    if min(n_shuffles, n_random) < 0:
        raise RunError(
            "numbers of draws are negative", expected="0 or more", given=(n_shuffles, n_random)
        )


def _measure(
    blocks: Iterator[Replies],
    bar: StageProgress,
    *,
    n_shuffles: int,
    n_random: int,
    seed: int,
    about: Mapping[str, Any],
) -> Separability:
    """Measure block after block; the design is that of the first, since all hold the same replies."""
    grids: list[Design] = []
    drawn: list[Draws] = []
    layers: list[int] = []
    found: list[list[dict[str, Measured]]] = []

    def measure_one(values: Float[np.ndarray, "reply d_model"]) -> list[dict[str, Measured]]:
        measured = [
            measure_layer(values, design, draws) for design, draws in zip(grids, drawn, strict=True)
        ]
        bar.advance(1)
        return measured

    # A thread a layer and one BLAS thread each: decompositions of this size do not scale over cores.
    n_threads = min(MAX_THREADS, os.cpu_count() or 1)
    with threadpool_limits(1), ThreadPoolExecutor(n_threads) as pool:
        for replies in blocks:
            if not grids:
                grids = designs(replies)
                width = replies.values.shape[2]
                drawn = [Draws.of(grid, width, n_shuffles, n_random, seed) for grid in grids]
            by_layer = np.moveaxis(replies.values, 1, 0)
            found += pool.map(measure_one, by_layer)
            layers += replies.layers
    card = {**about, **_card(grids, n_shuffles, n_random, seed, int(about["d_model"]))}
    return _assembled(tuple(layers), grids, found, card)


def _assembled(
    layers: tuple[int, ...],
    grids: Sequence[Design],
    found: Sequence[Sequence[dict[str, Measured]]],
    card: Mapping[str, Any],
) -> Separability:
    """Layers beside each other."""
    scores, shuffled, random = {}, {}, {}
    for number, grid in enumerate(grids):
        by_layer = [measured[number] for measured in found]
        for metric in METRICS:
            entries = [measured[metric] for measured in by_layer]
            key = (metric, grid.kind)
            scores[key] = np.stack([entry.scores for entry in entries], axis=-1).astype(np.float32)
            shuffled[key] = np.stack([e.shuffled for e in entries], axis=-1).astype(np.float32)
            directions = [entry.random for entry in entries if entry.random is not None]
            if directions:
                random[key] = np.stack(directions, axis=-1).astype(np.float32)
    return Separability(
        layers=layers,
        names={grid.kind: grid.names for grid in grids},
        scores=scores,
        shuffled=shuffled,
        random=random,
        chance=dict(CHANCE),
        counts={grid.kind: grid.counts for grid in grids},
        card=card,
    )


def _card(
    grids: Sequence[Design], n_shuffles: int, n_random: int, seed: int, d_model: int
) -> dict[str, Any]:
    """How it was measured, in words and numbers."""
    return {
        "metrics": dict(METRICS),
        "folds": {
            grid.kind: {"prompts": grid.n_prompt_folds, "questions": grid.n_question_folds}
            for grid in grids
        },
        "held_out": "the question fold and the prompt fold of every tested reply; the prompts of the default "
        "and both sides of a pair too",
        "not_measured": {grid.kind: list(grid.notes) for grid in grids if grid.notes},
        "probe": f"linear discriminant, covariance within classes shrunk by {SHRINKAGE} towards its trace",
        "projection": f"random, orthonormal, {d_model} to {MAX_WIDTH}"
        if d_model > MAX_WIDTH
        else None,
        "halvings": N_HALVINGS,
        "shuffled": {
            "draws": n_shuffles,
            "how": "labels permuted within each prompt fold; for contrasts the two sides of a trait swapped "
            "pair by pair, and the prompts of a role and of the default dealt to two sides of equal size; "
            "all splits; the probe keeps the covariance of the true labels",
        },
        "random": {"draws": n_random, "how": "isotropic directions, the same at every layer"},
        "chance_identity_top1": {grid.kind: 1 / len(grid.names) for grid in grids},
        "seed": seed,
    }
