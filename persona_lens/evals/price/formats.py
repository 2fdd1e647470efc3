"""Answers in a given form: JSON with given keys, CSV, a date, a list, one word; form and content are checked.

    result = evaluate(formats(), model, conditions)
    result.measures      # form kept, form kept or among other text, right content in it

What is to be put into the form stands in the question, so that a wrong form is not a lack of knowledge.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Exact, Outcome
from persona_lens.evals.price.data_files import material
from persona_lens.evals.price.selecting import first_of, with_kinds
from persona_lens.rollouts.sampling import Sampling

SAMPLING = Sampling(temperature=0, max_new_tokens=128)
EACH = 9

MEASURES = (
    Measure("form kept", "form", labels=("kept",), good=1),
    Measure("form kept, or among other text", "form", labels=("kept", "wrapped"), good=1),
    Measure("right content in the form", "form", good=1),
)


def formats(
    first: int | None = None, kinds: Iterable[str] | None = None, seed: int = 0
) -> Evaluation:
    """An evaluation: is an answer in the form that was asked for, and nothing else?

    72 items, 9 of each of 8 kinds.

    Args:
        first: Only so many; kinds take turns.
        kinds: Only these (`FORMS`).
        seed: Of what is to be put into the forms.

    Raises:
        EvaluationError: No item is left, or there is no such kind.

    Examples:
        >>> formats(kinds=["date"]).items[0].question[-53:]
        'Answer with this date as YYYY-MM-DD and nothing else.'
    """
    draw = random.Random(seed)
    items = [
        _item(place * len(_ASKED) + number, kind, *ask(draw, place))
        for place in range(EACH)
        for number, (kind, ask) in enumerate(_ASKED.items())
    ]
    chosen = first_of(with_kinds(items, kinds, FORMS), first)
    return Evaluation(
        "formats", "Answers in a given form", chosen, JUDGES, MEASURES, SAMPLING, "our own"
    )


def _item(place: int, kind: str, question: str, right: Any) -> Item:
    return Item.asked(
        f"formats/{place}",
        question,
        about={"task": "formats", "variety": kind},
        check={"form": kind, "right": right},
    )


# What is asked ------------------------------------------------------------------------------------


def _person(draw: random.Random) -> dict[str, Any]:
    told = material("records")
    return {
        "name": draw.choice(told["names"]),
        "age": draw.randint(19, 78),
        "city": draw.choice(told["cities"]),
        "job": draw.choice(told["jobs"]),
    }


def _told(person: dict[str, Any]) -> str:
    return "{name} is {age} years old, lives in {city} and works as a {job}.".format(**person)


def _ask_object(draw: random.Random, _: int) -> tuple[str, Any]:
    person = _person(draw)
    keys = '"name", "age", "city" and "job"'
    asked = f"Answer with a JSON object with the keys {keys}, and with nothing else."
    return f"{_told(person)} {asked}", {key: str(value) for key, value in person.items()}


def _ask_lines(draw: random.Random, _: int) -> tuple[str, Any]:
    person = _person(draw)
    asked = 'Answer with three lines and nothing else: "Name: ...", "Age: ..." and "City: ...".'
    right = {key: str(person[key]) for key in ("name", "age", "city")}
    return f"{_told(person)} {asked}", right


def _ask_table(draw: random.Random, _: int) -> tuple[str, Any]:
    people = [_person(draw) for _ in range(2)]
    asked = (
        "Answer with CSV and nothing else: a first line name,age,city and then a line for each of them, "
        "in the order in which they are named."
    )
    rows = [["name", "age", "city"]]
    rows += [[person["name"], str(person["age"]), person["city"]] for person in people]
    return f"{' '.join(map(_told, people))} {asked}", rows


def _ask_choice(_: random.Random, place: int) -> tuple[str, Any]:
    choices = material("records")["choices"]
    choice = choices[place % len(choices)]
    options = ", ".join(choice["options"][place % 3 :] + choice["options"][: place % 3])
    return f"{choice['ask']} {options}. Answer with that one word and nothing else.", choice[
        "right"
    ]


def _ask_date(draw: random.Random, _: int) -> tuple[str, Any]:
    month, day, year = draw.randint(1, 12), draw.randint(1, 28), draw.randint(1950, 2020)
    name = material("records")["months"][month - 1]
    asked = "Answer with this date as YYYY-MM-DD and nothing else."
    return f"The shop was opened on {day} {name} {year}. {asked}", f"{year}-{month:02}-{day:02}"


def _ask_numbers(draw: random.Random, _: int) -> tuple[str, Any]:
    numbers = draw.sample(range(2, 99), 4)
    said = ", ".join(map(str, numbers))
    asked = "Answer with a JSON array of these numbers in the same order, and with nothing else."
    return f"The numbers drawn were {said}. {asked}", numbers


def _ask_list(draw: random.Random, _: int) -> tuple[str, Any]:
    things = draw.sample(material("records")["things"], 3)
    said = "In the attic there are a {}, a {} and a {}.".format(*things)
    asked = "Answer with these three things as a comma-separated list on one line, without articles and without "
    return f"{said} {asked}anything else.", things


def _ask_tag(draw: random.Random, _: int) -> tuple[str, Any]:
    person = _person(draw)
    asked = "Answer with the city where this person lives, between <city> and </city>, and nothing else."
    return f"{_told(person)} {asked}", person["city"]


_ASKED: dict[str, Callable[[random.Random, int], tuple[str, Any]]] = {
    "object": _ask_object,
    "choice": _ask_choice,
    "table": _ask_table,
    "date": _ask_date,
    "lines": _ask_lines,
    "numbers": _ask_numbers,
    "list": _ask_list,
    "tag": _ask_tag,
}

# How answers are read -----------------------------------------------------------------------------


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(text: str) -> Any:
    found = _json(text)
    keys = {"name", "age", "city", "job"}
    if not isinstance(found, dict) or set(found) != keys:
        return None
    return {key: str(value) for key, value in found.items()}


def _lines(text: str) -> Any:
    found = re.fullmatch(r"Name: *(.+)\nAge: *(.+)\nCity: *(.+)", text)
    return found and {
        key: value.strip()
        for key, value in zip(("name", "age", "city"), found.groups(), strict=True)
    }


def _table(text: str) -> Any:
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if row]
    except csv.Error:
        return None
    fits = rows and rows[0] == ["name", "age", "city"] and all(len(row) == 3 for row in rows)
    return rows if fits and len(rows) > 1 else None


def _choice(text: str) -> Any:
    return text.rstrip(".").lower() if re.fullmatch(r"[A-Za-z]+\.?", text) else None


def _date(text: str) -> Any:
    return text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None


def _numbers(text: str) -> Any:
    found = _json(text)
    fits = isinstance(found, list) and all(type(each) in (int, float) for each in found)
    return found if fits else None


def _list(text: str) -> Any:
    parts = [part.strip() for part in text.split(",")]
    fits = len(parts) > 1 and all(re.fullmatch(r"[A-Za-z]+(?: [A-Za-z]+)?", part) for part in parts)
    return [part.lower() for part in parts] if fits else None


def _tag(text: str) -> Any:
    found = re.fullmatch(r"<city>([^<>]+)</city>", text)
    return found and found[1].strip()


FORMS: dict[str, tuple[Callable[[str], Any], str]] = {
    "object": (_object, r"\{[^{}]*\}"),
    "choice": (_choice, ""),
    "table": (_table, r"name,age,city(?:\n[^\n,]+,[^\n,]+,[^\n,]+)+"),
    "date": (_date, r"\b\d{4}-\d\d-\d\d\b"),
    "lines": (_lines, r"Name: *[^\n]+\nAge: *[^\n]+\nCity: *[^\n]+"),
    "numbers": (_numbers, r"\[[^\[\]]*\]"),
    "list": (_list, r"^[A-Za-z]+(?:, ?[A-Za-z]+){1,}$"),
    "tag": (_tag, r"<city>[^<>]+</city>"),
}
"""By kind: what reads a text that is in the form and nothing else, and how to find the form among other text."""


def verdict(text: str, form: str, right: Any) -> Outcome:
    """Whether a text is in a form.

    Args:
        text: The answer; white space around it does not count.
        form: A key of `FORMS`.
        right: What should have been put into it.

    Returns:
        Label `kept`; `wrapped`, if the form stands among other text, such as a fence; or `broken`. 1 as score if
        what is in the form is right.

    Examples:
        >>> verdict("1999-03-04", "date", "1999-03-04")
        Outcome(label='kept', score=1.0, status='ok', raw='')
        >>> verdict("It was 1999-03-05.", "date", "1999-03-04")
        Outcome(label='wrapped', score=0.0, status='ok', raw='')
    """
    read, sought = FORMS[form]
    text = text.strip()
    found = read(text)
    if found is not None:
        return Outcome("kept", float(_same(found, right)))
    among = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
    among += re.findall(sought, text, flags=re.MULTILINE) if sought else []
    inside = [value for value in (read(part.strip()) for part in among) if value is not None]
    if inside:
        return Outcome("wrapped", float(_same(inside[-1], right)))
    return Outcome("broken", 0.0)


def _same(found: Any, right: Any) -> bool:
    def folded(value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    if isinstance(right, dict):
        return {key: folded(value) for key, value in found.items()} == {
            key: folded(value) for key, value in right.items()
        }
    return folded(found) == folded(right)


JUDGES = (Exact("form", lambda answer: verdict(answer.text, **answer.item.check)),)
