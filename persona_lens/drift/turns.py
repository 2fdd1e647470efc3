"""Which tokens of which text are a turn: all turns of a conversation in as few texts as read them rightly.

A turn is right where its tokens stand behind the very ids that the model was asked with: the conversation up to
the user's message and the generation prompt. The finished conversation has those ids for most templates. Where one
writes the past otherwise than the present (Qwen3 leaves out earlier thoughts, Mistral moves the system text), the
turn gets a text of its own; so does one that is not shown as it was given, as where templates trim it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from persona_lens.conversations import Conversation
from persona_lens.drift.windows import windows
from persona_lens.errors import ConversationError
from persona_lens.model.persona_model import PersonaModel
from persona_lens.model.segments import NOWHERE
from persona_lens.transcripts import Transcript
from persona_lens.transcripts.alignment import canonical
from persona_lens.transcripts.continuing import Continuation
from persona_lens.transcripts.paper_span import paper_reply

Long = Literal["refuse", "windows"]
"""What to do with a conversation that is longer than the model's context."""

Tokens = Literal["answer", "paper"]
"""Which tokens of a turn are averaged: those of the answer, or those the paper's code takes."""

Messages = list[dict[str, str]]


@dataclass(frozen=True, eq=False)
class Turn:
    """One reply of the model in a text.

    Attributes:
        number: Which reply of the conversation it is, from 0 on.
        since: The first turn that the model has seen; 0 where it has seen all.
        chosen: Its tokens, attention sinks left out.
    """

    number: int
    since: int
    chosen: Bool[np.ndarray, " token"]

    @property
    def start(self) -> int | None:
        """Place of the token right before the reply, where the model is about to speak; None if there is none."""
        places = np.flatnonzero(self.chosen)
        return int(places[0]) - 1 if len(places) and places[0] else None


@dataclass(frozen=True, eq=False)
class TurnText:
    """A text and the turns that are read in it."""

    transcript: Transcript
    turns: tuple[Turn, ...]

    def segments(self) -> Int[np.ndarray, " token"]:
        """The stretch of each token: turn k is 2k, the token right before it 2k + 1."""
        numbers = np.full(len(self.transcript), NOWHERE, dtype=np.int64)
        for place, turn in enumerate(self.turns):
            if turn.start is not None:
                numbers[turn.start] = 2 * place + 1
            numbers[turn.chosen] = 2 * place
        return numbers


