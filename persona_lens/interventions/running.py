"""A plan at work on one batch: a function for each layer, which moves the chosen tokens and notes what it did.

Arithmetic is in float32 for half-precision models and cast back at the end, so tokens that are not chosen keep
every bit. Nothing is copied to the host: what a receipt counts stays on the device until it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from persona_lens.errors import InterventionError
from persona_lens.interventions.operations.layer_pass import Applied, LayerPass, Lines
from persona_lens.interventions.pages import Changes
from persona_lens.interventions.plan import Plan, Step
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.tokens import BatchTokens, Track
from persona_lens.interventions.touched import Note, touched_rows

Tap = Callable[[Float[Tensor, "batch position d_model"]], Tensor]

_HALF = (torch.float16, torch.bfloat16)


class PlanRun:
    """One batch under a plan.

    Args:
        plan: What to do.
        tokens: The batch, of which each pass runs the next columns; or what finds the track of a pass, given its
            residuals at the plan's first layer.
        receipt: Where to note what was done; nothing is noted without.
        end_ids: Tokens that end a reply; what is fed after one is not counted.
        n_rows: Rows of the whole call; those of the batch by default.
        call: What the batches of one call have in common, for the receipt.
        start: The first column that is run, where others were before; only with a batch.

    Raises:
        InterventionError: The plan is made for another number of rows.
    """

    def __init__(
        self,
        plan: Plan,
        tokens: BatchTokens | Callable[[Tensor], Track],
        *,
        receipt: Receipt | None = None,
        end_ids: Int[Tensor, " end"] | None = None,
        n_rows: int | None = None,
        call: object = None,
        start: int = 0,
    ) -> None:
        self._plan = plan
        self._track: Track | None = None
        self._receipt = receipt
        self._end_ids = end_ids
        self._call = call
        self._alive: Bool[Tensor, "batch 1"] | None = None
        self._fed: list[Int[Tensor, "batch column"]] = []
        self._lived: list[Bool[Tensor, "batch column"]] = []
        self._detail: Changes | None = None
        self._counted: dict[tuple[int, torch.device], Float[Tensor, "batch position"]] = {}
        self._layers = {
            layer: [
                _StepAtLayer(number, step, layer)
                for number, step in enumerate(plan.steps)
                if layer in step.operation.layers
            ]
            for layer in plan.layers
        }
        self._first = min(self._layers, default=0)
        if isinstance(tokens, BatchTokens):
            check_rows(plan, len(tokens) if n_rows is None else n_rows)
            self._track = Track(tokens)
            self._track.stop = start
            self._find: Callable[[Tensor], Track] = self._next
        else:
            self._find = tokens

    def _next(self, residual: Float[Tensor, "batch position d_model"]) -> Track:
        assert self._track is not None
        self._track.advance(residual.shape[1])
        return self._track

    def taps(self) -> dict[int, Tap]:
        """One function a layer, for `Backend.taps`."""
        return {layer: self._tap(layer) for layer in self._layers}

    def watch(self, ids: Int[Tensor, "batch column"]) -> None:
        """Take note of the tokens about to be fed (see `Backend.before_forward`)."""
        if self._receipt is None:
            return
        if self._alive is None:  # the prompt, in which the same tokens end nothing
            self._alive = torch.ones((len(ids), 1), dtype=torch.bool, device=ids.device)
        elif self._end_ids is not None:
            self._end_ids = self._end_ids.to(ids.device)  # copied once
            self._alive = self._alive & (ids[:, -1:] != self._end_ids).all(dim=1, keepdim=True)
        if self._receipt.detail:
            self._fed.append(ids)
            self._lived.append(self._alive.expand(ids.shape))

    def keep(self, places: Int[Tensor, " kept"]) -> None:
        """Go on with some of the rows of a batch, in this order; not where a receipt wants every token."""
        assert self._track is not None
        self._track.keep(places)
        if self._alive is not None:
            self._alive = self._alive[places.to(self._alive.device)]

    def close(self) -> None:
        """The batch is done: hand its tokens to the receipt, if they are wanted, and let go of everything."""
        if self._receipt is not None and self._track is not None and self._fed:
            fed, lived = torch.cat(self._fed, dim=1), torch.cat(self._lived, dim=1)
            changes = self._changes(fed.shape[1])
            rows = touched_rows(changes, self._track.tokens, fed, lived)
            self._receipt.take(rows, self._call)
        # What is left would wait for the collector of cycles.
        self._receipt, self._track, self._find = None, None, _over
        self._detail = None
        self._counted.clear()
        self._fed.clear()
        self._lived.clear()

    def _changes(self, columns: int) -> Float[np.ndarray, "place batch column"]:
        """Of the columns that have run."""
        return np.zeros((0, 0, 0)) if self._detail is None else self._detail.until(columns)

    def _tap(self, layer: int) -> Tap:
        steps = self._layers[layer]

        def tap(residual: Float[Tensor, "batch position d_model"]) -> Tensor:
            if layer == self._first:
                self._track = self._find(residual)
                self._counted.clear()
            track = self._track
            assert track is not None
            dtype = residual.dtype
            work = residual.float() if dtype in _HALF else residual
            notes: list[Note] = []
            for step in steps:
                chosen = track.mask(step.where, residual.device)
                # Rounded once, by the last of them.
                done = step(work, chosen, track, dtype if step is steps[-1] else work.dtype)
                work = done.residual
                if self._receipt is not None:
                    notes.append(self._note(done, chosen, track))
            changed = work if work.dtype == dtype else work.to(dtype)
            self._hand_over(layer, notes, changed)
            return changed

        return tap

    def _hand_over(
        self, layer: int, notes: list[Note], changed: Float[Tensor, "batch position d_model"]
    ) -> None:
        """Give the receipt what was noted at a layer; of half precision, whether it can hold what came of it."""
        if self._receipt is None:
            return
        overflown = None
        if changed.dtype == torch.float16:  # bfloat16 reaches as far as the arithmetic does
            overflown = ~changed.detach().isfinite().all(dim=-1)
        for step, note in zip(self._layers[layer], notes, strict=True):
            told = note if overflown is None else note._replace(overflown=overflown)
            self._receipt.note(step.number, layer, told)
            if self._receipt.detail:
                places = self._receipt.places
                self._detail = self._detail or Changes(len(places))
                self._detail.write(places.index((step.number, layer)), told)

    def _note(
        self, done: Applied, chosen: Bool[Tensor, "batch position"] | None, track: Track
    ) -> Note:
        before = done.before
        counted = self._counted_of(chosen, track, before.projection)
        note = Note(before.projection, before.norm, done.move, done.across, counted, track.start)
        return note.detached() if done.residual.requires_grad else note

    def _counted_of(
        self, chosen: Bool[Tensor, "batch position"] | None, track: Track, like: Tensor
    ) -> Shaped[Tensor, "batch position"] | None:
        """Which tokens of this pass count: chosen ones of replies that have not ended.

        Worked out once a pass and not once a layer, in the dtype of what it is kept beside.
        """
        if self._alive is None or track.start < track.tokens.width:
            return chosen
        key = (id(chosen), like.device)
        if key not in self._counted:
            alive = self._alive.to(like.device)
            counted = alive if chosen is None else chosen & alive
            self._counted[key] = counted.to(like.dtype)
        return self._counted[key]


def _over(_residual: Float[Tensor, "batch position d_model"]) -> Track:
    raise AssertionError("the batch of this run is done")


def check_rows(plan: Plan, n_rows: int) -> None:
    """Refuse a batch with another number of rows than the plan is made for.

    Raises:
        InterventionError: So it is.
    """
    if plan.rows is not None and plan.rows != n_rows:
        raise InterventionError(
            "the plan is made for another number of rows",
            expected=f"{plan.rows} prompts, one for each strength or mask",
            given=n_rows,
        )


@dataclass(eq=False)
class _StepAtLayer:
    """A step of the plan at one of its layers, with its constants on the device they are needed on."""

    number: int
    step: Step
    layer: int

    def __post_init__(self) -> None:
        operation = self.step.operation
        self.where = self.step.where
        self._lines = Lines(operation.directions, self.layer)
        self._alike = not any(isinstance(strength, tuple) for strength in operation.strengths)
        self._strengths: dict[tuple[int, torch.device, torch.dtype], Tensor] = {}

    def __call__(
        self,
        h: Float[Tensor, "batch position d_model"],
        chosen: Bool[Tensor, "batch position"] | None,
        track: Track,
        dtype: torch.dtype,
    ) -> Applied:
        memory = track.memory.setdefault((self.number, self.layer), {})
        strength, lines = self._strength(h, track), self._lines
        return self.step.operation.apply(
            LayerPass(h, track.start, chosen, strength, lines, lines.projections(h), memory, dtype)
        )

    def _strength(self, h: Tensor, track: Track) -> float | Float[Tensor, "batch 1"]:
        given = self.step.operation.strengths
        if self._alike:
            return math.prod(cast("tuple[float, ...]", given))
        key = (len(track.tokens), h.device, h.dtype)
        if key not in self._strengths:
            with torch.inference_mode(False):
                product = torch.ones(len(track.tokens), dtype=torch.float64)
                for strength in given:
                    values = torch.tensor(strength, dtype=torch.float64)
                    product = product * (values[track.tokens.rows] if values.ndim else values)
                self._strengths[key] = product.to(h.device, h.dtype).unsqueeze(1)
        return self._strengths[key]
