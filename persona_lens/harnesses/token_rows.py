"""Which tokens are what in the rows another harness makes: it hands over text or ids, plans want token groups.

A prompt that was written by the model's own chat template, through `PromptBook.written`, is known again by its
text or its ids, and every choice of tokens works in it. In any other text, what is prompt and what is reply is
known and no more: choices such as `user` are refused there.

    book = PromptBook(model)
    text = book.written(messages)
    book.waiting(ids)              # to be answered
    book.scored(text, ids, 12)     # answered from the 13th token on
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from persona_lens.errors import InterventionError
from persona_lens.interventions.where import GROUPS, PLACES
from persona_lens.model.persona_model import PersonaModel
from persona_lens.transcripts import Group, Transcript
from persona_lens.transcripts.plain import unmarked

_HELD = 4096


class PromptBook:
    """Prompts of a model's chat template, as a harness sees them.

    Args:
        model: Whose template, and whose plans in force say which tokens they want.
        default_system: Leave the template its own default system prompt where no message is one.
    """

    def __init__(self, model: PersonaModel, *, default_system: bool = False) -> None:
        self.model = model
        self.default_system = default_system
        self._by_text: dict[str, Transcript] = {}
        self._by_ids: dict[tuple[int, ...], Transcript] = {}

    def written(self, messages: Sequence[Mapping[str, str]]) -> tuple[str, Transcript]:
        """The text of a prompt, and its transcript.

        Args:
            messages: Up to the user's last, and perhaps the beginning of what is answered.

        Returns:
            The transcript ends where the answer begins; the text goes on with the beginning of the answer.

        Raises:
            TranscriptError: The template refuses the messages.
        """
        asked = [dict(message) for message in messages]
        begun = asked.pop()["content"] if asked and asked[-1]["role"] == "assistant" else ""
        encoder = self.model.encoder
        if asked and asked[0]["role"] == "user" and not self.default_system:
            asked = [*encoder.messages(asked[0]["content"]), *asked[1:]]
        prompt = encoder.prompt(asked)
        return prompt.text + begun, prompt

    def keep(self, text: str, ids: Sequence[int], prompt: Transcript) -> None:
        """Know a prompt again by its text, and by the ids that the harness makes of it."""
        if len(self._by_text) >= _HELD:
            self._by_text.clear()
            self._by_ids.clear()
        self._by_text[text] = prompt
        self._by_ids[tuple(ids)] = prompt

    def waiting(self, ids: Sequence[int]) -> Transcript:
        """A row that will be answered.

        Raises:
            InterventionError: A plan in force wants tokens that are not known in it.
        """
        return self._row(self._by_ids.get(tuple(ids)), ids, None)

    def scored(self, text: str | None, ids: Sequence[int], start: int) -> Transcript:
        """A row whose tokens from `start` on are the answer to a prompt.

        Args:
            text: Of the prompt.
            ids: Of both.
            start: Where the harness takes the answer to begin. Where the prompt is known, it begins no earlier
                than its template ends: some harnesses count white space at the end of a prompt to the answer.

        Raises:
            InterventionError: A plan in force wants tokens that are not known in it.
        """
        return self._row(None if text is None else self._by_text.get(text), ids, start)

    def _row(self, prompt: Transcript | None, ids: Sequence[int], start: int | None) -> Transcript:
        whole = np.asarray(ids, dtype=np.int64)
        known = 0 if prompt is None else len(prompt)
        if prompt is None or not np.array_equal(whole[:known], prompt.ids):
            self._refuse_groups()
            return unmarked(whole, start)
        begun = len(whole) - known
        turns = np.full(begun, prompt.assistant_turns)
        return Transcript(
            ids=whole,
            groups=np.append(prompt.groups, np.full(begun, Group.ASSISTANT.code, dtype=np.int8)),
            turns=np.append(prompt.turns, turns),
            text=prompt.text,
            user_turns=prompt.user_turns,
            assistant_turns=prompt.assistant_turns + (start is not None),
            generating=start is None,
            reply_start=None if start is None else max(start, known),
        )

    def _refuse_groups(self) -> None:
        for acting in self.model.interventions.active:
            for step in acting.plan.steps:
                wanted = [name for name in step.where.names if name in GROUPS]
                if wanted:
                    raise InterventionError(
                        f"which tokens are {wanted[0]!r} is not known in this text",
                        expected=f"{', '.join(PLACES)}, or prompts of the model's own chat template",
                        given=f"plan.where({', '.join(map(repr, wanted))}) on plain text or a cut prompt",
                        remedy="run the tasks with the chat template, or choose tokens by other names",
                    )
