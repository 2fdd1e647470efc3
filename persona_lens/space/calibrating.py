"""Reading a run for the calibration of its space: the mean of every reply, and the tokens of some."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from persona_lens.errors import SpaceError
from persona_lens.progress import StageProgress
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.engines.reading import read_tokens
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.vectors import question_order, reply_means
from persona_lens.space.calibration import Calibration, Part
from persona_lens.space.directions import CalibratedDirections

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

TOKEN_REPLIES = 96
"""Replies of each population whose tokens are read."""

_AT_A_TIME = 32


def reply_calibration(
    run: RunFolder, directions: CalibratedDirections, *, places: Sequence[int] | None = None
) -> Calibration | None:
    """Distribution of reply means along directions; half of the questions are held out.

    Args:
        run: A finished run.
        directions: What to project on.
        places: The layers of the run that `directions` are about, by their place; all by default.
    """
    chosen = slice(None) if places is None else list(places)
    held_out = _held_out_questions(run)

    def parts() -> Iterator[Part]:
        for shard, requests, means in reply_means(run):
            if len(means):
                yield Part(
                    shard.kind,
                    np.array([request.question_id in held_out for request in requests]),
                    directions.coordinates(means[:, chosen]),
                    np.linalg.norm(means[:, chosen], axis=-1),
                )

    return Calibration.of(parts(), directions.names)


def token_calibration(
    run: RunFolder,
    model: PersonaModel,
    directions: CalibratedDirections,
    *,
    layers: Sequence[int],
    replies: int = TOKEN_REPLIES,
    seed: int = 0,
    progress: bool = True,
) -> Calibration | None:
    """Distribution of single reply tokens along directions, from a sample of each population, read anew.

    Args:
        run: A finished run.
        model: Its reader.
        directions: What to project on.
        layers: Blocks of the space.
        replies: At most so many replies of each population.
        seed: Of the sample.
        progress: Show a progress bar.

    Raises:
        SpaceError: The model has other layers or another width than the run's reader.
    """
    model.refuse_interventions("no space can be calibrated")
    opened = run.opened()
    manifest = opened.manifest
    given = {"n_layers": model.n_layers, "d_model": model.d_model}
    wanted = {name: manifest.reader[name] for name in given}
    if given != wanted:
        raise SpaceError(
            "this is not the model the run was read with",
            expected=f"{manifest.reader['model']}, {wanted}",
            given=f"{model.name}, {given}",
        )
    held_out = _held_out_questions(run)
    kinds, held, texts = [], [], []
    written_here = (
        manifest.conditions.get("model", {}).get("template_hash") == model.encoder.template_hash
    )
    for shard, places in _sampled(run, replies, np.random.default_rng(seed)):
        said = opened.read_replies(shard)
        kept = [place for place in places if said[place].answer]
        requests = tuple(shard.requests[place] for place in kept)
        kinds += [shard.kind] * len(kept)
        held += [request.question_id in held_out for request in requests]
        texts += read_tokens(
            model,
            shard.model_copy(update={"requests": requests}),
            [said[place] for place in kept],
            exact_ids=written_here and all(said[place].has_ids for place in kept),
            tokens=manifest.reader.get("tokens", "answer"),
        )
    bar = StageProgress("Calibrating on tokens", len(texts), shown=progress)

    def parts() -> Iterator[Part]:
        for start in range(0, len(texts), _AT_A_TIME):
            some = texts[start : start + _AT_A_TIME]
            transcripts, positions = [text for text, _ in some], [chosen for _, chosen in some]
            read = model.projections(
                transcripts, directions.units, layers=layers, positions=positions
            )
            for index, tokens in enumerate(read, start):
                if len(tokens.norms):
                    yield Part(
                        kinds[index],
                        np.full(len(tokens.norms), held[index]),
                        directions.from_projections(tokens.values),
                        tokens.norms,
                    )
            bar.advance(len(some))

    with bar.running():
        return Calibration.of(parts(), directions.names)


def _held_out_questions(run: RunFolder) -> set[str]:
    """Every other question: thresholds are tried on those they were not made from."""
    return set(question_order(run.manifest())[1::2])


def _sampled(
    run: RunFolder, replies: int, rng: np.random.Generator
) -> Iterator[tuple[Shard, list[int]]]:
    """A random sample of the requests of each population, by shard."""
    shards = run.manifest().shards
    for kind in dict.fromkeys(shard.kind for shard in shards):
        places = [
            (index, place)
            for index, shard in enumerate(shards)
            if shard.kind == kind
            for place in range(len(shard.requests))
        ]
        chosen = rng.choice(len(places), size=min(replies, len(places)), replace=False)
        by_shard: dict[int, list[int]] = {}
        for which in sorted(chosen):
            index, place = places[which]
            by_shard.setdefault(index, []).append(place)
        for index, some in by_shard.items():
            yield shards[index], some
