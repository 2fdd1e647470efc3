"""Fitting one layer at size, step by step, against scikit-learn's PCA, the roofline, and what is exact.

First table: time of the processor on one thread for the parts of `PersonaSpace.fit` at one layer of 8,192
dimensions, and for `PCA().fit` of the same role vectors. A layer is like another: 80 take 80 times as long,
over as many threads as there are. The roofline is what the BLAS of this machine needs for the operations that no
way in float64 leaves out, at the rate at which it multiplies square matrices in the same run: the Gram matrix
(n² d), its reduction to three diagonals (4/3 n³), and the components (2 n k d).

Second table: the largest error of the cosine of PC1 and axis over resamples, against a singular value
decomposition of each resample in float64; of the spectrum, relative to its largest variance; of the leading ten
components, as the sine of the angle. Spectra are flat (no component stands out), steep (eight of them a power of
ten), and like those of roles.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from harness import heading, markdown, parser
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from persona_lens.space.stability import layer_stability
from persona_lens.statistics.gram import GramGeometry
from persona_lens.statistics.pca import Spectrum

D_MODEL, KEPT, N_RESAMPLES, LATENT = 8192, 64, 200, 64
SPECTRA = {
    "like roles": np.arange(1, LATENT + 1) ** -0.8,
    "steep": 10.0 ** (-np.arange(LATENT) / 8),
    "flat": np.ones(LATENT),
}
NOISE = {"like roles": 0.05, "steep": 1e-6, "flat": 0.05}


def main() -> None:
    """Print both tables."""
    options = parser(__doc__)
    options.add_argument("--roles", type=int, nargs="+", default=[275, 515, 1000])
    options.add_argument("--rounds", type=int, default=3, help="the fastest counts; default: 3")
    args = options.parse_args()
    d_model, sizes = (512, [60]) if args.quick else (D_MODEL, args.roles)
    heading(f"Fitting one layer of {d_model:,} dimensions, one thread, {N_RESAMPLES} resamples")
    with threadpool_limits(1):
        rows = [_parts(n, d_model, args.rounds) for n in sizes]
        names = ("roles", *rows[0])
        print(markdown(names, [(n, *row.values()) for n, row in zip(sizes, rows, strict=True)]))
        n_roles, width = (60, 300) if args.quick else (275, 2048)
        print(f"\nErrors, {n_roles} roles, {width:,} dimensions, against float64 decompositions\n")
        header = ("spectrum", "cos(PC1, axis) of resamples", "variances", "components 1 to 10")
        print(markdown(header, [(name, *_errors(name, n_roles, width)) for name in SPECTRA]))


def _vectors(name: str, n_rows: int, d_model: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((n_rows, LATENT)) * SPECTRA[name]
    noise = NOISE[name] * rng.standard_normal((n_rows, d_model))
    return (scores @ rng.standard_normal((LATENT, d_model)) + noise).astype(np.float32)


def _seconds(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def _parts(n_roles: int, d_model: int, rounds: int) -> dict[str, str]:
    vectors = _vectors("like roles", 1 + n_roles, d_model)
    mean = vectors[1:].mean(axis=0, dtype=np.float64)
    scaled = vectors - mean
    gram = scaled @ scaled.T
    spectrum = Spectrum.of_gram(gram[1:, 1:], d_model)
    geometry = GramGeometry(gram, spectrum, np.ones(n_roles, dtype=bool))
    role_of = np.arange(n_roles)

    def stability() -> None:
        rng = np.random.default_rng(0)
        layer_stability(geometry, role_of, d_model, None, n_resamples=N_RESAMPLES, rng=rng)

    taken = {
        "float64, centred": _seconds(lambda: vectors - mean, rounds),
        "Gram": _seconds(lambda: scaled @ scaled.T, rounds),
        "spectrum": _seconds(lambda: Spectrum.of_gram(gram[1:, 1:], d_model), rounds),
        "components": _seconds(lambda: spectrum.components(scaled[1:], KEPT), rounds),
        "resamples": _seconds(stability, rounds),
    }
    square = np.random.default_rng(0).standard_normal((1024, 1024))
    rate = 2 * 1024**3 / _seconds(lambda: square @ (square + 0.0), max(rounds, 5))
    least = n_roles**2 * d_model + 4 / 3 * n_roles**3 + 2 * n_roles * KEPT * d_model
    theirs = _seconds(lambda: PCA().fit(vectors[1:]), rounds)
    ours, bare = sum(taken.values()), sum(taken.values()) - taken["resamples"]
    return {
        **{name: f"{1000 * each:.0f} ms" for name, each in taken.items()},
        "scikit-learn": f"{1000 * theirs:.0f} ms",
        "fit": f"{theirs / ours:.1f} times",
        "without resamples": f"{theirs / bare:.1f} times",
        "roofline without them": f"{theirs / (least / rate):.1f} times, {rate / 1e9:.0f} GF/s",
    }


def _errors(name: str, n_roles: int, d_model: int) -> tuple[str, ...]:
    vectors = _vectors(name, 1 + n_roles, d_model).astype(np.float64)
    scaled = vectors - vectors[1:].mean(axis=0)
    gram = scaled @ scaled.T
    spectrum = Spectrum.of_gram(gram[1:, 1:], d_model)
    squares, components = np.linalg.svd(scaled[1:], full_matrices=False)[1:]
    variances = np.abs(squares[: len(spectrum.squares)] ** 2 - spectrum.squares).max()
    found = spectrum.components(scaled[1:], 10)
    sines = [np.linalg.norm(a - (a @ b) * b) for a, b in zip(found, components, strict=False)]
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(n_roles, np.full(n_roles, 1 / n_roles), size=40).astype(float)
    weights = np.concatenate([np.zeros((40, 1)), drawn], axis=1)
    geometry = GramGeometry(gram, spectrum, np.ones(n_roles, dtype=bool))
    resamples = geometry.resample(weights, np.zeros(40, dtype=int))
    cosines = geometry.cosines(resamples.pc1, resamples.axes)
    exact = [_exact(scaled, row / row.sum()) for row in weights]
    return (
        f"{np.abs(cosines - exact).max():.0e}",
        f"{variances / squares[0] ** 2:.0e}",
        f"{max(sines):.0e}",
    )


def _exact(scaled: np.ndarray, weights: np.ndarray) -> float:
    """|cos| of PC1 and axis of one resample."""
    mean = weights @ scaled
    rows = np.sqrt(weights)[:, None] * (scaled - mean)
    pc1, axis = np.linalg.svd(rows, full_matrices=False)[2][0], scaled[0] - mean
    return float(abs(pc1 @ axis) / np.linalg.norm(axis))


if __name__ == "__main__":
    main()
