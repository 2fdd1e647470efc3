"""Texts read with a model, under the plans that are in force: the work behind the readings of `PersonaModel`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.batching import (
    Batches,
    Ids,
    default_token_budget,
    left_padded,
    right_padded,
)
from persona_lens.model.checking import (
    checked_layers,
    checked_positions,
    checked_replies,
    checked_units,
)
from persona_lens.model.context import check_context
from persona_lens.model.divergence import divergences
from persona_lens.model.finiteness import (
    first_broken_layer,
    warn_not_finite,
    warn_of_broken_layers,
)
from persona_lens.model.inputs import check_transcripts, check_waiting
from persona_lens.model.intervening import Around, Call, unchanged
from persona_lens.model.loaded import LoadedModel
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.pooling import ReadMeans
from persona_lens.model.projecting import ReadProjections, TokenProjections
from persona_lens.model.residuals import Residuals, Side, keep
from persona_lens.model.scoring import reply_log_probs, transcript_log_probs
from persona_lens.transcripts import Transcript


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads with one model. Made for a call, so that whoever drops the model has dropped its weights.

    Arguments are those of the methods of `PersonaModel` that go by the same names.

    Attributes:
        model: Is read.
        token_budget: Tokens of a batch, pads included; by default what suits the device.
    """

    model: LoadedModel
    token_budget: int | None = None

    @property
    def _batches(self) -> Batches:
        model = self.model
        budget = self.token_budget or default_token_budget(model.device)
        return Batches(model.held.backend, model.pad_id, model.device, budget)

    def around(
        self, transcripts: Sequence[Transcript], *, padding_side: Side = "right", **options: Any
    ) -> Around:
        """What each batch of a call runs in: the plans in force; options as for `Call`."""
        call = self.call(transcripts, padding_side=padding_side, **options)
        return unchanged if call is None else call.around

    def call(
        self, transcripts: Sequence[Transcript], *, padding_side: Side = "right", **options: Any
    ) -> Call | None:
        """The plans in force on the rows of a call; None if there are none."""
        model = self.model
        if not model.interventions.active:
            return None
        return Call(
            model.held.backend,
            tuple(model.interventions.active),
            transcripts,
            padding_side=padding_side,
            sinks=tuple(model.sinks),
            bos_id=model.tokenizer.bos_token_id,  # pyright: ignore[reportArgumentType]
            **options,
        )

    def pooled(
        self, transcripts: Sequence[Transcript], positions: Any, layers: Any
    ) -> Float[np.ndarray, "transcript layer d_model"]:
        """Mean residuals."""
        check_transcripts(transcripts, "encode")
        chosen = self._layers(layers)
        return self.means(transcripts, self._positions(transcripts, positions), chosen)

    def means(
        self,
        transcripts: Sequence[Transcript],
        positions: Sequence[Bool[np.ndarray, " token"]],
        layers: Sequence[int],
        *,
        rows: Sequence[int] | None = None,
        n_rows: int | None = None,
        before: bool = False,
    ) -> Float[np.ndarray, "transcript layer d_model"]:
        """Mean residuals of all rows of a call or, read once more, of the sampled `rows` of one with `n_rows`.

        At each layer after what plans do there, or `before` it.
        """
        model, again = self.model, rows is not None
        means = np.empty((len(transcripts), len(layers), model.d_model), dtype=np.float32)
        if not transcripts:
            return means
        around = self.around(
            transcripts, rows=rows, n_rows=n_rows, as_sampled=again, noted=not again
        )
        with model.held.lock:
            batches = self._batches
            for batch in batches.of(_ids(transcripts)):
                pool = ReadMeans(batch.chosen(positions), layers)
                plans, taps = around(batch.rows, batch.ids), batches.backend.taps(pool.taps())
                first, second = (taps, plans) if before else (plans, taps)
                with first, second:
                    batches.backend.encode(batch.ids, batch.mask)
                means[batch.rows] = pool.result().numpy()
        read = np.array([np.any(mask) for mask in positions])
        warn_of_broken_layers(means, read, layers, model.dtype, what="means")
        return means

    def projections(
        self, transcripts: Sequence[Transcript], units: Any, layers: Any, positions: Any
    ) -> list[TokenProjections]:
        """Projections of single tokens."""
        model = self.model
        check_transcripts(transcripts, "encode")
        chosen = checked_layers(layers, model.n_layers)
        directions = checked_units(units, len(chosen), model.d_model)
        masks = self._positions(transcripts, positions)
        if not transcripts:
            return []
        around = self.around(transcripts)
        by_row: dict[int, TokenProjections] = {}
        with model.held.lock:
            batches = self._batches
            for batch in batches.of(_ids(transcripts)):
                pool = ReadProjections(batch.chosen(masks), directions, chosen)
                with around(batch.rows, batch.ids), batches.backend.taps(pool.taps()):
                    batches.backend.encode(batch.ids, batch.mask)
                by_row.update(zip(batch.rows, pool.result(), strict=True))
        found = [by_row[row] for row in range(len(transcripts))]
        read = np.array([len(tokens.norms) > 0 for tokens in found])
        sums = np.stack([tokens.norms.sum(axis=0) for tokens in found])
        warn_of_broken_layers(sums, read, chosen, model.dtype, what="projections")
        return found

    def residuals(
        self, transcripts: Sequence[Transcript], layers: Any, padding_side: Side
    ) -> Residuals:
        """Every residual of one batch."""
        model = self.model
        check_transcripts(transcripts, "encode")
        chosen = self._layers(layers)
        self._check_room(transcripts)
        if not transcripts:
            none = torch.empty(0, 0, model.d_model, dtype=model.dtype)
            return Residuals(dict.fromkeys(chosen, none), np.empty((0, 0), dtype=bool))
        pad = right_padded if padding_side == "right" else left_padded
        ids, mask = pad(_ids(transcripts), model.pad_id, model.device)
        by_layer: dict[int, Tensor] = {}
        taps = {layer: keep(by_layer, layer) for layer in chosen}
        with model.held.lock:
            backend = model.held.backend
            around = self.around(transcripts, padding_side=padding_side)
            with around(range(len(transcripts)), ids), backend.taps(taps):
                if padding_side == "right":
                    backend.encode(ids, mask)
                else:
                    backend.advance(ids, mask)
        return Residuals(by_layer, mask.cpu().numpy())

    def logits(self, transcript: Transcript) -> Float[Tensor, "token vocab"]:
        """Logits of one plain forward pass."""
        check_transcripts([transcript], "encode")
        self._check_room([transcript])
        model = self.model
        ids = torch.from_numpy(transcript.ids)[None].to(model.device)
        with model.held.lock, torch.no_grad(), self.around([transcript], as_sampled=True)([0], ids):
            return model.held.backend.logits(ids)[0]

    def log_probs(
        self, prompts: Sequence[Transcript], replies: Any
    ) -> list[Float[np.ndarray, " token"]]:
        """Log-probabilities of replies."""
        model = self.model
        check_transcripts(prompts, "prompt")
        check_waiting(prompts)
        said = checked_replies(replies, prompts, len(model.held.backend.embedding))
        if not prompts:
            return []
        check_context(
            [len(prompt) + len(ids) for prompt, ids in zip(prompts, said, strict=True)],
            model.held.backend.context,
            problem="prompts and replies do not fit the model's context",
            remedy="shorten them",
        )
        with model.held.lock:
            model.conduct.check_logits()
            if model.interventions.active or not model.conduct.shares_prompts:
                whole = self.with_replies(prompts, said)
                around = self.around(whole, as_sampled=True)
                starts = [len(prompt) for prompt in prompts]
                values = transcript_log_probs(self._batches, _ids(whole), starts, around)
            else:
                values = reply_log_probs(
                    self._batches, [prompt.ids.tolist() for prompt in prompts], said
                )
        self._warn_of_nan(values, prompts, "log-probabilities")
        return values

    def kl(
        self, plan: Plan, transcripts: Sequence[Transcript]
    ) -> list[Float[np.ndarray, " token"]]:
        """KL divergence of what a plan makes of the next-token distributions."""
        model = self.model
        check_transcripts(transcripts, "encode")
        checked_plan(plan).check(n_layers=model.n_layers, d_model=model.d_model)
        self._check_room(transcripts)
        warn_of_foreign_weights(plan.origins, model, stacklevel=3)
        without = self.around(transcripts)
        with model.interventions.adding(plan, Receipt(plan)):
            acting = self.around(transcripts)
        masks = [transcript.mask("assistant", turn=-1) for transcript in transcripts]
        with model.held.lock:
            model.conduct.check_logits()
            values = divergences(
                self._batches, _ids(transcripts), masks, without=without, acting=acting
            )
        self._warn_of_nan(values, transcripts, "KL divergences")
        return values

    def with_replies(
        self, prompts: Sequence[Transcript], replies: Iterable[Ids]
    ) -> list[Transcript]:
        """Each prompt with the reply beside it, as it was sampled."""
        with_reply = self.model.encoder.with_reply
        return [
            with_reply(prompt, np.asarray(reply))
            for prompt, reply in zip(prompts, replies, strict=True)
        ]

    def first_broken_layer(self, texts: Sequence[Transcript]) -> int | None:
        """Where numbers stop being some, without a plan; under one, its receipt tells."""
        backend, device = self.model.held.backend, self.model.device
        layers = [first_broken_layer(backend, text.ids, device) for text in texts[:4]]
        return min((layer for layer in layers if layer is not None), default=None)

    def _warn_of_nan(
        self,
        values: Sequence[Float[np.ndarray, " token"]],
        texts: Sequence[Transcript],
        what: str,
    ) -> None:
        if any(np.isnan(each).any() for each in values):
            with self.model.held.lock:
                layer = self.first_broken_layer(texts)
            warn_not_finite(what, layer, self.model.dtype)

    def _layers(self, layers: Any) -> tuple[int, ...]:
        """The layers named; all by default."""
        n_layers = self.model.n_layers
        return checked_layers(range(n_layers) if layers is None else layers, n_layers)

    def _check_room(self, transcripts: Sequence[Transcript]) -> None:
        check_context(map(len, transcripts), self.model.held.backend.context)

    def _positions(
        self, transcripts: Sequence[Transcript], positions: Any
    ) -> list[Bool[np.ndarray, " token"]]:
        """The masks given, or those of the last replies."""
        self._check_room(transcripts)
        if positions is not None:
            return checked_positions(positions, transcripts)
        return [self.model.reply_positions(transcript) for transcript in transcripts]


def _ids(transcripts: Sequence[Transcript]) -> list[Ids]:
    return [transcript.ids for transcript in transcripts]
