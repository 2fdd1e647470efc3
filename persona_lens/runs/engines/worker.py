"""What turns shards into replies and mean residuals: one model that writes, and the same or another that reads.

A worker knows nothing of folders. It runs in this process or in another one (`persona_lens.runs.engines.engine`);
whoever asked stores what it hands back.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from persona_lens.errors import NotFiniteWarning, RunError
from persona_lens.rollouts.plan import Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.engines.reading import Tokens, read_replies
from persona_lens.transcripts.continuing import Continuation
from persona_lens.transcripts.paper_span import paper_messages

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

Asked = tuple[str, str]
"""System prompt and question."""
OnBatch = Callable[[int, int], None] | None
"""Called with the number of replies and tokens of each sampled batch."""


@dataclass(frozen=True)
class WorkSettings:
    """How shards are worked on.

    Attributes:
        sampling: Of the replies; each unit of shards has a seed of its own made from its seed.
        layers: Blocks to read; none leaves the replies unread.
        batch_size: Replies sampled at a time.
        token_budget: Tokens of a reading batch; by default what suits the device.
        of_text: Replies come as text, not sampled here.
        tokens: Which tokens of a reply are averaged, and with `paper` also how it is asked for.
    """

    sampling: Sampling
    layers: tuple[int, ...]
    batch_size: int
    token_budget: int | None = None
    of_text: bool = False
    tokens: Tokens = "answer"


@dataclass(frozen=True)
class Job:
    """A unit of shards, with the replies that are there already.

    Attributes:
        unit: Sampled together, all or none.
        stored: Replies of those of its shards that have them, by the key of the shard.
        unread: Keys of the shards whose replies are there and have not been read.
    """

    unit: tuple[Shard, ...]
    stored: Mapping[str, Sequence[Reply]] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()

    @property
    def samples(self) -> bool:
        """Whether replies have to be sampled, not only read."""
        return any(shard.key not in self.stored for shard in self.unit)


@dataclass(frozen=True, eq=False)
class Product:
    """Replies of one shard and their mean residuals; no means if nothing is to be read."""

    shard: Shard
    replies: Sequence[Reply]
    means: Float[np.ndarray, "reply layer d_model"] | None


@dataclass(frozen=True)
class WorkerFacts:
    """What a run writes down about the models of a worker.

    Attributes:
        name: The writer's name, as in "You are {model_name}.".
        writer, reader: Cards of the two models.
        reader_identity: Tells readers, their weights and their templates apart.
        n_layers: Blocks of the reader.
        holds_thoughts: Whether the reader's template has a place for a thought that is given apart.
    """

    name: str
    writer: dict[str, Any]
    reader: dict[str, Any]
    reader_identity: str
    n_layers: int
    holds_thoughts: bool = False


class Worker:
    """Works on shards with models that are loaded.

    Args:
        writer: Samples the replies.
        reader: Reads them; the writer by default.
    """

    def __init__(self, writer: PersonaModel, reader: PersonaModel | None = None) -> None:
        self.writer = writer
        self.reader = reader or writer

    def facts(self) -> WorkerFacts:
        """What a run writes down about the models."""
        reader = self.reader
        return WorkerFacts(
            name=self.writer.name,
            writer=self.writer.card(),
            reader=reader.card(),
            reader_identity=f"{reader.fingerprint}{reader.encoder.template_hash}",
            n_layers=reader.n_layers,
            holds_thoughts=Continuation(reader.encoder).frame.holds_thoughts,
        )

    def check(self, asked: Sequence[Asked], settings: WorkSettings, *, samples: bool) -> None:
        """Find out now what would otherwise end the work after hours.

        Args:
            asked: The longest system prompts and questions.
            settings: As for `work`.
            samples: Whether this worker's writer is to answer them.

        Raises:
            ModelError: A layer that does not exist, or a prompt that does not fit the context.
            TranscriptError: The reader's template refuses a prompt, or a reply behind it could not be read.
            RunError: A model that carries hooks.
        """
        for layer in settings.layers:
            self.reader.hook_name(layer)
        if self.writer.has_hooks or self.reader.has_hooks:
            raise RunError(
                "the model carries hooks, which would change replies and readings without being recorded",
                remedy="take them off first: model.bridge.reset_hooks(), or handle.remove() of a module's hooks",
            )
        if samples:
            self.writer.check_room(self._prompts(asked, settings), settings.sampling)
        behind_the_prompt = settings.layers and settings.tokens == "answer"
        if behind_the_prompt and (settings.of_text or not self._same_tokens):
            continuation = Continuation(self.reader.encoder, end_ids=self.reader.end_ids)
            for system, question in asked:
                messages = self.reader.encoder.messages(question, system=system)
                continuation.check(self.reader.encoder.prompt(messages))

    def seconds(self, asked: Sequence[Asked], settings: WorkSettings) -> float:
        """Seconds a batch of such requests takes, from two short generations.

        The first tells the cost of a prompt, the difference that of a decoding step.
        """
        prompts = self._prompts(asked, settings)

        def timed(tokens: int, rows: int | None = None) -> float:
            start = time.perf_counter()
            sampling = settings.sampling.model_copy(update={"max_new_tokens": tokens})
            self.writer.generate(prompts[:rows], sampling, batch_size=settings.batch_size)
            return time.perf_counter() - start

        timed(1, rows=1)  # the first pass after loading is slower, however small
        short, long = timed(1), timed(5)
        return short + max(0.0, long - short) / 4 * (settings.sampling.max_new_tokens - 1)

    def work(self, job: Job, settings: WorkSettings, *, on_batch: OnBatch = None) -> list[Product]:
        """Sample what has no replies, then read what has no means.

        Args:
            job: A unit and what is there of it.
            settings: How to sample and read.

        Raises:
            RunError: Residuals that are not finite, which would pass for empty replies.
        """
        with _numbers_only():
            products = self._sampled(job, settings, on_batch) if job.samples else []
            for shard in job.unit:
                if shard.key in job.unread:
                    replies = job.stored[shard.key]
                    products.append(Product(shard, replies, self._read(shard, replies, settings)))
        return products

    def _sampled(self, job: Job, settings: WorkSettings, on_batch: OnBatch) -> list[Product]:
        # The whole unit is sampled even if some of its shards are stored already: their replies come out the
        # same, and so do those of the missing ones, which share a batch and a random state with them.
        # What the paper's code averages is found in the finished conversation, rendered anew.
        pools = bool(settings.layers) and self.writer is self.reader and settings.tokens == "answer"
        replies = self.writer.generate(
            self._prompts([pair for shard in job.unit for pair in shard.asked], settings),
            settings.sampling.model_copy(
                update={"seed": unit_seed(job.unit, settings.sampling.seed)}
            ),
            layers=settings.layers if pools else None,
            batch_size=settings.batch_size,
            log_probs=True,
            on_batch=on_batch,
        )
        products, start = [], 0
        for shard in job.unit:
            stop = start + len(shard.requests)
            if shard.key not in job.stored:
                said = replies[start:stop]
                pooled = [reply.mean for reply in said if reply.mean is not None]
                means = np.stack(pooled) if pooled else self._read(shard, said, settings)
                products.append(Product(shard, said, means))
            start = stop
        return products

    def _read(
        self, shard: Shard, replies: Sequence[Reply], settings: WorkSettings
    ) -> Float[np.ndarray, "reply layer d_model"] | None:
        if not settings.layers:
            return None
        return read_replies(
            self.reader,
            shard,
            replies,
            layers=settings.layers,
            exact_ids=self._same_tokens,
            token_budget=settings.token_budget,
            tokens=settings.tokens,
        )

    def _prompts(self, asked: Sequence[Asked], settings: WorkSettings) -> list[Any]:
        encoder = self.writer.encoder
        messages = paper_messages if settings.tokens == "paper" else encoder.messages
        return [encoder.prompt(messages(question, system=system)) for system, question in asked]

    @cached_property
    def _same_tokens(self) -> bool:
        """Whether the reader tokenises like the writer."""
        return self.writer is self.reader or (
            self.writer.encoder.template_hash == self.reader.encoder.template_hash
            and self.writer.tokenizer.get_vocab() == self.reader.tokenizer.get_vocab()
        )


@contextmanager
def _numbers_only() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", NotFiniteWarning)
            yield
    except NotFiniteWarning as warning:
        raise RunError(
            f"nothing of this can be collected: {warning}",
            remedy="choose another dtype; what was collected before stays as it is",
        ) from warning


def unit_seed(unit: Sequence[Shard], seed: int) -> int:
    """A seed of the unit's own: without it, all units would draw the same random numbers."""
    return int(unit[0].content_hash({"seed": seed}), 16) % 2**63
