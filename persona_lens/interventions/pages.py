"""Where receipts keep numbers until they are read: memory that is taken once, not a little with every pass.

Thousands of small tensors that outlive a pass lie between the large ones of the next passes, and keep the heap of
a CPU from being used again: memory grows by gigabytes that nobody holds.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.interventions.touched import Note

FIELDS = 7
"""Most numbers that are kept of a token."""
_ROOM = 64
"""Columns that are taken beyond those known."""


class Page:
    """Notes of many passes at one place, one behind the other; only on a CPU, where copies cost next to nothing.

    Args:
        like: A note, for what may be missing in notes.
        memory: What the numbers are written to: a token's beside each other, `FIELDS` of them at most.

    Examples:
        >>> note = Note(torch.ones(2, 3), torch.ones(2, 3), Move(torch.zeros(2, 3)), None, None, 0)
        >>> page = Page(note, torch.empty(FIELDS * 8))
        >>> page.takes(note), page.write(note), page.note().before.shape
        (True, None, torch.Size([1, 6]))
    """

    def __init__(self, like: Note, memory: Float[Tensor, " number"]) -> None:
        self._kinds = _kinds(like)
        width = FIELDS - self._kinds.count(False)
        self._values = memory[: len(memory) // width * width].view(-1, width)
        self._used = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is written on it."""
        return self._used == 0

    def takes(self, note: Note) -> bool:
        """Whether a note of this kind has room."""
        fits = self._used + note.before.numel() <= len(self._values)
        return fits and note.before.dtype == self._values.dtype and _kinds(note) == self._kinds

    def write(self, note: Note) -> None:
        """Copy a note, all of it at once."""
        shape, stop = note.before.shape, self._used + note.before.numel()
        move = note.move
        given = (note.before, note.norm, move.shift, move.scale)
        given = (*given, note.across, note.counted, note.overflown)
        parts = [
            part if part.shape == shape else part.expand(shape)
            for part in given
            if part is not None
        ]
        room = self._values[self._used : stop].view(*shape, len(parts))
        torch.stack(parts, dim=-1, out=room)
        self._used = stop

    def note(self) -> Note:
        """All that is written, as one note of a single row; it shares the page's memory."""
        columns = iter(self._values[: self._used].T.unsqueeze(1))
        before, norm, shift = next(columns), next(columns), next(columns)
        scale, across, counted, overflown = (
            next(columns) if there else None for there in self._kinds
        )
        return Note(
            before,
            norm,
            Move(shift, scale),
            across,
            counted,
            0,
            None if overflown is None else overflown.bool(),
        )

    def clear(self) -> None:
        """Take the next notes from the beginning."""
        self._used = 0


def _kinds(note: Note) -> tuple[bool, bool, bool, bool]:
    """Which of what may be missing is there."""
    return (
        note.move.scale is not None,
        note.across is not None,
        note.counted is not None,
        note.overflown is not None,
    )


class Changes:
    """The change of every token of a batch at each place; NaN where none was to be touched.

    Args:
        places: How many there are.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._values: Float[Tensor, "place batch column"] | None = None

    def write(self, place: int, note: Note) -> None:
        """Take over what a pass did."""
        change = torch.where(note.finite(), note.effect()[0], torch.inf)
        if note.counted is not None:
            change = torch.where(note.seen(), change, torch.nan)
        rows, columns = change.shape
        stop, held = note.start + columns, self._values
        if held is None or held.shape[2] < stop:
            shape = (self._places, rows, stop + _ROOM if held is None else 2 * stop)
            with torch.inference_mode(
                False
            ):  # it may be written to in another mode than it was taken in
                grown = torch.full(shape, torch.nan, dtype=torch.float32, device=change.device)
            if held is not None:
                grown[:, :, : held.shape[2]] = held
            self._values = held = grown
        held[place, :, note.start : stop] = change.detach()

    def until(self, stop: int) -> Float[np.ndarray, "place batch column"]:
        """Those of the first columns, of a batch that has run."""
        assert self._values is not None
        return self._values[:, :, :stop].cpu().numpy()
