"""`PlayedUser`: a model on this machine plays the user, batch by batch, with the roles swapped.

    tester = PersonaModel.load("smollm2-135m-instruct")
    user = PlayedUser(tester, "a nurse on night shift", "sleep by day", name="nurse")
    simulate(model, [user], turns=8)

The same model may play both sides. A plan that acts on the model under test does not act on its user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from persona_lens.drift.simulation.parts import Part, grouped, spoken_out
from persona_lens.drift.simulation.users import Messages, User, UserTurn, n_said
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

DEFAULT = Sampling(temperature=0.8, top_p=0.95, max_new_tokens=64)
"""How a simulated user is sampled: more freely than an assistant, and two sentences long."""


def turn_seed(*numbers: int) -> int:
    """A seed of its own for each turn and batch.

    Examples:
        >>> turn_seed(0, 1) != turn_seed(1, 0)
        True
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) % 2**63


class PlayedUser(User):
    """A user that a model plays.

    Args:
        model: Plays it.
        description: The person, as in "a nurse on night shift".
        topic: What the person wants to talk about.
        name: Of the conversation; by default the topic.
        sampling: How its messages are sampled, with the seed.
        about: Further things that the conversation records.
        **part: What else a `Part` takes: `brief`, `stops`, `limit`, `opening`.

    Raises:
        ConversationError: As for `Part`.
        InterventionError: A plan acts on its model right now, which nothing would tell.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> short = Sampling(temperature=0, max_new_tokens=12)
        >>> user = PlayedUser(model, "a new gardener", "why the tomatoes wilt", name="garden", sampling=short)
        >>> isinstance(user.next([]), str), user.about["simulator"], user.about["simulator_temperature"]
        (True, 'smollm2-135m-instruct', 0.0)
    """

    kind: ClassVar[str] = "model"

    def __init__(
        self,
        model: PersonaModel,
        description: str,
        topic: str,
        *,
        name: str | None = None,
        sampling: Sampling | None = None,
        about: Mapping[str, Any] | None = None,
        **part: Any,
    ) -> None:
        self.model = model
        self.part = Part(description, topic, **part)
        self.sampling = sampling or DEFAULT
        own = {"simulator": model.name, **sampling_about(self.sampling)}
        super().__init__(name or topic, {**self.part.about(), **(about or {}), **own})
        self._card = model.card()

    def next(self, messages: Messages) -> str | None:
        """What the model makes the person say."""
        return self.together([self], [messages])[0].text

    @property
    def most_turns(self) -> int:
        """Its limit."""
        return self.part.limit

    def depends(self) -> dict[str, Any]:
        """The model, what it is told, and how it is sampled."""
        return {
            **self.about,
            **self.part.depends(),
            "simulator_model": self._card,
            "simulator_sampling": self.sampling.model_dump(),
        }

    @classmethod
    def together(
        cls, users: Sequence[User], conversations: Sequence[Messages]
    ) -> Sequence[UserTurn]:
        """Those of one model, one sampling and one turn are asked in one batch."""
        played = [user for user in users if isinstance(user, PlayedUser)]
        turns = [n_said(messages) for messages in conversations]
        moves: list[UserTurn | None] = [
            spoken_out(user.part, turn) for user, turn in zip(played, turns, strict=True)
        ]
        keys = [(id(user.model), user.sampling, t) for user, t in zip(played, turns, strict=True)]
        for places in grouped(keys):
            open_places = [place for place in places if moves[place] is None]
            for place, move in zip(
                open_places,
                _said(
                    [played[place] for place in open_places],
                    [conversations[place] for place in open_places],
                    turns[places[0]],
                ),
                strict=True,
            ):
                moves[place] = move
        return [move for move in moves if move is not None]


def _said(
    users: Sequence[PlayedUser], conversations: Sequence[Messages], turn: int
) -> list[UserTurn]:
    """What users of one model say in their turn of that number."""
    if not users:
        return []
    model, sampling = users[0].model, users[0].sampling
    prompts = [
        model.encoder.prompt(user.part.seen(messages))
        for user, messages in zip(users, conversations, strict=True)
    ]
    fits = [model.has_room(prompt, sampling.max_new_tokens) for prompt in prompts]
    replies = iter(
        model.generate(
            [prompt for prompt, room in zip(prompts, fits, strict=True) if room],
            sampling.model_copy(update={"seed": turn_seed(sampling.seed, turn)}),
        )
    )
    moves = []
    for user, room in zip(users, fits, strict=True):
        if not room:
            moves.append(UserTurn(None, why="the context of the simulated user's model is full"))
            continue
        reply = next(replies)
        moves.append(user.part.heard(reply.answer, cut=reply.finish == "length"))
    return moves


def sampling_about(sampling: Sampling) -> dict[str, Any]:
    """What a conversation records of how its user was sampled."""
    return {
        "simulator_seed": sampling.seed,
        "simulator_temperature": sampling.temperature,
        "simulator_top_p": sampling.top_p,
    }
