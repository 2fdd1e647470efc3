"""How every benchmark here measures, so that the scripts only say what is compared.

Times are taken in rounds: each round runs every variant once, in an order that rotates, and a ratio is formed
within a round. A machine that slows down for a minute slows all variants of that round, and the ratio stays.

Memory is taken in a fresh process for each variant, as the highest resident size above what was there before.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import persona_lens  # noqa: F401  before torch: OpenMP reads how threads wait when torch is loaded

import torch  # isort: skip

MIB = 2**20
LIBRARIES = ("persona-lens", "torch", "transformers", "transformer-lens", "numpy", "scikit-learn")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Options that every script has."""
    options = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options.add_argument("--only", help=argparse.SUPPRESS)  # one variant, in a process of its own
    return options


def add_rounds(options: argparse.ArgumentParser, default: int) -> None:
    """For scripts that compare times."""
    options.add_argument("--rounds", type=int, default=default, help=f"default: {default}")


def add_model_options(options: argparse.ArgumentParser) -> None:
    """For scripts that run the embedded model."""
    options.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))
    options.add_argument("--device", help="default: the fastest there is")


# Time ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """Median of the ratios within rounds, with the smallest and the largest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Ratio:
        """Summarise the ratio of each round."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Rates:
    """Units a second of each variant, one value a round."""

    rounds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        """The rate of a variant in the middle round."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, over: str) -> Ratio:
        """How many times faster `name` is than `over`."""
        pairs = zip(self.rounds[name], self.rounds[over], strict=True)
        return Ratio.of([mine / theirs for mine, theirs in pairs])

    def table(self, unit: str, over: str) -> str:
        """One row a variant: its rate, and its ratio to the variant `over`."""
        rows = [(name, f"{self.median(name):,.0f}", self.ratio(name, over)) for name in self.rounds]
        return markdown(("variant", f"{unit} a second", f"times `{over}` [min, max]"), rows)


def interleave(variants: Mapping[str, Callable[[], int]], rounds: int) -> Rates:
    """Run every variant once a round; each returns the number of units (tokens, layers) it has done."""
    names = list(variants)
    for name in names:  # the first pass allocates, compiles and fills caches
        variants[name]()
    rates: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            units, seconds = timed(variants[name])
            rates[name].append(units / seconds)
    return Rates(rates)


def timed(work: Callable[[], int]) -> tuple[int, float]:
    """What `work` returns, and the seconds it took; waits for the GPU if there is one."""
    gc.collect()
    _wait_for_device()
    start = time.perf_counter()
    units = work()
    _wait_for_device()
    return units, time.perf_counter() - start


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# Memory -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What one piece of work took in a process of its own.

    Attributes:
        seconds: Wall-clock time.
        baseline, peak: Resident bytes of the process before, and at the highest point.
        mapped: Resident bytes of files at the end: libraries and mapped weights.
    """

    seconds: float
    baseline: int
    peak: int
    mapped: int

    @property
    def above(self) -> int:
        """Bytes of the peak that the work itself caused."""
        return self.peak - self.baseline

    @property
    def own(self) -> int:
        """Bytes of the peak without those of files, which depend on the state of the page cache."""
        return self.peak - self.mapped


def report_cost(work: Callable[[], object]) -> None:
    """Do the work and print its cost for the process that called `cost_apart`."""
    gc.collect()
    _reset_high_water_mark()
    baseline = _status("VmRSS") or _max_rss()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    peak = highest()
    print(json.dumps(asdict(Cost(seconds, baseline, peak, mapped=_status("RssFile")))))


def highest() -> int:
    """The highest resident bytes of this process so far, or since `report_cost` began."""
    return _status("VmHWM") or _max_rss()


def cost_apart(script: str, variant: str, flags: Iterable[str] = ()) -> Cost:
    """Run one variant of `script` in a fresh process; the script must answer `--only` with `report_cost`."""
    command = [sys.executable, script, *flags, "--only", variant]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _reset_high_water_mark() -> None:
    # Loading a model can need more than the work: without this its peak would hide the work's. Elsewhere than
    # on Linux the peak of the whole process is all there is.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    """A size in /proc/self/status, in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def _max_rss() -> int:
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


# Report -------------------------------------------------------------------------------------------


def heading(title: str) -> None:
    """Print title, command, machine and versions."""
    print(heading_text(title), end="\n\n")


def heading_text(title: str, libraries: Iterable[str] = LIBRARIES) -> str:
    """Title, command, machine and versions."""
    script = os.path.relpath(sys.argv[0])
    versions = ", ".join(f"{name} {_version(name)}" for name in libraries)
    command = f"`python {' '.join([script, *sys.argv[1:]])}`"
    return (
        f"### {title}\n\n{command}, {time.strftime('%Y-%m-%d')}; {_machine()};\n"
        f"Python {platform.python_version()}, {versions}"
    )


def _machine() -> str:
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    return f"{_processor()}, {threads}{gpu}"


def _processor() -> str:
    """The processor's name, and which of the instructions that matter for bfloat16 it has."""
    name, flags = platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() == "flags":
                flags = value
    known = [
        flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags.split()
    ]
    return f"{name} ({', '.join(known)})" if known else name


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from source"


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are set to the right.

    >>> print(markdown(("a", "b"), [("x", 1)]))
    | a | b |
    | --- | ---: |
    | x | 1 |
    """
    rule = ["---", *("---:" for _ in header[1:])]
    lines = [header, rule, *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def requirement(text: str, ratio: Ratio, at_least: float) -> None:
    """Say whether a required ratio is reached in the median round."""
    verdict = "met" if ratio.median >= at_least else "MISSED"
    print(f"- {verdict}: {text}, at least {at_least:.2f}: {ratio}")
