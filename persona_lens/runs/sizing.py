"""What a collection would be: its size, disk, memory, time and cost, told at once and without a weight being read.

print(dry_run(CollectionPlan(roles="full", prompts=1), "smollm2-135m-instruct"))
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from persona_lens.model.hardware import DtypeName, choose_device, choose_dtype
from persona_lens.model.pace import Pace, kept_pace, pace_key, pace_of_products
from persona_lens.model.shape import ModelShape, shape_of
from persona_lens.quantities import format_bytes, format_seconds
from persona_lens.rollouts.model_names import short_name
from persona_lens.rollouts.plan import n_requests
from persona_lens.runs.collection_progress import Estimate
from persona_lens.runs.planning import CollectionPlan
from persona_lens.runs.store.folder import RunFolder

_CHARACTERS_PER_TOKEN = 4
_TEMPLATE_TOKENS = 12
"""About what a chat template writes around two messages."""


@dataclass(frozen=True)
class DryRun:
    """The size of a collection.

    Attributes:
        names: How many defaults, roles and traits, by kind.
        replies: Of each kind.
        there: Replies that are stored already.
        prompt_tokens: Of all prompts, at four characters a token.
        estimate: Tokens, time and disk of what is to be sampled; its time is that of `workers`.
        shape: Of the model; None where only loading tells it, and then disk and time are not known either.
        weights: Bytes of the model in memory.
        pace: Behind the time; None where a server writes the replies.
        price: Dollars an hour here, or for a million tokens of prompts and of answers on a server.

    Examples:
        >>> asked = CollectionPlan(roles=["pirate", "ghost", "tutor"], traits=None, questions=["Who?"], prompts=1)
        >>> told = dry_run(asked, "smollm2-135m-instruct", pace=Pace(0.01, "a guess"), price=(2.0,))
        >>> told.replies["role"], told.estimate.values_per_reply
        (3, 17280)
    """

    names: Counter[str]
    replies: Counter[str]
    there: int
    prompt_tokens: int
    estimate: Estimate
    shape: ModelShape | None
    weights: int | None
    pace: Pace | None
    price: tuple[float, ...] | None

    @property
    def dollars(self) -> float | None:
        """At most, for all that is to be sampled; None where no price is known."""
        if self.price is None:
            return None
        if len(self.price) == 1:
            return None if self.pace is None else self.estimate.seconds / 3600 * self.price[0]
        left = self.estimate.replies / max(1, self.replies.total())
        asked, answered = (each / 1e6 for each in self.price)
        return self.prompt_tokens * left * asked + self.estimate.tokens * answered

    def __str__(self) -> str:
        kinds = (f"{count:,} {kind}" for kind, count in self.names.items())
        lines = [
            f"Asked    {', '.join(kinds)}: {self.replies.total():,} replies"
            f" ({', '.join(f'{count:,} {kind}' for kind, count in self.replies.items())})",
            f"Tokens   at most {self.estimate.tokens:,} to be sampled, behind about "
            f"{self.prompt_tokens:,} of prompts (4 characters a token)",
        ]
        if self.there:
            left = self.estimate.replies
            lines.insert(1, f"There    {self.there:,} replies; {left:,} to be sampled")
        if self.shape is None:
            lines.append("Model    only loading tells its size, and so disk and time")
        else:
            lines += [
                f"Model    {self.shape.n_layers} layers, d_model {self.shape.d_model}, "
                f"{self.shape.parameters:,} parameters, {format_bytes(self.weights or 0)} in memory",
                f"Disk     {format_bytes(self.estimate.disk_bytes)}",
            ]
        lines.append(f"Time     {self._time()}")
        lines.append(f"Cost     {self._cost()}")
        return "\n".join(lines)

    def _time(self) -> str:
        if self.pace is None:
            return "not known before the server is asked" if self.shape else "not known"
        near = "roughly" if self.pace.rough else "at most about"
        return f"{near} {format_seconds(self.estimate.seconds)}, by {self.pace.known_by}"

    def _cost(self) -> str:
        if self.dollars is not None:
            near = "roughly" if self.pace is not None and self.pace.rough else "at most about"
            return f"{near} ${self.dollars:,.2f}"
        return (
            "nothing but the time of this machine; --price 2.50 says what an hour of it is worth"
            if self.pace is not None
            else "not known; --price 0.40,1.60 tells dollars for a million tokens of prompts and of answers"
        )


def dry_run(
    plan: CollectionPlan,
    model: str | Path,
    *,
    run: str | Path | None = None,
    served: bool = False,
    reader: str | Path | None = None,
    device: str | None = None,
    dtype: DtypeName = "auto",
    workers: int = 1,
    price: tuple[float, ...] | None = None,
    pace: Pace | None = None,
) -> DryRun:
    """What carrying out a plan would take. Its names and layers are checked; no weight is read.

    Args:
        plan: What is asked.
        model: Writes the replies, or has them written by a server.
        run: The run folder, if some of it may be there.
        served: Whether a server writes them.
        reader: Reads them; `model` by default.
        device: Where the model is to run; the fastest by default.
        dtype: As for `PersonaModel.load`.
        workers: That share the work.
        price: Dollars an hour of this machine, or for a million tokens of prompts and of answers on a server.
        pace: Of sampling; by default what earlier collections measured, else what matrix products take.

    Raises:
        CatalogError: Unknown or malformed entries.
        RunError: Nothing to ask.
        ModelError: A layer that the model has not, or no such device.
    """
    # As in collecting: what a name of the model adds to a prompt is part of its length, no more.
    shards = plan.shards(short_name(str(model), always=plan.tokens == "paper"))
    shape = shape_of(model if reader is None else reader)
    chosen = list(plan.layers) if plan.layers is not None else None
    if shape is not None:
        shape.check_layers(chosen)
    where = choose_device(device)
    numbers = choose_dtype(dtype, where)
    there = _there(run, {shard.key: shard.asked for shard in shards})
    replies = n_requests(shards)
    letters = sum(len(system) + len(asked) for shard in shards for system, asked in shard.asked)
    prompt_tokens = letters // _CHARACTERS_PER_TOKEN + _TEMPLATE_TOKENS * replies
    new = plan.sampling.max_new_tokens
    writer = shape if reader is None else shape_of(model)
    if served:
        pace = None
    elif pace is None and writer is not None:
        pace = kept_pace(pace_key(str(model), numbers, where)) or pace_of_products(
            writer,
            dtype=numbers,
            device=where,
            rows=plan.batch_size,
            prompt_tokens=prompt_tokens / replies,
            new_tokens=new,
        )
    tokens = (replies - there) * new
    n_layers = 0 if shape is None else len(chosen or range(shape.n_layers))
    named: Counter[str] = Counter()
    for kind, _ in dict.fromkeys((shard.kind, shard.name) for shard in shards):
        named[kind] += 1
    of_kind: Counter[str] = Counter()
    for shard in shards:
        of_kind[shard.kind] += len(shard.requests)
    return DryRun(
        names=named,
        replies=of_kind,
        there=there,
        prompt_tokens=prompt_tokens,
        estimate=Estimate(
            replies=replies - there,
            tokens=tokens,
            seconds=0.0 if pace is None else pace.seconds(tokens) / workers,
            read_only=0,
            values_per_reply=0 if shape is None else n_layers * shape.d_model,
        ),
        shape=shape,
        weights=None if shape is None else shape.parameters * numbers.itemsize,
        pace=pace,
        price=price,
    )


def _there(run: str | Path | None, asked: dict[str, list[tuple[str, str]]]) -> int:
    """Replies that lie in the folder to what is asked now."""
    if run is None or not (folder := RunFolder(run)).has_manifest():
        return 0
    opened = folder.opened()
    known = (shard for shard in opened.shards if asked.get(shard.key) == shard.asked)
    return n_requests([shard for shard in known if opened.has_replies(shard)])
