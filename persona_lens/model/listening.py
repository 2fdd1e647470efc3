"""Listening to replies as they are written: whoever listens gets the mean residual of each, pooled on the way.

    class Longest:
        layers = (20,)

        def before(self, prompts):
            return []                       # no plan acts on account of this listener

        def after(self, written):
            self.reply = max((each.reply for each in written), key=lambda reply: len(reply.ids))

    with listening(model, Longest()) as longest:
        model.chat("Who are you?")

Only what the thread that listens has written is heard, and each reply once, when its call of `generate` is done.
Means cost one step more than a reply that is cut at its limit is long, and an addition a step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

from persona_lens.interventions.plan import Plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.checking import checked_layers
from persona_lens.rollouts.reply import Reply
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from persona_lens.model.loaded import LoadedModel


@dataclass(frozen=True, eq=False)
class Written:
    """A reply, as a listener hears it.

    Attributes:
        prompt: What it answers.
        reply: With its mean at the layers of the listener, behind plans that acted there.
        steered: Whether a plan acted while it was written.
    """

    prompt: Transcript
    reply: Reply
    steered: bool


@dataclass(frozen=True, eq=False)
class Acting:
    """A plan that is to act on some replies of a call.

    Attributes:
        plan: Made for no number of rows.
        receipt: Notes what it does.
        rows: Prompts of the call, by their places.
    """

    plan: Plan
    receipt: Receipt
    rows: frozenset[int]


class Listener(Protocol):
    """Hears replies.

    Attributes:
        layers: Blocks at which it wants their means.
    """

    @property
    def layers(self) -> tuple[int, ...]:
        """As above."""
        ...

    def before(self, prompts: Sequence[Transcript]) -> Sequence[Acting]:
        """A call is about to be answered; what is returned acts on it."""
        ...

    def after(self, written: Sequence[Written]) -> None:
        """The call was answered; what is raised here comes out of `generate`, and the replies are lost."""
        ...


AnyListener = TypeVar("AnyListener", bound=Listener)


class Listeners(threading.local):
    """Who listens in each thread."""

    def __init__(self) -> None:
        self.active: list[Listener] = []


@contextmanager
def listening(model: LoadedModel, listener: AnyListener) -> Iterator[AnyListener]:
    """Let somebody hear all that a model writes in this thread in the block.

    Raises:
        ModelError: A layer that the model has not.

    Examples:
        >>> from persona_lens import PersonaModel, Sampling
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> class Last:
        ...     layers = (20,)
        ...     def before(self, prompts):
        ...         return []
        ...     def after(self, written):
        ...         self.mean = written[-1].reply.mean
        >>> with listening(model, Last()) as last:
        ...     _ = model.chat("Who are you?", sampling=Sampling(max_new_tokens=4))
        >>> last.mean.shape
        (1, 576)
    """
    checked_layers(listener.layers, model.n_layers)
    active = model.listeners.active
    active.append(listener)
    try:
        yield listener
    finally:
        active.remove(listener)


class Call:
    """One call that is listened to.

    Args:
        model: Answers.
        prompts: Of the call.
        layers: Those at which the caller wants means.
    """

    def __init__(
        self, model: LoadedModel, prompts: Sequence[Transcript], layers: Sequence[int] | None
    ) -> None:
        self._model = model
        self._prompts = prompts
        self._listeners = tuple(model.listeners.active)
        self._asked = layers
        wanted = [*(layers or ()), *(each for one in self._listeners for each in one.layers)]
        self.layers = tuple(dict.fromkeys(wanted)) if wanted or layers is not None else None
        self._steered = [False] * len(prompts)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """What the call runs in: the plans of the listeners, beside those in force."""
        interventions = self._model.interventions
        with ExitStack() as stack:
            for listener in self._listeners:
                for acting in listener.before(self._prompts):
                    stack.enter_context(
                        interventions.adding(acting.plan, acting.receipt, acting.rows)
                    )
            self._steered = [
                any(plan.acts_on(row) for plan in interventions.active)
                for row in range(len(self._prompts))
            ]
            yield

    def told(self, replies: list[Reply]) -> list[Reply]:
        """Let everybody hear the replies, and return them as the caller wants them."""
        if not self._listeners:
            return replies
        problems = []
        for listener in self._listeners:
            written = [
                Written(prompt, self._at(reply, listener.layers), steered)
                for prompt, reply, steered in zip(
                    self._prompts, replies, self._steered, strict=True
                )
            ]
            try:
                listener.after(written)
            except Exception as problem:  # noqa: BLE001 - the others have to hear it too
                problems.append(problem)
        if problems:
            raise problems[0]
        return [self._at(reply, self._asked) for reply in replies]

    def _at(self, reply: Reply, layers: Sequence[int] | None) -> Reply:
        """The reply with its mean at some layers."""
        if layers is None or reply.mean is None or self.layers is None:
            return replace(reply, mean=None, before=None)
        if tuple(layers) == self.layers:
            return reply
        places = [self.layers.index(layer) for layer in layers]
        before = None if reply.before is None else reply.before[places]
        return replace(reply, mean=reply.mean[places], before=before)
