"""Stop sequences for batches of replies: each row ends by itself, and is padded from there on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int
from transformers import StoppingCriteria


class StopSequences(StoppingCriteria):
    """Ends each row by itself at the first stop sequence in what was sampled.

    The newest tokens are looked at, as many as the longest sequence has bytes: no token is less than one.

    Args:
        tokenizer: Tells what the tokens say.
        stop: The sequences; empty ones do not count.
        start: The first column that was sampled.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], start: int) -> None:
        self._tokenizer, self._start = tokenizer, start
        self._stop = [sequence for sequence in stop if sequence]
        self._reach = max((len(each.encode()) for each in self._stop), default=0) + 1
        self._done: torch.Tensor | None = None

    def __call__(
        self,
        input_ids: Int[torch.Tensor, "batch position"],
        scores: Any,
        **_: Any,
    ) -> Any:
        """Which rows have met one, as a boolean each."""
        newest = input_ids[:, self._start :][:, -self._reach :]
        texts = self._tokenizer.batch_decode(newest)
        met = [any(sequence in text for sequence in self._stop) for text in texts]
        found = torch.tensor(met, dtype=torch.bool, device=input_ids.device)
        self._done = found if self._done is None else self._done | found
        return self._done
