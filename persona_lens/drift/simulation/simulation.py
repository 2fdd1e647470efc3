"""`Simulation`: all that decides what is said in simulated conversations, and how a batch of them is had.

The unit of work is a batch of conversations whose composition depends on the order of the users alone, so that it
can be had again, with the same replies, after whatever stopped it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from persona_lens.drift.simulation.played_user import turn_seed
from persona_lens.drift.simulation.talks import Talk
from persona_lens.drift.simulation.users import User
from persona_lens.errors import RunError
from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.storage import plan_digest
from persona_lens.model.memory import Memory
from persona_lens.rollouts.sampling import Sampling
from persona_lens.transcripts.continuing import Continuation

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


@dataclass(frozen=True)
class Workload:
    """What a simulation comes to at most: users may end their conversations before.

    Examples:
        >>> print(Workload(conversations=8, replies=96, tokens=12_288))
        8 conversations, at most 96 replies and 12,288 tokens
    """

    conversations: int
    replies: int
    tokens: int

    @classmethod
    def of(cls, users: Sequence[User], turns: int, sampling: Sampling) -> Workload:
        """Of conversations of at most so many turns."""
        replies = sum(_most_turns(user, turns) for user in users)
        return cls(len(users), replies, replies * sampling.max_new_tokens)

    def __str__(self) -> str:
        return (
            f"{self.conversations:,} conversations, at most {self.replies:,} replies and "
            f"{self.tokens:,} tokens"
        )


@dataclass(frozen=True, eq=False)
class Played:
    """A batch of conversations that were had.

    Attributes:
        talks: The conversations.
        receipt: What the plan did in them; None without a plan.
        reread: Why every turn was read from its first token on; empty where keys and values were kept.
    """

    talks: list[Talk]
    receipt: Receipt | None
    reread: str


@dataclass(frozen=True, eq=False)
class Simulation:
    """Conversations of a model with users.

    Attributes:
        model: Answers; it is under test.
        users: One for each conversation, with names that differ.
        turns: Most replies of a conversation.
        sampling: Of the replies.
        system: What the model is told.
        plan: Acts on the model while it answers, and on no user.
        plan_name: What the conversations call it.
        layers: Blocks to read.
        batch_size: Conversations at a time.
        cached: Keep keys and values from turn to turn, where that gives the same replies.

    Raises:
        RunError: No users, two of one name, no turns, batches without a conversation, or a plan with strengths or
            masks for single rows.
        InterventionError: A plan that does not fit the model.
    """

    model: PersonaModel
    users: Sequence[User]
    turns: int = 12
    sampling: Sampling = field(default_factory=Sampling)
    system: str = ""
    plan: Plan | None = None
    plan_name: str = ""
    layers: tuple[int, ...] = ()
    batch_size: int = 16
    cached: bool = True

    def __post_init__(self) -> None:
        for name, least in (("turns", 1), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise RunError(
                    f"a simulation needs {name.replace('_', ' ')}",
                    expected=f"at least {least}",
                    given=getattr(self, name),
                )
        if not self.users:
            raise RunError("nobody to talk to", expected="at least one user")
        names = [user.name for user in self.users]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RunError(
                "two users have one name",
                expected="a name for each conversation",
                given=", ".join(twice[:5]),
            )
        if self.plan is not None:
            self._check_plan(checked_plan(self.plan))

    def _check_plan(self, plan: Plan) -> None:
        plan.check(n_layers=self.model.n_layers, d_model=self.model.d_model)
        if plan.rows is not None:
            raise RunError(
                "the plan is made for single prompts, and conversations come in batches",
                expected="one strength, and tokens chosen by names",
                given=f"strengths or masks for {plan.rows} rows",
            )

    @cached_property
    def conditions(self) -> dict[str, Any]:
        """All that decides the replies, as plain data.

        Raises:
            InterventionError: A plan is in force on the model.
        """
        return {
            "model": self.model.card(),
            "sampling": self.sampling.model_dump(),
            "system": self.system,
            "turns": self.turns,
            "batch_size": self.batch_size,
            "cached": self.cached,
            "layers": list(self.layers),
            "plan": None if self.plan is None else plan_digest(self.plan),
            "plan_name": self.plan_name,
            "users": {user.name: user.depends() for user in self.users},
        }

    @property
    def workload(self) -> Workload:
        """What it comes to at most."""
        return Workload.of(self.users, self.turns, self.sampling)

    @cached_property
    def _lead(self) -> str:
        lead = Continuation(self.model.encoder).frame.lead
        return "" if lead.strip() else lead

    def batches(self) -> list[Sequence[User]]:
        """The users in the batches in which they speak."""
        step = self.batch_size
        return [self.users[start : start + step] for start in range(0, len(self.users), step)]

    def most_replies(self, batch: Sequence[User]) -> int:
        """Of a batch."""
        return sum(_most_turns(user, self.turns) for user in batch)

    def play(self, number: int, *, on_replies: Callable[[int, int], None] | None = None) -> Played:
        """Have the conversations of one batch.

        Args:
            number: Of the batch, from 0.
            on_replies: Called with the number of replies and tokens of each turn.

        Raises:
            TranscriptError: The template refuses a conversation.
            EndpointError: The server of a simulated user.
        """
        model = self.model
        model.refuse_interventions("conversations are simulated")
        users = self.batches()[number]
        talks = [Talk(user, model.encoder, self.system, self._lead) for user in users]
        receipt: Receipt | None = None
        # An idle memory has prompts run in the same order, so that the same is drawn.
        memory, spoke = Memory(), list(talks)
        for turn in range(self.turns):
            speaking = [talk for talk in talks if talk.goes_on]
            self._speak(speaking)
            asked = [talk for talk in speaking if talk.goes_on]
            if not asked:
                break
            memory.keep([place for place, talk in enumerate(spoke) if talk in asked])
            if not self.cached:
                memory.forget()
            spoke = asked
            seed = turn_seed(self.sampling.seed, number, turn)
            sampling = self.sampling.model_copy(update={"seed": seed})
            acting = (
                nullcontext() if self.plan is None else model.intervene(self.plan, receipt=receipt)
            )
            with acting as noted:
                replies = model.generate(
                    [talk.prompt for talk in asked if talk.prompt is not None],
                    sampling,
                    layers=self.layers or None,
                    before=True,
                    batch_size=len(asked),
                    memory=memory,
                )
            receipt = noted
            for talk, reply in zip(asked, replies, strict=True):
                talk.answer(reply, self.turns)
            if on_replies is not None:
                on_replies(len(replies), sum(len(reply.ids) for reply in replies))
        return Played(talks, receipt, memory.why if self.cached else "asked for")

    def _speak(self, talks: Sequence[Talk]) -> None:
        """Every user has its turn; those of one class are asked together."""
        for places in _by_class([talk.user for talk in talks]):
            group = [talks[place] for place in places]
            users = [talk.user for talk in group]
            turns = type(users[0]).together(users, [talk.messages for talk in group])
            for talk, turn in zip(group, turns, strict=True):
                talk.hear(turn)
                if talk.prompt is not None and not self.model.has_room(
                    talk.prompt, self.sampling.max_new_tokens
                ):
                    talk.ended = "context"


def _most_turns(user: User, turns: int) -> int:
    return min(turns, user.most_turns or turns)


def _by_class(users: Sequence[User]) -> Iterator[list[int]]:
    places: dict[type, list[int]] = {}
    for place, user in enumerate(users):
        places.setdefault(type(user), []).append(place)
    yield from places.values()


def receipt_frame(receipt: Receipt | None, batch: int) -> pd.DataFrame:
    """What a plan did in a batch, one row for each operation and layer."""
    frame = pd.DataFrame() if receipt is None else receipt.frame()
    frame.insert(0, "batch", batch)
    return frame


def about_talk(talk: Talk, simulation: Simulation, reread: str) -> Mapping[str, Any]:
    """What a conversation records of how it came about; `reread` as in `Played`."""
    sampling = simulation.sampling
    return {
        **talk.user.about,
        "model": simulation.model.name,
        "plan": simulation.plan_name or None,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_new_tokens": sampling.max_new_tokens,
        "seed": sampling.seed,
        "ended": talk.ended,
        "cache": f"not kept: {reread}" if reread else "kept from turn to turn",
        **({"ended_why": talk.why} if talk.why else {}),
        **({"rendered_anew": "; ".join(talk.anew)} if talk.anew else {}),
    }
