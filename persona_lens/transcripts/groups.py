"""Token groups and the transcript that carries them.

A group says where a token comes from. "Which tokens?" is the first question asked of any reading
or writing of the residual stream, so the answer travels with the ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from persona_lens.errors import TranscriptError


class Group(str, Enum):
    """Where a token comes from; equal to its plain string, so ``mask("user")`` works too.

    Examples:
        >>> Group.USER == "user", Group.USER.code, Group.of_code(1)
        (True, 1, <Group.USER: 'user'>)
    """

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    THINKING = "thinking"
    TEMPLATE = "template"
    SPECIAL = "special"

    @property
    def code(self) -> int:
        """The small integer that stands for this group in ``Transcript.groups``."""
        return _CODES[self]

    @classmethod
    def of_code(cls, code: int) -> Group:
        """The group behind a code of ``Transcript.groups``; ``IndexError`` if there is none."""
        return tuple(cls)[code]


_CODES = {group: code for code, group in enumerate(Group)}


@dataclass(frozen=True, eq=False)
class Transcript:
    """Token ids of a conversation with the group and the turn of every token.

    Args:
        ids: Token ids, at most one BOS at the start.
        groups: ``Group.code`` of each token.
        turns: For user tokens the index of the user message, for assistant and thinking tokens
            the index of the assistant message (each counted from 0); -1 for all other tokens.
        text: The rendered text that the ids stand for.
        user_turns: Number of user messages, empty ones included.
        assistant_turns: Number of assistant messages, empty ones included.
        generating: True where the ids end in a generation prompt, ready for a reply.
        reply_start: Where the last reply begins, if it was appended as it was sampled.
        decode: Ids to text, for the view in notebooks; it does not travel to other processes.

    Raises:
        TranscriptError: The three arrays are not one-dimensional and of one length.

    Examples:
        >>> said = Transcript(ids=np.array([5, 7, 9]), groups=np.array([5, 1, 2], dtype=np.int8),
        ...                   turns=np.array([-1, 0, 0]), text="<s>hi", user_turns=1, assistant_turns=1)
        >>> len(said), said.ids[said.mask("assistant")]
        (3, array([9]))
    """

    ids: Int[np.ndarray, " n_tokens"]
    groups: Int[np.ndarray, " n_tokens"]
    turns: Int[np.ndarray, " n_tokens"]
    text: str
    user_turns: int
    assistant_turns: int
    generating: bool = False
    reply_start: int | None = None
    decode: Callable[[list[int]], str] | None = None

    def __post_init__(self) -> None:
        shapes = [array.shape for array in (self.ids, self.groups, self.turns)]
        if len(set(shapes)) != 1 or len(shapes[0]) != 1:
            raise TranscriptError(
                "ids, groups and turns do not fit together",
                expected="three arrays of shape [n_tokens]",
                given=f"shapes {shapes}",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "decode": None}  # it would take the tokenizer with it

    def __repr__(self) -> str:
        from persona_lens.transcripts.html import counted  # noqa: PLC0415

        state = "; waits for a reply" if self.generating else ""
        return f"Transcript({len(self):,} tokens: {counted(self)}{state})"

    def _repr_html_(self) -> str:
        from persona_lens.transcripts.html import transcript_html  # noqa: PLC0415

        return transcript_html(self)

    def mask(self, group: Group | str, turn: int | None = None) -> Bool[np.ndarray, " n_tokens"]:
        """Which tokens belong to a group, and to one turn of it if asked.

        Args:
            group: A ``Group`` or its string.
            turn: Index of the user message (group user) or of the assistant message (groups
                assistant and thinking); negative counts from the last message.

        Raises:
            TranscriptError: Unknown group, a turn that does not exist, or a turn asked of a group
                without turns (system, template, special).

        Examples:
            >>> said = Transcript(ids=np.array([7, 9, 8]), groups=np.array([1, 2, 1], dtype=np.int8),
            ...                   turns=np.array([0, 0, 1]), text="abc", user_turns=2,
            ...                   assistant_turns=1)
            >>> said.mask("user"), said.mask(Group.USER, turn=-1)
            (array([ True, False,  True]), array([False, False,  True]))
        """
        try:
            group = Group(group)
        except ValueError:
            raise TranscriptError(
                "unknown token group", expected=f"one of {[g.value for g in Group]}", given=group
            ) from None
        chosen = self.groups == group.code
        if turn is None:
            return chosen
        counts = {Group.USER: self.user_turns}
        counts |= dict.fromkeys((Group.ASSISTANT, Group.THINKING), self.assistant_turns)
        if group not in counts:
            raise TranscriptError(
                f"tokens of group {group.value!r} have no turn",
                expected="a turn only with user, assistant or thinking",
                given=f"turn {turn}",
                remedy="leave the turn out",
            )
        count = counts[group]
        if not -count <= turn < count:
            raise TranscriptError(
                f"no such turn of group {group.value!r}",
                expected=f"a turn from {-count} to {count - 1}"
                if count
                else "no turn: it has none",
                given=turn,
            )
        return chosen & (self.turns == turn % count)
