"""What the provider `persona-lens` noted in a log of Inspect, as a table: one row for each reply the model gave.

    found = readings("logs/2026-11-28_identity.eval")
    found.groupby("plan")["z"].describe()
    found.merge(samples_df(log), on=...)          # or by sample and epoch with scores of your own

Replies of all turns are there, in the order they were given, and those that a solver asked for and threw away too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from inspect_ai.event import ModelEvent
from inspect_ai.log import EvalLog, EvalSample, read_eval_log

from persona_lens.errors import EvaluationError
from persona_lens.harnesses.inspect_replies import KEY

COLUMNS = (
    *("sample", "epoch", "turn", "choice", "cached", "model", "plan", "plan_digest", "tokens"),
    *("engaged", "moved", "layer", "mean", "z"),
)


def readings(log: EvalLog | str | Path) -> pd.DataFrame:
    """One row for each reply.

    Columns: `sample`, `epoch`; `turn`, the number of the model's call within the sample, from 0; `choice`, from 0;
    `cached`, whether Inspect's cache gave it; `model`; `plan` and `plan_digest`, empty without one; `tokens`;
    `engaged`, the share of the tokens and layers the plan was to touch that it moved, and `moved`, by how much of
    the residual norm on average (both 0 without a plan); `layer`; `mean`, the projection of the reply on the axis,
    read again with nothing acting, and `z`, that in standard deviations of default replies (NaN where unknown).

    Args:
        log: What `eval` returned, with its samples, or the place of a log.

    Raises:
        EvaluationError: The log has no samples, or no reply in it is the provider's.
    """
    whole = log if isinstance(log, EvalLog) else read_eval_log(str(log))
    if not whole.samples:
        raise EvaluationError(
            "the log has no samples",
            expected="a log with its samples",
            given=whole.status,
            remedy="read it from its place: readings(log.location)",
        )
    rows = [row for sample in whole.samples for row in _rows(sample)]
    if not rows:
        raise EvaluationError(
            "no reply of the log was read",
            expected="a log of --model persona-lens/...",
            given=whole.eval.model,
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(sample: EvalSample) -> Iterator[dict[str, Any]]:
    calls = [event for event in sample.events if isinstance(event, ModelEvent)]
    noted = [event for event in calls if KEY in (event.output.metadata or {})]
    for turn, event in enumerate(noted):
        assert event.output.metadata is not None
        card = event.output.metadata[KEY]
        plan = card["plan"] or {"name": "", "digest": ""}
        for number, about in enumerate(card["choices"]):
            place = about["projection"] or {}
            yield {
                "sample": sample.id,
                "epoch": sample.epoch,
                "turn": turn,
                "choice": number,
                "cached": event.cache == "read",
                "model": event.output.model,
                "plan": plan["name"],
                "plan_digest": plan["digest"],
                "tokens": about["tokens"],
                "engaged": about.get("engaged", 0.0),
                "moved": about.get("moved", 0.0),
                "layer": place.get("layer"),
                "mean": _known(place.get("mean")),
                "z": _known(place.get("z")),
            }


def _known(value: float | None) -> float:
    return float("nan") if value is None else value
