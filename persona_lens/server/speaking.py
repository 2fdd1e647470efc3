"""The text of a reply while it comes, as answer and thought apart: what a chunk of a stream may say of each.

    speech = Speech(encoder, prompt)
    speech.hear("<think>Who asks?</think>A")        # Heard(answer="A", thought="Who asks?")
    speech.hear(" ghost.")                          # Heard(answer=" ghost.", thought="")

For models that do not think, the answer is what comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from persona_lens.transcripts import Transcript, TranscriptEncoder

_SETTLED = 200
"""Characters of an answer after which no thought begins."""


class Heard(NamedTuple):
    """What a piece of a reply adds."""

    answer: str = ""
    thought: str = ""


class Speech:
    """One reply.

    Args:
        encoder: Knows the marks of thoughts.
        prompt: May open a thought.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> encoder = PersonaModel.load("smollm2-135m-instruct").encoder
        >>> speech = Speech(encoder, encoder.prompt(encoder.messages("Who are you?")))
        >>> [speech.hear(text) for text in ("<thi", "nk>Who asks?", "</think>", "A ghost.")]
        [Heard(answer='', thought=''), Heard(answer='', thought='Who asks?'), Heard(answer='', thought=''),
         Heard(answer='A ghost.', thought='')]
    """

    def __init__(self, encoder: TranscriptEncoder, prompt: Transcript) -> None:
        self._encoder, self._prompt = encoder, prompt
        self._text = ""
        self._said = Heard()
        self._thinks = False
        self._settled = False

    def hear(self, text: str) -> Heard:
        """What is new of answer and thought."""
        self._text += text
        if self._settled:
            self._said = Heard(self._said.answer + text, self._said.thought)
            return Heard(text)
        said = self._encoder.said_text(self._prompt, self._text)
        if said.thought == "none":
            if self._may_open():
                return Heard()
            self._settled = len(self._text) > _SETTLED
            return self._new(Heard(said.answer, self._said.thought))
        self._thinks = True
        thought = self._thought() if said.thought == "cut" else self._said.thought
        return self._new(Heard(said.answer if said.thought == "whole" else "", thought))

    def end(self, answer: str) -> Heard:
        """What was held back of the answer."""
        return self._new(Heard(answer, self._said.thought))

    def _new(self, now: Heard) -> Heard:
        """What is said now and was not before; what was said cannot be taken back."""
        answer, thought = (
            new[len(old) :] if new.startswith(old) else ""
            for new, old in zip(now, self._said, strict=True)
        )
        self._said = Heard(self._said.answer + answer, self._said.thought + thought)
        return Heard(answer, thought)

    def _may_open(self) -> bool:
        """Whether what came so far may be the beginning of a mark."""
        begun = self._text.lstrip()
        return any(
            opens.startswith(begun) and opens != begun for opens, _ in self._encoder.notation.pairs
        )

    def _thought(self) -> str:
        found = self._encoder.notation.opener.match(self._text)
        return (self._text[found.end() :] if found else self._text).lstrip()
