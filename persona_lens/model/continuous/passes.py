"""What acts on the rows of a batch and what reads them, pass by pass: each plan on its own rows, nothing kept
attached in between.

    passes = Passes(backend, rows, width, start=0, read=along, ...)
    with passes.attached():
        states, past = backend.advance(ids, mask, past)
    read = passes.fed(live)      # the pass went well; what was read of the tokens it ran
    passes.settle()              # every row has what is its own

It serves the same rows in the same columns: where rows join or leave there is another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.interventions.plan import Plan
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.model.backends import Backend, ResidualTap
from persona_lens.model.continuous.accounts import SharedReceipt
from persona_lens.model.continuous.requests import Along
from persona_lens.model.continuous.rows import Row, add_up
from persona_lens.transcripts import Group

_SETTLED_AFTER = 64
"""Passes between two settlements: what a pass did is kept until then."""


class Passes:
    """Passes over some rows.

    Args:
        backend: Runs them.
        rows: Of the batch; those that are gone are left alone.
        width: Columns that are known before the first pass; every row ends at the last of them.
        start: The first column that is run: 0, or `width` behind what is kept.
        sinks: Positions of attention sinks.
        bos_id: The tokenizer's BOS.
        along: What is read; nothing if None.
    """

    def __init__(
        self,
        backend: Backend,
        rows: Sequence[Row],
        width: int,
        *,
        start: int,
        sinks: Sequence[int],
        bos_id: int | None,
        along: Along | None,
    ) -> None:
        self._backend = backend
        self._rows = list(rows)
        self._along = along
        self._counts = [0] * len(self._rows)
        self._prompt = start < width
        self._receipts: list[SharedReceipt] = []
        self._runs: list[PlanRun] = []
        plans = {id(row.request.plan): row.request.plan for row in rows if not row.gone}
        acting = [plan for plan in plans.values() if plan is not None]
        tokens = _tokens(rows, width, sinks, bos_id) if acting else None
        for plan in acting:
            assert tokens is not None
            self._runs.append(self._run(plan, tokens, start))
        layers = () if along is None else along.layers
        acted_at = {layer for plan in acting for layer in plan.layers}
        self._after = _Read(along, layers)
        self._before = _Read(along, [layer for layer in layers if layer in acted_at])

    def _run(self, plan: Plan, tokens: BatchTokens, start: int) -> PlanRun:
        under = [row.request.plan is plan and not row.gone for row in self._rows]
        receipts = {
            place: row.receipt
            for place, row in enumerate(self._rows)
            if under[place] and row.receipt is not None
        }
        receipt = SharedReceipt(plan, receipts)
        self._receipts.append(receipt)
        spared = None if all(under) else ~np.asarray(under)
        return PlanRun(plan, replace(tokens, spared=spared), receipt=receipt, n_rows=1, start=start)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Plans and readers on the model for the length of one pass, or of several."""
        with ExitStack() as stack:
            for acting in (self._before, *self._runs, self._after):
                stack.enter_context(self._backend.taps(acting.taps()))
            yield

    def fed(
        self, live: Sequence[bool], columns: int = 1
    ) -> tuple[Float[np.ndarray, "row layer direction"], ...] | None:
        """A pass went well: count its columns for the rows that live.

        Returns:
            Projections before and after plans; None where nothing is read, as of prompts.
        """
        for place, counts in enumerate(live):
            self._counts[place] += columns if counts else 0
        prompt, self._prompt = self._prompt, False
        read = None
        if self._along is not None and not prompt:
            after = self._after.taken(live)
            before = after.copy()
            places = [self._along.layers.index(layer) for layer in self._before.layers]
            if places:
                before[:, places] = self._before.taken(live)
            read = before, after
        if max(self._counts, default=0) >= _SETTLED_AFTER:
            self.settle()
        return read

    def forget(self) -> None:
        """The pass over the known columns was run again, and all that it did was counted before."""
        self._prompt = False
        for receipt in self._receipts:
            receipt.forget()

    def settle(self) -> None:
        """Give every row its part of what was counted and summed."""
        for receipt in self._receipts:
            receipt.settle(self._counts)
        self._counts = [0] * len(self._rows)
        if self._along is None:
            return
        after, before = self._after.summed(), self._before.summed()
        if after is None:
            return
        raw = after
        if before is not None:
            places = [self._along.layers.index(layer) for layer in self._before.layers]
            raw = after.clone()
            raw[:, places] = before
        for place, row in enumerate(self._rows):
            row.sums = add_up(row.sums, after[place])
            row.raw_sums = add_up(row.raw_sums, raw[place])


