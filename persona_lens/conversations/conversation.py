"""One conversation between a user and an assistant: what was said, and what its log says of it.

    chat = Conversation.of([("user", "Hi"), ("assistant", "Hello.")], id="greeting", model="gemma-2-27b-it")
    chat.n_turns                 # 1
    chat.prompt_of(0)            # (Message(role='user', content='Hi'),)
    chat.as_dicts()              # [{"role": "user", "content": "Hi"}, ...]

A *turn* is one message of the assistant; turns are counted from 0. Nothing here asks that user and assistant take
turns strictly, since people's chats do not: what a chat template cannot render, the template refuses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from persona_lens.arrays import plain
from persona_lens.errors import ConversationError
from persona_lens.spelling import did_you_mean

Role = Literal["system", "user", "assistant"]
ROLES: tuple[str, ...] = get_args(Role)
MARK = "persona_lens"
"""Beside a written conversation: the number of the format."""

OWN_KEYS = ("id", "messages", MARK)
"""What stands beside the keys of `about` in a written conversation, and so can be none of them."""


@dataclass(frozen=True)
class Message:
    """What one side said.

    Attributes:
        role: "system", "user" or "assistant".
        content: The text, exactly; it may be empty.

    Raises:
        ConversationError: The role is another, or the content is no text that can be encoded.

    Examples:
        >>> Message("user", "Hi").as_dict()
        {'role': 'user', 'content': 'Hi'}
        >>> Message("usr", "Hi")
        Traceback (most recent call last):
            ...
        persona_lens.errors.ConversationError: a message has no known role
          expected system, user or assistant, given 'usr'
          did you mean user?
    """

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ConversationError(
                "a message has no known role",
                expected="system, user or assistant",
                given=repr(self.role),
                remedy=did_you_mean(self.role, ROLES),
            )
        if not isinstance(self.content, str):
            raise ConversationError(
                f"the content of a message of the {self.role} is not text",
                expected="a string",
                given=type(self.content).__name__,
                remedy="join the parts of a multi-part message, and leave out what is no text",
            )
        try:
            self.content.encode()
        except UnicodeEncodeError as error:
            raise ConversationError(
                f"the content of a message of the {self.role} has half a character",
                expected="valid Unicode",
                given=f"a lone surrogate, {self.content[error.start]!r}, at character {error.start}",
                remedy="a text was cut within an emoji: take that half out",
            ) from error

    def as_dict(self) -> dict[str, str]:
        """The message as chat templates and servers take it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Conversation:
    """A chat, its name, and what is known about it.

    Attributes:
        id: Its name, unique within a log.
        messages: What was said, in order; at least one.
        about: What the log says of it, such as the model, the domain, the persona that the user played, the topic,
            the simulator, the seed: plain JSON values by name. A copy is kept.

    Raises:
        ConversationError: No name, no messages, or something about it that JSON cannot hold.

    Examples:
        >>> chat = Conversation.of([("user", "Hi"), ("assistant", "Hello."), ("user", "Bye")], id="short", seed=3)
        >>> chat.n_turns, chat.users, chat.replies, chat.about
        (1, ('Hi', 'Bye'), ('Hello.',), {'seed': 3})
    """

    id: str
    messages: tuple[Message, ...]
    about: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id.strip():
            raise ConversationError(
                "a conversation has no name",
                expected="a text that is not blank as its id",
                given=repr(self.id),
            )
        object.__setattr__(self, "messages", tuple(self.messages))
        if not self.messages:
            raise ConversationError(
                f"conversation {self.id!r} has no messages", expected="at least one"
            )
        for index, message in enumerate(self.messages):
            if not isinstance(message, Message):
                raise ConversationError(
                    f"conversation {self.id!r}: message {index} is no Message",
                    given=type(message).__name__,
                    remedy="Conversation.of takes dicts and pairs",
                )
        object.__setattr__(self, "about", _plain_about(self.about, f"conversation {self.id!r}"))

    @classmethod
    def of(
        cls,
        messages: Iterable[Message | Mapping[str, str] | Sequence[str]],
        *,
        id: str,
        **about: Any,
    ) -> Conversation:
        """A conversation of messages as people write them down.

        Args:
            messages: Messages, dicts with the keys role and content and no others, or pairs of role and content.
            id: Its name.
            about: What is known of it.

        Raises:
            ConversationError: A message is none of these, or what `Message` and `Conversation` refuse; the error
                says which message it is.

        Examples:
            >>> Conversation.of([{"role": "user", "content": None}], id="broken")
            Traceback (most recent call last):
                ...
            persona_lens.errors.ConversationError: conversation 'broken', message 0: the content of ... is not text
              expected a string, given NoneType
              join the parts of a multi-part message, and leave out what is no text
        """
        if isinstance(messages, str | Mapping):
            raise ConversationError(
                f"conversation {id!r} is no list of messages", given=type(messages).__name__
            )
        made = []
        for index, message in enumerate(messages):
            try:
                made.append(_message(message))
            except ConversationError as error:
                raise ConversationError(f"conversation {id!r}, message {index}: {error}") from error
        return cls(id, tuple(made), about)

    @property
    def n_turns(self) -> int:
        """How many messages the assistant wrote."""
        return len(self.replies)

    @property
    def users(self) -> tuple[str, ...]:
        """What the user said, in order."""
        return self._said_by("user")

    @property
    def replies(self) -> tuple[str, ...]:
        """What the assistant said, in order."""
        return self._said_by("assistant")

    def prompt_of(self, turn: int) -> tuple[Message, ...]:
        """The messages before the assistant's message `turn`; empty where the assistant speaks first.

        Args:
            turn: Counted from 0; negative numbers count from the last.

        Raises:
            ConversationError: There is no such turn.

        Examples:
            >>> said = [("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
            >>> chat = Conversation.of(said, id="count")
            >>> [message.content for message in chat.prompt_of(-1)]
            ['1', '2', '3']
        """
        places = [i for i, message in enumerate(self.messages) if message.role == "assistant"]
        if not -len(places) <= turn < len(places):
            raise ConversationError(
                f"conversation {self.id!r} has no turn {turn}",
                expected=f"0 to {len(places) - 1}" if places else "a conversation with a reply",
                given=f"{len(places)} messages of the assistant",
            )
        return self.messages[: places[turn]]

    def as_dicts(self) -> list[dict[str, str]]:
        """The messages as chat templates and servers take them."""
        return [message.as_dict() for message in self.messages]

    def _said_by(self, role: str) -> tuple[str, ...]:
        return tuple(message.content for message in self.messages if message.role == role)


