"""Replies as streams of server-sent events: chunks as OpenAI has them, the last with the whole `persona` object.

    chunks = ChatChunks(shared, usage=True)
    for event in chunks.begin() + chunks.part(part) + chunks.done(done) + chunks.end():
        ...                                             # b'data: {"id": ...}\\n\\n'

A chunk comes when there is something to say: text that cannot turn out to be part of a stop sequence or of half a
character, log-probabilities, or projections.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types import Completion, CompletionChoice
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta, ChoiceLogprobs

from persona_lens.model.continuous import Token
from persona_lens.server.jobs import Done, Part
from persona_lens.server.readings import ReplyReader
from persona_lens.server.refusals import Refusal
from persona_lens.server.replies import Shared, finish_of, made
from persona_lens.server.speaking import Speech
from persona_lens.server.summaries import token_readings

END = b"data: [DONE]\n\n"


def event(content: Mapping[str, Any]) -> bytes:
    """One event.

    Examples:
        >>> event({"id": "a"})
        b'data: {"id":"a"}\\n\\n'
    """
    return (
        b"data: " + json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n\n"
    )


def broken(refusal: Refusal) -> bytes:
    """What a stream ends with that cannot be gone on with."""
    return event(refusal.body())


class _Chunks:
    """What both kinds of streams have in common.

    Args:
        shared: Of the request.
        reader: Places tokens.
        usage: Whether the last chunk is to tell the usage.
    """

    def __init__(self, shared: Shared, reader: ReplyReader, *, usage: bool) -> None:
        self._shared = shared
        self._reader = reader
        self._usage = usage
        self._finished: list[Done] = []

    @property
    def whole(self) -> bool:
        """Whether all replies have come to their end."""
        return len(self._finished) == len(self._shared.job.wishes)

    def end(self) -> list[bytes]:
        """What comes behind the last chunk of a reply."""
        if not self._usage:
            return [END]
        usage = self._shared.usage([done.finished for done in self._finished])
        return [event(self._chunk([], usage=usage, persona=self._persona())), END]

    def _note(self, done: Done) -> dict[str, Any]:
        """Take note of a reply that is whole; returns the persona object of its chunk."""
        self._finished.append(done)
        last = self.whole and not self._usage
        return {"persona": self._persona() if last else {"choices": [done.persona]}}

    def _persona(self) -> dict[str, Any]:
        return self._shared.persona([done.persona for done in self._finished])

    def _read(self, part: Part) -> dict[str, Any]:
        if not part.projected:
            return {}
        told = {"index": part.choice, "tokens": token_readings(part.projected, self._reader)}
        return {"persona": {"choices": [told]}}

    def _chunk(self, choices: Sequence[Any], **more: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _wanted(self, choice: int) -> bool:
        return self._shared.wish(choice).request.top_log_probs is not None

    def _null_usage(self) -> dict[str, Any]:
        """Chunks before the last say that they have none, where it will be told."""
        return {"usage": None} if self._usage else {}


class ChatChunks(_Chunks):
    """Of a chat."""

    def __init__(self, shared: Shared, reader: ReplyReader, *, usage: bool) -> None:
        super().__init__(shared, reader, usage=usage)
        encoder = shared.model.encoder
        self._speeches = [Speech(encoder, wish.request.prompt) for wish in shared.job.wishes]

    def begin(self) -> list[bytes]:
        """Who speaks."""
        delta = ChoiceDelta(role="assistant", content="")
        return [self._event(wish.choice, delta) for wish in self._shared.job.wishes]

    def part(self, part: Part) -> list[bytes]:
        """A piece of a reply."""
        heard = self._speeches[part.choice].hear("".join(token.text for token in part.tokens))
        scores = part.tokens if self._wanted(part.choice) else ()
        read = self._read(part)
        if not any(heard) and not scores and not read:
            return []
        return [self._event(part.choice, _delta(*heard), scores, **read)]

    def done(self, done: Done) -> list[bytes]:
        """The end of a reply."""
        speech, finished = self._speeches[done.choice], done.finished
        tail, rest = speech.hear(finished.tail), speech.end(finished.reply.answer)
        heard = (tail.answer + rest.answer, tail.thought + rest.thought)
        events = [self._event(done.choice, _delta(*heard))] if any(heard) else []
        more = self._note(done)
        ids = self._shared.ids(self._shared.wish(done.choice), finished)
        end = self._event(done.choice, ChoiceDelta(), finish=finish_of(finished), ids=ids, **more)
        return [*events, end]

    def _event(
        self,
        choice: int,
        delta: ChoiceDelta,
        scores: Sequence[Token] = (),
        finish: Any = None,
        ids: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> bytes:
        told = ChoiceLogprobs(content=self._shared.scores(scores), refusal=None) if scores else None
        chosen = made(
            Choice, index=choice, delta=delta, finish_reason=finish, logprobs=told, **(ids or {})
        )
        return event(self._chunk([chosen], **self._null_usage(), **more))

    def _chunk(self, choices: Sequence[Any], **more: Any) -> dict[str, Any]:
        whole = made(
            ChatCompletionChunk,
            **self._shared.head(),
            object="chat.completion.chunk",
            choices=list(choices),
            **more,
        )
        return whole.model_dump(mode="json", exclude_unset=True)


class TextChunks(_Chunks):
    """Of plain prompts.

    Args:
        shared: Of the request.
        reader: Places tokens.
        usage: Whether the last chunk is to tell the usage.
        echo: Whether the prompt stands before its reply.
    """

    def __init__(
        self, shared: Shared, reader: ReplyReader, *, usage: bool, echo: bool = False
    ) -> None:
        super().__init__(shared, reader, usage=usage)
        self._echo = echo
        self._offsets = [0] * len(shared.job.wishes)

    def begin(self) -> list[bytes]:
        """The prompts, if they are wanted."""
        if not self._echo:
            return []
        wishes = self._shared.job.wishes
        return [self._event(wish.choice, wish.request.prompt.text) for wish in wishes]

    def part(self, part: Part) -> list[bytes]:
        """A piece of a reply."""
        text = "".join(token.text for token in part.tokens)
        scores = part.tokens if self._wanted(part.choice) else ()
        read = self._read(part)
        return [self._event(part.choice, text, scores, **read)] if text or scores or read else []

    def done(self, done: Done) -> list[bytes]:
        """The end of a reply."""
        more = self._note(done)
        ids = self._shared.ids(self._shared.wish(done.choice), done.finished)
        finish = finish_of(done.finished)
        return [self._event(done.choice, done.finished.tail, finish=finish, ids=ids, **more)]

    def _event(
        self,
        choice: int,
        text: str,
        scores: Sequence[Token] = (),
        finish: Any = None,
        ids: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> bytes:
        told = self._shared.text_scores(scores, self._offsets[choice]) if scores else None
        if told is not None:
            self._offsets[choice] += sum(map(len, told.tokens or ()))
        # The type knows no choice that goes on; OpenAI's streams have null there.
        chosen = CompletionChoice.model_construct(
            index=choice, text=text, finish_reason=finish, logprobs=told, **(ids or {})
        )
        return event(self._chunk([chosen], **self._null_usage(), **more))

    def _chunk(self, choices: Sequence[Any], **more: Any) -> dict[str, Any]:
        whole = Completion.model_construct(
            **self._shared.head(), object="text_completion", choices=list(choices), **more
        )
        return whole.model_dump(mode="json", exclude_unset=True, warnings=False)


def _delta(answer: str, thought: str) -> ChoiceDelta:
    return made(
        ChoiceDelta,
        **({"content": answer} if answer or not thought else {}),
        **({"reasoning_content": thought} if thought else {}),
    )
