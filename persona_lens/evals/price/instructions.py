"""Instructions that a program can check: 40 everyday requests, 22 kinds of instruction, 150 items.

    result = evaluate(instructions(), model, [UNTOUCHED, *capped(model, space)])
    result.measures      # all followed, followed, names its subject
    followed_by_kind(result.replies)

The idea, to ask for what a program can verify, is IFEval's (Zhou et al. 2023); requests, instructions and programs
are our own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure, measured
from persona_lens.evals.outcomes import Answer, Exact, Outcome
from persona_lens.evals.price.checks import CHECKS, follows
from persona_lens.evals.price.data_files import material
from persona_lens.evals.price.selecting import first_of, with_kinds
from persona_lens.rollouts.sampling import Sampling

N_ITEMS, _N_SINGLE = 150, 110
SAMPLING = Sampling(temperature=0, max_new_tokens=256)

SOURCE = "our own; the idea is IFEval's (arXiv 2311.07911)"
MEASURES = (
    Measure("all instructions followed", "instructions", labels=("followed",), good=1),
    Measure("instructions followed", "instructions", good=1),
    Measure("names its subject", "subject", labels=("named",), good=1),
)


def instructions(first: int | None = None, kinds: Iterable[str] | None = None) -> Evaluation:
    """An evaluation: is what was asked for done, to the letter?

    110 items have one instruction, 40 have two. Items of one request are of one cluster.

    Args:
        first: Only so many items; kinds take turns, so any number has all kinds about equally often.
        kinds: Only items with one of these kinds of instruction (`checks.CHECKS`).

    Raises:
        EvaluationError: No item is left, or there is no such kind.

    Examples:
        >>> instructions(first=1).items[0].question
        'Explain how rain forms. Do not use any comma.'
    """
    items = with_kinds(_items(), kinds, CHECKS)
    return Evaluation(
        "instructions",
        "Instructions",
        first_of(items, first),
        JUDGES,
        MEASURES,
        SAMPLING,
        SOURCE,
    )


def _items() -> list[Item]:
    """All of them, in a fixed order; no chance is involved."""
    told = material("instructions")
    names, pairs, requests = list(told["kinds"]), told["pairs"], told["requests"]
    chosen = [[names[place % len(names)]] for place in range(_N_SINGLE)]
    chosen += [pairs[place % len(pairs)] for place in range(N_ITEMS - _N_SINGLE)]
    turns = dict.fromkeys(names, 0)
    items = []
    for place, kinds in enumerate(chosen):
        # 7 and 40 have no common divisor: every request has its turn before one comes again.
        request = requests[7 * place % len(requests)]
        said, asked = [], []
        for kind in kinds:
            known, turn = told["kinds"][kind], turns[kind]
            turns[kind] += 1
            args = known["args"][turn % len(known["args"])]
            said.append(known["say"][turn % len(known["say"])].format(**args))
            asked.append({"kind": kind, **args})
        items.append(
            Item.asked(
                f"instructions/{place}",
                " ".join([request["ask"], *said]),
                about={"task": "instructions", "variety": " + ".join(kinds)},
                cluster=f"instructions/{request['id']}",
                check={"instructions": asked, "subject": request["subject"]},
            )
        )
    return items


def verdict(text: str, asked: Iterable[dict[str, Any]]) -> Outcome:
    """Which instructions a text follows.

    Args:
        text: The answer.
        asked: Each a `kind`, and what it needs.

    Returns:
        Label `followed` if all are, else `broken`; the share that is as score; JSON of each as raw.

    Examples:
        >>> verdict("rain is water that falls.", [{"kind": "lowercase"}, {"kind": "bullets", "n": 2}])
        Outcome(label='broken', score=0.5, status='ok', raw='{"lowercase": true, "bullets": false}')
    """
    found = {each["kind"]: follows(text, **each) for each in asked}
    share = sum(found.values()) / len(found)
    return Outcome("followed" if share == 1 else "broken", share, raw=json.dumps(found))


def _subject(answer: Answer) -> Outcome:
    named = any(word in answer.text.lower() for word in answer.item.check["subject"])
    return Outcome("named" if named else "lost")


JUDGES = (
    Exact("instructions", lambda answer: verdict(answer.text, answer.item.check["instructions"])),
    Exact("subject", _subject),
)


def followed_by_kind(replies: pd.DataFrame) -> pd.DataFrame:
    """How often each kind of instruction was followed, under every condition.

    Args:
        replies: `Evaluated.replies` of `instructions()` or `price()`.

    Returns:
        As `Evaluated.measures`, a measure a kind.
    """
    judged = replies.loc[(replies["judge"] == "instructions") & (replies["status"] == "ok")]
    found = judged.assign(raw=judged["raw"].map(json.loads))
    rows = [
        {**row, "judge": kind, "label": None, "score": float(did)}
        for row in found.to_dict("records")
        for kind, did in row["raw"].items()
    ]
    frame = pd.DataFrame(rows)
    kinds = [kind for kind in CHECKS if kind in set(frame["judge"])]
    return measured(frame, [Measure(kind, kind, good=1) for kind in kinds])
