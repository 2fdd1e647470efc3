"""One reply, as the model room or a server hands it out and as a run stores it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from persona_lens.transcripts.thoughts import Said, ThoughtState, heard

Finish = Literal["stop", "length", "refused", "filtered", "tool_call", "failed"]
"""Why a reply ends: the model ended it, it was cut at the limit, the server reported a refusal or filtered it
(`refused`, `filtered`), it calls a tool, or the request could not be answered at all."""


@dataclass(frozen=True, eq=False)
class Reply:
    """One reply.

    Attributes:
        ids: The sampled tokens, without the token that ended the reply; empty if a server wrote the reply and
            did not tell them.
        text: The same, decoded. Of a server the answer alone, where it gives the thought apart.
        finish: Why it ends.
        log_probs: Natural log-probability of each of `ids` under the prompt, at temperature 1 and before top-p;
            None if not recorded.
        thinking: What a server gives as the reply's thought, apart from its text; never part of the answer.
        mean: Mean residual over the answer at each layer asked for; NaN if there is none, None if not asked for.
        before: The same before the plans in force acted at each layer; None where none did, or if not asked for.
        said: The reply without its thoughts, as whoever knows its prompt and its writer's marks has cut it; by
            default as the text alone tells.

    Examples:
        >>> Reply(ids=np.array([504, 260]), text="Hello").has_ids
        True
        >>> reply = Reply(ids=np.array([], dtype=int), text="<think>Who asks?</think>A ghost.")
        >>> reply.answer, reply.thought, reply.unanswered
        ('A ghost.', 'whole', False)
    """

    ids: Int[np.ndarray, " token"]
    text: str
    finish: Finish = "stop"
    log_probs: Float[np.ndarray, " token"] | None = None
    mean: Float[np.ndarray, "layer d_model"] | None = None
    before: Float[np.ndarray, "layer d_model"] | None = None
    thinking: str = ""
    said: Said | None = None

    @property
    def has_ids(self) -> bool:
        """Whether the tokens are known; those of an empty reply are."""
        return len(self.ids) > 0 or not (self.text or self.thinking)

    @cached_property
    def _said(self) -> Said:
        said = heard(self.text) if self.said is None else self.said
        if not self.thinking.strip() or said.thought != "none":
            return said
        # Nothing shows that a thought which is all there is came to its end.
        return Said(said.answer, "whole" if said.answer.strip() else "cut")

    @property
    def answer(self) -> str:
        """What is said to the user, and all that judges read; empty where a thought was cut."""
        return self._said.answer

    @property
    def thought(self) -> ThoughtState:
        """Whether there is a thought: `none`, `whole`, or `cut` before it came to its end."""
        return self._said.thought

    @property
    def unanswered(self) -> bool:
        """Whether the reply was cut while it was thinking, so that nobody knows what it would have said."""
        cut = self.thought == "cut" or (self.thought == "whole" and self.finish == "length")
        return cut and not self.answer.strip()
