"""The evaluations of `persona_lens.evals.price` as tasks of lm-evaluation-harness: the same items and programs.

    lm_eval.simple_evaluate(lm, tasks=list(OWN), task_manager=TaskManager(include_path=str(TASKS)),
                            apply_chat_template=True)

The YAML files in `tasks/` name the functions below. They need no network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_lens.evals.items import Item
from persona_lens.evals.outcomes import Answer
from persona_lens.evals.price import arithmetic, formats, instructions
from persona_lens.transcripts.thoughts import heard

if TYPE_CHECKING:
    from datasets import Dataset

    from persona_lens.evals.evaluation import Evaluation

TASKS = Path(__file__).with_name("tasks")
OWN: dict[str, Callable[[], Evaluation]] = {
    "persona_lens_instructions": instructions,
    "persona_lens_arithmetic": arithmetic,
    "persona_lens_formats": formats,
}


def metric_name(measure: str) -> str:
    """The name of a measure as lm-eval has it.

    Examples:
        >>> metric_name("form kept, or among other text")
        'form_kept_or_among_other_text'
    """
    return re.sub(r"\W+", "_", measure).strip("_")


def documents(name: str) -> dict[str, Dataset]:
    """The items of a task, as its test split.

    Examples:
        >>> documents("persona_lens_formats")["test"][1]["question"][:32]
        'Which of these is a fruit? hamme'
    """
    from datasets import Dataset  # noqa: PLC0415

    rows = [
        {
            "id": item.id,
            "question": item.question,
            "cluster": item.cluster or item.id,
            "variety": item.about["variety"],
            "check": json.dumps(item.check),
        }
        for item in OWN[name]().items
    ]
    return {"test": Dataset.from_list(rows)}


def metrics(name: str, document: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """What the programs of a task say of a reply, its thoughts left out, by metric.

    Examples:
        >>> document = documents("persona_lens_arithmetic")["test"][0]
        >>> metrics("persona_lens_arithmetic", document, [f"Answer: {json.loads(document['check'])['number']}"])
        {'arithmetic_right': 1.0, 'no_number_given': 0.0}
    """
    evaluation = _evaluation(name)
    item = Item.asked(document["id"], document["question"], check=json.loads(document["check"]))
    said = {
        judge.name: judge.outcomes([Answer(item, heard(results[0]).answer)])[0]
        for judge in evaluation.judges
    }
    found = {}
    for measure in evaluation.measures:
        outcome = said[measure.judge]
        value = float(outcome.label in measure.labels) if measure.labels else outcome.score
        found[metric_name(measure.name)] = value
    return found


@cache
def _evaluation(name: str) -> Evaluation:
    return OWN[name]()


def instruction_documents(**_: Any) -> dict[str, Dataset]:
    """Of `persona_lens_instructions`."""
    return documents("persona_lens_instructions")


def instruction_metrics(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Of `persona_lens_instructions`."""
    return metrics("persona_lens_instructions", doc, results)


def arithmetic_documents(**_: Any) -> dict[str, Dataset]:
    """Of `persona_lens_arithmetic`."""
    return documents("persona_lens_arithmetic")


def arithmetic_metrics(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Of `persona_lens_arithmetic`."""
    return metrics("persona_lens_arithmetic", doc, results)


def format_documents(**_: Any) -> dict[str, Dataset]:
    """Of `persona_lens_formats`."""
    return documents("persona_lens_formats")


def format_metrics(doc: dict[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Of `persona_lens_formats`."""
    return metrics("persona_lens_formats", doc, results)
