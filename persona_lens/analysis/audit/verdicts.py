"""What the judges of a run say, side by side: one row a reply.

frame = verdict_frame(RunFolder("runs/first"))
pd.crosstab(frame["label:rules-c3aa9744"], frame["label:likelihood-62a2a69e"])
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Int

from persona_lens.errors import RunError
from persona_lens.judges.base import LABELS
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels, judge_keys

VERDICT_FIELDS = ("label", "score", "refused", "status")


def verdict_frame(run: RunFolder, judges: Sequence[str] | None = None) -> pd.DataFrame:
    """What every judge says of every role and trait reply, one row a reply.

    Args:
        run: A labelled run.
        judges: Keys of judges, or beginnings of them; all that have labelled the run by default.

    Returns:
        `kind`, `name`, `group`, `prompt_index`, `side`, `question_id`, `sample`; and for each judge `label:KEY`
        (missing where there is no verdict), `score:KEY`, `refused:KEY` and `status:KEY`.

    Raises:
        RunError: No such judge, none at all, or one that has not finished.
    """
    opened = run.opened()
    keys = judge_keys(opened) if judges is None else list(judges)
    if not keys:
        raise RunError(
            f"no judge has labelled {run.path}", remedy="label it: persona-lens judge --help"
        )
    found = [Labels.find(opened, key) for key in keys]
    columns: dict[str, list] = {}
    for shard in opened.shards:
        if shard.kind == "default":  # is not judged
            continue
        about = opened.manifest.about.get(f"{shard.kind}-{shard.name}", {})
        same = shard.model_dump(include={"kind", "name", "prompt_index", "side"})
        part = {name: [value] * len(shard.requests) for name, value in same.items()}
        part["group"] = [about.get("group")] * len(shard.requests)
        part["question_id"] = [request.question_id for request in shard.requests]
        part["sample"] = [request.sample for request in shard.requests]
        for labels in found:
            verdicts = labels.read(shard)
            for field in VERDICT_FIELDS:
                part[f"{field}:{labels.key}"] = [getattr(verdict, field) for verdict in verdicts]
        for name, values in part.items():
            columns.setdefault(name, []).extend(values)
    frame = pd.DataFrame(columns)
    for key in judges_of(frame):
        frame[f"label:{key}"] = pd.Categorical(frame[f"label:{key}"], LABELS, ordered=True)
        frame[f"score:{key}"] = frame[f"score:{key}"].astype(float)
    return frame


def judges_of(frame: pd.DataFrame) -> list[str]:
    """Keys of the judges in a `verdict_frame`."""
    return [name.removeprefix("label:") for name in frame.columns if name.startswith("label:")]


def label_codes(
    frame: pd.DataFrame, judge: str, labels: Sequence[str] = LABELS
) -> Int[np.ndarray, " reply"]:
    """Place of a judge's label in `labels`; -1 where there is none."""
    return np.asarray(pd.Categorical(frame[f"label:{judge}"], labels).codes, dtype=np.int64)


def judge_titles(keys: Sequence[str]) -> dict[str, str]:
    """Names of judges as people read them: without the hash, unless two would be called the same.

    Examples:
        >>> judge_titles(["rules-e73a5e0f", "llm-62a2a69e", "llm-0b1c2d3e"])
        {'rules-e73a5e0f': 'rules', 'llm-62a2a69e': 'llm-62a2a69e', 'llm-0b1c2d3e': 'llm-0b1c2d3e'}
    """
    plain = {key: re.sub(r"-[0-9a-f]{8}$", "", key) for key in keys}
    return {key: name if [*plain.values()].count(name) == 1 else key for key, name in plain.items()}
