"""The order of messages: sides in turns, system messages first, no more replies than are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from persona_lens.conversations.report import Refused
from persona_lens.conversations.spellings import Speaker
from persona_lens.conversations.treatment import Tally, Treatment


@dataclass
class Said:
    """A message on its way from a log.

    Attributes:
        role: Who speaks.
        text: What is said.
        index: Which message of the log it is.
    """

    role: Speaker
    text: str
    index: int


def in_order(said: list[Said], treatment: Treatment, tally: Tally) -> list[Said]:
    """The messages in an order that can be read, and no more than are wanted.

    Raises:
        Refused: They are in another, and that is not to be changed.
    """
    said = _system_first(_joined(said, treatment, tally), treatment, tally)
    return shortened(said, treatment, tally)


def check_sides(said: Sequence[Said], n_given: int) -> None:
    """Refuse a conversation without messages, or without any of the user.

    Raises:
        Refused: It is such a one.
    """
    if not n_given:
        raise Refused(
            "no messages", "has no messages", remedy="leave the conversation out of the log"
        )
    if not any(one.role == "user" for one in said):
        raise Refused(
            "no message of a user",
            "has no message of a user",
            expected="at least one that is not blank",
            given=f"{n_given} messages, of which {len(said)} say something: "
            + (", ".join(one.role for one in said[:5]) or "none"),
            remedy="see whether roles are named otherwise here: roles={...} says who is who",
        )


def _joined(said: list[Said], treatment: Treatment, tally: Tally) -> list[Said]:
    """Messages of one side in a row as one, or as is wanted."""
    if treatment.in_a_row == "keep":
        return said
    made: list[Said] = []
    for one in said:
        if not made or made[-1].role != one.role:
            made.append(one)
            continue
        if treatment.in_a_row == "refuse":
            raise Refused(
                "messages in a row",
                f"messages {made[-1].index} and {one.index} are both of the {one.role}",
                expected="user and assistant in turns",
                remedy="in_a_row='join' joins them with a blank line, 'keep' keeps both",
            )
        place = f"message {one.index}"
        tally.add(
            "noted",
            f"messages of the {one.role} in a row, joined",
            place,
            "was joined to the one before it",
            remedy="in_a_row='keep' keeps them apart, 'refuse' leaves such conversations out",
        )
        made[-1] = Said(one.role, f"{made[-1].text}\n\n{one.text}", one.index)
    return made


def _system_first(said: list[Said], treatment: Treatment, tally: Tally) -> list[Said]:
    """System messages first, or as is wanted."""
    start = next((i for i, one in enumerate(said) if one.role != "system"), len(said))
    later = [one for one in said[start:] if one.role == "system"]
    if not later:
        return said
    place = f"message {later[0].index}"
    if treatment.later_system == "refuse":
        raise Refused(
            "system message amid a conversation",
            f"{place} is a system message",
            expected="system messages before all others: chat templates render no other",
            remedy="later_system='drop' takes it out, 'keep' keeps it",
        )
    if treatment.later_system == "keep":
        tally.add("noted", "system message amid a conversation", place, "is a system message")
        return said
    for one in later:
        tally.add(
            "cut", "system message amid a conversation", f"message {one.index}", "was taken out"
        )
    return _joined([one for one in said if one not in later], treatment, tally)


def shortened(said: list[Said], treatment: Treatment, tally: Tally) -> list[Said]:
    """The messages up to the last reply that is wanted."""
    replies = [i for i, one in enumerate(said) if one.role == "assistant"]
    if treatment.max_turns is None or len(replies) <= treatment.max_turns:
        return said
    end = replies[treatment.max_turns - 1] + 1
    tally.add(
        "cut",
        f"message after {treatment.max_turns} replies",
        f"message {said[end].index}",
        "and those after it were left out",
        count=len(said) - end,
    )
    return said[:end]
