"""Items answered under all conditions at once: one batch whose rows have plans of their own, or none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.evals.conditions import Condition
from persona_lens.evals.items import Item
from persona_lens.interventions.receipt import Receipt
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts import TranscriptEncoder

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space
    from persona_lens.transcripts import Transcript

NO_TEMPLATE = "{{- bos_token }}{{- messages[0].content }}"
"""Plain text for a model to go on with; BOS where the tokenizer itself adds one."""


class Answered(NamedTuple):
    """Replies to some items.

    Attributes:
        frame: One row for each item, condition and sample. Columns: `item`, `condition`, `sample`; `text`, what
            was answered; `finish`, `tokens`; `engaged`, the share of the tokens and layers that the plan was to
            touch and moved, and `moved`, by how much of the residual norm on average, those not moved included
            (both 0 without a plan).
        means: Mean residual of each reply, re-read with nothing acting; None if it was not asked for.
    """

    frame: pd.DataFrame
    means: Float[np.ndarray, "reply d_model"] | None

    def placed(self, space: Space | None, layer: int) -> pd.DataFrame:
        """The rows with `projection`: of the reply's mean on the axis of a space, in standard deviations of
        default replies; NaN without a space, and of replies without a mean.
        """
        found = np.full(len(self.frame), np.nan)
        if space is not None and self.means is not None:
            known = np.isfinite(self.means).all(axis=-1)
            found[known] = space.project(self.means[known], layer, units="default")
        return self.frame.assign(projection=found)


@dataclass(frozen=True, eq=False)
class Answerer:
    """Asks a model.

    Attributes:
        model: Answers.
        sampling: Of the replies; each piece of work draws with a seed of its own, made of this and its items.
        samples: Replies to each item under each condition.
        layer: Where replies are read, with nothing acting; None leaves that out.
        batch_size: Replies at a time.
    """

    model: PersonaModel
    sampling: Sampling
    samples: int = 1
    layer: int | None = None
    batch_size: int = 64

    def answered(self, items: Sequence[Item], conditions: Sequence[Condition]) -> Answered:
        """One reply for each item, condition and sample, and where it lies."""
        prompts = [self.prompt(item) for item in items]
        cells = [
            (place, condition, sample)
            for place in range(len(items))
            for condition in conditions
            for sample in range(self.samples)
        ]
        asked = [prompts[place] for place, _, _ in cells]
        receipts: dict[str, tuple[Receipt, list[int]]] = {}
        with ExitStack() as stack:
            for condition in conditions:
                if condition.plan is None:
                    continue
                rows = [row for row, cell in enumerate(cells) if cell[1] is condition]
                receipt = Receipt(condition.plan, detail=True)
                acting = self.model.interventions.adding(condition.plan, receipt, frozenset(rows))
                stack.enter_context(acting)
                receipts[condition.name] = receipt, rows
            replies = self.model.generate(asked, self._drawn(items), batch_size=self.batch_size)
        frame = pd.DataFrame(
            [
                {
                    "item": items[place].id,
                    "condition": condition.name,
                    "sample": sample,
                    "text": reply.answer,
                    "finish": reply.finish,
                    "tokens": len(reply.ids),
                    "engaged": 0.0,
                    "moved": 0.0,
                }
                for (place, condition, sample), reply in zip(cells, replies, strict=True)
            ]
        )
        for receipt, rows in receipts.values():
            for row, did in _by_row(receipt).items():
                if row in rows:
                    frame.loc[row, ["engaged", "moved"]] = did
        whole = [
            self.model.encoder.with_reply(prompt, reply.ids)
            for prompt, reply in zip(asked, replies, strict=True)
        ]
        return Answered(frame, self.means(whole))

    def means(self, whole: Sequence[Transcript]) -> Float[np.ndarray, "reply d_model"] | None:
        """Mean residual of each last turn at the layer, with nothing acting."""
        if self.layer is None:
            return None
        return self.model.pooled(whole, layers=[self.layer])[:, 0]

    def prompt(self, item: Item) -> Transcript:
        """What the model is asked.

        Raises:
            TranscriptError: Its template refuses the messages.
        """
        if item.prefill:
            return self._plain.prompt([{"role": "user", "content": item.prefill}])
        encoder, messages = self.model.encoder, [dict(each) for each in item.messages]
        if messages[0]["role"] == "user":
            return encoder.prompt([*encoder.messages(messages[0]["content"]), *messages[1:]])
        return encoder.prompt(messages)

    def depends(self) -> dict[str, Any]:
        """What replies hang on beside items and conditions."""
        return {
            "model": self.model.card(),
            "sampling": self.sampling.model_dump(),
            "samples": self.samples,
            "batch_size": self.batch_size,
            "layer": self.layer,
        }

    def _drawn(self, items: Sequence[Item]) -> Sampling:
        """The sampling with a seed of these items, so that no two pieces share their random numbers."""
        named = json.dumps([self.sampling.seed, *(item.id for item in items)])
        seed = int.from_bytes(hashlib.sha256(named.encode()).digest()[:4], "big") >> 1
        return self.sampling.model_copy(update={"seed": seed})

    @cached_property
    def _plain(self) -> TranscriptEncoder:
        return TranscriptEncoder(self.model.tokenizer, chat_template=NO_TEMPLATE)


def _by_row(receipt: Receipt) -> Mapping[int, tuple[float, float]]:
    """Share of tokens moved, and mean move, of each row of the call."""
    found = {}
    for touched in receipt.tokens():
        change = touched.change[np.isfinite(touched.change)]
        found[touched.row] = (
            (float((change > 0).mean()), float(change.mean())) if change.size else (0.0, 0.0)
        )
    return found


def space_key(space: Space) -> str:
    """A hash of what evaluations take from a space: its vectors, and what it is calibrated on."""
    digest = hashlib.sha256(np.ascontiguousarray(space.axis_).tobytes())
    digest.update(np.ascontiguousarray(space.components_).tobytes())
    for calibration in (space.calibration_, space.token_calibration_):
        if calibration is not None:
            digest.update(np.ascontiguousarray(calibration.quantiles).tobytes())
            digest.update(np.ascontiguousarray(calibration.norms).tobytes())
    return digest.hexdigest()[:16]
