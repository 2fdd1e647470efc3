"""Every script of this folder, one after the other, each in a process of its own with a limit of its own.

    python benchmarks/gpu/run_all.py --out build/gpu
    python benchmarks/gpu/run_all.py --out build/gpu --only caches devices

Tables are printed and written to `OUT/SCRIPT.md`; what a script could not finish stands in its table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = ("hook_kernels", "verify_models", "full_blocks", "caches", "devices", "ray_shares")
LIMIT = 480
"""Seconds for each: the seven minutes that scripts take themselves, and what is under way then."""


def main(arguments: Sequence[str] | None = None) -> int:
    """How many scripts did not end well."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, default=HERE.parents[1] / "build" / "gpu")
    options.add_argument("--toy", action="store_true", help="tiny shapes, to see that they run")
    options.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, metavar="SCRIPT")
    options.add_argument(
        "--limit", type=float, default=LIMIT, help="seconds a script; default: 480"
    )
    given = options.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in given.only:
        out = given.out / f"{name}.md"
        command = [sys.executable, str(HERE / f"{name}.py"), "--out", str(out)]
        command += ["--toy"] if given.toy else []
        print(f"== {name}", flush=True)
        try:
            ended = subprocess.run(command, timeout=given.limit, check=False).returncode
            problem = f"ended with {ended}" if ended else ""
        except subprocess.TimeoutExpired:
            problem = f"stopped after {given.limit:g} seconds"
            print(out.read_text() if out.exists() else "no row was measured")
        if problem:
            failed += 1
            with out.open("a") as file:
                file.write(f"\n{name} {problem}; rows above were measured before.\n")
            print(f"== {name} {problem}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