class TurnFinder:
    """Lays out conversations for one model.

    Args:
        model: Will read them.
        tokens: Which tokens of a turn count.
        long: What to do with a conversation that does not fit.
        context: Tokens it may have, where that is less than the model takes.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> finder = TurnFinder(PersonaModel.load("smollm2-135m-instruct"))
        >>> chat = Conversation.of([("user", "Is water wet?"), ("assistant", "Yes."),
        ...                         ("user", "Is ice?"), ("assistant", "No.")], id="a")
        >>> [[turn.number for turn in text.turns] for text in finder.texts(chat)]
        [[0, 1]]
    """

    def __init__(
        self,
        model: PersonaModel,
        *,
        tokens: Tokens = "answer",
        long: Long = "refuse",
        context: int | None = None,
    ) -> None:
        limits = [limit for limit in (model.held.backend.context, context) if limit is not None]
        self._model = model
        self._tokens = tokens
        self._long = long
        self._context = min(limits, default=None)
        self._continuation = Continuation(model.encoder, end_ids=model.end_ids)
        self._qwen = "qwen" in f"{model.name} {type(model.held.backend.module).__name__}".lower()

    def texts(self, conversation: Conversation) -> list[TurnText]:
        """The texts that all turns of a conversation are read in.

        A reply that comes before any message of the user answers nothing, and is no turn to read; the others keep
        their numbers, and have it in their past if the template takes it.

        Raises:
            ConversationError: There is no turn, or it does not fit the context.
            TranscriptError: The model's template refuses it, or no tokens stand for a reply.
        """
        messages = self._messages(conversation)
        asked = _replies(messages)
        texts = self._texts(messages, asked) if asked else []
        if not texts:
            raise ConversationError(
                "the conversation has no reply to read",
                expected="a message of the assistant behind one of the user",
            )
        return texts

    def _messages(self, conversation: Conversation) -> Messages:
        """The messages up to the last reply; where there is no system text, with truly none."""
        messages = list(conversation.as_dicts())
        while messages and messages[-1]["role"] != "assistant":
            messages.pop()
        if messages and messages[0]["role"] == "user":
            return [*self._model.encoder.messages(messages[0]["content"]), *messages[1:]]
        return messages

    def _texts(self, messages: Messages, asked: Sequence[int]) -> list[TurnText]:
        if self._tokens == "paper":
            answers = [pair for pair in enumerate(asked) if _answers(messages, pair[1])]
            return [self._alone(messages, place, turn) for turn, place in answers]
        whole = self._model.encoder.encode(messages)
        if self._context is None or len(whole) <= self._context:
            return self._within(messages, asked, whole)
        if self._long == "refuse":
            raise ConversationError(
                "the conversation does not fit the model's context",
                expected=f"at most {self._context} tokens",
                given=len(whole),
                remedy='read it in overlapping windows: long="windows"',
            )
        return self._in_windows(messages, asked, whole, self._context)

    def _within(
        self, messages: Messages, asked: Sequence[int], whole: Transcript, since: int = 0
    ) -> list[TurnText]:
        """The turns that stand in the whole conversation as they were asked for, and the others by themselves."""
        shared, apart = [], []
        for turn, place in enumerate(asked):
            if not _answers(messages, place):
                continue
            start = self._begins(whole, messages[:place])
            chosen = None if start is None else self._said(whole, turn, start)
            if chosen is None or not self._as_written(whole, start, chosen, messages[place]):
                apart.append(self._alone(messages, place, since + turn, since))
            else:
                shared.append(Turn(since + turn, since, chosen))
        return [*([TurnText(whole, tuple(shared))] if shared else ()), *apart]

    def _in_windows(
        self, messages: Messages, asked: Sequence[int], whole: Transcript, context: int
    ) -> list[TurnText]:
        """The turns of a conversation that does not fit, each with at least half a context of its past."""
        head = [message for message in messages[: asked[0]] if message["role"] == "system"]
        texts: list[TurnText] = []
        for window in windows(*_extent(whole, len(asked)), context=context):
            begin = asked[window.first - 1] + 1 if window.first else len(head)
            part = [*head, *messages[begin : asked[window.last] + 1]]
            for text in self._within(
                part, _replies(part), self._model.encoder.encode(part), window.first
            ):
                kept = tuple(turn for turn in text.turns if turn.number >= window.new)
                texts += [TurnText(text.transcript, kept)] if kept else []
        return texts

    def _begins(self, whole: Transcript, before: Messages) -> int | None:
        """Where the reply to some messages begins in a text; None where it is asked otherwise there."""
        prompt = self._model.encoder.waiting_ids(before)
        same = np.array_equal(whole.ids[: len(prompt)], prompt)
        return len(prompt) if same else None

    def _as_written(
        self,
        whole: Transcript,
        start: int | None,
        chosen: Bool[np.ndarray, " token"],
        message: Mapping[str, str],
    ) -> bool:
        """Whether a text has a reply as it was given.

        Templates that trim messages (Gemma, Llama 3) leave out a space that the model began with, or the line
        where it was cut; others leave out what was thought in earlier turns.
        """
        if not chosen.any():
            return True
        given = message["content"]
        shown = self._model.encoder.reader.decode(
            whole.ids[start : int(np.flatnonzero(chosen)[-1]) + 1].tolist()
        )
        if given == given.strip():
            return canonical(shown) == canonical(given)
        return shown in (given, self._continuation.led(given))

    def _alone(self, messages: Messages, place: int, number: int, since: int = 0) -> TurnText:
        """One turn in a text of its own."""
        encoder = self._model.encoder
        if self._tokens == "paper":
            transcript, chosen = paper_reply(encoder, messages[: place + 1], qwen=self._qwen)
            return TurnText(transcript, (Turn(number, since, chosen),))
        prompt = encoder.prompt(messages[:place])
        ids = self._continuation.ids(prompt, messages[place]["content"])
        said = encoder.with_reply(prompt, ids, end_ids=self._continuation.end_ids)
        return TurnText(said, (Turn(number, since, self._model.reply_positions(said)),))

    def _said(self, whole: Transcript, turn: int, start: int) -> Bool[np.ndarray, " token"]:
        """The tokens of a turn that begins at `start`, with the space that a template leads replies with."""
        chosen = whole.mask("assistant", turn=turn)
        chosen[:start] = False
        lead = self._continuation.frame.lead
        if lead and not lead.strip() and chosen.any():
            chosen[start : int(chosen.argmax())] = True
        chosen[[sink for sink in self._model.sinks if sink < len(chosen)]] = False
        return chosen


def _replies(messages: Messages) -> list[int]:
    """Where the assistant speaks."""
    return [place for place, message in enumerate(messages) if message["role"] == "assistant"]


def _answers(messages: Messages, place: int) -> bool:
    """Whether the user has said something before."""
    return any(message["role"] == "user" for message in messages[:place])


def _extent(whole: Transcript, n_turns: int) -> tuple[int, list[int]]:
    """Where the first message of the user begins, and where each turn ends."""
    first = np.flatnonzero(whole.mask("user", turn=0)) if whole.user_turns else []
    ends = []
    for turn in range(n_turns):
        own = np.flatnonzero(whole.mask("assistant", turn=turn))
        ends.append(int(own[-1]) + 1 if len(own) else (ends[-1] if ends else 0))
    return (int(first[0]) if len(first) else 0), ends
