"""Several stretches of every text in one forward pass: the mean residual of each, and projections of its tokens.

All turns of a conversation are read at once: a token sees what stands before it and nothing else, so each turn is
read as it would be alone. Memory does not grow with the number of tokens: what is kept of a stretch is one vector
a layer and, where directions are given, a few numbers a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from persona_lens.errors import ModelError
from persona_lens.model.backends import ResidualTap
from persona_lens.model.batching import Batch, Batches, default_token_budget
from persona_lens.model.checking import checked_layers, checked_units
from persona_lens.model.context import check_context
from persona_lens.model.finiteness import warn_of_broken_layers
from persona_lens.model.inputs import check_transcripts
from persona_lens.model.loaded import LoadedModel
from persona_lens.model.reading import Reader
from persona_lens.transcripts import Transcript

NOWHERE = -1
"""What stands in a row of segments where a token belongs to none."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The stretches of one text.

    Attributes:
        means: Mean residual of each, float32; NaN where it has no token.
        tokens: Of each, dot products of its tokens with the directions.
    """

    means: Float[np.ndarray, "segment layer d_model"]
    tokens: list[Float[np.ndarray, "token layer direction"]]


@dataclass(frozen=True, eq=False)
class BothSides:
    """What one pass under a plan has read.

    Attributes:
        after: Behind the plan's operations: what the next block sees.
        before: In front of those at the same layer, and behind those of the layers below; None if not asked for.
    """

    after: list[Segments]
    before: list[Segments] | None = None


class ReadSegments:
    """Taps that average the residual stream over stretches of a batch, layer by layer.

    Args:
        numbers: The stretch that each position belongs to, counted over the batch; `NOWHERE` for none.
        n_segments: Stretches of the batch.
        layers: Blocks to read.
        units: Directions to project single tokens on, at each of `layers`.
    """

    def __init__(
        self,
        numbers: Int[Tensor, "batch position"],
        n_segments: int,
        layers: Sequence[int],
        units: Float[np.ndarray, "layer direction d_model"],
    ) -> None:
        self._chosen = numbers != NOWHERE
        self._owners = numbers[self._chosen]
        self._counts = torch.bincount(self._owners, minlength=n_segments)
        self._units = torch.from_numpy(units).float()
        self._means: dict[int, Tensor] = {}
        self._tokens: dict[int, Tensor] = {}
        self.layers = tuple(layers)

    def taps(self) -> dict[int, ResidualTap]:
        """One tap a layer; each returns None, so it only reads."""
        return {layer: self._tap(place, layer) for place, layer in enumerate(self.layers)}

    def _tap(self, place: int, layer: int) -> ResidualTap:
        def tap(residual: Float[Tensor, "batch position d_model"]) -> None:
            device = residual.device
            tokens = residual[self._chosen.to(device)].float()
            counts = self._counts.to(device)
            sums = tokens.new_zeros(len(counts), tokens.shape[-1])
            sums.index_add_(0, self._owners.to(device), tokens)
            self._means[layer] = (sums / counts.unsqueeze(1)).cpu()  # 0/0 = NaN: nothing to average
            self._tokens[layer] = (tokens @ self._units[place].to(device).T).cpu()

        return tap

    def result(self) -> list[Segments]:
        """Each stretch of the batch by itself, in their order."""
        means = torch.stack([self._means[layer] for layer in self.layers], dim=1).numpy()
        tokens = torch.stack([self._tokens[layer] for layer in self.layers], dim=1).numpy()
        owners = self._owners.cpu().numpy()
        order = np.argsort(owners, kind="stable")
        ends = np.cumsum(self._counts.cpu().numpy())[:-1]
        return [
            Segments(mean[None], [own])
            for mean, own in zip(means, np.split(tokens[order], ends), strict=True)
        ]


def read_segments(
    model: LoadedModel,
    transcripts: Sequence[Transcript],
    segments: Sequence[Int[np.ndarray, " token"]],
    *,
    layers: Sequence[int],
    units: Float[np.ndarray, "layer direction d_model"] | None = None,
    before: bool = False,
    token_budget: int | None = None,
) -> BothSides:
    """Read several stretches of each text; interventions in force act.

    Args:
        model: Reads.
        transcripts: From `encoder.encode(...)` or `encoder.with_reply(...)`.
        segments: For each token of each text the number of its stretch, from 0 on, or -1. A text has as many as
            its highest number tells.
        layers: Blocks to read.
        units: Unit vectors to project single tokens on, at each of `layers`.
        before: Read in front of the interventions at each layer as well.
        token_budget: Tokens in a batch, pads included; by default what suits the device.

    Raises:
        ModelError: Segments do not fit their text, or a text does not fit the model's context.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> said = model.encoder.encode([{"role": "user", "content": "Is water wet?"},
        ...                              {"role": "assistant", "content": "Yes."},
        ...                              {"role": "user", "content": "Is ice?"},
        ...                              {"role": "assistant", "content": "No."}])
        >>> read = read_segments(model, [said], [np.where(said.mask("assistant"), said.turns, -1)], layers=[12])
        >>> read.after[0].means.shape
        (2, 1, 576)
    """
    check_transcripts(transcripts, "encode")
    chosen = checked_layers(layers, model.n_layers)
    given = np.zeros((len(chosen), 0, model.d_model)) if units is None else units
    directions = checked_units(given, len(chosen), model.d_model)
    counts = [_counted(each, text) for each, text in zip(segments, transcripts, strict=True)]
    check_context(map(len, transcripts), model.held.backend.context)
    after: dict[int, Segments] = {}
    ahead: dict[int, Segments] = {}
    if not transcripts:
        return BothSides([], [] if before else None)
    around = Reader(model, token_budget).around(transcripts)
    backend = model.held.backend
    budget = token_budget or default_token_budget(model.device)
    with model.held.lock:
        for batch in Batches(backend, model.pad_id, model.device, budget).of(
            [text.ids for text in transcripts]
        ):
            numbers, total = _numbered(batch, segments, counts)
            pools = [
                ReadSegments(numbers, total, chosen, directions) for _ in range(2 if before else 1)
            ]
            with ExitStack() as stack:
                for pool in pools[1:]:
                    stack.enter_context(backend.taps(pool.taps()))
                stack.enter_context(around(batch.rows, batch.ids))
                stack.enter_context(backend.taps(pools[0].taps()))
                backend.encode(batch.ids, batch.mask)
            for pool, into in zip(pools, (after, ahead), strict=False):
                into.update(_by_row(pool.result(), batch.rows, counts))
    found = [after[row] for row in range(len(transcripts))]
    means = np.concatenate([each.means for each in found])
    read = np.array([len(tokens) > 0 for each in found for tokens in each.tokens])
    warn_of_broken_layers(means, read, chosen, model.dtype, what="means")
    return BothSides(found, [ahead[row] for row in range(len(transcripts))] if before else None)


def _counted(numbers: Int[np.ndarray, " token"], transcript: Transcript) -> int:
    """Stretches of a text."""
    numbers = np.asarray(numbers)
    if numbers.shape != (len(transcript),) or numbers.dtype.kind not in "iu":
        raise ModelError(
            "segments do not fit their transcript",
            expected=f"{len(transcript)} whole numbers",
            given=f"{numbers.dtype} {list(numbers.shape)}",
        )
    return max(0, int(numbers.max(initial=NOWHERE)) + 1)


def _numbered(
    batch: Batch, segments: Sequence[Int[np.ndarray, " token"]], counts: Sequence[int]
) -> tuple[Int[Tensor, "batch position"], int]:
    """The stretches of a batch, counted through."""
    numbers = torch.full_like(batch.ids, NOWHERE)
    total = 0
    for line, row in enumerate(batch.rows):
        own = torch.as_tensor(np.asarray(segments[row]), dtype=torch.long, device=numbers.device)
        numbers[line, : len(own)] = torch.where(own == NOWHERE, NOWHERE, own + total)
        total += counts[row]
    return numbers, total


def _by_row(
    read: list[Segments], rows: Sequence[int], counts: Sequence[int]
) -> dict[int, Segments]:
    """The stretches of each text of a batch together."""
    found, at = {}, 0
    for row in rows:
        own = read[at : at + counts[row]]
        at += counts[row]
        shape = read[0].means.shape[1:] if read else (0, 0)
        means = np.concatenate([each.means for each in own]) if own else np.empty((0, *shape))
        found[row] = Segments(means, [each.tokens[0] for each in own])
    return found
