"""The type for chats: what it holds, what it refuses, and what follows from it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from persona_lens.conversations import Conversation, Message
from persona_lens.errors import ConversationError

CHAT = Conversation.of(
    [
        ("system", "Be brief."),
        ("user", "Where is the ferry?"),
        ("assistant", "At pier two."),
        {"role": "user", "content": "And the next?"},
        Message("assistant", "At noon."),
        ("user", "Thanks."),
    ],
    id="ferry",
    model="tiny",
    seed=3,
)


def test_what_is_said_and_by_whom() -> None:
    assert CHAT.n_turns == 2
    assert CHAT.users == ("Where is the ferry?", "And the next?", "Thanks.")
    assert CHAT.replies == ("At pier two.", "At noon.")
    assert CHAT.as_dicts()[0] == {"role": "system", "content": "Be brief."}
    assert len(CHAT.as_dicts()) == 6


def test_a_prompt_is_all_that_stands_before_a_turn() -> None:
    assert [message.content for message in CHAT.prompt_of(0)] == [
        "Be brief.",
        "Where is the ferry?",
    ]
    assert CHAT.prompt_of(1) == CHAT.messages[:4] == CHAT.prompt_of(-1)
    for turn in (2, -3):
        with pytest.raises(ConversationError, match=f"no turn {turn}"):
            CHAT.prompt_of(turn)


def test_a_turn_that_opens_a_conversation_has_no_prompt() -> None:
    assert Conversation.of([("assistant", "Welcome.")], id="a").prompt_of(0) == ()


def test_it_is_a_value() -> None:
    same = Conversation.of(CHAT.as_dicts(), id="ferry", model="tiny", seed=3)
    assert same == CHAT
    assert hash(same) == hash(CHAT)
    assert pickle.loads(pickle.dumps(CHAT)) == CHAT == copy.deepcopy(CHAT)  # noqa: S301
    assert Conversation("ferry", CHAT.messages) != CHAT


def test_what_is_known_is_copied_and_plain() -> None:
    held: dict[str, Any] = {"layers": [1, 2], "score": np.float32(0.5), "pair": (1, "a")}
    chat = Conversation("x", (Message("user", "Hi"),), held)
    held["layers"].append(3)
    assert chat.about == {"layers": [1, 2], "score": 0.5, "pair": [1, "a"]}


@pytest.mark.parametrize(
    ("messages", "about", "words"),
    [
        ([], {}, "no messages"),
        ("user: hi", {}, "no list of messages"),
        ({"role": "user", "content": "hi"}, {}, "no list of messages"),
        ([("human", "hi")], {}, "message 0: a message has no known role"),
        ([("user", "hi"), ("assistant", 3)], {}, "message 1: the content .* is not text"),
        ([("user", "hi \ud83d")], {}, "half a character"),
        ([{"role": "user", "content": "hi", "name": "Ann"}], {}, "role, content, name"),
        ([("user", "hi", "there")], {}, "not a message"),
        ([("user", "hi")], {"score": float("nan")}, "not plain JSON"),
        ([("user", "hi")], {"made": object()}, "not plain JSON"),
        ([("user", "hi")], {"topic": "\udc00"}, "not plain JSON"),
    ],
)
def test_what_is_no_conversation_is_refused(messages: Any, about: Any, words: str) -> None:
    with pytest.raises(ConversationError, match=words):
        Conversation.of(messages, id="bad", **about)


def test_what_is_known_has_names_of_its_own() -> None:
    for name in ("id", "messages", 3):
        with pytest.raises(ConversationError, match=f"cannot have the name {name!r}"):
            Conversation("x", (Message("user", "Hi"),), {name: "y"})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", ["", "  ", None, 7])
def test_a_conversation_has_a_name(name: Any) -> None:
    with pytest.raises(ConversationError, match="no name"):
        Conversation.of([("user", "hi")], id=name)


def test_messages_are_messages() -> None:
    with pytest.raises(ConversationError, match=r"Conversation\.of takes dicts"):
        Conversation("x", ({"role": "user", "content": "hi"},))  # pyright: ignore[reportArgumentType]


def test_the_room_imports_no_torch() -> None:
    code = "import sys, persona_lens.conversations; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
