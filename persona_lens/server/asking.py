"""Bodies of requests as replies that are wanted: prompts, sampling, the plan, and whether it all fits.

    job = Asker(served).chat(body)

What the caller left open is as OpenAI has it (temperature 1, top-p 1, one reply), but that without a system
message the model gets none, not its template's own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from persona_lens.errors import TranscriptError, first_line
from persona_lens.model.continuous import Request
from persona_lens.rollouts.sampling import Sampling
from persona_lens.server.bodies import ChatBody, CompletionBody, PersonaBody
from persona_lens.server.jobs import Channel, Job, Wish
from persona_lens.server.refusals import Refusal, too_long, unknown_model
from persona_lens.transcripts.plain import unmarked

if TYPE_CHECKING:
    from persona_lens.server.served import Served
    from persona_lens.transcripts import Transcript


class Asker:
    """Turns bodies into jobs.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        self._model = served.model

    def chat(self, body: ChatBody) -> Job:
        """The job of a chat.

        Raises:
            Refusal: It cannot be answered.
        """
        self._check(body, len(body.messages), "messages")
        messages = [message.spoken() for message in body.messages]
        if messages[-1]["role"] != "user":
            raise Refusal(
                "The last message has to be the user's: replies are not continued here.",
                param="messages",
                code="invalid_value",
            )
        prompt = self.prompt(messages)
        wishes = [
            Wish(choice, self._request(body, prompt, choice, "messages"), messages)
            for choice in range(body.n or 1)
        ]
        return self._job(body, wishes, "chatcmpl")

    def completion(self, body: CompletionBody) -> Job:
        """The job of plain prompts.

        Raises:
            Refusal: They cannot be answered.
        """
        prompts = body.prompts()
        self._check(body, len(prompts), "prompt")
        wishes = []
        for prompt in prompts:
            transcript = self._plain(prompt)
            for _ in range(body.n or 1):
                choice = len(wishes)
                wishes.append(Wish(choice, self._request(body, transcript, choice, "prompt")))
        job = self._job(body, wishes, "cmpl")
        job.chosen.refuse_plain_text()
        return job

    def _check(self, body: ChatBody | CompletionBody, count: int, param: str) -> None:
        limits = self._served.limits
        if body.model != self._served.name:
            raise unknown_model(body.model, self._served.name)
        if count > limits.messages:
            raise Refusal(
                f"Too many {param}: {count}, and this server takes {limits.messages}.",
                param=param,
                code="invalid_value",
            )
        most = min(limits.choices, limits.rows + limits.waiting)
        replies = (body.n or 1) * (count if isinstance(body, CompletionBody) else 1)
        if replies > most:
            raise Refusal(
                f"Too many replies: {replies} are asked for, and one request may have {most}.",
                param="n",
                code="invalid_value",
            )
        longest = body.longest
        if longest is not None and longest > limits.reply_tokens:
            named = "max_tokens" if body.max_tokens else "max_completion_tokens"
            raise Refusal(
                f"Invalid {named!r}: {longest}, and this server writes replies of {limits.reply_tokens} tokens "
                "at most.",
                param=named,
                code="invalid_value",
            )

    def prompt(self, messages: Sequence[dict[str, str]]) -> Transcript:
        """Messages that wait for a reply.

        Raises:
            Refusal: The chat template cannot take them.
        """
        encoder, asked = self._model.encoder, list(messages)
        if asked[0]["role"] == "user":  # no system message means none, not the template's own
            asked = [*encoder.messages(asked[0]["content"]), *asked[1:]]
        try:
            return encoder.prompt(asked)
        except TranscriptError as error:
            raise Refusal(
                f"The model's chat template cannot take these messages: {first_line(error)}.",
                param="messages",
                code="invalid_value",
            ) from None

    def _plain(self, prompt: str | list[int]) -> Transcript:
        reader = self._model.encoder.reader
        if isinstance(prompt, list):
            vocabulary = self._model.held.backend.embedding.shape[0]
            if max(prompt) >= vocabulary:
                raise Refusal(
                    f"Invalid 'prompt': token {max(prompt)} is none of the model's {vocabulary}.",
                    param="prompt",
                    code="invalid_value",
                )
            return unmarked(prompt, text=reader.decode(prompt))
        ids = self._model.encoder.plain_ids(prompt)
        bos = self._model.tokenizer.bos_token_id
        if isinstance(bos, int) and ids[:1] != [bos] and (reader.adds_bos() or not ids):
            ids = [bos, *ids]
        if not ids:
            raise Refusal("Invalid 'prompt': it is empty.", param="prompt", code="invalid_value")
        return unmarked(np.array(ids), text=prompt)

    def _request(
        self, body: ChatBody | CompletionBody, prompt: Transcript, choice: int, param: str
    ) -> Request:
        limits, context = self._served.limits, self._model.context
        longest = body.longest
        room = None if context is None else context - len(prompt)
        if room is not None and (room < 1 or (longest or 1) > room):
            raise too_long(context or 0, len(prompt), longest or 1, param)
        length = longest or min(limits.default_tokens, limits.reply_tokens, room or 2**20)
        try:
            sampling = Sampling(
                temperature=1.0 if body.temperature is None else body.temperature,
                top_p=1.0 if body.top_p is None else body.top_p,
                max_new_tokens=length,
                seed=_seed(body.seed, choice),
            )
        except ValueError:
            raise Refusal(
                "Invalid 'temperature': it is 0 for greedy decoding, or at least 0.0001.",
                param="temperature",
                code="invalid_value",
            ) from None
        return Request(
            prompt,
            sampling,
            stop=body.stops,
            top_log_probs=body.likeliest,
            frequency_penalty=body.frequency_penalty or 0.0,
            presence_penalty=body.presence_penalty or 0.0,
        )

    def _job(self, body: ChatBody | CompletionBody, wishes: list[Wish], kind: str) -> Job:
        persona = body.persona or PersonaBody()
        chosen = self._served.plans.choose(persona)
        return Job(
            [replace(wish, request=replace(wish.request, plan=chosen.plan)) for wish in wishes],
            chosen,
            persona,
            streamed=bool(body.stream),
            kind=kind,
            channel=Channel(self._served.limits.buffered),
        )


def _seed(given: int | None, choice: int) -> int:
    """The first reply has the seed that was given, the others seeds that follow from it; without one, any."""
    if given is None:
        return secrets.randbits(63)
    if choice == 0:
        return given % 2**63
    entropy = np.random.SeedSequence([given % 2**63, choice])
    return int(entropy.generate_state(1, np.uint64)[0]) % 2**63