def _message(given: Any) -> Message:
    """One message from what `Conversation.of` takes."""
    match given:
        case Message():
            return given
        case {"role": role, "content": content} if len(given) == 2:
            return Message(role, content)
        case [str() as role, content]:
            return Message(role, content)  # pyright: ignore[reportArgumentType] - it checks
    keys = f" with {', '.join(map(str, given))}" if isinstance(given, Mapping) else ""
    raise ConversationError(
        "not a message",
        expected="a Message, a dict with role and content and nothing else, or a pair of them",
        given=f"{type(given).__name__}{keys}",
        remedy="read_conversations takes messages with tool calls, parts and other fields",
    )


def _plain_about(about: Mapping[str, Any], whose: str) -> dict[str, Any]:
    """A copy in plain JSON values.

    Raises:
        ConversationError: It has a key that is no text or is taken, or a value that JSON cannot hold.
    """
    for key in about:
        if not isinstance(key, str) or key in OWN_KEYS:
            raise ConversationError(
                f"{whose}: what is known of it cannot have the name {key!r}",
                expected=f"text other than {' and '.join(OWN_KEYS)}",
                remedy="give it another name",
            )
    try:
        text = json.dumps(plain(about), ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConversationError(
            f"{whose}: what is known of it is not plain JSON",
            expected="texts, finite numbers, True, False, None, and lists and dicts of them",
            given=str(error),
            remedy="turn it into text, or leave it out",
        ) from error
    return json.loads(text)
