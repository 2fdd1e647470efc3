"""`ServedUser`: a model behind any OpenAI-compatible server plays the user.

    settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1")
    user = ServedUser(settings, "a nurse on night shift", "sleep by day", name="nurse")
    simulate(model, [user], turns=8)

Users of one server are asked side by side, as many at once as the settings allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from persona_lens.drift.simulation.parts import Part, spoken_out
from persona_lens.drift.simulation.played_user import DEFAULT, sampling_about, turn_seed
from persona_lens.drift.simulation.users import Messages, User, UserTurn, n_said
from persona_lens.endpoints import Call, Completion, Endpoint, EndpointSettings, Failure
from persona_lens.errors import EndpointError
from persona_lens.rollouts.sampling import Sampling


class ServedUser(User):
    """A user that a server's model plays.

    Args:
        server: Its settings, or an endpoint, which several users may share.
        description: The person, as in "a nurse on night shift".
        topic: What the person wants to talk about.
        name: Of the conversation; by default the topic.
        sampling: How its messages are sampled. The seed is sent; not every server heeds it.
        about: Further things that the conversation records.
        **part: What else a `Part` takes: `brief`, `stops`, `limit`, `opening`.

    Raises:
        ConversationError: As for `Part`.

    Examples:
        >>> settings = EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1")
        >>> user = ServedUser(settings, "a new gardener", "why the tomatoes wilt", name="garden")
        >>> user.about["simulator"], user.about["persona"], user.about["simulator_seed"]
        ('qwen3', 'a new gardener', 0)
    """

    kind: ClassVar[str] = "server"

    def __init__(
        self,
        server: EndpointSettings | Endpoint,
        description: str,
        topic: str,
        *,
        name: str | None = None,
        sampling: Sampling | None = None,
        about: Mapping[str, Any] | None = None,
        **part: Any,
    ) -> None:
        self.endpoint = Endpoint(server) if isinstance(server, EndpointSettings) else server
        self.part = Part(description, topic, **part)
        self.sampling = sampling or DEFAULT
        self.settings = self.endpoint.settings
        own = {"simulator": self.settings.model, **sampling_about(self.sampling)}
        super().__init__(name or topic, {**self.part.about(), **(about or {}), **own})

    def next(self, messages: Messages) -> str | None:
        """What the server's model makes the person say."""
        return self.together([self], [messages])[0].text

    @property
    def most_turns(self) -> int:
        """Its limit."""
        return self.part.limit

    def depends(self) -> dict[str, Any]:
        """The server's model, what it is told, and how it is sampled."""
        return {
            **self.about,
            **self.part.depends(),
            "simulator_model": self.settings.card(),
            "simulator_sampling": self.sampling.model_dump(),
        }

    @classmethod
    def together(
        cls, users: Sequence[User], conversations: Sequence[Messages]
    ) -> Sequence[UserTurn]:
        """Those of one server are asked side by side.

        Raises:
            EndpointError: The server cannot be reached, refuses to serve, or has not answered one of them in the
                end. A chat that it refuses itself, as when it is too long, ends instead.
        """
        served = [user for user in users if isinstance(user, ServedUser)]
        turns = [n_said(messages) for messages in conversations]
        moves: dict[int, UserTurn] = {
            place: over
            for place, (user, turn) in enumerate(zip(served, turns, strict=True))
            if (over := spoken_out(user.part, turn)) is not None
        }
        by_server: dict[str, list[int]] = {}
        for place, user in enumerate(served):
            if place not in moves:
                by_server.setdefault(repr(user.settings), []).append(place)
        for places in by_server.values():
            calls = [served[place].call(place, conversations[place]) for place in places]
            for call, outcome in served[places[0]].endpoint.map(calls):
                place = int(str(call.key))
                moves[place] = served[place].turn_of(outcome)
        return [moves[place] for place in range(len(served))]

    def call(self, key: int, messages: Messages) -> Call:
        """What the server is asked for the next message."""
        sampling = self.sampling
        # Servers take seeds of 31 bits.
        seed = turn_seed(sampling.seed, n_said(messages), *self.name.encode()) % 2**31
        return Call(
            key,
            self.part.seen(messages),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
        )

    def turn_of(self, outcome: Completion | Failure) -> UserTurn:
        """What the answer of the server makes the person do."""
        if isinstance(outcome, Completion):
            if outcome.finish in ("content_filter", "refusal"):
                return UserTurn(None, why="the simulated user's server refused")
            return self.part.heard(outcome.text, cut=outcome.finish == "length")
        if outcome.reason == "bad_request":
            return UserTurn(None, why="the simulated user's server refused the chat")
        raise EndpointError(
            f"{self.settings.host()} did not say what {self.name!r} says next",
            given=f"{outcome.detail} ({outcome.reason}, attempts: {outcome.attempts})",
            remedy="see that the server runs, then give the same command again: it continues",
        )
