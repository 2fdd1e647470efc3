"""Which conversation a prompt goes on with: told by what was sent and said before, for nobody sends a name.

A prompt goes on with a reply if it begins with the ids of that reply's prompt and of the reply itself. Where a
template renders the past anew, it does if its messages are those of that prompt, then the reply's answer, then
more; blanks at the ends of messages do not count. The longest such past is taken. What goes on with nothing is a
new conversation, and what goes on with a reply that another prompt has gone on with already is a branch: a
conversation of its own, with the same past.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Int

from persona_lens.rollouts.reply import Reply
from persona_lens.transcripts import Group, Transcript

State = TypeVar("State")
Key = bytes


@dataclass(eq=False)
class Node(Generic[State]):
    """What is known after a reply.

    Attributes:
        conversation: Name of the conversation.
        turn: Number of the reply in it.
        state: What whoever recognises wants to keep.
        continued: Whether the conversation has gone on from here.
    """

    conversation: str
    turn: int
    state: State
    continued: bool = False
    keys: tuple[Key, ...] = field(default=(), repr=False)
    length: int = field(default=0, repr=False)


class Recogniser(Generic[State]):
    """Finds the past of prompts.

    Args:
        decode: Ids to text.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> encoder, known = model.encoder, Recogniser(model.tokenizer.decode)
        >>> talk = encoder.messages("Who are you?")
        >>> said = Reply(ids=np.asarray(encoder.plain_ids("A ghost.")), text="A ghost.")
        >>> known.add(Node("first", 0, "calm"), encoder.prompt(talk), said)
        >>> more = [*talk, {"role": "assistant", "content": "A ghost."}, {"role": "user", "content": "Whose?"}]
        >>> known.find(encoder.prompt(more)).state, known.find(encoder.prompt(talk))
        ('calm', None)
    """

    def __init__(self, decode: Callable[[list[int]], object]) -> None:
        self._decode = decode
        self._nodes: dict[Key, list[Node[State]]] = {}
        self._lengths: Counter[int] = Counter()

    def find(self, prompt: Transcript, taken: Collection[Node[State]] = ()) -> Node[State] | None:
        """The reply a prompt goes on with; among equals one that nothing has gone on with.

        Args:
            prompt: Waits for a reply.
            taken: Replies that other prompts of the same call go on with.
        """
        if not prompt.assistant_turns:
            return None
        found = [
            self._first(self._prefixes(prompt), taken),
            self._first(self._pasts(prompt), taken),
        ]
        known = [node for node in found if node is not None]
        return max(known, key=lambda node: node.turn, default=None)

    def _first(self, keys: Iterable[Key], taken: Collection[Node[State]]) -> Node[State] | None:
        held = next((held for key in keys if (held := self._nodes.get(key))), [])
        free = (node for node in held if not node.continued and node not in taken)
        return next(free, held[-1] if held else None)

    def add(self, node: Node[State], prompt: Transcript, reply: Reply) -> None:
        """Remember a reply."""
        ids = np.concatenate([prompt.ids, np.asarray(reply.ids, dtype=prompt.ids.dtype)])
        system, users, replies = self._messages(prompt)
        said = (*replies, _plain(reply.answer))
        node.keys = (_hashed(ids), _told(system, users, said))
        for key in node.keys:
            self._nodes.setdefault(key, []).append(node)
        node.length = len(ids)
        self._lengths[node.length] += 1

    def forget(self, nodes: Sequence[Node[State]]) -> None:
        """Know some replies no more."""
        for node in nodes:
            self._lengths[node.length] -= 1
            for key in node.keys:
                held = self._nodes.get(key, [])
                if node in held:
                    held.remove(node)
                if not held:
                    self._nodes.pop(key, None)

    def _prefixes(self, prompt: Transcript) -> list[Key]:
        """Keys of all beginnings of known lengths that end where a reply does, the longest first."""
        running, at, found = hashlib.blake2b(digest_size=16), 0, []
        values = np.ascontiguousarray(prompt.ids, dtype=np.int64)
        spoken = np.isin(prompt.groups, (Group.ASSISTANT.code, Group.THINKING.code))
        for length in sorted(+self._lengths):
            if length < len(values) and not spoken[length]:
                running.update(values[at:length].tobytes())
                at = length
                found.append(running.copy().digest())
        return found[::-1]

    def _pasts(self, prompt: Transcript) -> Iterator[Key]:
        """Keys of all pasts by messages, the longest first."""
        system, users, replies = self._messages(prompt)
        for count in range(min(len(replies), len(users) - 1), 0, -1):
            yield _told(system, users[:count], replies[:count])

    def _messages(self, prompt: Transcript) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
        """The system text, and what each side said."""

        def text(group: Group, turn: int | None = None) -> str:
            ids = prompt.ids[prompt.mask(group, turn)]
            return _plain(str(self._decode(ids.tolist())))

        return (
            text(Group.SYSTEM),
            tuple(text(Group.USER, turn) for turn in range(prompt.user_turns)),
            tuple(text(Group.ASSISTANT, turn) for turn in range(prompt.assistant_turns)),
        )


def _plain(text: str) -> str:
    return text.strip()


def _hashed(ids: Int[np.ndarray, " token"]) -> Key:
    return hashlib.blake2b(
        np.ascontiguousarray(ids, dtype=np.int64).tobytes(), digest_size=16
    ).digest()


def _told(system: str, users: Sequence[str], replies: Sequence[str]) -> Key:
    return hashlib.blake2b(repr((system, users, replies)).encode(), digest_size=15).digest()
