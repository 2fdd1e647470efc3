"""Run `verify` on a tiny random model of every text architecture, and print the table of docs/models.md.

    python benchmarks/verify_architectures.py --out build/architectures.jsonl

Architectures that stand in the file already are not run again, so the command may be stopped and repeated. The
models are those of `tests/tiny_architectures.py`: three blocks, in float32, on one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
import transformers

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from tiny import tiny_tokenizer  # noqa: E402
from tiny_architectures import CASES, tiny_case, where_run  # noqa: E402

from persona_lens import PersonaModel  # noqa: E402
from persona_lens.errors import PersonaLensError  # noqa: E402
from persona_lens.verify import verify  # noqa: E402

VERIFIED, REFUSED, FAILED = "verified", "refused", "failed"


def outcome(architecture: str) -> dict[str, str]:
    """What comes of one architecture, and why or with which restriction."""
    module = tiny_case(architecture)
    found = {"architecture": architecture, "class": type(module).__name__}
    try:
        model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    except PersonaLensError as refusal:
        return found | {"outcome": REFUSED, "note": str(refusal).splitlines()[0]}
    report = verify(model)
    conduct = model.conduct
    notes = [f"{result.name} fails" for result in report.failures]
    if not conduct.shares_prompts:
        notes.append("prompts run with each reply")
    if not conduct.pads_in_front:
        notes.append("one reply sampled at a time")
    if not conduct.feeds_once:
        notes.append("plans act on finished texts only")
    notes += [
        "the bridge does not run in TransformerLens"
        for result in report.results
        if result.name == "bridge" and result.verdict == "not applicable"
    ]
    return found | {
        "outcome": VERIFIED if report.passed else FAILED,
        "note": "; ".join(notes),
    }


def main() -> None:
    """Run what is missing, then print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=ROOT / "build" / "architectures.jsonl")
    options.add_argument("only", nargs="*", help="names of architectures; all by default")
    given = options.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    lines = given.out.read_text().splitlines() if given.out.exists() else []
    known = {row["architecture"]: row for row in map(json.loads, lines)}
    for architecture in given.only or CASES:
        if architecture not in known:
            known[architecture] = outcome(architecture)
            with given.out.open("a") as file:
                file.write(json.dumps(known[architecture]) + "\n")
            print(known[architecture], file=sys.stderr, flush=True)
    print("| architecture | model type | CPU, tiny | | in tests | real weights | GPU |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for architecture in CASES:
        if architecture in known:
            row = known[architecture]
            cells = [row["class"], f"`{architecture}`", row["outcome"], row["note"]]
            print("| " + " | ".join([*cells, *where_run(architecture)]) + " |")


if __name__ == "__main__":
    main()
