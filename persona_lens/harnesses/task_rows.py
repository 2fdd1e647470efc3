"""One piece of a task of lm-evaluation-harness, run and told item by item."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from persona_lens.evals.conditions import engagement
from persona_lens.harnesses.lm_eval import PersonaLM
from persona_lens.harnesses.loaded_tasks import quiet
from persona_lens.harnesses.own_tasks import OWN
from persona_lens.interventions.receipt import Receipt

SEED = 1234
"""Of few-shot examples and sampled replies, anew for every piece: so all conditions have the same."""

WEIGHTED = {
    "word_perplexity": "nats a word",
    "byte_perplexity": "nats a byte",
    "bits_per_byte": "nats a byte",
}
"""What lm-eval keeps as a log-likelihood and a length, and what is told of it per item."""


def task_rows(
    lm: PersonaLM, task: Any, name: str, ids: list[int], *, chat: bool, system: str
) -> pd.DataFrame:
    """One row for each item and metric of a piece.

    Args:
        lm: Is asked; its receipt is begun anew.
        task: Of lm-eval.
        name: Its name.
        ids: Numbers of the items, ascending.
        chat: Ask through the chat template.
        system: A system prompt.

    Columns: `item`, `judge` (task, metric and filter), `task`, `metric`, `cluster`, `sample`, `text`, `label`,
    `score` (NaN, and "not asked" as `status`, where the metric is no number of an item), `raw`; of the whole
    piece: `engaged` and `moved` as in `engagement`, `piece`, the tokens `seen` and `changed` by its receipt, all
    layers together, and texts `cut` to fit.
    """
    from lm_eval.evaluator import evaluate  # noqa: PLC0415

    cut = lm.cut
    lm.receipt = None if lm.plan is None else Receipt(lm.plan)
    task.set_fewshot_seed(SEED)
    # What lm-eval makes of a piece as a whole is not wanted, and may be impossible.
    unused = patch.object(task, "aggregation", lambda: defaultdict(lambda: len))
    with _seeded(), quiet(), unused:
        found: Any = evaluate(
            lm=lm,
            task_dict={"tasks": {name: task}},
            samples={name: ids},
            bootstrap_iters=0,
            system_instruction=system or None,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
    share, moved, seen, changed = 0.0, 0.0, 0, 0
    if lm.receipt is not None:
        did = lm.receipt.frame()
        share, moved = engagement(lm.receipt)
        seen, changed = int(did["seen"].sum()), int(did["changed"].sum())
    rows = []
    for example in found["samples"][name]:
        item = f"{name}/{example['doc_id']}"
        own = example["doc"].get("cluster") if name in OWN else None
        said = example["resps"][0][0]
        chain = "" if example["filter"] == "none" else f"/{example['filter']}"
        for metric in example["metrics"]:
            score = _number(metric, example[metric])
            rows.append(
                {
                    "item": item,
                    "judge": f"{name}/{metric}{chain}",
                    "task": name,
                    "metric": metric,
                    "cluster": own or item,
                    "sample": 0,
                    "text": said if isinstance(said, str) else "",
                    "label": None,
                    "score": score,
                    "status": "not asked" if np.isnan(score) else "ok",
                    "raw": "",
                    "engaged": share,
                    "moved": moved,
                    "piece": f"{name}/{ids[0]}",
                    "seen": seen,
                    "changed": changed,
                    "cut": lm.cut - cut,
                }
            )
    return pd.DataFrame(rows)


def _number(metric: str, value: Any) -> float:
    """What a metric says of one item; NaN where that is no number."""
    if metric in WEIGHTED and isinstance(value, tuple | list) and len(value) == 2:
        return -float(value[0]) / max(1, value[1])
    if isinstance(value, bool | int | float | np.number):
        return float(value)
    return np.nan


@contextmanager
def _seeded() -> Iterator[None]:
    """Chance as lm-eval sets it, and afterwards as it was."""
    states = random.getstate(), np.random.get_state()
    random.seed(SEED)
    np.random.seed(SEED)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(SEED)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
