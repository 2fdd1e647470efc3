"""The layer sweep at the size of the paper's largest model: 1,000 vectors, 80 layers, 8,192 dimensions, 200 draws.

The vectors lie in a file (2.6 GB in float32) that is mapped into memory, so that layers are read as they are
wanted. Each row of the table is a process of its own, which maps the file, fits the space and sweeps it. Its peak
is the highest resident size of the whole process: libraries, what was read of the file, and the work. Times are
those of the processor, added up over threads: where others want the cores they differ less than a clock's.

`--layers K` makes and sweeps a file of K layers; what is said of all layers is then scaled up, and the title says
so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from harness import MIB, heading, highest, markdown, parser

from persona_lens import PersonaSpace, VectorTable
from persona_lens.analysis.sweep import sweep

LAYERS, D_MODEL, N_DRAWS = 80, 8192, 200
TRAIT_SHARE, LATENT = 240 / 515, 64
PEAK_LIMIT_GIB = 8


@dataclass(frozen=True)
class Taken:
    """What one size has cost.

    Attributes:
        fit, sweep: Seconds of the processor.
        clock: Seconds of both by the clock.
        fitted, peak: Highest resident bytes of the process, before the sweep and at its end.
        rows: Of the sweep's frame.
    """

    fit: float
    sweep: float
    clock: float
    fitted: int
    peak: int
    rows: int


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--vectors", type=int, nargs="+", default=[250, 500, 1000])
    options.add_argument("--layers", type=int, default=LAYERS, help=f"default: {LAYERS}")
    options.add_argument(
        "--folder", type=Path, help="where the file goes; default: a temporary one"
    )
    args = options.parse_args()
    if args.only:
        _run_one(Path(args.only))
        return
    layers, d_model = (2, 512) if args.quick else (args.layers, D_MODEL)
    vectors = [60, 120] if args.quick else args.vectors
    part = "" if layers >= LAYERS else f", {layers} of {LAYERS} layers; all of them scaled up"
    heading(f"Sweeping vectors of {d_model:,} dimensions at size, {N_DRAWS} draws{part}")
    taken = {}
    for count in vectors:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            file = Path(folder) / "vectors.npy"
            _write(file, (1 + count, layers, d_model))
            taken[count] = _apart(file)
    _print(taken, layers, d_model)


def _write(file: Path, shape: tuple[int, int, int]) -> None:
    """Vectors whose spectrum falls like that of real ones, layer by layer."""
    values = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
    falling = (np.arange(1, LATENT + 1) ** -0.8).astype(np.float32)
    for layer in range(shape[1]):
        rng = np.random.default_rng([0, layer])
        scores = rng.standard_normal((shape[0], LATENT), dtype=np.float32) * falling
        directions = rng.standard_normal((LATENT, shape[2]), dtype=np.float32)
        noise = rng.standard_normal((shape[0], shape[2]), dtype=np.float32)
        values[:, layer] = scores @ directions + 0.05 * noise
    values.flush()


def _run_one(file: Path) -> None:
    values = np.load(file, mmap_mode="r")
    n_vectors, n_layers, _ = values.shape
    n_traits = int((n_vectors - 1) * TRAIT_SHARE)
    n_roles = n_vectors - 1 - n_traits
    table = VectorTable(
        values=values,
        names=tuple(f"v{row}" for row in range(n_vectors)),
        kinds=("default", *["role"] * n_roles, *["trait"] * n_traits),
        labels=("all", *["all"] * n_roles, *["pos-neg"] * n_traits),
        counts=np.full(n_vectors, 10),
        layers=tuple(range(n_layers)),
    )
    start, begun = time.perf_counter(), time.process_time()
    space = PersonaSpace(table, n_components=8).fit(progress=False)
    fitted, peak = time.process_time(), highest()
    found = sweep(space, n_draws=N_DRAWS, progress=False)
    done = time.process_time()
    clock = time.perf_counter() - start
    taken = Taken(fitted - begun, done - fitted, clock, peak, highest(), len(found.frame))
    print(json.dumps(asdict(taken)))


def _apart(file: Path) -> Taken:
    command = [sys.executable, __file__, "--only", str(file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def _print(taken: dict[int, Taken], layers: int, d_model: int) -> None:
    header = (
        *("vectors", "layers", "file, MiB", "fit, s of CPU", "sweep, s of CPU", "a layer, s"),
        *(f"all {LAYERS} layers, minutes of CPU", "clock, s", "peak of fit, MiB", "peak, MiB"),
    )
    rows = []
    for count, cost in taken.items():
        size = (1 + count) * layers * d_model * 4
        whole = (cost.fit + cost.sweep) / layers * LAYERS / 60
        seconds = (f"{cost.fit:.1f}", f"{cost.sweep:.1f}", f"{cost.sweep / layers:.2f}")
        sizes = (f"{cost.fitted / MIB:,.0f}", f"{cost.peak / MIB:,.0f}")
        file = f"{size / MIB:,.0f}"
        rows.append((count, layers, file, *seconds, f"{whole:.1f}", f"{cost.clock:.0f}", *sizes))
    print(markdown(header, rows), end="\n\n")
    counts, costs = list(taken), list(taken.values())
    for one, two, less, more in zip(counts, counts[1:], costs, costs[1:], strict=False):
        power = np.log(more.sweep / less.sweep) / np.log(two / one)
        print(f"- from {one} to {two} vectors the sweep's time grows with the power {power:.2f}")
    peak = costs[-1].peak / MIB / 1024
    if layers < LAYERS:
        missing = (1 + counts[-1]) * (LAYERS - layers) * d_model * 4 / MIB / 1024
        peak += missing
        print(f"- of the layers that were left out {missing:.2f} GiB would be mapped besides")
    verdict = "met" if peak < PEAK_LIMIT_GIB else "MISSED"
    print(f"- {verdict}: peak below {PEAK_LIMIT_GIB} GiB: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
