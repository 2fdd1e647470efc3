"""Plans at work on a model: attached for the length of one batch, and gone afterwards whatever happens.

Nothing is attached while a plan is merely in force: `PersonaModel.intervene` puts it on a stack of the calling
thread, and every batch that thread runs attaches it with the batch's own tokens. So the model is always as it was,
plans nest, and threads do not see each other's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from persona_lens.interventions.plan import Plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.model.backends import Backend
from persona_lens.model.memory import Laid
from persona_lens.transcripts import Transcript

Around = Callable[[Sequence[int], Int[Tensor, "batch position"] | None], AbstractContextManager]
"""Given which rows of a call form a batch, and its ids where one pass sees them all: what to run it in."""


def unchanged(_rows: Sequence[int], _ids: Int[Tensor, "batch position"] | None) -> nullcontext:
    """What a batch runs in where no plan is in force."""
    return nullcontext()


@dataclass(frozen=True, eq=False)
class Intervention:
    """A plan in force, and the receipt of what it does.

    Attributes:
        rows: The rows of a call that it acts on; all of them if None.
    """

    plan: Plan
    receipt: Receipt
    rows: frozenset[int] | None = None

    def acts_on(self, row: int) -> bool:
        """Whether it acts on a row of a call."""
        return self.rows is None or row in self.rows


class Interventions(threading.local):
    """The plans in force in each thread, outermost first."""

    def __init__(self) -> None:
        self.active: list[Intervention] = []

    @contextmanager
    def adding(
        self, plan: Plan, receipt: Receipt, rows: frozenset[int] | None = None
    ) -> Iterator[None]:
        """Put a plan in force; for one call, it may be for some of its rows only."""
        intervention = Intervention(plan, receipt, rows)
        self.active.append(intervention)
        try:
            yield
        finally:
            self.active.remove(intervention)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of the model's, whose rows run in batches.

    Attributes:
        backend: Runs the batches.
        active: Plans in force, outermost first.
        transcripts: The rows.
        padding_side: Of the batches.
        sinks: Positions that are attention sinks.
        bos_id: The tokenizer's BOS.
        end_ids: Tokens that end a reply, where replies are sampled.
        rows: Row of each transcript in the call the user made, if these are some of it.
        n_rows: Rows of that call.
        as_sampled: Replies are read again as they were sampled; see `BatchTokens.of_transcripts`.
        noted: Whether receipts count what is done; not where they have counted it already.
        mark: Tells receipts which batches belong together; they keep it, so it is not the call itself.
    """

    backend: Backend
    active: Sequence[Intervention]
    transcripts: Sequence[Transcript]
    padding_side: str
    sinks: Sequence[int]
    bos_id: int | None
    end_ids: Sequence[int] = ()
    rows: Sequence[int] | None = None
    n_rows: int | None = None
    as_sampled: bool = False
    noted: bool = True
    mark: object = field(default_factory=object)

    @property
    def forgets(self) -> str:
        """Why what a model keeps of a text would not serve the text once it is longer; empty where it does."""
        for plan, receipt in ((acting.plan, acting.receipt) for acting in self.active):
            if receipt.detail:
                return "the receipt keeps every token"
            if plan.rows is not None:
                return "the plan is made for single rows"
            if any(step.operation.history is not None for step in plan.steps):
                return "what the plan does to a token depends on those before it"
        return ""

    @property
    def holds_rows(self) -> bool:
        """Whether rows have to stay in their batch to its end: receipts that keep every token need all columns."""
        return any(acting.receipt.detail for acting in self.active)

    def marks(self, batch: Sequence[int], sampled: int = 0) -> list[Bool[np.ndarray, "token step"]]:
        """Which steps of the plans choose each token of some rows, and of as many sampled ones behind them."""
        lengths = [len(self.transcripts[row]) for row in batch]
        n_steps = sum(len(acting.plan) for acting in self.active)
        marks = [np.zeros((length + sampled, n_steps), dtype=bool) for length in lengths]
        step = 0
        for acting in self.active:
            tokens = self._tokens(acting, batch)
            for each in acting.plan.steps:
                known = tokens.chosen(each.where)
                later = [tokens.chosen_later(each.where, ahead) for ahead in range(sampled)]
                for row, length in enumerate(lengths):
                    marks[row][:length, step] = known[row, tokens.present[row]]
                    marks[row][length:, step] = [chosen[row] for chosen in later]
                step += 1
        return marks

    @contextmanager
    def around(
        self,
        batch: Sequence[int],
        ids: Int[Tensor, "batch position"] | None = None,
        laid: Laid | None = None,
    ) -> Iterator[list[PlanRun]]:
        """Attach every plan while these rows run.

        Args:
            batch: Indices into `transcripts`.
            ids: What the one forward pass sees; None where `generate` runs several, which are then watched.
            laid: Where the rows stand behind what is kept of them, if anything is.
        """
        runs = [
            self._run(intervention, batch, laid)
            for intervention in self.active
            if any(intervention.acts_on(self._in_call[row]) for row in batch)
        ]
        with ExitStack() as stack:
            for run in runs:
                if ids is None:
                    stack.enter_context(self.backend.before_forward(run.watch))
                else:
                    run.watch(ids)
                stack.enter_context(self.backend.taps(run.taps()))
            yield runs
        for run in runs:
            run.close()

    @property
    def _in_call(self) -> Sequence[int]:
        """The row of each transcript in the call the user made."""
        return range(len(self.transcripts)) if self.rows is None else self.rows

    def _tokens(self, intervention: Intervention, batch: Sequence[int]) -> BatchTokens:
        rows = [self._in_call[row] for row in batch]
        return BatchTokens.of_transcripts(
            [self.transcripts[row] for row in batch],
            padding_side=self.padding_side,
            sinks=self.sinks,
            bos_id=self.bos_id,
            rows=rows,
            spared=[not intervention.acts_on(row) for row in rows],
            as_sampled=self.as_sampled,
            padded_masks=False,
        )

    def _run(self, intervention: Intervention, batch: Sequence[int], laid: Laid | None) -> PlanRun:
        tokens = self._tokens(intervention, batch)
        if laid is not None:
            tokens = tokens.laid_out(laid.columns, laid.width)
        return PlanRun(
            intervention.plan,
            tokens,
            receipt=intervention.receipt if self.noted else None,
            end_ids=torch.tensor(sorted(self.end_ids)) if self.end_ids else None,
            n_rows=len(self.transcripts) if self.n_rows is None else self.n_rows,
            call=self.mark,
            start=0 if laid is None else laid.start,
        )
