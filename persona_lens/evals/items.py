"""What an evaluation asks: items, each of which a model answers under every condition.

>>> item = Item.asked("pirate/who", "Who are you?", system="You are a pirate.", about={"role": "pirate"})
>>> [message["role"] for message in item.messages], item.about
(['system', 'user'], {'role': 'pirate'})
>>> Item("job", prefill="My job is to").messages
()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from persona_lens.errors import EvaluationError


@dataclass(frozen=True)
class Item:
    """One thing to be answered.

    Attributes:
        id: Its name, once in an evaluation.
        messages: What the model is sent, up to the user's last message. Without a system message the template's
            own default is left out, if it has one.
        prefill: Instead of messages: plain text that the model goes on with, without a template.
        about: What frames say of it, such as its role or category; plain values, the same keys for all items.
        cluster: Items of one cluster are not independent, and are resampled together; its id by default.
        check: What judges need to know and frames do not show.

    Raises:
        EvaluationError: It has neither messages nor a prefill, or both, or the user does not speak last.
    """

    id: str
    messages: tuple[Mapping[str, str], ...] = ()
    prefill: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""
    check: Any = None

    def __post_init__(self) -> None:
        if bool(self.messages) == bool(self.prefill):
            raise EvaluationError(
                f"item {self.id!r} cannot be asked",
                expected="messages, or a prefill",
                given="both" if self.messages else "neither",
            )
        if self.messages and self.messages[-1]["role"] != "user":
            raise EvaluationError(
                f"item {self.id!r} cannot be asked",
                expected="a last message of the user",
                given=f"one of the {self.messages[-1]['role']}",
                remedy="leave out what is to be answered",
            )

    @classmethod
    def asked(cls, id: str, question: str, *, system: str = "", **fields: Any) -> Item:
        """One question, with a system prompt or none."""
        told = ({"role": "system", "content": system},) if system else ()
        return cls(id, (*told, {"role": "user", "content": question}), **fields)

    @property
    def question(self) -> str:
        """What is to be answered."""
        return self.messages[-1]["content"] if self.messages else self.prefill

    @property
    def system(self) -> str:
        """The system prompt, empty if there is none."""
        first = self.messages[0] if self.messages else {"role": ""}
        return first["content"] if first["role"] == "system" else ""

    def depends(self) -> list[Any]:
        """What a reply to it hangs on."""
        return [self.id, [dict(message) for message in self.messages], self.prefill]


def checked_items(items: Sequence[Item]) -> tuple[Item, ...]:
    """The items, if no two have one id.

    Raises:
        EvaluationError: Two have, or there are none.
    """
    counts = Counter(item.id for item in items)
    twice = [name for name, count in counts.items() if count > 1]
    if twice or not items:
        raise EvaluationError(
            "several items have one id" if twice else "there is nothing to ask",
            expected="at least one item, each with an id of its own",
            given=", ".join(twice[:5]) or "no items",
        )
    return tuple(items)
