"""What a language model's answer says, as a verdict; and what can be said without asking one.

An answer that can be read in two ways is not read at all: `unparsed` costs one verdict, a wrong score a wrong
label that nobody notices.

Examples:
    >>> read_answer("role", '{"score": 3}').label
    'fully'
    >>> read_answer("trait", "REFUSAL").refused
    True
    >>> read_answer("role", "It claims to deserve a 3, but I would say 1.").status
    'unparsed'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from persona_lens.judges.base import Case, Label, Verdict
from persona_lens.rollouts.plan import Kind

LABEL_OF: Mapping[int, Label] = {0: "not", 1: "not", 2: "somewhat", 3: "fully"}
"""The label behind each score of a role (paper, section 2.1.2)."""

_REFUSAL: Final = "REFUSAL"
_TOP = {"role": 3, "trait": 100}

_THINKING = re.compile(r"^.*</think>", re.DOTALL)
_CODE_FENCE = re.compile(r"```\w*")
_LAST_OBJECT = re.compile(r"(?:^|\n)\s*(\{[^{}]*\})\s*$")
# What is quoted is somebody else's; a quoted number alone is just how some write a number.
_QUOTED = re.compile(r'"[^"\n]*[^"\d\s/.%\n][^"\n]*"|“[^”\n]*”|`[^`\n]*[^`\d\s/.%\n][^`\n]*`')
_RANGE = re.compile(r"\b\d+\s*(?:-|–|—|\bto\b|\bthrough\b)\s*\d+\b")
_NUMBER = re.compile(
    r"(?<![\w.,/+-])(?P<value>\d{1,3})(?:\.0+)?(?:\s*(?:/|out of)\s*(?P<top>\d+))?%?(?![\w/]|[.,]\d)"
)
_CALLED = re.compile(
    r"\b(?:score|rating|rate|answer|verdict|grade)\b[\"'*_:=\s]*(?:(?:is|of)\b[\"'*_:=\s]*)?$",
    re.IGNORECASE,
)


class RoleAnswer(BaseModel):
    """What a server with structured output is asked for about a role."""

    score: Literal[0, 1, 2, 3]


class TraitAnswer(BaseModel):
    """What a server with structured output is asked for about a trait."""

    refusal: bool
    score: int = Field(ge=0, le=100)


def settled(case: Case) -> Verdict | None:
    """The verdict on a reply that no judge has to read: an empty one, and one that never came.

    An empty reply plays no role and shows no trait. Where the server filtered the reply or the request failed,
    there is nothing to judge, and the verdict says so.

    Examples:
        >>> import numpy as np
        >>> from persona_lens.model.reply import Reply
        >>> from persona_lens.rollouts import Request, Shard
        >>> shard = Shard(kind="role", name="pirate", prompt_index=0, system="You are a pirate.",
        ...               requests=(Request(question_id="q05", question="Who are you?"),))
        >>> settled(Case(shard, 0, Reply(ids=np.array([], dtype=int), text="")))
        Verdict(label='not', score=0.0, refused=False, status='ok', raw='the reply is empty')
    """
    if case.reply.text.strip():
        return None
    if case.reply.finish in ("filtered", "failed"):
        return Verdict(status="failed", raw=f"there is no reply to judge ({case.reply.finish})")
    if case.shard.kind == "trait":
        return Verdict(refused=True, raw="the reply is empty")
    return Verdict(label="not", score=0.0, raw="the reply is empty")


def read_answer(kind: Kind, text: str) -> Verdict:
    """Read a judge's answer: a JSON object, a bare number, "3/3", "Score: 3", a number in a sentence, REFUSAL.

    Numbers in quotation marks beside words, and ranges such as "0-3", are not taken for the score. A score called
    so comes before one at the beginning of the answer, and that before one anywhere in it.

    Args:
        kind: Of the shard: `trait` means 0 to 100 or REFUSAL, anything else 0 to 3.
        text: What the judge said.

    Examples:
        >>> read_answer("trait", "```json\\n{\\"refusal\\": false, \\"score\\": 85}\\n```").score
        85.0
        >>> read_answer("role", "On the scale of 0-3 I give it a 2.").label
        'somewhat'
    """
    scale = "trait" if kind == "trait" else "role"
    raw = clean(text)
    said = _CODE_FENCE.sub("", _THINKING.sub("", raw)).strip()
    # Cut short, amid thinking or perhaps in the middle of a number.
    if "<think>" in said or said.count("{") > said.count("}"):
        return Verdict(status="unparsed", raw=raw)
    found = _LAST_OBJECT.search(said)
    value = _from_object(found[1], scale) if found else None
    if value is None:
        value = _from_prose(said, scale)
    if value is None or (value == _REFUSAL and scale == "role"):
        return Verdict(status="unparsed", raw=raw)
    if value == _REFUSAL:
        return Verdict(refused=True, raw=raw)
    label = LABEL_OF[value] if scale == "role" else None
    return Verdict(label=label, score=float(value), raw=raw)


def clean(text: str) -> str:
    """Text that can be stored: half of a surrogate pair, as some servers send it, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


_Value = int | Literal["REFUSAL"]


def _from_object(text: str, scale: str) -> _Value | None:
    try:
        fields: Any = json.loads(text)
    except ValueError:
        return None
    if fields.get("refusal") is True:
        return _REFUSAL
    score = fields.get("score")
    if isinstance(score, bool) or score is None:
        return None
    return _from_prose(str(score), scale)


def _from_prose(text: str, scale: str) -> _Value | None:
    text = _RANGE.sub(" ", _QUOTED.sub(" ", text.strip("\"'`*_ \n")))
    numbers = list(_NUMBER.finditer(text))
    if _REFUSAL in text or text.strip(" .!").upper() == _REFUSAL:
        return None if numbers else _REFUSAL
    called = [number for number in numbers if _CALLED.search(text[: number.start()])]
    first = [number for number in numbers[:1] if _stands_first(number, text)]
    values = {_on_scale(number, scale) for number in called or first or numbers}
    return values.pop() if len(values) == 1 else None


def _stands_first(number: re.Match[str], text: str) -> bool:
    """Whether the text opens with the number as an answer, not as the beginning of a sentence."""
    before, after = text[: number.start()], text[number.end() :].lstrip(" ")
    return not before.strip() and after[:1] in {"", "\n", ".", ",", ";", ":", "(", "-", "–", "—"}


def _on_scale(number: re.Match[str], scale: str) -> int | None:
    value, top = int(number["value"]), number["top"]
    if value > _TOP[scale] or (top is not None and int(top) != _TOP[scale]):
        return None
    return value
