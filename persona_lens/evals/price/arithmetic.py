"""Arithmetic in words: 36 everyday stories, whose numbers a seeded program draws.

    result = evaluate(arithmetic(100), model, conditions)
    result.measures      # right, and answers without a number

As the numbers are drawn anew, no item can have been learnt by heart.
"""

from __future__ import annotations

import random
import re
from typing import Any

from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Answer, Exact, Outcome
from persona_lens.evals.price.data_files import material
from persona_lens.rollouts.sampling import Sampling

SAMPLING = Sampling(temperature=0, max_new_tokens=256)
ASK = 'Work it out step by step, and end with a line that reads "Answer:" and the number.'

MEASURES = (
    Measure("arithmetic right", "arithmetic", labels=("right",), good=1),
    Measure("no number given", "arithmetic", labels=("no number",), good=-1),
)

_LARGEST = 5000
_NUMBER = re.compile(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?")
_ANSWER = re.compile(r"answer\s*(?:is|=|:)?[\s:*=$€]*", re.IGNORECASE)


def arithmetic(n: int = 108, seed: int = 0) -> Evaluation:
    """An evaluation: is the number right?

    Args:
        n: Items; the stories take turns. Items of one story are of one cluster.
        seed: Of the numbers and names.

    Examples:
        >>> item = arithmetic(1).items[0]
        >>> item.question[:51], item.check
        ('Aiko opens 3 boxes with 14 pencils in each and give', {'number': 5})
    """
    return Evaluation(
        "arithmetic", "Arithmetic in words", _items(n, seed), JUDGES, MEASURES, SAMPLING, "our own"
    )


def _items(n: int, seed: int) -> list[Item]:
    told = material("stories")
    draw = random.Random(seed)
    items = []
    for place in range(n):
        story = told["stories"][place % len(told["stories"])]
        name, other = draw.sample(told["names"], 2)
        numbers, number = _numbers(story, draw)
        items.append(
            Item.asked(
                f"arithmetic/{seed}/{place}",
                f"{story['text'].format(name=name, other=other, **numbers)} {ASK}",
                about={"task": "arithmetic", "variety": f"{len(story['then'])} steps"},
                cluster=f"arithmetic/{story['id']}",
                check={"number": number},
            )
        )
    return items


def _numbers(story: dict[str, Any], draw: random.Random) -> tuple[dict[str, int], int]:
    """Numbers with which every step of a story comes out whole and positive, and what it comes to."""
    while True:
        numbers = {name: draw.randint(*ends) for name, ends in story["numbers"].items()}
        number = worked(story, numbers)
        if number is not None:
            return numbers, number


def worked(story: dict[str, Any], numbers: dict[str, int]) -> int | None:
    """What a story comes to; None if a step on the way is not a whole positive number.

    Args:
        story: `start`, a name; `then`, signs each with a name, a number, or names to be multiplied.
        numbers: By name.

    Examples:
        >>> worked({"start": "a", "then": [["*", "b"], ["-", "c"]]}, {"a": 3, "b": 6, "c": 5})
        13
        >>> worked({"start": "a", "then": [["/", "b"]]}, {"a": 7, "b": 2}) is None
        True
    """
    value = numbers[story["start"]]
    for sign, operand in story["then"]:
        by = 1
        for part in operand if isinstance(operand, list) else [operand]:
            by *= numbers[part] if isinstance(part, str) else part
        if sign == "/" and value % by:
            return None
        value = {"+": value + by, "-": value - by, "*": value * by, "/": value // by}[sign]
        if not 0 < value <= _LARGEST:
            return None
    return value


def given_number(text: str) -> float | None:
    """The number an answer comes to: that behind its last "answer", else its last number.

    Examples:
        >>> given_number("12 boxes of 100. Answer: 1,200 pencils."), given_number("I cannot say.")
        (1200.0, None)
        >>> given_number("The answer is **7**, as 3 + 4 = 7.")
        7.0
    """
    marks = list(_ANSWER.finditer(text))
    if marks:
        behind = _NUMBER.match(text, marks[-1].end())
        if behind:
            return float(behind[0].replace(",", ""))
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def verdict(text: str, number: int) -> Outcome:
    """Label `right`, `wrong` or `no number`; 1 or 0 as score; the number read as raw.

    Examples:
        >>> verdict("Answer: 13", 13).label, verdict("Answer: 12", 13).label
        ('right', 'wrong')
    """
    given = given_number(text)
    if given is None:
        return Outcome("no number", 0.0)
    right = given == number
    return Outcome("right" if right else "wrong", float(right), raw=f"{given:g}")


def _decide(answer: Answer) -> Outcome:
    return verdict(answer.text, answer.item.check["number"])


JUDGES = (Exact("arithmetic", _decide),)
