"""Users of a simulated conversation: whoever says what comes next, or that the conversation is over.

A user is asked for its next message with what was said so far; `None` ends the conversation. Of those that share a
model or a server, `together` asks several at once.

Examples:
    >>> user = ScriptedUser(["Hi", "Who are you?"], name="short")
    >>> user.next([]), user.next([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}])
    ('Hi', 'Who are you?')

One of your own needs a name and `next`:

    >>> class Parrot(User):
    ...     def next(self, messages):
    ...         return messages[-1]["content"] if messages else "Hello"
    >>> Parrot("parrot").next([])
    'Hello'
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from persona_lens.conversations import Conversation
from persona_lens.errors import ConversationError

Messages = Sequence[Mapping[str, str]]
"""What was said so far, as chat templates take it: a system message perhaps, then user and assistant in turn."""


class UserTurn(NamedTuple):
    """What a user does when it is its turn.

    Attributes:
        text: What it says; None where it says nothing more.
        last: It says this and goes: the answer to it is the last.
        why: Why it says nothing, where that is not its own choice.
    """

    text: str | None
    last: bool = False
    why: str = ""


class User(ABC):
    """Says what comes next in one conversation.

    Args:
        name: Of the conversation that comes of it; unique in a simulation.
        about: What the conversation records of it, as plain JSON values.
    """

    kind: ClassVar[str] = "own"

    def __init__(self, name: str, about: Mapping[str, Any] | None = None) -> None:
        if not isinstance(name, str) or not name.strip():
            raise ConversationError(
                "a user has no name", expected="text that is not blank", given=repr(name)
            )
        self.name = name
        self.about: dict[str, Any] = {"simulator": self.kind, **(about or {})}

    @abstractmethod
    def next(self, messages: Messages) -> str | None:
        """What it says to this; None where it has nothing more to say.

        Args:
            messages: What was said so far; only a system message, or nothing, at the beginning.
        """

    def depends(self) -> dict[str, Any]:
        """What decides what it says, as plain data; a simulation is not continued where it differs."""
        return dict(self.about)

    @property
    def most_turns(self) -> int | None:
        """How many messages it has at most, where it knows."""
        return None

    @classmethod
    def together(
        cls, users: Sequence[User], conversations: Sequence[Messages]
    ) -> Sequence[UserTurn]:
        """What each of several users of this class does next, in their order."""
        return [
            UserTurn(user.next(messages))
            for user, messages in zip(users, conversations, strict=True)
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class ScriptedUser(User):
    """Says what a script says, whatever is answered: so arms of an experiment hear the same messages.

    Args:
        script: Its messages in order, or a conversation, of which it says what the user said there.
        name: By default the conversation's id.
        about: Beside what is known of the conversation.

    Raises:
        ConversationError: The script is empty, holds something else than text, or has no name.

    Examples:
        >>> chat = Conversation.of([("user", "1"), ("assistant", "2"), ("user", "3")], id="sum", domain="coding")
        >>> user = ScriptedUser(chat)
        >>> user.name, user.script, user.about
        ('sum', ('1', '3'), {'simulator': 'script', 'domain': 'coding'})
    """

    kind: ClassVar[str] = "script"

    def __init__(
        self,
        script: Conversation | Sequence[str],
        *,
        name: str | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        known: Mapping[str, Any] = {}
        if isinstance(script, Conversation):
            known = {key: value for key, value in script.about.items() if key != "simulator"}
            name, said = name or script.id, script.users
        else:
            said = () if isinstance(script, str) else tuple(script)
        super().__init__(name or "", {**known, **(about or {})})
        if not said or not all(isinstance(text, str) for text in said):
            raise ConversationError(
                f"the script of {self.name!r} is no list of messages",
                expected="at least one text",
                given="one text" if isinstance(script, str) else repr(said)[:60],
            )
        self.script: tuple[str, ...] = said

    def next(self, messages: Messages) -> str | None:
        """The message of the script whose turn it is."""
        turn = n_said(messages)
        return self.script[turn] if turn < len(self.script) else None

    @property
    def most_turns(self) -> int:
        """The length of the script."""
        return len(self.script)

    def depends(self) -> dict[str, Any]:
        """Its script too."""
        return {**self.about, "script": list(self.script)}


def n_said(messages: Messages) -> int:
    """How many messages the user has sent.

    Examples:
        >>> n_said([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}])
        1
    """
    return sum(message["role"] == "user" for message in messages)
