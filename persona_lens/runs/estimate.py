"""What a collection will cost, told before it starts: replies, tokens, time and disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persona_lens.model.sampling import Sampling
from persona_lens.rollouts.plan import Request, Shard

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

_BYTES_PER_VALUE = 4
_BYTES_PER_TOKEN = 8  # an id and its text, compressed


@dataclass(frozen=True)
class Estimate:
    """An upper bound: replies that end early make it cheaper.

    Attributes:
        replies: To be sampled.
        tokens: Of those, at most.
        seconds: For those.
        read_only: Replies that are there and only have to be read; not timed.
        disk_bytes: For all of it.

    Examples:
        >>> print(Estimate(replies=1200, tokens=76_800, seconds=300.0, read_only=0, disk_bytes=84_000_000))
        1,200 replies, at most 76,800 tokens, about 5 min, 84 MB on disk
    """

    replies: int
    tokens: int
    seconds: float
    read_only: int
    disk_bytes: int

    def __str__(self) -> str:
        parts = []
        if self.replies:
            parts += [f"{self.replies:,} replies", f"at most {self.tokens:,} tokens"]
            parts += [f"about {format_seconds(self.seconds)}"]
        if self.read_only:
            parts += [f"{self.read_only:,} stored replies to read"]
        return ", ".join([*parts, f"{format_bytes(self.disk_bytes)} on disk"])


def estimate_run(
    model: PersonaModel,
    to_sample: Sequence[Shard],
    to_read: Sequence[Shard],
    sampling: Sampling,
    batch_size: int,
    *,
    values_per_reply: int,
) -> Estimate:
    """Time two short generations of one batch and extrapolate to the shards `to_sample`.

    The first tells the cost of a prompt, the difference that of a decoding step.
    """
    requests = [(shard, request) for shard in to_sample for request in shard.requests]
    tokens = len(requests) * sampling.max_new_tokens
    read_only = sum(len(shard.requests) for shard in to_read)
    values = (len(requests) + read_only) * values_per_reply
    return Estimate(
        replies=len(requests),
        tokens=tokens,
        seconds=_sampling_seconds(model, requests, sampling, batch_size) if requests else 0.0,
        read_only=read_only,
        disk_bytes=values * _BYTES_PER_VALUE + tokens * _BYTES_PER_TOKEN,
    )


def _sampling_seconds(
    model: PersonaModel,
    requests: Sequence[tuple[Shard, Request]],
    sampling: Sampling,
    batch_size: int,
) -> float:
    sample = requests[:: max(1, len(requests) // batch_size)][:batch_size]
    prompts = [
        model.encoder.prompt(model.encoder.messages(request.question, system=shard.system))
        for shard, request in sample
    ]

    def seconds(tokens: int) -> float:
        start = time.perf_counter()
        model.generate(
            prompts, sampling.model_copy(update={"max_new_tokens": tokens}), batch_size=batch_size
        )
        return time.perf_counter() - start

    seconds(1)  # the first pass after loading is slower
    short, long = seconds(1), seconds(5)
    step = max(0.0, long - short) / 4
    return len(requests) / len(sample) * (short + step * (sampling.max_new_tokens - 1))


def format_seconds(seconds: float) -> str:
    """Seconds as a person says them.

    Examples:
        >>> format_seconds(42), format_seconds(300), format_seconds(9000)
        ('42 s', '5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_bytes(count: float) -> str:
    """Bytes in decimal units.

    Examples:
        >>> format_bytes(84_000_000)
        '84 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
