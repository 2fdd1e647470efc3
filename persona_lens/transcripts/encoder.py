"""``TranscriptEncoder``: one tokenizer and one chat template, made safe to use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.alignment import transcribe
from persona_lens.transcripts.groups import Group, Transcript
from persona_lens.transcripts.layout import Layout, lay_out
from persona_lens.transcripts.marks import Notation
from persona_lens.transcripts.probing import probe
from persona_lens.transcripts.replies import SampledReply
from persona_lens.transcripts.template import ChatTemplate
from persona_lens.transcripts.thoughts import Said, heard
from persona_lens.transcripts.tokens import TokenReader
from persona_lens.transcripts.validation import validate

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TranscriptEncoder:
    """Turns messages into a ``Transcript`` of token ids and proved token groups.

    Args:
        tokenizer: A fast Hugging Face tokenizer. It is read, never changed.
        chat_template: Jinja source, or the name of one of the tokenizer's templates. By default
            the tokenizer's own, or ``PLAIN_TEMPLATE`` where it has none.
        template_kwargs: Variables for the template. They override the defaults
            ``enable_thinking=False`` (Qwen3) and ``date_string="26 Jul 2024"`` (Llama 3). A
            template that asks ``strftime_now`` is always told noon of that day.

    Attributes:
        template: The template source in use.
        template_hash: 16 hex digits over template, variables and special tokens.
        template_kwargs: The variables that were given.
        has_template: False where neither the tokenizer nor the caller has one and plain turns stand in.
        supports_system: False where the template refuses or drops system messages; their text
            then goes before the first user message.
        injects_system: True where the template writes a system text if none is given.
        injected_text: What it writes even for ``messages(prompt, system="")``, for example
            Llama 3's date lines. Such text cannot be avoided, only reported.
        reader: Reads the tokenizer without changing it.
        special_ids: Ids of all special tokens.
        notation: The marks of thoughts that are in force (``marks``).

    Raises:
        TranscriptError: The tokenizer has no character offsets, the template is unusable, or it does not know
            one of the variables.

    Source: prompts and the prefixed user turn follow the released code of "The Assistant Axis".
    The example is in the docstring of ``persona_lens.transcripts``.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        chat_template: str | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.reader = TokenReader(tokenizer)
        self._template = ChatTemplate(self.reader, chat_template, template_kwargs)
        self.template = self._template.source
        self.template_kwargs = self._template.variables
        self.template_hash = self._template.hash
        self.has_template = not self._template.stands_in
        self.special_ids = self.reader.special_ids
        self.notation = Notation.of(
            self.reader.added_ids,
            self.template,
            special=self.reader.special_texts,
            render=lambda messages: self._template.render(messages, prompt=False),
        )
        self._habits = probe(self._template.render, self.reader.special_texts)
        self.supports_system = self._habits.supports_system
        self.injects_system = self._habits.injects_system
        self.injected_text = self._habits.injected_text

    def messages(self, prompt: str, system: str = "") -> list[dict[str, str]]:
        """The messages for one question, with a system text or with truly none.

        An empty ``system`` becomes no system message or an empty one, whichever leaves less text
        before the user's: SmolLM2 and Qwen2.5 write a default prompt if there is no message.

        Examples:
            >>> from types import SimpleNamespace
            >>> encoder = SimpleNamespace(_habits=SimpleNamespace(empty_message=True))
            >>> TranscriptEncoder.messages(encoder, "Hi")
            [{'role': 'system', 'content': ''}, {'role': 'user', 'content': 'Hi'}]
        """
        user = {"role": "user", "content": prompt}
        if system or self._habits.empty_message:
            return [{"role": "system", "content": system}, user]
        return [user]

    def fold_system(self, messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """The messages as the template takes them, for use outside this package.

        Where the template has no system role, the system text is put before the first user
        message, a blank line between; elsewhere the messages come back unchanged. ``prompt`` and
        ``encode`` do this by themselves, and know which part is which only if they do it.

        Raises:
            TranscriptError: As for ``encode``.

        Example, for Gemma 2::

            encoder.fold_system(encoder.messages("Hi", system="Be brief."))
            # [{'role': 'user', 'content': 'Be brief.\\n\\nHi'}]
        """
        return self._lay_out(messages).fill()

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> Transcript:
        """Encode a conversation that ends with the user, with the generation prompt behind it.

        Args:
            messages: Mappings with "role" and "content"; assistants may have "reasoning_content".

        Returns:
            A transcript that is ready to generate from.

        Raises:
            TranscriptError: The messages are malformed or do not end with the user, the template
                refuses them, or a group cannot be proved.

        Example::

            prompt = encoder.prompt(encoder.messages("Who are you?"))
            model.generate(torch.from_numpy(prompt.ids)[None])
        """
        layout = self._lay_out(messages)
        if messages[-1]["role"] != "user":
            raise TranscriptError(
                "a prompt must end with the user",
                expected="a last message with role 'user'",
                given=f"role {messages[-1]['role']!r}",
                remedy="use encode() for a finished conversation",
            )
        return transcribe(layout, self._template, self.reader, generating=True)

    def encode(self, messages: Sequence[Mapping[str, str]]) -> Transcript:
        """Encode a whole conversation as it stands, without a generation prompt.

        Args:
            messages: Mappings with "role" and "content"; assistants may have "reasoning_content".

        Returns:
            The transcript, for reading activations or for display.

        Raises:
            TranscriptError: The messages are malformed, the template refuses them, or a group
                cannot be proved.

        Example::

            said = encoder.encode([{"role": "user", "content": "Hi"},
                                   {"role": "assistant", "content": "Hello!"}])
            residuals[:, said.mask("assistant")].mean(1)
        """
        layout = self._lay_out(messages)
        return transcribe(layout, self._template, self.reader, generating=False)

    def finished_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Ids of a finished conversation as the template renders it, without groups, and BOS as often as it says.

        Raises:
            TranscriptError: The messages are malformed, or the template refuses them.
        """
        return self.plain_ids(self._template.render(self.fold_system(messages), prompt=False))

    def waiting_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Ids of a prompt, as in ``prompt(messages)``, without groups, and without their proof.

        Raises:
            TranscriptError: The messages are malformed, or the template refuses them.
        """
        ids = self.plain_ids(self._template.render(self.fold_system(messages), prompt=True))
        bos = self.tokenizer.bos_token_id
        while bos is not None and ids[:2] == [bos, bos]:
            ids = ids[1:]
        return ids

    def plain_ids(self, text: str) -> list[int]:
        """Ids of a text by itself, with nothing added."""
        return self.reader.encode(text)[0].tolist()

    def with_reply(
        self,
        prompt: Transcript,
        reply_ids: Sequence[int] | Int[np.ndarray, " n_reply"],
        *,
        end_ids: Iterable[int] | None = None,
    ) -> Transcript:
        """Append sampled ids as the next assistant turn, exactly as they were sampled.

        Args:
            prompt: A transcript from ``prompt``.
            reply_ids: The sampled ids, end and pad ids included or not.
            end_ids: Ids that count as special at the end of the reply, beside ``special_ids``.

        Returns:
            Prompt and reply. Trailing end ids are special, marks of thoughts special or template,
            the text inside them thinking, all else assistant (special ids amid the reply too).

        Raises:
            TranscriptError: ``prompt`` does not end in a generation prompt, or the ids are not one
                row of non-negative integers.

        Example::

            whole = encoder.with_reply(prompt, generated[0, len(prompt):].tolist())
        """
        if not prompt.generating:
            raise TranscriptError(
                "this transcript is not waiting for a reply",
                expected="a transcript from prompt()",
                given="a finished conversation",
            )
        reply = np.asarray(reply_ids if len(reply_ids) else np.zeros(0, dtype=np.int64))
        if reply.ndim != 1 or reply.dtype.kind not in "iu" or (reply < 0).any():
            raise TranscriptError(
                "reply ids are not token ids",
                expected="one row of non-negative integers",
                given=f"shape {reply.shape}, type {reply.dtype}",
                remedy="pass the new ids of one sample, without the prompt",
            )
        ids = reply.astype(np.int64).tolist()
        spoken, sampled = self._sampled(prompt, ids, end_ids or ())
        groups = [
            Group.SPECIAL if group is Group.TEMPLATE and token in self.special_ids else group
            for group, token in zip(sampled.groups()[:spoken], ids, strict=False)
        ]
        groups += [Group.SPECIAL] * (len(ids) - spoken)
        codes = np.array([group.code for group in groups], dtype=np.int8)
        said = [group in (Group.ASSISTANT, Group.THINKING) for group in groups]
        return Transcript(
            ids=np.concatenate([prompt.ids, reply.astype(np.int64)]),
            groups=np.concatenate([prompt.groups, codes]),
            turns=np.concatenate([prompt.turns, np.where(said, prompt.assistant_turns, -1)]),
            text=prompt.text + self.reader.continuation(prompt.ids.tolist(), ids),
            user_turns=prompt.user_turns,
            assistant_turns=prompt.assistant_turns + 1,
            reply_start=len(prompt),
            decode=self.reader.decode,
        )

    def said(
        self, prompt: Transcript, reply_ids: Sequence[int] | Int[np.ndarray, " n_reply"]
    ) -> Said:
        """The answer in a sampled reply, and whether there is a thought beside it.

        Args:
            prompt: A transcript from ``prompt``.
            reply_ids: As for ``with_reply``.

        Example::

            encoder.said(prompt, ids)       # Said(answer='A ghost.', thought='whole')
        """
        ids = np.asarray(reply_ids, dtype=np.int64).tolist()
        spoken, reply = self._sampled(prompt, ids, ())
        if reply.all_answer:
            return Said(self.text_of(ids[:spoken]))
        said = reply.said()
        return Said(self._without_special(said.answer), said.thought)

    def said_text(self, prompt: Transcript, text: str) -> Said:
        """The same of a reply of which only the text is known."""
        tail = self._tail(prompt)
        said = heard(text, self.notation, opened=self.notation.opened_by(tail), before=tail)
        whole = said.answer == text
        return said if whole else Said(self._without_special(said.answer), said.thought)

    def text_of(self, reply_ids: Sequence[int] | Int[np.ndarray, " n_reply"]) -> str:
        """A reply as text, without special tokens other than those that mark thoughts."""
        ids = np.asarray(reply_ids, dtype=np.int64).tolist()
        kept = self.notation.token_ids & self.special_ids
        if kept.isdisjoint(ids):
            return str(self.tokenizer.decode(ids, skip_special_tokens=True))
        shown = [token for token in ids if token in kept or token not in self.special_ids]
        return str(self.tokenizer.decode(shown, skip_special_tokens=False))

    def opens_thought(self, prompt: Transcript) -> bool:
        """Whether a reply to this prompt begins within a thought."""
        return self.said_text(prompt, "Yes").thought == "cut"

    def lead_ids(self, prompt: Transcript) -> list[int]:
        """Ids that stand between a prompt and an answer without a thought; for most templates none.

        Where the prompt has opened a thought they close it, and of replies in channels they are the header.
        """
        lead = self.notation.lead(self._tail(prompt))
        return self.reader.encode(lead)[0].tolist() if lead else []

    @cached_property
    def end_of_turn_id(self) -> int | None:
        """The special token the template writes behind an answer; None if it writes none, or prints no answers."""
        try:
            said = self.encode(
                [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello"}]
            )
        except TranscriptError:
            return None
        after = int(said.mask("assistant").nonzero()[0][-1]) + 1
        behind = said.ids[after:][said.mask("special")[after:]]
        return int(behind[0]) if len(behind) else None

    def __repr__(self) -> str:
        return (
            f"TranscriptEncoder({type(self.tokenizer).__name__}, template {self.template_hash}, "
            f"supports_system={self.supports_system}, injects_system={self.injects_system})"
        )

    def _sampled(
        self, prompt: Transcript, ids: Sequence[int], end_ids: Iterable[int]
    ) -> tuple[int, SampledReply]:
        """How many ids come before those that end the turn, and the reply cut into its parts."""
        ends = self.special_ids.union(end_ids)
        spoken = len(ids)
        while spoken and ids[spoken - 1] in ends:
            spoken -= 1
        marked = spoken  # a mark may be special as well, and end a thought or a message
        while marked < len(ids) and ids[marked] in self.notation.token_ids:
            marked += 1
        tail = self._tail(prompt)
        reply = SampledReply(
            ids[:marked],
            self.reader.decode,
            self.notation,
            opened=self.notation.opened_by(tail),
            before=tail,
        )
        return spoken, reply

    def _tail(self, prompt: Transcript) -> str:
        """The text of a prompt behind its last message."""
        structure = (Group.TEMPLATE.code, Group.SPECIAL.code)
        messages = np.flatnonzero(~np.isin(prompt.groups, structure))
        start = int(messages[-1]) + 1 if len(messages) else 0
        return self.reader.decode(prompt.ids[start:].tolist())

    def _without_special(self, text: str) -> str:
        for token in self.reader.special_texts:
            text = text.replace(token, "")
        return text

    def _lay_out(self, messages: Sequence[Mapping[str, str]]) -> Layout:
        validate(messages)
        return lay_out(
            messages,
            fold_system=not self.supports_system,
            notation=self.notation,
            template=self.template,
        )
