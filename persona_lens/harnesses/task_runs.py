"""Tasks of lm-evaluation-harness under several conditions, compared item by item (needs `persona-lens[lm-eval]`).

    from persona_lens.evals.conditions import capped
    from persona_lens.harnesses.task_runs import run_tasks

    result = run_tasks(model, ["gsm8k", "persona_lens_instructions"], capped(model, space), limit=200, out="price")
    result.measures          # kill it: the same call continues

Every item is put to the model as it is, under each plan, under each plan at strength 0, and under controls in
other directions; what is told of a plan is its change from no plan on the same items.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from persona_lens.arrays import plain
from persona_lens.errors import EvaluationError
from persona_lens.evals.conditions import Condition
from persona_lens.evals.evaluation import Evaluated
from persona_lens.evals.experiment import Experiment
from persona_lens.evals.measures import Measure
from persona_lens.evals.price import price_table
from persona_lens.evals.price.controls import SCALE_0, with_controls
from persona_lens.harnesses.lm_eval import PersonaLM
from persona_lens.harnesses.loaded_tasks import load_tasks
from persona_lens.harnesses.task_rows import WEIGHTED, task_rows

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


def run_tasks(
    model: PersonaModel,
    tasks: Sequence[Any],
    conditions: Iterable[Condition],
    *,
    limit: int | None = None,
    few_shot: int | None = None,
    chat: bool = True,
    system: str = "",
    default_system: bool = False,
    generation: Mapping[str, Any] | None = None,
    include: Sequence[str | Path] = (),
    batch_size: int = 16,
    piece: int = 64,
    out: str | Path | None = None,
    progress: bool = True,
) -> Evaluated:
    """Run tasks under every condition, and compare them item by item.

    Few-shot examples are drawn piece by piece, so they are the same under all conditions, but not those of a run
    of lm-eval's own.

    Args:
        model: Is asked.
        tasks: Names, of lm-eval, of `OWN` or of files in `include`; dicts or `Task` objects as lm-eval takes them.
        conditions: Plans with their controls; no plan and strength 0 are added (`with_controls`).
        limit: Only so many items of each task.
        few_shot: Examples before each item, where the task leaves it open.
        chat: Ask through the model's chat template, examples as earlier turns.
        system: A system prompt.
        default_system: Leave the template its own default system prompt where there is no other.
        generation: Options of lm-eval's for replies, over those of the tasks: `{"max_gen_toks": 64}`.
        include: Folders with task files of your own.
        batch_size: Replies at a time.
        piece: Items between two saves.
        out: Keeps finished pieces there, and the result; the same call continues.
        progress: Show a progress bar.

    Returns:
        As of `evaluate`: `replies` with one row for each item, condition and metric (`judge`, such as
        "gsm8k/exact_match/strict-match"; `score`; `engaged` and `moved`, of the piece it ran in); `measures` as of
        `price_table`. The card has the settings, what plans did in all (`receipts`), how many texts were `cut` to
        fit the model's context, and `left_out`, metrics that are no number of an item. Perplexities are told as
        the mean over texts of nats a word or byte.

    Raises:
        EvaluationError: A plan has no control, a task is unknown, or no metric is a number of an item.
        InterventionError: A plan wants tokens that are not known in a task's texts.

    Warns:
        RuntimeWarning: A plan at strength 0 changed an item, or texts lost their beginning.
    """
    conditions = with_controls(conditions)
    known = load_tasks(tasks, include, few_shot=few_shot, generation=generation)
    counts = {name: len(task.eval_docs) for name, task in known.items()}
    if limit is not None:
        if limit < 1:
            raise EvaluationError(
                "no items are left", expected="a limit of at least 1", given=limit
            )
        counts = {name: min(limit, count) for name, count in counts.items()}
    settings = {
        "few_shot": few_shot,
        "chat": chat,
        "system": system,
        "default_system": default_system,
        "injected_text": model.encoder.injected_text if chat else "",
        "batch_size": batch_size,
        "piece": piece,
        "lm_eval": version("lm-eval"),
        "model": model.card(),
    }
    lms: dict[str, PersonaLM] = {}

    def answer(asked: tuple[str, list[int]], condition: Condition) -> pd.DataFrame:
        if condition.name not in lms:
            lms.clear()  # conditions come one after the other
            lms[condition.name] = PersonaLM(
                model,
                condition.plan,
                batch_size=batch_size,
                default_system=default_system,
                progress=False,
            )
        return task_rows(lms[condition.name], known[asked[0]], *asked, chat=chat, system=system)

    experiment = Experiment(
        "Tasks of lm-eval",
        items=_pieces(counts, piece),
        conditions={condition.name: condition for condition in conditions},
        answer=answer,
        depends={
            **settings,
            "tasks": {name: _content(task, counts[name]) for name, task in known.items()},
            "conditions": [condition.depends() for condition in conditions],
        },
        out=None if out is None else Path(out) / "pieces",
        unit="pieces",
    )
    rows = experiment.run(progress=progress)
    told = pd.DataFrame([{"condition": each.name, **each.about()} for each in conditions])
    replies = rows.merge(told, on="condition", how="left", validate="many_to_one")
    measures, left_out = _measures(replies, known)
    replies = replies.loc[~replies["judge"].isin(left_out)].reset_index(drop=True)
    card = {
        "name": "lm-eval",
        "title": "Tasks of lm-evaluation-harness",
        "source": "lm-evaluation-harness",
        "tasks": {name: {"items": counts[name], "version": known[name].VERSION} for name in known},
        "conditions": [condition.name for condition in conditions],
        **settings,
        "generation": dict(generation or {}),
        "receipts": _receipts(replies),
        "cut": _cut(replies),
        "left_out": left_out,
    }
    _check_strength_0(replies)
    result = Evaluated(replies, price_table(replies, measures), plain(card))
    if out is not None:
        result.save(out)
    return result


def _pieces(counts: Mapping[str, int], size: int) -> dict[str, tuple[str, list[int]]]:
    found = {}
    for name, count in counts.items():
        for number in range(ceil(count / size)):
            ids = list(range(size * number, min(size * (number + 1), count)))
            found[f"{name} {ids[0]} to {ids[-1]}"] = (name, ids)
    return found


def _content(task: Any, count: int) -> str:
    """A hash of what a task asks and how."""
    settings = json.dumps(plain(task.dump_config()), default=str)
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-f]+", "", settings).encode())
    for number, document in enumerate(task.eval_docs):
        if number == count:
            break
        digest.update(json.dumps(document, default=str, sort_keys=True).encode())
    return digest.hexdigest()


def _measures(replies: pd.DataFrame, tasks: Mapping[str, Any]) -> tuple[list[Measure], list[str]]:
    found, left_out = [], []
    for judge, rows in replies.groupby("judge", sort=False):
        task, metric = rows["task"].iloc[0], rows["metric"].iloc[0]
        if rows["score"].isna().all():
            left_out.append(str(judge))
            continue
        wanted = tasks[task].higher_is_better().get(metric)
        good = 0 if wanted is None else (1 if wanted else -1)
        share = rows["score"].dropna().isin([0.0, 1.0]).all()
        unit = WEIGHTED.get(metric, "share" if share else "score")
        found.append(Measure(str(judge), str(judge), unit=unit, good=good))
    if not found:
        raise EvaluationError(
            "nothing can be compared item by item",
            expected="a metric that is a number of each item, such as acc",
            given=", ".join(left_out),
        )
    return found, left_out


def _receipts(replies: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Tokens and layers that each plan chose, and changed, over all tasks."""
    pieces = replies.drop_duplicates(["condition", "piece"])
    return {
        str(name): {key: int(rows[key].sum()) for key in ("seen", "changed")}
        for name, rows in pieces.groupby("condition", sort=False)
    }


def _cut(replies: pd.DataFrame) -> int:
    """Texts that were longer than the model's context, without a plan."""
    first = replies.loc[
        replies["condition"] == replies.loc[replies["kind"] == "none", "condition"].iloc[0]
    ]
    return int(first.drop_duplicates("piece")["cut"].sum())


def _check_strength_0(replies: pd.DataFrame) -> None:
    plain_rows = replies.loc[replies["kind"] == "none"]
    first = plain_rows.loc[plain_rows["condition"] == plain_rows["condition"].iloc[0]]
    without = first.set_index(["item", "judge"])[["score", "text"]]
    for name, rows in replies.groupby("condition", sort=False):
        if not str(name).endswith(SCALE_0):
            continue
        off = rows.set_index(["item", "judge"])[["score", "text"]].loc[without.index]
        differ = (off["text"] != without["text"]) | ((off["score"] - without["score"]).abs() > 1e-6)
        if differ.any():
            warnings.warn(
                f"{int(differ.sum())} of {len(differ)} values are not those without a plan under {name!r}: "
                "replies depend on more than the plan, and so do the other differences",
                RuntimeWarning,
                stacklevel=3,
            )
