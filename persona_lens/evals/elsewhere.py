"""Items answered elsewhere: by workers on Ray, and where nothing acts on the model by a server.

    with open_engine(ModelSpec("google/gemma-2-27b-it"), engine="ray", workers=8, gpus_per_worker=1) as engine:
        evaluate(rules(), model, conditions, space=space, engine=engine, out="rules")
    evaluate(rules(), model, conditions, space=space, served=open_server(settings, spec), out="rules")

A worker sends text, what plans did and the mean residual; places on the axis and verdicts are made here. What a
server writes is read here too. A server samples with numbers of its own, and perhaps in another precision: what a
plan changes is then mixed with that, so compare plans with their controls as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from persona_lens.endpoints import Call, Completion, Endpoint, Failure
from persona_lens.errors import EvaluationError, TranscriptError
from persona_lens.evals.answering import Answered, Answerer
from persona_lens.evals.conditions import Condition
from persona_lens.evals.items import Item
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts.continuing import Continuation

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.reply import Reply
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.engine import Engine
    from persona_lens.transcripts import Transcript


@dataclass(frozen=True, eq=False)
class Piece:
    """Some items under some conditions, as a worker is given them; the rest as for `Answerer`."""

    items: tuple[Item, ...]
    conditions: tuple[Condition, ...]
    sampling: Sampling
    samples: int
    layer: int | None
    batch_size: int


def answer_piece(model: PersonaModel, piece: Piece) -> Answered | Exception:
    """What a model answers, or what went wrong: one piece must not end the work on others."""
    answerer = Answerer(model, piece.sampling, piece.samples, piece.layer, piece.batch_size)
    try:
        return answerer.answered(piece.items, piece.conditions)
    except Exception as error:  # noqa: BLE001
        return error


def by_workers(
    engine: Engine,
    answerer: Answerer,
    pieces: Mapping[str, tuple[Sequence[Item], Sequence[Condition]]],
) -> Iterator[tuple[str, Answered | Exception]]:
    """What workers answer, piece by piece, as they are finished.

    Args:
        engine: Of workers with the same model.
        answerer: How they are to ask it; its own model answers nothing.
        pieces: By name.

    Raises:
        EvaluationError: The workers hold another model.
        RunError: As for the engine.
    """
    told, ours = engine.facts().writer, answerer.model.card()
    differing = sorted(key for key in ours if told.get(key) != ours[key])
    if differing:
        raise EvaluationError(
            "the workers do not hold the model that judges and matched controls are made with",
            expected=", ".join(f"{key} {ours[key]}" for key in differing),
            given=", ".join(f"{key} {told.get(key)}" for key in differing),
            remedy="load both from the same place, with a dtype that is named and not auto",
        )
    asked = (
        (
            name,
            Piece(
                # What judges need to know stays here; not all of it can travel.
                tuple(replace(item, check=None) for item in items),
                tuple(conditions),
                answerer.sampling,
                answerer.samples,
                answerer.layer,
                answerer.batch_size,
            ),
        )
        for name, (items, conditions) in pieces.items()
    )
    return engine.each(answer_piece, asked)


@dataclass(frozen=True, eq=False)
class Server:
    """Asks a server what nothing acts on, and reads its answers here.

    Attributes:
        source: The server, and who renders prompts.
        answerer: How the model here would be asked; reads the answers.
    """

    source: ServedSource
    answerer: Answerer

    def answers(
        self, pieces: Mapping[str, tuple[Sequence[Item], Condition]]
    ) -> Iterator[tuple[str, Answered | Exception]]:
        """Each piece as soon as all of it is answered, many requests at a time.

        Args:
            pieces: By name.

        Raises:
            EndpointError: No key, no quota, no such model, or a server that is down.
        """
        items = {
            (name, place): item
            for name, (some, _) in pieces.items()
            for place, item in enumerate(some)
        }
        waiting = {name: len(some) * self.answerer.samples for name, (some, _) in pieces.items()}
        outcomes: dict[tuple[str, int, int], Completion | Failure] = {}
        for call, outcome in Endpoint(self.source.settings).map(self._calls(items)):
            assert isinstance(call.key, tuple)
            name = call.key[0]
            outcomes[call.key] = outcome
            waiting[name] -= 1
            if not waiting[name]:
                yield name, self._put_together(name, *pieces[name], outcomes)

    def _calls(self, items: Mapping[tuple[str, int], Item]) -> Iterator[Call]:
        sampling, ours = self.answerer.sampling, self.source.template == "ours"
        for (name, place), item in items.items():
            prompt, messages = None, ()
            if item.prefill and not ours:
                prompt = item.prefill
            elif ours:
                prompt = self.source.as_text(self.answerer.prompt(item), item.id)
            else:
                messages = self.source.sent(item.messages)
            for sample in range(self.answerer.samples):
                yield Call(
                    (name, place, sample),
                    messages=messages,
                    prompt=prompt,
                    temperature=sampling.temperature,
                    top_p=sampling.top_p if sampling.temperature else None,
                    max_tokens=sampling.max_new_tokens,
                    seed=_seed(sampling.seed, item, sample) if sampling.temperature else None,
                )

    def _put_together(
        self,
        name: str,
        items: Sequence[Item],
        condition: Condition,
        outcomes: Mapping[tuple[str, int, int], Completion | Failure],
    ) -> Answered | Exception:
        rows, whole = [], []
        for place, item in enumerate(items):
            prompt = self.answerer.prompt(item)
            for sample in range(self.answerer.samples):
                outcome = outcomes[name, place, sample]
                reply, reason = self.source.reply(Call(""), outcome)
                if reply.finish == "failed":
                    return EvaluationError(
                        f"{self.source.settings.host()} has not answered {item.id!r}",
                        given=reason,
                        remedy="the same call asks again for what failed",
                    )
                reply = self._heard(prompt, reply)
                whole.append(self._read(prompt, reply))
                tokens = outcome.completion_tokens if isinstance(outcome, Completion) else None
                rows.append(
                    {
                        "item": item.id,
                        "condition": condition.name,
                        "sample": sample,
                        "text": reply.answer,
                        "finish": reply.finish,
                        "tokens": tokens or len(whole[-1]) - len(prompt),
                        "engaged": 0.0,
                        "moved": 0.0,
                    }
                )
        return Answered(pd.DataFrame(rows), self.answerer.means(whole))

    def _heard(self, prompt: Transcript, reply: Reply) -> Reply:
        """The reply with what of it is answer, where its server does not give the thought apart."""
        if reply.thinking or not reply.text or reply.finish == "refused":
            return reply
        return replace(reply, said=self.answerer.model.encoder.said_text(prompt, reply.text))

    def _read(self, prompt: Transcript, reply: Reply) -> Transcript:
        """The conversation with the answer, by the server's token ids or those its text has behind the prompt."""
        encoder = self.answerer.model.encoder
        if len(reply.ids):
            return encoder.with_reply(prompt, reply.ids)
        try:
            ids = Continuation(encoder, end_ids=self.answerer.model.end_ids).ids(
                prompt, reply.answer
            )
        except TranscriptError:  # the text has no tokens of its own there, as behind a prefill
            ids = encoder.plain_ids(reply.answer)
        return encoder.with_reply(prompt, np.asarray(ids, dtype=np.int64))


def _seed(seed: int, item: Item, sample: int) -> int:
    """A seed of 31 bits, which every server takes.

    >>> item = Item("a", prefill="My job is")
    >>> _seed(0, item, 0) == _seed(0, item, 1)
    False
    """
    named = json.dumps([seed, item.id, sample])
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:4], "big") >> 1
