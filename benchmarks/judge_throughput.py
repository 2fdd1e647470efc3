"""Judging through a server: how near to concurrency / latency, the most that waiting allows.

A local server in a process of its own answers every call after 50 ms. `OpenAIJudge` does all it does in a run,
from writing the prompt to reading the verdict; only storing it is left out. Starting up and connecting count.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from harness import Ratio, add_rounds, heading, interleave, markdown, parser, requirement

from persona_lens import load_questions, load_roles
from persona_lens.endpoints import EndpointSettings
from persona_lens.judges import Case, OpenAIJudge
from persona_lens.rollouts import Request, Shard
from persona_lens.rollouts.reply import Reply

SERVER = Path(__file__).parents[1] / "tests" / "faulty_server.py"
LATENCY = 0.05  # seconds
CONCURRENCIES = (8, 16, 32, 64)
REQUIRED = 0.9


@contextmanager
def server(latency: float) -> Iterator[str]:
    """Address of a server that says "fully in role" to everything."""
    command = [sys.executable, str(SERVER), "--latency", str(latency), "--reply", '{"score": 3}']
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()  # which ends it


def cases() -> Iterator[Case]:
    """Every role of the core catalogue with every question, over and over, its own prompts as the reply."""
    roles, questions = load_roles(), load_questions()
    for role, question in cycle((role, question) for question in questions for role in roles):
        shard = Shard(
            kind="role",
            name=role.name,
            prompt_index=0,
            system=role.prompts[0],
            requests=(Request(question_id=question.id, question=question.text),),
        )
        reply = Reply(ids=np.array([], dtype=int), text=" ".join(role.prompts))
        yield Case(shard, 0, reply, role.model_dump(include={"description", "rubric"}))


def judge(url: str, concurrency: int, seconds: float) -> int:
    """Judge as many replies as should take so long; returns how many."""
    count = round(concurrency / LATENCY * seconds)
    settings = EndpointSettings(model="m", base_url=url, concurrency=concurrency)
    verdicts = OpenAIJudge(settings).verdicts(islice(cases(), count))
    labels = [verdict.label for _, verdict in verdicts]
    assert labels == ["fully"] * count
    return count


def main() -> None:
    """Compare what is reached with what waiting allows, for several numbers of calls at once."""
    options = parser(__doc__)
    add_rounds(options, 5)
    args = options.parse_args()
    seconds = 1.0 if args.quick else 5.0

    heading(f"Judging through a server that answers after {LATENCY * 1000:.0f} ms")
    with server(LATENCY) as url:
        variants: dict[str, Callable[[], int]] = {
            str(concurrency): partial(judge, url, concurrency, seconds)
            for concurrency in CONCURRENCIES
        }
        rates = interleave(variants, args.rounds)
    reached = {
        name: Ratio.of([rate / (int(name) / LATENCY) for rate in rounds])
        for name, rounds in rates.rounds.items()
    }
    header = ("calls at once", "calls a second", "of concurrency / latency [min, max]")
    rows = [(name, f"{rates.median(name):,.0f}", ratio) for name, ratio in reached.items()]
    print(markdown(header, rows) + "\n")
    for name, ratio in reached.items():
        requirement(f"{name} calls at once, of concurrency / latency", ratio, REQUIRED)


if __name__ == "__main__":
    main()
