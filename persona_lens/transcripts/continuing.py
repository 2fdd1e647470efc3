"""The tokens of a reply of which only the text is known, as they stand behind the prompt it was written to.

A server hands out text. To be read as it was written, it needs the ids that the model has most likely sampled
behind that very prompt: not those of a finished conversation, which many templates render otherwise (Mistral's
move the system text, Qwen3's write a thought block, DeepSeek's drop the thought), and not those of the text alone,
to which some tokenizers add a space or a BOS. Whatever is found is proved by decoding it back.

Examples:
    >>> from persona_lens import PersonaModel
    >>> encoder = PersonaModel.load("smollm2-135m-instruct").encoder
    >>> prompt = encoder.prompt(encoder.messages("Who are you?"))
    >>> ids = Continuation(encoder).ids(prompt, "A ghost.<|im_end|>")
    >>> encoder.tokenizer.decode(ids)
    'A ghost.'
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.alignment import canonical
from persona_lens.transcripts.groups import Group, Transcript
from persona_lens.transcripts.validation import short

if TYPE_CHECKING:
    from persona_lens.transcripts.encoder import TranscriptEncoder

Encode = Callable[[str], list[int]]

_PROBE = "Yes. I am here."
_HELLO, _THOUGHT, _ANSWER = "Hello", "Hm", "Yes"
# What a cut in the middle of a character leaves; its bytes are not those that were sampled.
_BROKEN_CHARACTER = "\ufffd"
_ANCHORS = ("\n", ".", "a")


@dataclass(frozen=True)
class ReplyFrame:
    """What a template writes in an assistant's turn, beyond its generation prompt.

    Attributes:
        lead: Before an answer: nothing for most, a space (Mistral), the header of a channel (gpt-oss).
        opens, closes: Around a thought that stands before an answer; None where the template has no place for it.
    """

    lead: str = ""
    opens: str | None = None
    closes: str = ""

    @property
    def holds_thoughts(self) -> bool:
        """Whether a thought can be put before an answer as the template would."""
        return self.opens is not None


class Continuation:
    """Finds the ids of replies that are known by their text.

    Args:
        encoder: Of the model that reads them.
        end_ids: Ids that end a reply of that model, beside those its template and tokenizer show.
    """

    def __init__(self, encoder: TranscriptEncoder, *, end_ids: Iterable[int] = ()) -> None:
        self.encoder = encoder
        self.end_ids = turn_ends(encoder).union(end_ids)
        self._reader = encoder.reader

    @cached_property
    def frame(self) -> ReplyFrame:
        """What the template writes in an assistant's turn."""
        encoder, asked = self.encoder, self.encoder.messages(_HELLO)
        try:
            waiting = encoder.prompt(asked)
        except TranscriptError:
            return ReplyFrame()
        prompt = waiting.text
        lead = self._written(asked, prompt, _ANSWER) or ""
        thought = self._written(asked, prompt, _ANSWER, thinking=_THOUGHT) or ""
        opens, found, closes = thought.partition(_THOUGHT)
        if found:
            return ReplyFrame(lead, opens, closes)
        if encoder.opens_thought(waiting):
            opened = encoder.notation.opened_by(prompt)
            marks = next((pair for pair in encoder.notation.pairs if pair.opens == opened), None)
            return (
                ReplyFrame(lead) if marks is None else ReplyFrame("", "", f"\n{marks.closes}\n\n")
            )
        if encoder.notation.channels and "final" in lead:
            return ReplyFrame(
                lead, lead.replace("final", "analysis"), f"<|end|>{_header(prompt)}{lead}"
            )
        return ReplyFrame(lead)

    def ids(
        self, prompt: Transcript, text: str, *, thinking: str = ""
    ) -> Int[np.ndarray, " n_reply"]:
        """The ids of a reply behind a prompt, for `encoder.with_reply`.

        Args:
            prompt: From `encoder.prompt`.
            text: What the server gave. Where a token of it ends the turn, the reply ends there, as it does when it
                is sampled here; a character that was cut is left out.
            thinking: What the server gave as the thought before it. Left out where the template has no place
                for it (`frame.holds_thoughts`).

        Returns:
            Ids that decode to the text behind this prompt, marks of the thought and of the answer included where
            the template writes them.

        Raises:
            TranscriptError: No ids of this tokenizer stand for the text.
        """
        said = text.rstrip(_BROKEN_CHARACTER)
        if thinking.strip() and self.frame.opens is not None:
            # A thought that is all there is was cut: nothing shows that it came to its end.
            opened = _joined(self.frame.opens, thinking)
            whole = _joined(_closed(opened, self.frame.closes), said) if said else opened
            ids = self._ids(prompt, whole)
            answer = self._answer(prompt, ids)
            if bool(answer) == bool(said) and any(
                text.startswith(answer) for text in self._acceptable(said)
            ):
                return ids
        return self._ids(prompt, self.led(said), spaced=said[:1].isspace())

    def check(self, prompt: Transcript) -> None:
        """See that a reply to this prompt could be read.

        Raises:
            TranscriptError: It could not, and why.
        """
        ids = self.ids(prompt, _PROBE)
        said = self.encoder.with_reply(prompt, ids, end_ids=self.end_ids)
        behind = said.groups[len(prompt) :]
        kept = np.isin(behind, [Group.ASSISTANT.code, Group.THINKING.code])
        decoded = self._reader.decode(said.ids[len(prompt) :][kept].tolist())
        if canonical(decoded) not in self._acceptable(_PROBE):
            raise TranscriptError(
                "a reply to this prompt cannot be told from the template around it",
                expected=short(_PROBE),
                given=short(decoded),
                remedy="pass another chat_template, or the tokenizer that belongs to the model",
            )

    # Text before it is tokenised ------------------------------------------------------------------

    def _written(
        self, asked: list[dict[str, str]], prompt: str, answer: str, *, thinking: str = ""
    ) -> str | None:
        """What a finished conversation has between the generation prompt and the answer."""
        said = {"role": "assistant", "content": answer}
        try:
            whole = self.encoder.encode(
                [*asked, said | ({"reasoning_content": thinking} if thinking else {})]
            )
        except TranscriptError:
            return None
        if not whole.text.startswith(prompt):
            return None
        return whole.text[len(prompt) :].partition(answer)[0]

    def led(self, text: str) -> str:
        """A reply with what the template writes before it and its server has taken off."""
        lead = self.frame.lead
        if not text or text.lstrip().startswith(tuple(self._reader.special_texts)):
            return text
        header = any(mark in lead for mark in self._reader.special_texts)
        thought = self.encoder.notation.opener.search(lead) is not None
        return _joined(lead, text) if not lead.strip() or (header and not thought) else text

    # Tokens -----------------------------------------------------------------------------------------

    def _ids(self, prompt: Transcript, text: str, *, spaced: bool = True) -> Int[np.ndarray, " n"]:
        if not text:
            return np.empty(0, dtype=np.int64)
        found = self._found(prompt, text, self._encoded, spaced=spaced)
        ids = self._without_tail(found[: self._end(prompt, found)])
        special = self.encoder.special_ids.intersection(ids)
        if special and special <= self.end_ids:
            # An end token that ended nothing was spelled out in other tokens.
            shown = text if ids == found else self._reader.continuation(prompt.ids.tolist(), ids)
            ids = self._found(prompt, shown, self._reader.encode_as_text, spaced=spaced)
        return np.array(ids, dtype=np.int64)

    def _found(self, prompt: Transcript, text: str, encode: Encode, *, spaced: bool) -> list[int]:
        """The first ids that decode to the text behind the prompt; else those that do but for white space.

        Args:
            encode: Text to ids.
            spaced: White space at the beginning of the text is as it was written. Elsewhere it may have lost the
                space that this tokenizer puts there.
        """
        near: list[int] | None = None
        acceptable = self._acceptable(text)
        for place, ids in enumerate(self._candidates(prompt, text, encode)):
            decoded = self._reader.continuation(prompt.ids.tolist(), ids)
            if decoded == text or (not spaced and not place and decoded == f" {text}"):
                return ids
            if near is None and canonical(decoded) in acceptable:
                near = ids
        if near is None:
            raise TranscriptError(
                "no tokens stand for the text of this reply",
                expected="text that the tokenizer gives back as it is",
                given=short(text),
                remedy="use the tokenizer that belongs to the model",
            )
        return near

    def _candidates(self, prompt: Transcript, text: str, encode: Encode) -> Iterator[list[int]]:
        """Ways to tokenise a text that follows another, the likeliest first."""
        behind = prompt.ids.tolist()
        whole = encode(prompt.text + text)
        if whole[: len(behind)] == behind:
            yield whole[len(behind) :]
        yield encode(text)
        for anchor in (*_ANCHORS, *sorted(self._reader.special_texts)[:2]):
            before, both = encode(anchor), encode(anchor + text)
            if both[: len(before)] == before:
                yield both[len(before) :]

    def _encoded(self, text: str) -> list[int]:
        return self._reader.encode(text)[0].tolist()

    def _acceptable(self, text: str) -> tuple[str, str]:
        """What a text may decode to: itself, or as the tokenizer's normaliser leaves it."""
        return canonical(text), canonical(self._reader.normalize(text))

    def _end(self, prompt: Transcript, ids: list[int]) -> int:
        """How many of the ids belong to the turn.

        It ends at an end token with nothing, or another special token, behind it. Text behind one says that the
        reply only speaks of the token.
        """
        for place, token in enumerate(ids):
            if token in self.end_ids and self._nothing_said(ids[place + 1 :]):
                said = self.encoder.with_reply(prompt, ids[:place]).groups[len(prompt) :]
                thinks = bool((said == Group.THINKING.code).any())
                if not thinks or bool((said == Group.ASSISTANT.code).any()):
                    return place
        return len(ids)

    def _without_tail(self, ids: list[int]) -> list[int]:
        """The ids without the special tokens at their end, and the white space behind those.

        Marks of thoughts stay: they tell a thought that came to its end.
        """
        ends = self.encoder.special_ids - self.encoder.notation.token_ids
        kept = len(ids)
        for place in reversed(range(len(ids))):
            if ids[place] in ends:
                kept = place
            elif self._reader.decode([ids[place]]).strip():
                break
        return ids[:kept]

    def _nothing_said(self, ids: list[int]) -> bool:
        """Whether a special token comes before any word, or no word at all."""
        for token in ids:
            if token in self.encoder.special_ids or token in self.end_ids:
                return True
            if self._reader.decode([token]).strip():
                return False
        return True

    def _answer(self, prompt: Transcript, ids: Int[np.ndarray, " n"]) -> str:
        """What of a reply counts as its answer, without white space."""
        said = self.encoder.with_reply(prompt, ids, end_ids=self.end_ids)
        return canonical(
            self._reader.decode(said.ids[said.mask(Group.ASSISTANT, turn=-1)].tolist())
        )


