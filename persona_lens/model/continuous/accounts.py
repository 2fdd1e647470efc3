"""What plans do to the rows of a batch, booked to the account of each row.

A plan runs once for all rows that are under it, and tells what it did to all of them together. A `SharedReceipt`
takes that, and hands each row's part to the receipt of the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from persona_lens.interventions.operations.layer_pass import Move
from persona_lens.interventions.plan import Plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.touched import Note


class SharedReceipt(Receipt):
    """The receipt of a plan that acts on several rows, each with a receipt of its own.

    Args:
        plan: Theirs.
        receipts: By row of the batch.
    """

    def __init__(self, plan: Plan, receipts: Mapping[int, Receipt]) -> None:
        super().__init__(plan)
        self._receipts = dict(receipts)
        self._told: dict[tuple[int, int], list[Note]] = {}

    def note(self, number: int, layer: int, note: Note) -> None:
        """Keep what a pass did until it is known which tokens of it count."""
        self._told.setdefault((number, layer), []).append(note)

    def forget(self) -> None:
        """Book nothing of what was told since the last time."""
        self._told.clear()

    def settle(self, counts: Sequence[int]) -> None:
        """Book what was told since the last time.

        Args:
            counts: Of each row of the batch, how many columns count, from the first one on.
        """
        told, self._told = self._told, {}
        for (number, layer), notes in told.items():
            whole = _in_a_row(notes)
            for row, receipt in self._receipts.items():
                if counts[row]:
                    receipt.note(number, layer, _part(whole, row, counts[row]))


def _in_a_row(notes: Sequence[Note]) -> Note:
    """Passes over the same rows, one after the other, as one."""

    def joined(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.cat(known, dim=1) if len(known) == len(parts) else None

    first = notes[0]
    if len(notes) == 1:
        return first._replace(counted=first.seen())
    before, norm, shift, counted = (
        torch.cat(parts, dim=1)
        for parts in zip(*((n.before, n.norm, n.move.shift, n.seen()) for n in notes), strict=True)
    )
    move = Move(shift, joined([note.move.scale for note in notes]))
    across = joined([note.across for note in notes])
    overflown = joined([note.overflown for note in notes])
    return Note(before, norm, move, across, counted, first.start, overflown)


def _part(note: Note, row: int, count: int) -> Note:
    """The first columns of one row."""

    def part(held: Tensor | None) -> Tensor | None:
        return None if held is None else held.expand_as(note.before)[row : row + 1, :count]

    before, norm, shift = (
        held.expand_as(note.before)[row : row + 1, :count]
        for held in (note.before, note.norm, note.move.shift)
    )
    return Note(
        before,
        norm,
        Move(shift, part(note.move.scale)),
        part(note.across),
        part(note.counted),
        note.start,
        part(note.overflown),
    )
