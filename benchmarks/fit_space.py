"""Fitting: a space of 500 vectors, 80 layers and 8,192 dimensions, against scikit-learn's PCA layer by layer.

`fit` is all of `PersonaSpace.from_vectors(...).fit()`: axis, components, the whole spectrum, bootstrap, nulls and
split halves. `fit, no resamples` is the same with two resamples instead of 200: PCA alone, and little more.
`scikit-learn` is `PCA().fit(...)` on the same role vectors, in float32 as they are.

Every variant runs in a process of its own in each round; the time does not include making the vectors, the peak
does. `--every K` lets scikit-learn do every K-th layer only; its time is then scaled up, and the title says so.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from harness import (
    MIB,
    Cost,
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
from sklearn.decomposition import PCA

from persona_lens import PersonaSpace

FULL, QUICK = (500, 80, 8192), (120, 6, 1024)
PEAK_LIMIT_GIB = 6
LATENT = 64
VARIANTS = ("fit", "fit, no resamples", "scikit-learn")


def synthetic(
    shape: tuple[int, int, int],
) -> Float[np.ndarray, "vector layer d_model"]:
    """Vectors whose spectrum falls like that of real role vectors, the default (row 0) at one end of PC1."""
    n_vectors, n_layers, d_model = shape
    rng = np.random.default_rng(0)
    values = rng.standard_normal(shape, dtype=np.float32)
    values *= 0.05
    falling = (np.arange(1, LATENT + 1) ** -0.8).astype(np.float32)
    for layer in range(n_layers):
        directions = rng.standard_normal((LATENT, d_model), dtype=np.float32)
        scores = rng.standard_normal((n_vectors, LATENT), dtype=np.float32) * falling
        scores[0] = 0.0
        scores[0, 0] = 3.0
        values[:, layer] += scores @ directions
    return values


def fit(values: np.ndarray, n_resamples: int = 200) -> None:
    """All that the package fits."""
    roles = {f"role_{row}": vector for row, vector in enumerate(values[1:])}
    PersonaSpace.from_vectors(roles, default=values[0], n_resamples=n_resamples).fit()


def scikit_learn(values: np.ndarray, every: int) -> None:
    """PCA of every layer, or of every few."""
    for layer in range(0, values.shape[1], every):
        PCA().fit(values[1:, layer])


@dataclass(frozen=True)
class Result:
    """Seconds for all layers in each round, and the highest peak in bytes."""

    seconds: list[float]
    peak: int

    @classmethod
    def of(cls, costs: list[Cost], share: float) -> Result:
        """Scale up the times of a variant that has done a `share` of the layers."""
        return cls([cost.seconds / share for cost in costs], max(cost.peak for cost in costs))


def main() -> None:
    """Compare times and peaks."""
    options = parser(__doc__)
    add_rounds(options, 3)
    options.add_argument(
        "--every", type=int, default=1, help="layers scikit-learn skips; default: 1"
    )
    args = options.parse_args()
    shape = QUICK if args.quick else FULL
    if args.only:
        _run_one(args.only, shape, args.every)
        return

    measured = f"; scikit-learn on every {args.every}th layer, scaled up" if args.every > 1 else ""
    heading("Fitting {} vectors, {} layers, {} dimensions".format(*shape) + measured)
    results = _results(shape, args)
    _print_table(results)
    faster = {name: _ratio(results["scikit-learn"], results[name]) for name in VARIANTS[:2]}
    for name, ratio in faster.items():
        requirement(f"`{name}` faster than `scikit-learn`", ratio, 10.0)
    peak = results["fit"].peak / MIB / 1024
    verdict = "met" if peak < PEAK_LIMIT_GIB else "MISSED"
    print(f"- {verdict}: peak of `fit` below {PEAK_LIMIT_GIB} GiB: {peak:.2f} GiB")


def _run_one(variant: str, shape: tuple[int, int, int], every: int) -> None:
    works: dict[str, Callable[[np.ndarray], None]] = {
        "fit": fit,
        "fit, no resamples": partial(fit, n_resamples=2),
        "scikit-learn": partial(scikit_learn, every=every),
    }
    works[variant](synthetic((40, 2, 64)))  # imports and thread pools
    report_cost(partial(works[variant], synthetic(shape)))


def _results(shape: tuple[int, int, int], args: argparse.Namespace) -> dict[str, Result]:
    flags = ["--every", str(args.every), *(["--quick"] if args.quick else [])]
    costs: dict[str, list[Cost]] = {name: [] for name in VARIANTS}
    for number in range(args.rounds):
        shift = number % len(VARIANTS)
        for name in VARIANTS[shift:] + VARIANTS[:shift]:
            costs[name].append(cost_apart(__file__, name, flags))
    n_layers = shape[1]
    shares = {"scikit-learn": len(range(0, n_layers, args.every)) / n_layers}
    return {name: Result.of(costs[name], shares.get(name, 1.0)) for name in VARIANTS}


def _print_table(results: dict[str, Result]) -> None:
    rows = [
        (
            name,
            f"{statistics.median(result.seconds):.1f}",
            _ratio(results["scikit-learn"], result),
            f"{result.peak / MIB / 1024:.2f}",
        )
        for name, result in results.items()
    ]
    header = ("variant", "seconds", "times faster than scikit-learn [min, max]", "peak, GiB")
    print(markdown(header, rows), end="\n\n")


def _ratio(slow: Result, fast: Result) -> Ratio:
    pairs = zip(slow.seconds, fast.seconds, strict=True)
    return Ratio.of([theirs / mine for theirs, mine in pairs])


if __name__ == "__main__":
    main()
