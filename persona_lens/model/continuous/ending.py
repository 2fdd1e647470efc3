"""How a row ends: as a reply like those of `generate`, or with an error that says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from persona_lens.model.continuous.events import Failed, Finished
from persona_lens.model.continuous.requests import Along
from persona_lens.model.continuous.rows import NothingToDraw, Row, mean_of
from persona_lens.model.generation import nothing_to_draw, without_thinking
from persona_lens.model.reading import Reader
from persona_lens.rollouts.reply import Reply

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


def ended(model: PersonaModel, row: Row, along: Along | None) -> Finished | Failed:
    """What is told of a row that is over."""
    error = row.error
    if error is None:
        try:
            return _finished(model, row, along)
        except Exception as problem:  # noqa: BLE001 - it goes to whoever asked
            error = problem
    if isinstance(error, NothingToDraw):
        prompt = row.request.prompt
        error = nothing_to_draw(model, Reader(model).first_broken_layer([prompt]))
    return Failed(row.ticket, error)


def _finished(model: PersonaModel, row: Row, along: Along | None) -> Finished:
    prompt, encoder = row.request.prompt, model.encoder
    tail = row.wording.end(row.ids)
    stopped = row.wording.stopped_by
    text = row.wording.said
    said = encoder.said(prompt, row.ids) if stopped is None else encoder.said_text(prompt, text)
    reply = Reply(
        ids=np.asarray(row.ids, dtype=np.int64),
        text=text,
        finish="length" if row.finish == "length" and stopped is None else "stop",
        log_probs=None
        if row.request.top_log_probs is None
        else np.asarray(row.log_probs, dtype=np.float32),
        said=said,
    )
    before = after = None
    if along is not None:
        reply = _read(model, row, reply, along)
        shape = (0, *along.units.shape[:2])
        before, after = (
            np.stack(found) if found else np.zeros(shape, dtype=np.float32)
            for found in (row.before, row.after)
        )
    return Finished(
        row.ticket,
        reply,
        tail,
        prompt_tokens=len(prompt),
        stopped_by=stopped,
        receipt=row.receipt,
        before=before,
        after=after,
    )


def _read(model: PersonaModel, row: Row, reply: Reply, along: Along) -> Reply:
    """The reply with its means, read again where not every token is the assistant's answer, as `generate` does."""
    plan, shape = row.request.plan, (len(along.layers), model.d_model)
    acts = plan is not None and not set(plan.layers).isdisjoint(along.layers)
    reply = replace(
        reply,
        mean=mean_of(row.sums, len(row.ids), shape),
        before=mean_of(row.raw_sums, len(row.ids), shape) if acts else None,
    )
    prompts, reader = [row.request.prompt], Reader(model)
    if plan is None or row.receipt is None:
        return without_thinking(reader, prompts, [reply], along.layers)[0]
    with model.interventions.adding(plan, row.receipt):
        return without_thinking(reader, prompts, [reply], along.layers)[0]
