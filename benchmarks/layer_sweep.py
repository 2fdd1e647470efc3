"""The layer sweep: 515 vectors, 30 layers, 576 dimensions, 200 draws, against a loop over layers and draws.

`sweep` is all of `sweep(space)`: every metric with interval and null, folds of the questions and scores of
single replies included (the scores are random numbers of the right shape; measuring them is not part of it).
`vectors only` leaves out the metrics of folds and replies. `plain loop` computes the metrics of vectors with
scikit-learn, scipy and numpy one layer and one draw at a time: each half of the units, each set of random
directions, each order of the units. It does a few layers and draws, and its time is scaled up to all of them.

Growth is time and memory of the sweep at other sizes, each in a process of its own; `--large` goes up to 80
layers, 8,192 dimensions and 1,000 vectors (2.6 GB, without folds). The memory is what the sweep adds to that of
the table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from harness import (
    MIB,
    Ratio,
    add_rounds,
    cost_apart,
    heading,
    markdown,
    parser,
    report_cost,
    requirement,
)
from jaxtyping import Float
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from persona_lens import PersonaSpace, VectorTable
from persona_lens.analysis.sweep import known_metrics, sweep
from persona_lens.analysis.sweep.draws import NULL_DRAWS
from persona_lens.analysis.sweep.registry import FOLD_METRICS, REPLY_METRICS
from persona_lens.separability import METRICS, Separability

Shape = tuple[int, int, int]
FULL: Shape = (515, 30, 576)
QUICK: Shape = (60, 4, 64)
GROWTH: tuple[Shape, ...] = ((250, 30, 576), (515, 15, 576), (515, 30, 576), (515, 30, 2304))
LARGE: tuple[Shape, ...] = ((500, 80, 4096), (1000, 80, 8192))
TRAIT_SHARE = 240 / 515
N_FOLDS, N_QUESTION_FOLDS, N_SHUFFLES = 8, 6, 20
LATENT = 64
N_DRAWS = 200
LIMIT_SECONDS = 120
OF_VECTORS = [name for name in known_metrics() if name not in (*FOLD_METRICS, *REPLY_METRICS)]


# What is swept ------------------------------------------------------------------------------------


def space_of(shape: Shape, *, whole: bool) -> PersonaSpace:
    """Vectors whose spectrum falls like that of real ones, made by layer; `whole`: with folds and replies."""
    n_vectors, n_layers, d_model = shape
    rng = np.random.default_rng(0)
    n_traits = int(n_vectors * TRAIT_SHARE)
    n_roles = n_vectors - n_traits
    values = np.empty((1 + n_vectors, n_layers, d_model), dtype=np.float32)
    folds = (
        np.empty((1 + n_vectors, N_FOLDS, n_layers, d_model), dtype=np.float32) if whole else None
    )
    falling = (np.arange(1, LATENT + 1) ** -0.8).astype(np.float32)
    for layer in range(n_layers):
        directions = rng.standard_normal((LATENT, d_model), dtype=np.float32)
        scores = rng.standard_normal((1 + n_vectors, LATENT), dtype=np.float32) * falling
        noise = rng.standard_normal((1 + n_vectors, d_model), dtype=np.float32)
        values[:, layer] = scores @ directions + 0.05 * noise
        if folds is not None:
            noise = rng.standard_normal((1 + n_vectors, N_FOLDS, d_model), dtype=np.float32)
            folds[:, :, layer] = values[:, None, layer] + 0.3 * noise
    table = VectorTable(
        values=values,
        names=tuple(f"v{row}" for row in range(1 + n_vectors)),
        kinds=("default", *["role"] * n_roles, *["trait"] * n_traits),
        labels=("all", *["all"] * n_roles, *["pos-neg"] * n_traits),
        counts=np.full(1 + n_vectors, 10),
        layers=tuple(range(n_layers)),
        folds=folds,
    )
    space = PersonaSpace(table, n_components=8, n_resamples=2).fit(progress=False)
    if whole:
        counts = {"role": n_roles, "trait": n_traits}
        space.separability_ = _scores(counts, n_layers, rng)  # type: ignore[attr-defined]
    return space


def _scores(counts: dict[str, int], n_layers: int, rng: np.random.Generator) -> Separability:
    keys = [(metric, kind) for metric in METRICS for kind in counts]

    def numbers(kind: str, n: int, *, draws_first: bool) -> np.ndarray:
        ends = (n, counts[kind]) if draws_first else (counts[kind], n)
        return rng.standard_normal((*ends, n_layers), dtype=np.float32)

    null = {key: numbers(key[1], N_SHUFFLES, draws_first=True) for key in keys}
    return Separability(
        layers=tuple(range(n_layers)),
        names={kind: tuple(f"v{row}" for row in range(n)) for kind, n in counts.items()},
        scores={key: numbers(key[1], N_QUESTION_FOLDS, draws_first=False) for key in keys},
        shuffled=null,
        random=null,
        chance=dict.fromkeys(METRICS, 0.0),
        counts={kind: np.full(n, 10) for kind, n in counts.items()},
    )


# The plain loop -----------------------------------------------------------------------------------


def plain_loop(space: PersonaSpace, layers: range, draws: int) -> float:
    """Seconds for all layers and draws, from `draws` draws of each sort at some layers."""
    rng = np.random.default_rng(0)
    table = space.table
    rows = {"role": table.axis_rows(), "trait": table.trait_rows()}
    halves, nulls = 0.0, 0.0
    for layer in layers:
        after = min(layer + 1, len(table.layers) - 1)
        read = {kind: [table.values[rows[kind], at] for at in (layer, after, -1)] for kind in rows}
        axis = space.axis_[layer]
        start = time.perf_counter()
        for _ in range(draws):
            chosen = {
                kind: rng.permutation(len(rows[kind]))[: len(rows[kind]) // 2] for kind in rows
            }
            some = {kind: [at[chosen[kind]] for at in read[kind]] for kind in rows}
            _measure(some["role"][0], some["trait"][0], axis)
            for kind in rows:
                _similarities(some[kind], np.arange(len(chosen[kind])), centred=kind == "role")
        halves += time.perf_counter() - start
        start = time.perf_counter()
        for _ in range(draws):
            at_random = {kind: _random_like(at[0], rng) for kind, at in read.items()}
            _measure(at_random["role"], at_random["trait"], axis)
            for kind, at in read.items():
                _similarities(at, rng.permutation(len(at[0])), centred=kind == "role")
        nulls += time.perf_counter() - start
    share = len(table.layers) / len(layers)
    return share * (halves * N_DRAWS / draws + nulls * min(N_DRAWS, NULL_DRAWS) / draws)


def _measure(roles: np.ndarray, traits: np.ndarray, axis: np.ndarray) -> list[float]:
    """Dimensions, axis and shared variance of one draw at one layer."""
    role_pca = PCA().fit(roles)
    centred = roles - role_pca.mean_
    trait_values, trait_pcs = np.linalg.svd(traits, full_matrices=False)[1:]
    found: list[Any] = []
    for squares in (role_pca.explained_variance_, trait_values**2):
        found += [squares.sum() ** 2 / (squares**2).sum()]
        found += list(np.searchsorted(squares.cumsum() / squares.sum(), [0.7, 0.9]))
    direction = axis / np.linalg.norm(axis)
    for vectors in (centred, traits):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        squares = np.linalg.svd(unit, compute_uv=False) ** 2
        found += [squares.sum() ** 2 / (squares**2).sum(), np.abs(unit @ direction).mean()]
        found += [np.searchsorted(squares.cumsum() / squares.sum(), 0.7)]
    first, second = np.asarray(role_pca.components_)[:10], trait_pcs[:10]
    found += [abs(trait_pcs[0] @ direction)]
    found += [((centred @ second.T) ** 2).sum() / (centred**2).sum()]
    found += [((traits @ first.T) ** 2).sum() / (traits**2).sum()]
    found += [np.cos(subspace_angles(first.T, second.T)).mean()]
    return [float(value) for value in found]


def _similarities(layers: list[np.ndarray], order: np.ndarray, *, centred: bool) -> list[float]:
    """Similarity of the first layer to the others, whose units come in another order."""
    pairs = np.triu_indices(len(order), 1)
    cosines = []
    for place, vectors in enumerate(layers):
        shifted = vectors - vectors.mean(axis=0) if centred else vectors
        unit = shifted / np.linalg.norm(shifted, axis=1, keepdims=True)
        unit = unit if place == 0 else unit[order]
        cosines.append((unit @ unit.T)[pairs])
    return [float(np.corrcoef(cosines[0], other)[0, 1]) for other in cosines[1:]]


def _random_like(
    vectors: Float[np.ndarray, "unit d_model"], rng: np.random.Generator
) -> Float[np.ndarray, "unit d_model"]:
    drawn = rng.standard_normal(vectors.shape, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return drawn * norms / np.linalg.norm(drawn, axis=1, keepdims=True)


# Measuring ----------------------------------------------------------------------------------------


def main() -> None:
    """Compare times, then show how they grow."""
    options = parser(__doc__)
    add_rounds(options, 3)
    options.add_argument("--loop-layers", type=int, default=3, help="of the plain loop; default: 3")
    options.add_argument("--loop-draws", type=int, default=4, help="of the plain loop; default: 4")
    options.add_argument("--large", action="store_true", help="up to 80 x 8192 x 1000; needs 8 GiB")
    options.add_argument("--growth-only", action="store_true", help="no comparison")
    args = options.parse_args()
    if args.only:
        shape: Shape = tuple(map(int, args.only.split("x")))  # type: ignore[assignment]
        space = space_of(shape, whole=False)
        report_cost(partial(sweep, space, n_draws=N_DRAWS, progress=False))
        return
    shape = QUICK if args.quick else FULL
    if not args.growth_only:
        _compare(shape, args)
    _growth([QUICK] if args.quick else [*GROWTH, *(LARGE if args.large else ())])


def _compare(shape: Shape, args: argparse.Namespace) -> None:
    step = max(1, shape[1] // args.loop_layers)
    layers = range(0, shape[1], step)[: args.loop_layers]
    heading(
        "Sweeping {} vectors, {} layers, {} dimensions, ".format(*shape)
        + f"{N_DRAWS} draws; plain loop on {len(layers)} layers and {args.loop_draws} draws, scaled up"
    )
    space = space_of(shape, whole=True)
    works: dict[str, Callable[[], object]] = {
        "sweep": partial(sweep, space, n_draws=N_DRAWS, progress=False),
        "vectors only": partial(sweep, space, metrics=OF_VECTORS, n_draws=N_DRAWS, progress=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in (*works, "plain loop")}
    sweep(space, layers=[0], n_draws=4, progress=False)  # imports and thread pools
    names = list(seconds)
    for number in range(args.rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if name == "plain loop":
                seconds[name].append(plain_loop(space, layers, args.loop_draws))
                continue
            start = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - start)
    rows = [
        (name, f"{statistics.median(taken):.1f}", _ratio(seconds["plain loop"], taken))
        for name, taken in seconds.items()
    ]
    header = ("variant", "seconds", "times faster than the loop [min, max]")
    print(markdown(header, rows), end="\n\n")
    requirement(
        "`vectors only` times as fast as `plain loop`",
        _ratio(seconds["plain loop"], seconds["vectors only"]),
        10.0,
    )
    taken = statistics.median(seconds["sweep"])
    verdict = "met" if taken < LIMIT_SECONDS else "MISSED"
    print(f"- {verdict}: `sweep` below {LIMIT_SECONDS} seconds: {taken:.1f}\n")


def _growth(shapes: list[Shape]) -> None:
    heading(f"Growth of the sweep, metrics of vectors, {N_DRAWS} draws")
    rows = []
    for shape in shapes:
        cost = cost_apart(__file__, "x".join(map(str, shape)))
        table = np.prod([shape[0] + 1, *shape[1:]]) * 4
        sizes = (f"{size / MIB:,.0f}" for size in (table, cost.above, cost.peak))
        rows.append((*shape, f"{cost.seconds:.1f}", *sizes))
    header = ("vectors", "layers", "d_model", "seconds", "table, MiB", "sweep, MiB", "peak, MiB")
    print(markdown(header, rows))


def _ratio(slow: list[float], fast: list[float]) -> Ratio:
    return Ratio.of([theirs / mine for theirs, mine in zip(slow, fast, strict=True)])


if __name__ == "__main__":
    main()
