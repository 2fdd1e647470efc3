"""One conversation while it is simulated: what was said, what was sent, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from persona_lens.drift.simulation.users import User, UserTurn
from persona_lens.transcripts import Transcript, TranscriptEncoder
from persona_lens.transcripts.next_turns import next_turn

if TYPE_CHECKING:
    from persona_lens.rollouts.reply import Reply

Ended = Literal["turns", "user", "context"]
"""Why a conversation is over: all turns were had, the user had nothing more to say, or the next reply would not
fit the context of the model (then the user's last message stands without an answer)."""


@dataclass(frozen=True, eq=False)
class Answered:
    """One reply of a conversation.

    Attributes:
        reply: As the model made it.
        prompt_tokens: What it was written to.
        anew: Why its prompt was rendered anew, not made of the ids that were sent and came back; empty if it was.
    """

    reply: Reply
    prompt_tokens: int
    anew: str


@dataclass(eq=False)
class Talk:
    """A conversation in the making.

    Attributes:
        user: Speaks in it.
        encoder: Of the model under test.
        system: What that is told.
        lead: White space that the template of the model writes before replies, so that none is said twice.
        messages: What was said so far.
        answers: The replies.
        prompt: What the next reply is written to, once the user has spoken.
        ended: Why it is over; empty while it goes on.
        why: More about that, where the user did not choose it.
    """

    user: User
    encoder: TranscriptEncoder
    system: str = ""
    lead: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    prompt: Transcript | None = None
    ended: Ended | Literal[""] = ""
    why: str = ""
    _said: Transcript | None = None
    _anew: str = ""
    _last: bool = False

    @property
    def goes_on(self) -> bool:
        """Whether the user may speak."""
        return not self.ended

    def hear(self, turn: UserTurn) -> None:
        """The user speaks, or goes.

        Raises:
            TranscriptError: The template refuses the conversation.
        """
        if turn.text is None:
            self.ended, self.why = "user", turn.why
            return
        self._last = turn.last
        if self._said is None:
            self.messages = self.encoder.messages(turn.text, system=self.system)
            self.prompt = self.encoder.prompt(self.messages)
            return
        self.messages.append({"role": "user", "content": turn.text})
        self.prompt, self._anew = next_turn(self.encoder, self._said, self.messages)

    def answer(self, reply: Reply, turns: int) -> None:
        """The model has replied; `turns` are all there are to be."""
        assert self.prompt is not None, "a reply follows a message"
        self.answers.append(Answered(reply, len(self.prompt), self._anew))
        self._said = self.encoder.with_reply(self.prompt, np.asarray(reply.ids))
        said = reply.answer.removeprefix(self.lead)
        self.messages.append({"role": "assistant", "content": said})
        self.prompt = None
        if self._last:
            self.ended = "user"
        elif len(self.answers) >= turns:
            self.ended = "turns"

    @property
    def anew(self) -> list[str]:
        """Why prompts of it were rendered anew, each reason once."""
        return list(dict.fromkeys(answer.anew for answer in self.answers if answer.anew))
