"""One reply, as the model room or a server hands it out and as a run stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

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
        mean: Mean residual over `ids` at each layer asked for; NaN if the reply is empty, None if not asked for.

    Examples:
        >>> Reply(ids=np.array([504, 260]), text="Hello").has_ids
        True
    """

    ids: Int[np.ndarray, " token"]
    text: str
    finish: Finish = "stop"
    log_probs: Float[np.ndarray, " token"] | None = None
    mean: Float[np.ndarray, "layer d_model"] | None = None
    thinking: str = ""

    @property
    def has_ids(self) -> bool:
        """Whether the tokens are known; those of an empty reply are."""
        return len(self.ids) > 0 or not (self.text or self.thinking)
