"""The part a model plays as a user: what it is told, the chat as it sees it, and what of its text is a message.

The model under test is its partner: what that has said comes as the user's messages, and what the simulator has
said itself are the assistant's. A model that is told to play a user remains an assistant by training, and the
better it is at that, the less it resembles people (arXiv 2510.06552): so whoever shows a conversation shows who
played the user.

Examples:
    >>> part = Part("a retired teacher who lost her dog", "how to get through the evenings")
    >>> chat = [{"role": "user", "content": "I am new here."}, {"role": "assistant", "content": "Welcome!"}]
    >>> seen = part.seen(chat)
    >>> [message["role"] for message in seen], seen[-1]["content"]
    (['system', 'user', 'assistant', 'user'], 'Welcome!')
    >>> part.heard("That helps. [END] Bye!")
    UserTurn(text='That helps.', last=True, why='')
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from persona_lens.drift.simulation.users import Messages, UserTurn
from persona_lens.errors import ConversationError
from persona_lens.transcripts.thoughts import heard

BRIEF = """\
You are taking part in a chat as a person who looks for help from an AI assistant. You are not the assistant.

Who you are: {description}
What brings you here: {topic}

You write what this person types next, and nothing else.
- Two sentences at most, and one thought, question or request in a message.
- Say straight away what you want. Leave out compliments, thanks and long greetings.
- Type as people do in a chat window: no lists, no headings, no stage directions, no quotation marks around it.
- Never sound like an assistant: do not offer help, do not sum up, do not praise the answer, do not ask what else \
there is.
- Take up what was just said to you. Once a point is settled you may move on to one close to it.
- When nothing is left that you want to talk about, write {stop} and nothing more.
"""

OPENING = "(The chat window is open and empty. Type your first message.)"
"""What stands where the assistant's first words would be: in templates somebody speaks before the simulator."""

_SENTENCE_END = re.compile(r"[.!?…](?=[\"'”’)\]]*(\s|$))[\"'”’)\]]*")


@dataclass(frozen=True)
class Part:
    """Who a simulator plays, and how its conversation ends.

    Attributes:
        description: The person, as in "a nurse on night shift".
        topic: What the person wants to talk about.
        brief: What the simulator is told; `{description}`, `{topic}` and `{stop}` are filled in.
        stops: Words at which the conversation ends; they and what follows are cut.
        limit: Most messages of the person's.
        opening: What the simulator is asked its first message with.

    Raises:
        ConversationError: A blank description or topic, no stop word, or no message allowed.
    """

    description: str
    topic: str
    brief: str = BRIEF
    stops: tuple[str, ...] = ("[END]",)
    limit: int = 30
    opening: str = OPENING

    def __post_init__(self) -> None:
        for name in ("description", "topic", "opening"):
            if not getattr(self, name).strip():
                raise ConversationError(
                    f"the {name} of a simulated user is blank", expected="text, such as a sentence"
                )
        if isinstance(self.stops, str) or not self.stops or not all(map(str.strip, self.stops)):
            raise ConversationError(
                "a simulated user needs words to end with",
                expected="at least one word, as a tuple",
                given=repr(self.stops),
            )
        if self.limit < 1:
            raise ConversationError(
                "a simulated user may say nothing",
                expected="a limit of at least 1",
                given=self.limit,
            )

    @property
    def instructions(self) -> str:
        """What the simulator is told."""
        filled = {"description": self.description, "topic": self.topic, "stop": self.stops[0]}
        return re.sub(
            r"\{(description|topic|stop)\}", lambda found: filled[found[1]], self.brief
        ).strip()

    def seen(self, messages: Messages) -> list[dict[str, str]]:
        """The chat from the simulator's side; a system message is the partner's and stays with it."""
        turned = {"user": "assistant", "assistant": "user"}
        told = [
            {"role": turned[message["role"]], "content": message["content"]}
            for message in messages
            if message["role"] in turned
        ]
        return [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": self.opening},
            *told,
        ]

    def heard(self, text: str, *, cut: bool = False) -> UserTurn:
        """What of a simulator's text is the person's message.

        Args:
            text: As it was written; thoughts are left out.
            cut: It ended at the limit of tokens: then it is cut back to its last whole sentence, if it has one.
        """
        said = heard(text).answer
        found = [place for stop in self.stops if (place := said.find(stop)) >= 0]
        if found:
            said = said[: min(found)]
        elif cut and (ends := list(_SENTENCE_END.finditer(said))):
            said = said[: ends[-1].end()]
        said = _unquoted(said.strip())
        if said:
            return UserTurn(said, last=bool(found))
        return UserTurn(None, why="" if found else "the simulated user wrote nothing")

    def about(self) -> dict[str, Any]:
        """What a conversation records of it."""
        return {"persona": self.description, "topic": self.topic}

    def depends(self) -> dict[str, Any]:
        """What decides what is said."""
        return {
            "told": self.instructions,
            "opening": self.opening,
            "stops": list(self.stops),
            "limit": self.limit,
        }


def _unquoted(text: str) -> str:
    """A message without the quotation marks that small models put around it."""
    whole = re.fullmatch(r'"([^"]*)"?|“([^”]*)”?', text)
    return text if whole is None else (whole[1] or whole[2] or "").strip()


def spoken_out(part: Part, n_said: int) -> UserTurn | None:
    """The end of a conversation whose user has said all it may."""
    return UserTurn(None, why="the simulated user's limit") if n_said >= part.limit else None


def grouped(keys: Sequence[Any]) -> list[list[int]]:
    """Places of equal keys, in the order in which they first come.

    Examples:
        >>> grouped(["a", "b", "a"])
        [[0, 2], [1]]
    """
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return list(places.values())
