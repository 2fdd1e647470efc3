"""A rubric: what a language model is asked that is to give an answer one label of several, and how it is read.

    >>> rubric = Rubric("Who speaks in the reply?", {"machine": "An AI.", "person": "Anybody else."})
    >>> rubric.read('{"label": "machine"}'), rubric.read("Could be machine or person.")
    ('machine', None)

An answer that can be read in two ways is not read at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, create_model

from persona_lens.errors import EvaluationError
from persona_lens.evals.outcomes import Answer
from persona_lens.judges.fence import JUDGING, Fence
from persona_lens.transcripts.thoughts import heard

RUBRIC_VERSION = 1
"""Raised with every change to what is said around a rubric, and to how answers are read."""

Form = Literal["json", "bare"]
"""How the judge is to answer: with a JSON object, or with the bare label."""

_FENCED = re.compile(r"^\s*```\w*\s*|\s*```\s*$")
_DRESSING = re.compile(r"[*_`\"'“”.\s]+")
_NAMED = re.compile(r"[\s*#>`]*(?:(?:final|my|the)\s+)*(?:label|answer|verdict)\W{1,6}(.+)", re.I)


@dataclass(frozen=True)
class Rubric:
    """A question about replies whose answer is one of some labels.

    Attributes:
        text: What is to be decided, and how; before the labels.
        labels: Names as they are in frames, each with what it means.
        show_system: Whether the judge sees the system prompt under which the reply was written.

    Raises:
        EvaluationError: There are fewer than two labels, two are read alike, or one means nothing.
    """

    text: str
    labels: Mapping[str, str]
    show_system: bool = False

    def __post_init__(self) -> None:
        read_alike = {_plain(name) for name in self.labels}
        empty = [name for name, meaning in self.labels.items() if not meaning.strip()]
        if (
            len(self.labels) < 2
            or len(read_alike) < len(self.labels)
            or "" in read_alike
            or empty
            or not self.text.strip()
        ):
            raise EvaluationError(
                "a rubric cannot be judged by",
                expected="a text, and at least two labels that differ in letters, each with what it means",
                given=f"labels {', '.join(map(repr, self.labels)) or 'none'}"
                + (f"; nothing is said of {', '.join(empty)}" if empty else ""),
            )

    def card(self) -> dict[str, Any]:
        """All of it, and the version of what stands around it."""
        return {
            "version": RUBRIC_VERSION,
            "rubric": self.text,
            "labels": dict(self.labels),
            "show_system": self.show_system,
        }

    def messages(
        self, answer: Answer, form: Form = "json", *, control: Collection[str] = ()
    ) -> list[dict[str, str]]:
        """The conversation that asks for the label of an answer.

        What was asked and answered stands between lines that nothing in it can forge; the rubric comes before it,
        so that a server which remembers the beginnings of prompts reads it once.

        Args:
            answer: What is to be judged.
            form: How the judge is to answer.
            control: Special tokens of the judge, beside the common ones.
        """
        item = answer.item
        asked = "BEGINNING" if item.prefill else "QUESTION"
        texts = {asked: item.question, "REPLY": answer.text}
        if self.show_system and item.system:
            texts = {"PROMPT": item.system, **texts}
        fence = Fence(texts, control)
        meanings = "\n".join(f"{name}: {meaning}" for name, meaning in self.labels.items())
        names = ", ".join(self.labels)
        how = (
            f'Answer with JSON and nothing else: {{"label": one of {names}}}'
            if form == "json"
            else f"Answer with one of these words and nothing else: {names}."
        )
        parts = [self.text.strip(), f"Labels:\n{meanings}", *map(fence.around, texts)]
        end = f"{fence.end} Which of the labels does the reply deserve?\n{how}"
        return [
            {"role": "system", "content": JUDGING},
            {"role": "user", "content": "\n\n".join([*parts, end])},
        ]

    def read(self, text: str, *, cut: bool = False) -> str | None:
        """The label that a judge's answer states, or None where it states none, or several.

        It is stated by a JSON object, by the whole answer, or by a line that names it ("Label: person"). Thoughts
        are no part of the answer.

        Args:
            text: What the judge said.
            cut: Whether it was cut off: then only a whole JSON object states something.
        """
        said = heard(text)
        if said.thought == "cut":
            return None
        found = {self._known.get(_plain(value)) for value in _stated(said.answer, cut=cut)}
        return found.pop() if len(found) == 1 else None

    @cached_property
    def form(self) -> type[BaseModel]:
        """What a server with structured output is held to."""
        choice: Any = Literal[tuple(self.labels)]
        return create_model("Labelled", label=(choice, ...))

    @cached_property
    def _known(self) -> dict[str, str]:
        return {_plain(name): name for name in self.labels}


def _plain(text: str) -> str:
    """A label without what writers vary: capitals, and what stands between words.

    >>> _plain("Human-role"), _plain("human role")
    ('human role', 'human role')
    """
    return " ".join(re.findall(r"\w+", text.lower().replace("_", " ")))


def _stated(text: str, *, cut: bool) -> Iterator[str]:
    """Every label that an answer states, as it is written."""
    rest, objects = _objects(_FENCED.sub("", text))
    for fields in objects:
        value = {name.lower(): value for name, value in fields.items()}.get("label")
        yield value if isinstance(value, str) else ""
    if cut:
        return
    lines = [line for line in rest.splitlines() if _DRESSING.sub("", line)]
    named = [found for found in map(_NAMED.fullmatch, lines) if found]
    yield from (found[1] for found in named)
    if len(lines) == 1 and not named and not objects:
        yield lines[0]


def _objects(text: str) -> tuple[str, list[dict[str, Any]]]:
    """The JSON objects that share their lines with nothing else, and the text without them.

    One amid a sentence is spoken of, as when the reply is quoted.
    """
    rest, found, at = [], [], 0
    while (start := text.find("{", at)) >= 0:
        rest.append(text[at:start])
        try:
            value, at = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            value, at = None, start + 1
        before, after = text[:start].rpartition("\n")[2], text[at:].partition("\n")[0]
        if isinstance(value, dict) and not before.strip("` ") and not after.strip("` "):
            found.append(value)
        else:
            rest.append(text[start:at])
    return "".join([*rest, text[at:]]), found
