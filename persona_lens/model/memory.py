"""`Memory`: keys and values of a batch of conversations, kept from reply to reply.

A conversation that is read again for each turn costs the square of its length. What the model has kept of a text
is what it would compute again, token by token, as long as the text begins the same and the same was done to it on
the way: so of every prompt the longest such beginning is taken from the memory and only the rest is run.

    memory = Memory()
    first = model.generate(prompts, sampling, memory=memory)
    second = model.generate(longer_prompts, sampling, memory=memory)   # the same conversations, in the same order
    memory.keep([0, 2])                                                # the second one is over
    third = model.generate(two_prompts, sampling, memory=memory)

Rows of a batch grow by replies of different lengths, so there are holes in them, which the mask hides; positions
count the tokens of the mask. Where a model, or a plan in force, does not allow it, everything is run again and
`why` tells the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers.cache_utils import DynamicLayer

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend
from persona_lens.model.batching import Ids

_MOST_HOLES = 2
"""Columns a batch may have for each token of its longest prompt; with more it is run again, without holes."""

_WINDOWS = ("sliding_window", "window_size", "attention_window", "attention_chunk_size")
"""Names configs have for how far a token sees, in some layers or all."""

_STRETCHED_LATER = ("dynamic", "longrope")
"""Rotary positions that change once a text has become long, those of its first tokens too."""

Marks = Bool[np.ndarray, "token step"]
"""What was done to each token: which steps of the plans in force chose it."""


@dataclass(frozen=True, eq=False)
class _Row:
    """What is kept of one conversation.

    Attributes:
        ids: Its tokens, as far as they were run.
        columns: The column of each.
        marks: What was done to each.
    """

    ids: Int[np.ndarray, " token"]
    columns: Int[np.ndarray, " token"]
    marks: Marks


@dataclass(frozen=True, eq=False)
class Laid:
    """A batch of prompts behind what is kept of them.

    Attributes:
        ids: Of all columns.
        mask: False on pads, on holes, and on what is kept and does not belong to the prompt any more.
        columns: Of each row, the column of each token of its prompt.
        start: The first column that is run.
    """

    ids: Int[Tensor, "batch column"]
    mask: Bool[Tensor, "batch column"]
    columns: list[Int[np.ndarray, " token"]]
    start: int

    @property
    def width(self) -> int:
        """Columns before the first one that is sampled."""
        return self.ids.shape[1]


@dataclass(eq=False)
class Memory:
    """What a model has kept of the conversations of one batch; empty at first.

    Attributes:
        why: Why nothing could be kept; empty where it was.
        tokens: How many tokens of prompts were taken from it so far.
    """

    why: str = ""
    tokens: int = 0
    _rows: list[_Row] = field(default_factory=list)
    _past: Any = None
    _backend: Backend | None = None
    _acting: tuple[object, ...] = ()
    _width: int = 0

    def __len__(self) -> int:
        """How many conversations it holds."""
        return len(self._rows)

    def keep(self, places: Sequence[int]) -> None:
        """Forget all conversations but some, in the order in which they go on.

        Args:
            places: Of those that go on, among the prompts of the last call.

        Raises:
            ModelError: There is no such place.
        """
        if not self._rows:
            return
        if any(not 0 <= place < len(self._rows) for place in places):
            raise ModelError(
                "the memory holds no such conversation",
                expected=f"places from 0 to {len(self._rows) - 1}",
                given=list(places),
            )
        if list(places) == list(range(len(self._rows))):
            return
        self._rows = [self._rows[place] for place in places]
        if not self._rows:
            self.forget()
        elif self._past is not None and self._backend is not None:
            device = self._backend.embedding.device
            self._past = self._backend.select_rows(
                self._past, torch.tensor(list(places), device=device)
            )

    def forget(self, why: str = "") -> None:
        """Give everything back."""
        self._rows, self._past, self._backend, self._width, self.why = [], None, None, 0, why

    def take(self) -> Any:
        """The keys and values, which belong to the caller from here on; None if there are none."""
        past, self._past = self._past, None
        return past

    def _serves(self, backend: Backend, acting: Sequence[object]) -> bool:
        """Whether what is kept was made by the same module under the same plans."""
        return self._backend is backend and [*map(id, self._acting)] == [*map(id, acting)]

    def lay_out(
        self,
        prompts: Sequence[Ids],
        marks: Sequence[Marks],
        backend: Backend,
        acting: Sequence[object],
        *,
        pad_id: int,
        device: torch.device,
    ) -> Laid:
        """Prompts behind what is kept of them; alone where nothing is, or little would be gained.

        Args:
            prompts: Ids of each.
            marks: What will be done to each of their tokens.
            backend: Will run them.
            acting: The plans in force.
            pad_id: What pads and holes are filled with.
            device: Where inputs go.

        Raises:
            ModelError: It holds another number of conversations.
        """
        texts = [np.asarray(prompt, dtype=np.int64) for prompt in prompts]
        if self._rows and len(self._rows) != len(texts):
            raise ModelError(
                "the memory holds other conversations",
                expected=f"{len(self._rows)} prompts, in the order of the last call",
                given=len(texts),
                remedy="memory.keep([...]) says which of them go on",
            )
        kept, longest = [0] * len(texts), max(map(len, texts))
        if self._past is not None and self._serves(backend, acting):
            kept = [_shared(*row) for row in zip(self._rows, texts, marks, strict=True)]
        news = max(len(text) - n for text, n in zip(texts, kept, strict=True))
        if news >= longest or self._width + news > _MOST_HOLES * longest:
            self.forget()
            kept, news = [0] * len(texts), longest
        self._acting = tuple(acting)
        start = self._width
        ids = np.full((len(texts), start + news), pad_id, dtype=np.int64)
        mask = np.zeros_like(ids, dtype=bool)
        columns = []
        for row, (text, n) in enumerate(zip(texts, kept, strict=True)):
            before = self._rows[row].columns[:n] if n else np.zeros(0, dtype=np.int64)
            new = np.arange(start + news - (len(text) - n), start + news)
            columns.append(np.concatenate([before, new]))
            ids[row, columns[row]] = text
            mask[row, columns[row]] = True
        self.tokens += sum(kept)
        return Laid(
            torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device), columns, start
        )

    def hold(
        self,
        past: Any,
        laid: Laid,
        backend: Backend,
        texts: Sequence[Ids],
        marks: Sequence[Marks],
    ) -> None:
        """Keep what was run.

        Args:
            past: Keys and values of all columns.
            laid: Where the prompts stand.
            backend: Has run them.
            texts: Prompt and reply of each row, as far as they were fed.
            marks: What was done to each of their tokens.
        """
        self._rows = []
        for text, columns, mark in zip(texts, laid.columns, marks, strict=True):
            ids = np.asarray(text, dtype=np.int64)
            later = np.arange(laid.width, laid.width + len(ids) - len(columns))
            self._rows.append(_Row(ids, np.concatenate([columns, later]), mark))
        self._past, self._backend, self._width = past, backend, int(past.get_seq_length())


def _shared(row: _Row, text: Int[np.ndarray, " token"], marks: Marks) -> int:
    """How many tokens of a prompt are kept, the same having been done to them; never its last one."""
    length = min(len(row.ids), len(text) - 1)
    same = (row.ids[:length] == text[:length]) & (row.marks[:length] == marks[:length]).all(axis=1)
    differ = np.flatnonzero(~same)
    return int(differ[0]) if len(differ) else length


def attends_to_all(config: Any) -> bool:
    """Whether every token attends to all before it, at places that do not depend on how long the text becomes.

    A window is counted in columns, holes included, and so is no shorter text a proof that there is none.

    Args:
        config: Of the text model.

    Examples:
        >>> from transformers import LlamaConfig, MistralConfig
        >>> attends_to_all(LlamaConfig()), attends_to_all(MistralConfig(sliding_window=4096))
        (True, False)
    """
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    return not any(getattr(config, name, None) for name in _WINDOWS) and not is_stretched_later(
        config
    )


def is_stretched_later(config: Any) -> bool:
    """Whether positions of the first tokens change once a text has become long.

    Args:
        config: Of the text model.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = {
        rope.get("rope_type"),
        *(r.get("rope_type") for r in rope.values() if isinstance(r, dict)),
    }
    return not kinds.isdisjoint(_STRETCHED_LATER)


def keeps_all(past: Any) -> bool:
    """Whether a cache of transformers holds keys and values of every token at every layer, and nothing else."""
    layers = getattr(past, "layers", None)
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
