"""Replies from a server: what is asked of it for each request of a shard, and what its answers are as replies.

    source = ServedSource(
        EndpointSettings(model="google/gemma-2-27b-it", base_url="http://127.0.0.1:8000/v1"),
        encoder=reader.encoder,
    )
    collect_run(reader, "runs/gemma", served=source)

The prompt is rendered by the server (`template="server"`, a chat completion) or by the encoder that also reads the
replies (`template="ours"`, a text completion). The latter leaves nothing to chance: no default system prompt, date
or thinking that only the server's template writes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from persona_lens.endpoints import Call, Completion, EndpointSettings, Failure
from persona_lens.errors import EndpointError, TranscriptError
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Finish, Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts.continuing import Continuation, turn_ends, without_turn_end

if TYPE_CHECKING:
    from persona_lens.transcripts import Transcript, TranscriptEncoder

Rendering = Literal["server", "ours"]

_FINISHES: Mapping[str, Finish] = {
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "max_length", "model_length"), "length"
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_call"),
    **dict.fromkeys(("content_filter", "safety", "recitation", "prohibited_content"), "filtered"),
    "refusal": "refused",
}
_BROKEN_OFF = ("abort", "error", "cancelled")


@dataclass(frozen=True)
class ServedSource:
    """A served model that writes replies.

    Attributes:
        settings: Which server and model, and how hard to try.
        template: Who renders the prompts: `server` sends messages, `ours` the text that `encoder` makes of them.
        encoder: The served model's tokenizer and template. With `server` it only tells what the template does with
            system prompts.
        fold_system: Put the system prompt before the question, a blank line between, because the template has no
            system role. By default as `encoder` says; without one, False.
        model_name: What a model is told its name is; by default that of `settings`, of a path the last part.

    Raises:
        EndpointError: `ours` without an encoder, or with `fold_system`, which the encoder does by itself.

    Examples:
        >>> source = ServedSource(EndpointSettings(model="m", base_url="http://127.0.0.1:8000/v1"))
        >>> ghost = Shard(kind="role", name="ghost", prompt_index=0, system="You are a ghost.",
        ...               requests=(Request(question_id="q01", question="Who are you?"),))
        >>> call, = source.calls(ghost, [0], Sampling(temperature=0))
        >>> call.key, [message["role"] for message in call.messages], call.max_tokens
        (('role-ghost-p0', 0), ['system', 'user'], 128)
    """

    settings: EndpointSettings
    _: KW_ONLY
    template: Rendering = "server"
    encoder: TranscriptEncoder | None = None
    fold_system: bool | None = None
    model_name: str | None = None

    def __post_init__(self) -> None:
        if self.template == "ours" and self.encoder is None:
            raise EndpointError(
                'template="ours" needs an encoder to render prompts with',
                remedy="pass encoder=model.encoder, or TranscriptEncoder(tokenizer)",
            )
        if self.template == "ours" and self.fold_system is not None:
            raise EndpointError(
                'fold_system is for template="server"',
                remedy="leave it out: the encoder knows what its template takes",
            )

    @property
    def name(self) -> str:
        """What the model is told its name is."""
        name = self.settings.model
        is_path = name.startswith(("/", ".", "~")) or name.count("/") > 1
        return self.model_name or (Path(name).name if is_path else name)

    @property
    def folds(self) -> bool:
        """Whether system prompts go into the user's turn."""
        if self.fold_system is None and self.encoder is not None:
            return not self.encoder.supports_system
        return bool(self.fold_system)

    def conditions(self) -> dict[str, Any]:
        """What decides the replies besides shard and sampling.

        Not the server's address: the same model is often served elsewhere the next day.
        """
        asked = {"model": self.settings.model, "extra_body": dict(self.settings.extra_body)}
        if self.template == "ours" and self.encoder is not None:
            return {**asked, "template": self.encoder.template_hash}
        return {
            **asked,
            "template": "server",
            "fold_system": self.folds,
            "empty_system": self._sends_empty_system,
        }

    def calls(self, shard: Shard, indices: Iterable[int], sampling: Sampling) -> Iterator[Call]:
        """What to ask for some requests of a shard; keys are the shard's key and the request's index.

        Args:
            shard: The shard.
            indices: Of its requests.
            sampling: Each request has a seed of its own, made from that of `sampling`, the shard and the request:
                so samples differ, and a repetition asks for the same. How far that goes is up to the server.

        Raises:
            TranscriptError: With template "ours", a prompt that a server would not see as it is meant.
        """
        content = shard.content_hash({"seed": sampling.seed})
        for index in indices:
            request = shard.requests[index]
            samples = sampling.temperature > 0
            yield Call(
                (shard.key, index),
                messages=() if self.template == "ours" else self.sent(_messages(shard, request)),
                prompt=self._text(shard, request) if self.template == "ours" else None,
                temperature=sampling.temperature,
                top_p=sampling.top_p if samples else None,
                max_tokens=sampling.max_new_tokens,
                seed=request_seed(content, request) if samples else None,
            )

    def sent(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """Messages as the server is given them.

        Its system prompt is put into the user's turn where the template has no place for it; an empty one is sent
        where that keeps the template from writing one of its own.

        Args:
            messages: Perhaps with a system prompt, first.
        """
        told = [dict(message) for message in messages]
        system = told.pop(0)["content"] if told[0]["role"] == "system" else ""
        if self.folds and system:
            first = {**told[0], "content": f"{system}\n\n{told[0]['content']}"}
            return [first, *told[1:]]
        if system or self._sends_empty_system:
            return [{"role": "system", "content": system}, *told]
        return told

    def as_text(self, prompt: Transcript, name: str) -> str:
        """A prompt as text that a tokenizer turns into the very tokens the encoder means.

        A template writes its BOS into the text, and many tokenizers put another before whatever they are given;
        where this one does, the text is sent without.

        Args:
            prompt: From the encoder.
            name: Of the prompt, for errors.

        Raises:
            TranscriptError: No text of it has the tokens that are meant.
        """
        assert self.encoder is not None, "the prompt is one of an encoder"
        tokenizer = self.encoder.tokenizer
        bos = str(tokenizer.bos_token or "")
        for text in (prompt.text, prompt.text.removeprefix(bos)):
            if list(tokenizer(text)["input_ids"]) == prompt.ids.tolist():
                return text
        raise TranscriptError(
            "as text, this prompt has other tokens than the encoder means",
            given=name,
            remedy='have the server render it: template="server"',
        )

    def reply(self, call: Call, outcome: Completion | Failure) -> tuple[Reply, str]:
        """An answer as a reply, and where it is `failed`, why.

        As `as_reply`; with an encoder also without the end-of-turn tokens that some servers leave in the text, and
        with the ids of the reply where the server tells them (`return_token_ids` of vLLM).
        """
        reply, reason = as_reply(outcome, max_tokens=call.max_tokens)
        if self.encoder is None or isinstance(outcome, Failure):
            return reply, reason
        text = without_turn_end(reply.text, self._end_texts)
        # Ids of what is neither text nor thought, such as a tool call, are not those of an answer.
        ids = list(outcome.token_ids or ()) if text or reply.thinking else []
        while ids and ids[-1] in self.encoder.special_ids - self.encoder.notation.token_ids:
            ids.pop()
        return replace(reply, text=text, ids=np.array(ids, dtype=np.int64)), reason

    def heard(self, shard: Shard, index: int, reply: Reply) -> Reply:
        """The reply with what of its text is answer, as its prompt and the encoder's marks tell.

        So a text that was cut within a thought which the prompt had opened is not taken for an answer. Left as it
        is without an encoder, and where the server gives the thought apart.
        """
        if self.encoder is None or reply.thinking or not reply.text or reply.finish == "refused":
            return reply
        question = shard.requests[index].question
        try:
            prompt = self.encoder.prompt(self.encoder.messages(question, system=shard.system))
        except TranscriptError:  # only the server's own template takes it
            return reply
        if len(reply.ids):
            return replace(reply, said=self.encoder.said(prompt, reply.ids))
        return replace(reply, said=self.encoder.said_text(prompt, reply.text))

    def check(self, asked: Iterable[tuple[str, str]], *, reading: bool = False) -> None:
        """Find out now what could not be sent, before any reply is asked for.

        Args:
            asked: System prompts and questions.
            reading: Also see that the encoder can read what will come back.

        Raises:
            TranscriptError: A prompt that the template refuses, that a server would not see as it is meant, or
                behind which no reply can be read.
        """
        if self.encoder is None:
            return
        continuation = Continuation(self.encoder)
        for system, question in asked:
            prompt = self.encoder.prompt(self.encoder.messages(question, system=system))
            if self.template == "ours":
                self.as_text(prompt, f"{question!r} under {system!r}")
            if reading:
                continuation.check(prompt)

    def check_rendered(self, shard: Shard, index: int, outcome: Completion | Failure) -> None:
        """Compare the prompt as the server says it has rendered it with the one replies are read behind.

        Raises:
            EndpointError: They differ.
        """
        told = None if isinstance(outcome, Failure) else outcome.prompt_token_ids
        if told is None or self.encoder is None:
            return
        question = shard.requests[index].question
        meant = self.encoder.prompt(self.encoder.messages(question, system=shard.system))
        if list(told) != meant.ids.tolist():
            raise EndpointError(
                f"{self.settings.host()} renders another prompt than its replies are read behind",
                expected=repr(meant.text),
                given=repr(str(self.encoder.tokenizer.decode(list(told)))),
                remedy='send the text: template="ours"; or tell the server what its template lacks '
                '(extra_body={"chat_template_kwargs": {...}})',
            )

    def rendered_by(self) -> str:
        """Who makes tokens of messages, for the card of a run."""
        if self.template == "ours" and self.encoder is not None:
            return f"persona-lens, template {self.encoder.template_hash}, sent as text"
        return (
            "the server, by a template that is not known here; replies are read as if it were the reader's: with "
            "no default system prompt, date or thinking switch but the reader's own"
        )

    @cached_property
    def _end_texts(self) -> list[str]:
        """Tokens that may be left at the end of a reply; marks of thoughts belong to it."""
        assert self.encoder is not None, "only asked for with an encoder"
        ends = self.encoder.special_ids - self.encoder.notation.token_ids | turn_ends(self.encoder)
        return list(self.encoder.tokenizer.convert_ids_to_tokens(sorted(ends)))

    @property
    def _sends_empty_system(self) -> bool:
        """Whether it takes an empty system message to keep the template from writing one of its own."""
        return self.encoder is not None and not self.folds and len(self.encoder.messages("?")) > 1

    def _text(self, shard: Shard, request: Request) -> str:
        """The prompt of a request as text."""
        assert self.encoder is not None, "checked when this was made"
        prompt = self.encoder.prompt(self.encoder.messages(request.question, system=shard.system))
        return self.as_text(prompt, f"{shard.key}, question {request.question_id!r}")


def _messages(shard: Shard, request: Request) -> list[dict[str, str]]:
    question = {"role": "user", "content": request.question}
    return [{"role": "system", "content": shard.system}, question] if shard.system else [question]


def request_seed(content: str, request: Request) -> int:
    """A seed of 31 bits, which every server takes.

    Args:
        content: Content hash of the shard, with the seed of the run.
        request: One of its requests.

    Examples:
        >>> first, second = (Request(question_id="q01", question="Who are you?", sample=n) for n in (0, 1))
        >>> request_seed("1f3a9c", first) == request_seed("1f3a9c", second)
        False
    """
    what = f"{content} {request.question_id} {request.sample}"
    return int(hashlib.sha256(what.encode()).hexdigest(), 16) % 2**31


def as_reply(outcome: Completion | Failure, *, max_tokens: int | None = None) -> tuple[Reply, str]:
    """An answer as a reply without token ids, and where it is `failed`, why.

    A refusal in the API's way has the model's words as its text. What the server gives as reasoning is kept beside
    the text and never taken for it.

    Args:
        outcome: What came of the call.
        max_tokens: What was asked for at most; tells replies that were cut where the server does not say how they
            ended.

    Examples:
        >>> reply, _ = as_reply(Completion("Boo", "length"))
        >>> reply.text, reply.finish, reply.has_ids
        ('Boo', 'length', False)
        >>> reply, _ = as_reply(Completion("", "stop", thinking="They want a ghost."))
        >>> reply.text, reply.thinking
        ('', 'They want a ghost.')
        >>> reply, reason = as_reply(Failure("gave_up", "no answer within 60 s", attempts=8))
        >>> reply.text, reply.finish, reason
        ('', 'failed', 'no answer within 60 s')
    """
    if isinstance(outcome, Failure):
        return _reply("", "failed"), outcome.detail
    said = outcome.finish.lower()
    if said in _BROKEN_OFF:
        return _reply("", "failed"), f"the server ended the reply with {outcome.finish!r}"
    # What else servers say (eos_token, end_turn, stop_sequence) are ways in which the model ends its turn.
    finish: Finish = "tool_call" if outcome.tool_calls else _FINISHES.get(said, "stop")
    written = outcome.completion_tokens or 0
    if said == "unknown" and max_tokens is not None and written >= max_tokens and finish == "stop":
        finish = "length"
    return replace(
        _reply(outcome.text or outcome.refusal or "", finish), thinking=outcome.thinking
    ), ""


def _reply(text: str, finish: Finish) -> Reply:
    return Reply(ids=np.empty(0, dtype=np.int64), text=text, finish=finish)
