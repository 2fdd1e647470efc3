"""One shape for all evaluations: items x conditions x judges, run, resumed, judged and summed up in one way.

    evaluation = rules()                                   # or susceptibility(), completions(), your own
    conditions = [UNTOUCHED, *capped(model, space, percentile=75)]
    result = evaluate(evaluation, model, conditions, space=space, out="evals/rules")
    result.measures        # kill it: the same call continues
    result.figure().show()

An evaluation of your own is its items, its judges, and measures that are made of what judges say:

    >>> from persona_lens.evals.outcomes import Exact, Outcome
    >>> items = [Item.asked("who", "Who are you?"), Item.asked("what", "What are you?")]
    >>> long = Exact("long", lambda answer: Outcome(score=float(len(answer.text) > 40)))
    >>> Evaluation("length", "How long?", items, [long], [Measure("long answers", "long")]).measures[0].unit
    'share'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from persona_lens.errors import EvaluationError
from persona_lens.evals.answering import Answerer, space_key
from persona_lens.evals.asking import Asking
from persona_lens.evals.conditions import Condition, checked_conditions
from persona_lens.evals.experiment import Experiment
from persona_lens.evals.items import Item, checked_items
from persona_lens.evals.measures import Measure, measured
from persona_lens.evals.outcomes import Answer, ItemJudge, Outcome
from persona_lens.frames import ResultKind
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.store.locking import held_for_writing

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine
    from persona_lens.space import Space

BATCH_SIZE = 64
_KIND = ResultKind(
    "evaluation", card="evaluation.json", frames=("replies", "measures"), error=EvaluationError
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is asked, and what is made of the answers.

    Attributes:
        name: Its key.
        title: In words.
        items: What is asked.
        judges: Say what answers are.
        measures: Are made of that.
        sampling: Of the replies, by default.
        source: Where the protocol is from.
    """

    name: str
    title: str
    items: Sequence[Item]
    judges: Sequence[ItemJudge]
    measures: Sequence[Measure]
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=64))
    source: str = ""

    def __post_init__(self) -> None:
        checked_items(self.items)
        known = [judge.name for judge in self.judges]
        unknown = [each.judge for each in self.measures if each.judge not in known]
        if unknown:
            raise EvaluationError(
                "a measure is made of what no judge says",
                expected=", ".join(known) or "judges",
                given=", ".join(unknown),
            )


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What came of an evaluation.

    Attributes:
        replies: One row for each item, condition, sample and judge: those of `Answerer.rows`, `judge`, `label`,
            `score`, `status`, `raw` (as in `Outcome`), `cluster`, what items and conditions say of themselves.
        measures: One row for each measure and condition: `measure`, `unit`, `condition`, its `kind`, `series`,
            `strength`, `control_of`, `matched`; `value` with `low` and `high` (95 %, clusters of items
            resampled), `n` (answers), `clusters`, `unjudged` (answers without a verdict); `change` from the first
            condition without a plan, paired by item, with `change_low` and `change_high`; `engaged` and `moved`,
            means over the replies.
        card: All that decided the replies.
    """

    replies: pd.DataFrame
    measures: pd.DataFrame
    card: Mapping[str, Any]

    def save(self, folder: str | Path) -> Path:
        """Write it, as Parquet and JSON."""
        frames = {"replies": self.replies, "measures": self.measures}
        return _KIND.save(folder, dict(self.card), frames=frames)

    @classmethod
    def load(cls, folder: str | Path) -> Evaluated:
        """Read what `save` wrote.

        Raises:
            EvaluationError: Nothing of the kind is there.
        """
        kept = _KIND.load(folder)
        return cls(kept.frames["replies"], kept.frames["measures"], kept.card)

    def figure(self) -> go.Figure:
        """Every measure under every condition, with its controls."""
        from persona_lens.plots.evaluation import evaluation  # noqa: PLC0415

        return evaluation(self.measures, title=str(self.card["title"]))

    def __repr__(self) -> str:
        items, conditions = self.replies["item"].nunique(), self.replies["condition"].nunique()
        return f"Evaluated({self.card['name']}, {items:,} items, {conditions} conditions)"


def evaluate(
    evaluation: Evaluation,
    model: PersonaModel,
    conditions: Iterable[Condition],
    *,
    space: Space | None = None,
    layer: int | None = None,
    sampling: Sampling | None = None,
    samples: int = 1,
    batch_size: int = BATCH_SIZE,
    engine: Engine | None = None,
    served: ServedSource | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Evaluated:
    """Put every item to the model under every condition, and have every answer judged.

    Args:
        evaluation: What is asked.
        model: Answers.
        conditions: What is done to it meanwhile.
        space: On whose axis replies are read, with nothing acting.
        layer: Where; the middle by default.
        sampling: Instead of the evaluation's own.
        samples: Replies to each item under each condition.
        batch_size: Replies at a time; all conditions of an item are in one batch where they fit.
        engine: Workers with the same model that answer in its place (`persona_lens.runs.open_engine`); judges and
            readings of text are still the model's.
        served: A server that answers where nothing acts on the model (`persona_lens.runs.open_server`).
        out: Keeps finished pieces there, and the result; the same call continues.
        progress: Show a progress bar.

    Raises:
        RunError: Another process writes to `out`, or as for the engine.
        EndpointError: No key, no quota, no such model, or a server that is down.
        EvaluationError: Two conditions have one name, or a plan is made for single rows.
        Exception: What a judge or the model raised, after everything else is finished; the same call with `out`
            works on what is left.
    """
    conditions = checked_conditions(list(conditions))
    layer = model.n_layers // 2 if layer is None else layer
    answerer = Answerer(
        model,
        sampling or evaluation.sampling,
        samples,
        None if space is None else layer,
        batch_size,
    )
    items = {item.id: item for item in evaluation.items}
    asking = Asking(answerer, space, layer, conditions, engine, served)
    experiment = Experiment(
        evaluation.title,
        items=_chunks(evaluation.items, max(1, batch_size // (len(conditions) * samples))),
        conditions=asking.groups,
        answer=asking.answer,
        judges={judge.name: _judging(judge, items) for judge in evaluation.judges},
        depends={
            **answerer.depends(),
            "space": None if space is None else space_key(space),
            "items": [item.depends() for item in evaluation.items],
            "conditions": [condition.depends() for condition in conditions],
            "judges": [judge.card() for judge in evaluation.judges],
            **({} if served is None else {"served": served.conditions()}),
        },
        out=None if out is None else Path(out) / "pieces",
        unit="pieces",
    )
    experiment = replace(experiment, ahead=asking.ahead(experiment.items))
    with nullcontext() if out is None else held_for_writing(Path(out)):
        rows = experiment.run(progress=progress)
    replies = _described(rows, items, conditions)
    card = {
        "name": evaluation.name,
        "title": evaluation.title,
        "source": evaluation.source,
        "items": len(evaluation.items),
        "conditions": [condition.name for condition in conditions],
        **{key: value for key, value in experiment.depends.items() if key not in _LONG},
    }
    result = Evaluated(replies, measured(replies, evaluation.measures), card)
    if out is not None:
        result.save(out)
    return result


_LONG = ("items", "conditions")


def _chunks(items: Sequence[Item], size: int) -> dict[str, tuple[Item, ...]]:
    count = ceil(len(items) / size)
    parts = [tuple(items[size * number : size * (number + 1)]) for number in range(count)]
    return {f"{part[0].id} and {len(part) - 1} more": part for part in parts}


def _judging(
    judge: ItemJudge, items: Mapping[str, Item]
) -> Callable[[pd.DataFrame], list[dict[str, Any]]]:
    def said(rows: pd.DataFrame) -> list[dict[str, Any]]:
        answers = [
            Answer(items[row["item"]], row["text"], row["finish"])
            for row in rows.to_dict("records")
        ]
        outcomes: Sequence[Outcome] = judge.outcomes(answers)
        if len(outcomes) != len(answers):
            raise EvaluationError(
                f"judge {judge.name!r} did not say one thing of each answer",
                expected=len(answers),
                given=len(outcomes),
            )
        return [
            {
                "label": outcome.label,
                "score": np.nan if outcome.score is None else float(outcome.score),
                "status": outcome.status,
                "raw": outcome.raw,
            }
            for outcome in outcomes
        ]

    return said


def _described(
    rows: pd.DataFrame, items: Mapping[str, Item], conditions: Sequence[Condition]
) -> pd.DataFrame:
    """The rows with what was said of each, and what items and conditions say of themselves."""
    outcomes = pd.DataFrame(rows["outcome"].tolist(), index=rows.index)
    about = {
        name: {**item.about, "cluster": item.cluster or item.id} for name, item in items.items()
    }
    of_items = pd.DataFrame([about[name] for name in rows["item"]], index=rows.index)
    told = {condition.name: condition.about() for condition in conditions}
    of_conditions = pd.DataFrame([told[name] for name in rows["condition"]], index=rows.index)
    own = rows.drop(columns="outcome")
    clash = sorted(set(of_items) & {*own, *outcomes, *of_conditions})
    if clash:
        raise EvaluationError(
            "items use names of columns that are taken",
            given=", ".join(clash),
            remedy="rename them",
        )
    return pd.concat([own, outcomes, of_items, of_conditions], axis=1)