class _Read:
    """Taps that project the token of a pass on directions, and add it up."""

    def __init__(self, along: Along | None, layers: Sequence[int]) -> None:
        self._along = along
        self.layers = tuple(layers)
        self._now: dict[int, Float[Tensor, "row d_model"]] = {}
        self._sums: dict[int, Float[Tensor, "row d_model"]] = {}
        self._units: dict[int, Float[Tensor, "direction d_model"]] = {}

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(layer) for layer in self.layers}

    def _tap(self, layer: int) -> Callable[[Tensor], None]:
        def tap(residual: Float[Tensor, "row 1 d_model"]) -> None:
            self._now[layer] = residual[:, -1].to(torch.float32, copy=True)

        return tap

    def taken(self, live: Sequence[bool]) -> Float[np.ndarray, "row layer direction"]:
        """Projections of the tokens of the last pass, which are added to the sums of the rows that live."""
        assert self._along is not None
        found = []
        for layer in self.layers:
            now = self._now.pop(layer)
            if layer not in self._units:
                units = self._along.units[self._along.layers.index(layer)]
                self._units[layer] = torch.as_tensor(units, dtype=torch.float32, device=now.device)
            found.append(now @ self._units[layer].T)
            if not all(live):
                dead = torch.tensor([not one for one in live], device=now.device)
                now = now.masked_fill(dead.unsqueeze(1), 0.0)
            self._sums[layer] = self._sums[layer] + now if layer in self._sums else now
        first = found[0].device
        return torch.stack([part.to(first) for part in found], dim=1).cpu().numpy()

    def summed(self) -> Float[Tensor, "row layer d_model"] | None:
        """The sums since the last time; None if there are none."""
        held, self._sums = self._sums, {}
        if not held:
            return None
        first = held[self.layers[0]].device
        return torch.stack([held[layer].to(first) for layer in self.layers], dim=1)


def _tokens(
    rows: Sequence[Row], width: int, sinks: Sequence[int], bos_id: int | None
) -> BatchTokens:
    """The rows as they stand, replies as far as they were run included; every row ends at the last column."""
    prompts = [row.request.prompt for row in rows]
    tokens = BatchTokens.of_transcripts(
        prompts,
        padding_side="left",
        sinks=sinks,
        bos_id=bos_id,
        rows=[0] * len(rows),  # whatever a plan has for single rows, it has for one
        padded_masks=False,
    )
    starts = [width - row.length for row in rows]
    columns = [
        np.arange(start, start + len(prompt)) for start, prompt in zip(starts, prompts, strict=True)
    ]
    tokens = tokens.laid_out(columns, width)
    assert tokens.groups is not None
    assert tokens.turns is not None
    for place, row in enumerate(rows):
        replied = slice(width - row.fed, width)
        tokens.present[place, replied] = tokens.sampled[place, replied] = True
        tokens.groups[place, replied] = Group.ASSISTANT.code
        tokens.turns[place, replied] = row.request.prompt.assistant_turns
        positions = np.arange(len(row.request.prompt), len(row.request.prompt) + row.fed)
        tokens.excluded[place, replied] = np.isin(positions, list(sinks))
    return tokens
