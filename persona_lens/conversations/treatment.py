"""What a reader does about the things in a log that a conversation cannot hold, or that may be done either way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

from persona_lens.conversations.conversation import ROLES
from persona_lens.conversations.report import Finding, Kind, joined
from persona_lens.errors import ConversationError
from persona_lens.spelling import did_you_mean


@dataclass(frozen=True)
class Treatment:
    """How messages are read.

    Attributes:
        hidden_tags: Names of tags, without angle brackets, which are taken out with all that stands within them.
        tools: Tool calls and what tools answered: refuse the conversation, or drop them.
        media: Images, sound and files within messages: refuse the conversation, or drop them.
        thoughts: What a model thought before it answered: drop it, or keep it, as `<think>` blocks.
        in_a_row: Two messages of one side: join them with a blank line, refuse the conversation, or keep both.
        later_system: A system message after the first message of another side: refuse the conversation, drop the
            message, or keep it, though few chat templates can render it.
        max_turns: Conversations end after so many replies; None for all.
        roles: Names of roles besides the usual ones, each with "system", "user", "assistant" or "tool".
        user_messages: What the user said in logs that hold replies alone (SYCON-Bench): the first message, with
            names of columns in braces, and those that follow; the last stands for all after it.

    Raises:
        ConversationError: A value is not among those that are named.
    """

    hidden_tags: Sequence[str] = ()
    tools: Literal["refuse", "drop"] = "refuse"
    media: Literal["refuse", "drop"] = "refuse"
    thoughts: Literal["drop", "keep"] = "drop"
    in_a_row: Literal["join", "refuse", "keep"] = "join"
    later_system: Literal["refuse", "drop", "keep"] = "refuse"
    max_turns: int | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    user_messages: Sequence[str] = ()

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            choices, given = get_args(hints[each.name]), getattr(self, each.name)
            if all(isinstance(choice, str) for choice in choices) and given not in (
                choices or [given]
            ):
                raise ConversationError(
                    f"{each.name} is not known",
                    expected=" or ".join(choices),
                    given=repr(given),
                    remedy=did_you_mean(given, choices),
                )
        for name in ("hidden_tags", "user_messages"):
            given = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(each, str) for each in given):
                raise ConversationError(
                    f"{name} is a list of texts", given=repr(given), remedy=f"{name}=[...]"
                )
            object.__setattr__(self, name, tuple(given))
        for tag in self.hidden_tags:
            if not re.fullmatch(r"[\w:.-]+", tag):
                raise ConversationError(
                    "a hidden tag is the name of a tag",
                    expected="letters, digits, and - _ : . such as INTERNAL_STATE",
                    given=repr(tag),
                    remedy="leave out the angle brackets",
                )
        turns = self.max_turns
        if turns is not None and (
            not isinstance(turns, int) or isinstance(turns, bool) or turns < 1
        ):
            raise ConversationError(
                "max_turns is a number of replies", expected="1 or more, or None", given=repr(turns)
            )
        for name, role in self.roles.items():
            if role not in (*ROLES, "tool"):
                raise ConversationError(
                    f"the role {name!r} is given an unknown meaning",
                    expected="system, user, assistant or tool",
                    given=repr(role),
                )


@dataclass
class Tally:
    """What was cut and noted while one conversation was read; it counts once the conversation is there."""

    findings: list[Finding] = field(default_factory=list)

    def add(
        self, kind: Kind, what: str, place: str, problem: str, *, remedy: str = "", count: int = 1
    ) -> None:
        """Remember a finding at a place within the conversation."""
        self.findings.append(Finding(kind, what, place, problem, remedy, count))

    def at(self, place: str) -> list[Finding]:
        """The findings, as seen from outside."""
        return [
            Finding(
                each.kind,
                each.what,
                joined(place, each.place),
                each.problem,
                each.remedy,
                each.count,
            )
            for each in self.findings
        ]


def known_options(given: Mapping[str, Any]) -> None:
    """Refuse names of options that there are none of.

    Raises:
        ConversationError: One is not known.
    """
    known = [each.name for each in fields(Treatment)]
    for name in given:
        if name not in known:
            raise ConversationError(
                f"there is no option {name!r}",
                expected=", ".join(known),
                remedy=did_you_mean(name, known),
            )
