"""Replies in OpenAI's shapes, made of the `openai` package's own types, with a `persona` object beside the fields.

    chat_completion(shared, done)       # one whole
    ChatChunks(shared, speeches)        # the chunks of a stream

`persona` says which plan acted and how replies are read, and of each choice what `persona_lens.server.summaries`
tells. In a stream chunks have the projections of single tokens, where these were asked for, and the last one has
the whole.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from openai import BaseModel
from openai.types import Completion, CompletionChoice, CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage, ChatCompletionTokenLogprob
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_token_logprob import TopLogprob
from openai.types.completion_choice import Logprobs

from persona_lens.model.continuous import Finished, Token
from persona_lens.transcripts import Group

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.server.jobs import Done, Job, Wish

Shape = TypeVar("Shape", bound=BaseModel)

NEVER = -9999.0
"""How OpenAI writes the logarithm of a probability of 0."""


@dataclass(frozen=True, eq=False)
class Shared:
    """What all that is said in answer to one request has in common.

    Attributes:
        model: Wrote the replies.
        name: Of it, here.
        job: The request.
        fingerprint: Of the model.
        reading: How replies are read.
        token_ids: Whether ids are to be told.
        created: When, in seconds.
    """

    model: PersonaModel
    name: str
    job: Job
    fingerprint: str
    reading: dict[str, Any]
    token_ids: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def head(self) -> dict[str, Any]:
        """Fields of every object."""
        return {
            "id": self.job.id,
            "created": self.created,
            "model": self.name,
            "system_fingerprint": self.fingerprint,
        }

    def persona(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The whole of what persona lens says."""
        return {
            "reading": self.reading,
            "plan": self.job.chosen.card(),
            "choices": sorted(choices, key=lambda each: each["index"]),
        }

    def usage(self, finished: Sequence[Finished]) -> CompletionUsage:
        """Prompts count once each, however many replies they have."""
        prompts = {id(wish.request.prompt): len(wish.request.prompt) for wish in self.job.wishes}
        prompt, reply = sum(prompts.values()), sum(len(each.reply.ids) for each in finished)
        return CompletionUsage(
            prompt_tokens=prompt, completion_tokens=reply, total_tokens=prompt + reply
        )

    def wish(self, choice: int) -> Wish:
        """What was wanted."""
        return self.job.wishes[choice]

    def ids(self, wish: Wish, finished: Finished) -> dict[str, Any]:
        """Token ids, as vLLM tells them."""
        if not self.token_ids:
            return {}
        prompt = [int(token) for token in wish.request.prompt.ids]
        return {
            "token_ids": [int(token) for token in finished.reply.ids],
            "prompt_token_ids": prompt,
        }

    def word(self, token: int) -> str:
        """A token as text."""
        return self.model.encoder.reader.decode([token])

    def scores(self, tokens: Sequence[Token]) -> list[ChatCompletionTokenLogprob]:
        """Log-probabilities of tokens in the shape of a chat."""

        def told(token: int, score: float | None) -> dict[str, Any]:
            word = self.word(token)
            # Of a part of a character nobody can say the bytes: other tokens may read alike.
            octets = None if "\ufffd" in word else list(word.encode())
            return {"token": word, "logprob": logarithm(score), "bytes": octets}

        return [
            ChatCompletionTokenLogprob(
                **told(token.id, token.log_prob),
                top_logprobs=[TopLogprob(**told(*each)) for each in token.top],
            )
            for token in tokens
        ]

    def text_scores(self, tokens: Sequence[Token], start: int = 0) -> Logprobs:
        """The same in the shape of a plain completion; `start` is where the first token stands in the text."""
        words = [self.word(token.id) for token in tokens]
        offsets = [start + sum(map(len, words[:place])) for place in range(len(words))]
        return Logprobs(
            tokens=words,
            token_logprobs=[logarithm(token.log_prob) for token in tokens],
            top_logprobs=[
                {self.word(each): logarithm(score) for each, score in reversed(token.top)}
                for token in tokens
            ],
            text_offset=offsets,
        )


def made(shape: type[Shape], **fields: Any) -> Shape:
    """One of the package's types, with fields that it does not know, as its clients keep them."""
    return shape(**fields)


def logarithm(score: float | None) -> float:
    """One that JSON can hold."""
    return score if score is not None and math.isfinite(score) else NEVER


def thought_of(shared: Shared, wish: Wish, finished: Finished) -> str:
    """The thought of a reply as text; empty where there is none."""
    if finished.reply.thought == "none":
        return ""
    whole = shared.model.encoder.with_reply(wish.request.prompt, finished.reply.ids)
    ids = whole.ids[whole.mask(Group.THINKING, turn=-1)]
    return shared.model.encoder.reader.decode(ids.tolist()).strip()


def chat_completion(
    shared: Shared, done: Sequence[Done], tokens: Sequence[Sequence[Token]]
) -> dict[str, Any]:
    """All replies to a chat.

    Args:
        shared: As above.
        done: In the order of their choices.
        tokens: Of each; empty where no log-probabilities were asked for.
    """
    choices = []
    for each, drawn in zip(done, tokens, strict=True):
        wish = shared.wish(each.choice)
        thought = thought_of(shared, wish, each.finished)
        message = made(
            ChatCompletionMessage,
            role="assistant",
            content=each.finished.reply.answer,
            refusal=None,
            **({"reasoning_content": thought} if thought else {}),
        )
        wanted = wish.request.top_log_probs is not None
        choices.append(
            made(
                Choice,
                index=each.choice,
                message=message,
                finish_reason=finish_of(each.finished),
                logprobs=ChoiceLogprobs(content=shared.scores(drawn), refusal=None)
                if wanted
                else None,
                **shared.ids(wish, each.finished),
            )
        )
    whole = made(
        ChatCompletion,
        **shared.head(),
        object="chat.completion",
        choices=choices,
        usage=shared.usage([each.finished for each in done]),
        persona=shared.persona([each.persona for each in done]),
    )
    return whole.model_dump(mode="json", exclude_unset=True)


def completion(
    shared: Shared,
    done: Sequence[Done],
    tokens: Sequence[Sequence[Token]],
    *,
    echo: bool = False,
) -> dict[str, Any]:
    """All replies to plain prompts; arguments as above, and whether a prompt stands before its reply."""
    choices = []
    for each, drawn in zip(done, tokens, strict=True):
        wish = shared.wish(each.choice)
        wanted = wish.request.top_log_probs is not None
        choices.append(
            made(
                CompletionChoice,
                index=each.choice,
                text=(wish.request.prompt.text if echo else "") + each.finished.reply.text,
                finish_reason=finish_of(each.finished),
                logprobs=shared.text_scores(drawn) if wanted else None,
                **shared.ids(wish, each.finished),
            )
        )
    whole = made(
        Completion,
        **shared.head(),
        object="text_completion",
        choices=choices,
        usage=shared.usage([each.finished for each in done]),
        persona=shared.persona([each.persona for each in done]),
    )
    return whole.model_dump(mode="json", exclude_unset=True)


def finish_of(finished: Finished) -> Any:
    """Why a reply ends, in OpenAI's words."""
    return "length" if finished.reply.finish == "length" else "stop"
