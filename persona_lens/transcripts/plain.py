"""Transcripts of texts that no chat template wrote: what is prompt and what is reply is known, and no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from persona_lens.transcripts.groups import Group, Transcript


def unmarked(
    ids: Sequence[int] | Int[np.ndarray, " token"], start: int | None = None, text: str = ""
) -> Transcript:
    """A text of which nothing is known but where its reply begins.

    Args:
        ids: Of the whole.
        start: First token of the reply; None where it waits for one.
        text: What the ids say, if anybody asks.

    Examples:
        >>> unmarked([5, 7]).generating, unmarked([5, 7, 9], start=2).reply_start
        (True, 2)
    """
    whole = np.asarray(ids, dtype=np.int64)
    return Transcript(
        ids=whole,
        groups=np.full(len(whole), Group.TEMPLATE.code, dtype=np.int8),
        turns=np.full(len(whole), -1),
        text=text,
        user_turns=0,
        assistant_turns=int(start is not None),
        generating=start is None,
        reply_start=start,
    )
