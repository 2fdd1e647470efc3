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

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from persona_lens.judges.base import Case, Label, Verdict
from persona_lens.judges.stated import REFUSAL, stated
from persona_lens.rollouts.plan import Kind
from persona_lens.transcripts.thoughts import heard

LABEL_OF: Mapping[int, Label] = {0: "not", 1: "not", 2: "somewhat", 3: "fully"}
"""The label behind each score of a role (paper, section 2.1.2)."""

CUT_OFF = "cut off before its score"
"""How the words of an `unparsed` verdict begin where the judge's answer was cut."""

EMPTY_ANSWER = "the answer is empty"
"""The same where it said nothing."""

EMPTY_REPLY = "the reply is empty"
"""The words of a verdict on a reply that needs no judge."""

_TOP = {"role": 3, "trait": 100}


class RoleAnswer(BaseModel):
    """What a server with structured output is asked for about a role."""

    score: Literal[0, 1, 2, 3]


class TraitAnswer(BaseModel):
    """What a server with structured output is asked for about a trait."""

    refusal: bool
    score: int = Field(ge=0, le=100)


def settled(case: Case) -> Verdict | None:
    """The verdict on a reply that no judge has to read: an empty one, and one that never came.

    An empty reply plays no role and shows no trait. Where the server filtered the reply, the request failed, or
    the reply was cut within its thought, there is nothing to judge, and the verdict says so.

    Examples:
        >>> import numpy as np
        >>> from persona_lens.rollouts.reply import Reply
        >>> from persona_lens.rollouts import Request, Shard
        >>> shard = Shard(kind="role", name="pirate", prompt_index=0, system="You are a pirate.",
        ...               requests=(Request(question_id="q05", question="Who are you?"),))
        >>> settled(Case(shard, 0, Reply(ids=np.array([], dtype=int), text="")))
        Verdict(label='not', score=0.0, refused=False, status='ok', raw='the reply is empty')
    """
    if case.reply.answer.strip():
        return None
    if case.reply.unanswered:
        return Verdict(
            status="failed", raw="the reply was cut within its thought, before any answer"
        )
    if case.reply.finish in ("filtered", "tool_call", "failed"):
        return Verdict(status="failed", raw=f"there is no reply to judge ({case.reply.finish})")
    if case.shard.kind == "trait":
        return Verdict(refused=True, raw=EMPTY_REPLY)
    return Verdict(label="not", score=0.0, raw=EMPTY_REPLY)


def read_answer(kind: Kind, text: str, *, cut: bool = False) -> Verdict:
    """Read a judge's answer: its score where one is stated (`persona_lens.judges.stated`), or REFUSAL.

    Thoughts, in any marks, are no part of the answer. A number in the reasons is none of its score, and an
    answer that states none, several that differ, or one off the scale is `unparsed`.

    Args:
        kind: Of the shard: `trait` means 0 to 100 or REFUSAL, anything else 0 to 3.
        text: What the judge said.
        cut: Whether it was cut off by a limit on its length.

    Examples:
        >>> read_answer("trait", "```json\\n{\\"refusal\\": false, \\"score\\": 85}\\n```").score
        85.0
        >>> read_answer("role", "On the scale of 0-3 I give it a 2.").label
        'somewhat'
        >>> read_answer("role", "1. It speaks as the captain, and", cut=True).raw
        'cut off before its score: 1. It speaks as the captain, and'
    """
    scale = "trait" if kind == "trait" else "role"
    raw = clean(text)
    said = heard(raw)
    whole = said.thought != "cut" and said.answer.count("{") <= said.answer.count("}")
    value = stated(said.answer, top=_TOP[scale], cut=cut) if whole else None
    if value is None or (value == REFUSAL and scale == "role"):
        return Verdict(status="unparsed", raw=f"{CUT_OFF}: {raw}" if cut else raw)
    if value == REFUSAL:
        return Verdict(refused=True, raw=raw)
    label = LABEL_OF[value] if scale == "role" else None
    return Verdict(label=label, score=float(value), raw=raw)


def clean(text: str) -> str:
    """Text that can be stored: half of a surrogate pair, as some servers send it, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()
