"""`Memory`: what a watch knows of conversations: how each went so far, and which of them a prompt goes on with."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.recognising import Node, Recogniser
from persona_lens.errors import MonitorError
from persona_lens.model.listening import Written
from persona_lens.transcripts import Transcript


@dataclass(frozen=True, eq=False)
class Past:
    """What a conversation was like up to a reply.

    Attributes:
        values: Projections of the replies; NaN where one was not heard, had no token, or was steered.
        tokens: Of the replies.
        tripped: The turn at which it alarmed, if it has.
    """

    values: Float[np.ndarray, "turn direction"]
    tokens: Float[np.ndarray, " turn"]
    tripped: int | None = None

    @classmethod
    def none(cls, directions: Sequence[str]) -> Past:
        """That of a conversation that begins."""
        return cls(np.empty((0, len(directions))), np.empty(0))

    def up_to(self, turn: int) -> Past:
        """The same before some turn, with turns that were not heard as unread."""
        missing = max(0, turn - len(self.values))
        values = np.pad(self.values[:turn], ((0, missing), (0, 0)), constant_values=np.nan)
        tokens = np.pad(self.tokens[:turn], (0, missing), constant_values=np.nan)
        tripped = self.tripped if self.tripped is not None and self.tripped < turn else None
        return Past(values, tokens, tripped)

    def then(self, value: Float[np.ndarray, " direction"], tokens: int) -> Past:
        """The same with one more turn."""
        return Past(np.vstack([self.values, value]), np.append(self.tokens, tokens), self.tripped)


@dataclass(frozen=True, eq=False)
class Recognised:
    """A prompt whose conversation is known, or new.

    Attributes:
        conversation: Its name.
        past: What it was like up to here.
        node: The reply it goes on with.
    """

    conversation: str
    past: Past
    node: Node[Past] | None


class Memory:
    """Remembers conversations.

    Args:
        directions: Along which they are read.
        decode: Ids to text.
        keep: How many; of more, those that were silent longest are forgotten.

    Attributes:
        count: Conversations so far.
        forgotten: Of these.
    """

    def __init__(
        self, directions: Sequence[str], decode: Callable[[list[int]], object], keep: int
    ) -> None:
        if keep < 1:
            raise MonitorError(
                "a watch has to remember conversations", expected="keep, at least 1", given=keep
            )
        self.count = 0
        self.forgotten = 0
        self._directions = tuple(directions)
        self._keep = keep
        self._known: Recogniser[Past] = Recogniser(decode)
        self._nodes: OrderedDict[str, list[Node[Past]]] = OrderedDict()

    def recognised(
        self, prompts: Sequence[Transcript], names: Sequence[str] | None
    ) -> list[Recognised]:
        """The conversation of each prompt of a call.

        Args:
            prompts: Of the call.
            names: Of their conversations, if somebody says.

        Raises:
            MonitorError: There are more or fewer names than prompts, or one twice.
        """
        if names is not None and (len(names) != len(prompts) or len(set(names)) != len(names)):
            raise MonitorError(
                "prompts and names of conversations do not fit",
                expected=f"{len(prompts)} names, each once",
                given=", ".join(names) or "none",
            )
        found: list[Recognised] = []
        for row, prompt in enumerate(prompts):
            if names is None:
                taken = [each.node for each in found if each.node is not None]
                node = self._known.find(prompt, taken)
                goes_on = node is not None and not node.continued and node not in taken
                name = node.conversation if node is not None and goes_on else self._new_name()
            else:
                name = names[row]
                held = self._nodes.get(name)
                node = held[-1] if held else None
                self.count += held is None
            past = Past.none(self._directions) if node is None else node.state
            found.append(Recognised(name, past.up_to(prompt.assistant_turns), node))
        return found

    def _new_name(self) -> str:
        self.count += 1
        return f"chat {self.count}"

    def remember(self, recognised: Recognised, past: Past, written: Written) -> list[str]:
        """A reply was written; the conversation is now like this. Returns which others are forgotten for it."""
        if recognised.node is not None:
            recognised.node.continued = True
        name = recognised.conversation
        node = Node(name, len(past.values) - 1, past)
        self._known.add(node, written.prompt, written.reply)
        self._nodes.setdefault(name, []).append(node)
        self._nodes.move_to_end(name)
        gone = []
        while len(self._nodes) > self._keep:
            oldest, nodes = self._nodes.popitem(last=False)
            self._known.forget(nodes)
            gone.append(oldest)
        self.forgotten += len(gone)
        return gone

    def readings(self) -> Readings:
        """All that is remembered."""
        return stacked(
            list(self._nodes),
            [nodes[-1].state for nodes in self._nodes.values()],
            self._directions,
        )


def stacked(names: Sequence[str], pasts: Sequence[Past], directions: Sequence[str]) -> Readings:
    """Several conversations, the shorter ones with nothing behind them."""
    counts = np.array([len(past.values) for past in pasts], dtype=np.int64)
    width = int(counts.max(initial=0))
    values = np.full((len(pasts), width, len(directions)), np.nan)
    tokens = np.full((len(pasts), width), np.nan)
    numbers = np.full((len(pasts), width), -1, dtype=np.int64)
    for row, past in enumerate(pasts):
        values[row, : counts[row]] = past.values
        tokens[row, : counts[row]] = past.tokens
        numbers[row, : counts[row]] = np.arange(counts[row])
    return Readings(tuple(names), tuple(directions), counts, numbers, values, tokens)