def answered(encoder: TranscriptEncoder, messages: Sequence[Mapping[str, str]]) -> Transcript:
    """A conversation that ends with an answer, as it stands or as the answer was written behind its prompt.

    Some templates refuse the first: those that show the system text only while the last turn is the user's
    (Mistral), and those that print no answers. The second shows them all the same.

    Raises:
        TranscriptError: The template refuses the prompt as well, or nothing stands for the answer.
    """
    try:
        return encoder.encode(messages)
    except TranscriptError:
        prompt = encoder.prompt(messages[:-1])
        continuation = Continuation(encoder)
        ids = continuation.ids(prompt, messages[-1]["content"])
        return encoder.with_reply(prompt, ids, end_ids=continuation.end_ids)


def turn_ends(encoder: TranscriptEncoder) -> frozenset[int]:
    """Ids that end an assistant's turn: the tokenizer's, and what the template writes behind an answer."""
    ends = (encoder.tokenizer.eos_token_id, encoder.end_of_turn_id)
    return frozenset(end for end in ends if isinstance(end, int))


def without_turn_end(text: str, ends: Iterable[str]) -> str:
    """A reply without the end-of-turn tokens that a server has left in its text.

    Args:
        text: As it came.
        ends: The texts of `turn_ends`; nothing else is taken off, and only at the end.

    Examples:
        >>> without_turn_end("I keep watch.<|im_end|>\\n", ["<|im_end|>", "</s>"])
        'I keep watch.'
        >>> without_turn_end("It ends in </s>, always.", ["<|im_end|>", "</s>"])
        'It ends in </s>, always.'
    """
    kept, ends = text, tuple(filter(None, ends))
    while (found := next((end for end in ends if kept.rstrip().endswith(end)), None)) is not None:
        kept = kept.rstrip().removesuffix(found)
    return kept


def _joined(written: str, said: str) -> str:
    """Both, with the white space that was said where there are two."""
    return (written.rstrip() if said[:1].isspace() else written) + said


def _closed(said: str, written: str) -> str:
    return said + (written.lstrip() if said[-1:].isspace() else written)


def _header(prompt: str) -> str:
    """How a prompt opens the assistant's turn."""
    return prompt[prompt.rfind("<|start|>") :]
