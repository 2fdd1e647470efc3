"""`Cohort`: rows that share keys and values, all ending at the same column, one token more with each pass.

Newcomers read their prompts in a cohort of their own, which then goes under the one that runs. Rows that are over
are dropped when others come, or when a quarter of the batch is idle. There are no holes in a row: what differs is
how far rows reach back, so columns that none of them reaches are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.model.backends import Backend
from persona_lens.model.batching import default_token_budget, left_padded
from persona_lens.model.continuous.drawing import Draws
from persona_lens.model.continuous.events import Event
from persona_lens.model.continuous.keys import keep_rows, put_under
from persona_lens.model.continuous.passes import Passes
from persona_lens.model.continuous.requests import Along
from persona_lens.model.continuous.rows import Row

if TYPE_CHECKING:
    from persona_lens.model.loaded import LoadedModel

_IDLE = 0.25
"""Share of rows that are over, from which on they are dropped although nobody comes."""

_MOST_PADS = 2
"""Columns there may be for each token of the longest row, before those are cut that no row reaches."""


@dataclass(frozen=True, eq=False)
class Setup:
    """What all rows of a model share.

    Attributes:
        model: Answers.
        backend: Runs it.
        along: What is read.
    """

    model: LoadedModel
    backend: Backend
    along: Along | None

    def passes(self, rows: Sequence[Row], width: int, *, start: int) -> Passes:
        """What acts on rows and reads them."""
        bos = self.model.tokenizer.bos_token_id
        return Passes(
            self.backend,
            rows,
            width,
            start=start,
            sinks=tuple(self.model.sinks) if any(row.request.plan for row in rows) else (),
            bos_id=bos if isinstance(bos, int) else None,
            along=self.along,
        )


def piece(device: torch.device) -> int:
    """Most tokens of texts that are read in one pass, pads included: a fraction of what suits the device."""
    return default_token_budget(device) // 4


class Cohort:
    """Rows that run together.

    Args:
        setup: Of the model.
        rows: New ones, or such as have begun and lost what was kept of them.
        joins: Whether it may go under another, leave rows behind, and read its texts in pieces.

    Attributes:
        rows: Those that are over included, until they are dropped.
        unread: How many columns of the texts are still to be read.
    """

    def __init__(self, setup: Setup, rows: Sequence[Row], *, joins: bool) -> None:
        self.setup = setup
        self.rows = list(rows)
        self.joins = joins
        model, texts = setup.model, [row.text_ids for row in rows]
        self._ids, self._mask = left_padded(texts, model.pad_id, model.device)
        self.unread = self._width = self._ids.shape[1]
        self._past: Any = None
        self._begun = any(row.ids for row in rows)
        self._passes = setup.passes(rows, self._width, start=0)
        self._draws: Draws | None = None

    def read(self) -> list[Event]:
        """Read the next piece of the texts, so that a long one does not hold up others; draw after the last."""
        start = self._width - self.unread
        columns = max(1, piece(self.setup.model.device) // len(self.rows))
        stop = min(start + columns, self._width) if self.joins else self._width
        with self._passes.attached():
            states, self._past = self.setup.backend.advance(
                self._ids[:, start:stop], self._mask[:, :stop], self._past
            )
        self.unread = self._width - stop
        if self.unread:
            return []
        if self._begun:
            self._passes.forget()
            return []
        self._passes.fed([not row.gone for row in self.rows], self._width)
        return self._drawn(states[:, -1:])

    @property
    def past(self) -> Any:
        """What is kept of the rows."""
        return self._past

    @property
    def live(self) -> list[Row]:
        """Rows that are not over."""
        return [row for row in self.rows if not row.over]

    def step(self) -> list[Event]:
        """Run the last token of each row, and draw the next."""
        if self.joins and self._idles():
            self.drop()
        live = [not row.over for row in self.rows]
        pad = self.setup.model.pad_id
        last = [row.ids[-1] if counts else pad for row, counts in zip(self.rows, live, strict=True)]
        fed = torch.tensor(last, device=self._mask.device).unsqueeze(1)
        mask = torch.cat([self._mask, torch.ones_like(fed, dtype=torch.bool)], dim=1)
        with self._passes.attached():
            states, self._past = self.setup.backend.advance(fed, mask, self._past)
        self._mask, self._width = mask, self._width + 1
        read = self._passes.fed(live)
        events: list[Event] = []
        for place, row in enumerate(self.rows):
            if live[place]:
                row.fed += 1
                row.trial = False
                if read is not None:
                    events.append(row.read(read[0][place], read[1][place]))
        if any(row.finish is None for row in self.live):
            events += self._drawn(states)
        return events

    def _idles(self) -> bool:
        """Whether many rows are over, or many columns are theirs alone."""
        lengths = [row.length for row in self.live]
        few = len(lengths) <= (1 - _IDLE) * len(self.rows)
        return bool(lengths) and (few or self._width >= _MOST_PADS * max(lengths))

    def drop(self) -> None:
        """Leave the rows that are over behind."""
        places = [place for place, row in enumerate(self.rows) if not row.over]
        if len(places) == len(self.rows):
            return
        self._begin_anew([self.rows[place] for place in places])
        keep_rows(self._past, places, self._width)

    def take_in(self, other: Cohort) -> None:
        """Put the rows of another under these."""
        for cohort in (self, other):
            cohort.drop()
        other.settle()
        self._begin_anew([*self.rows, *other.rows])
        put_under(self._past, other.past, self._width)
        other.rows, other._past = [], None

    def settle(self) -> None:
        """Give every row what is its own; of texts, once they are read."""
        if not self.unread:
            self._passes.settle()

    def _begin_anew(self, rows: list[Row]) -> None:
        """The same columns for other rows; what is kept has to be brought into that form."""
        self.settle()
        lengths = np.array([row.length for row in rows])
        self.rows, self._width, self._draws = rows, int(lengths.max()), None
        reach = np.arange(self._width) >= self._width - lengths[:, None]
        self._mask = torch.from_numpy(reach).to(self._mask.device)
        self._passes = self.setup.passes(rows, self._width, start=self._width)

    def _drawn(self, states: Float[Tensor, "row 1 d_model"]) -> list[Event]:
        scores = self.setup.backend.unembed(states)[:, 0]
        if self._draws is None:
            self._draws = Draws([row.setting for row in self.rows], scores.device)
        return take_all(self.rows, scores, self._draws)


def take_all(rows: Sequence[Row], scores: Float[Tensor, "row vocab"], draws: Draws) -> list[Event]:
    """Draw a token of each row that goes on."""
    going = [row.finish is None and not row.gone for row in rows]
    less = {
        place: penalty
        for place, row in enumerate(rows)
        if going[place] and (penalty := row.penalties()) is not None
    }
    chances = [row.chance() if goes else 0.0 for row, goes in zip(rows, going, strict=True)]
    events: list[Event] = []
    for row, goes, picked in zip(rows, going, draws(scores, chances, less), strict=True):
        if goes:
            events += row.take(picked)
    return events
