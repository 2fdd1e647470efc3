"""Conversations to a file, from which `read_conversations` gets the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from persona_lens.conversations.conversation import MARK, Conversation
from persona_lens.errors import ConversationError
from persona_lens.files import whole_or_nothing
from persona_lens.paths import check_target


def write_conversations(
    path: str | os.PathLike[str], conversations: Iterable[Conversation]
) -> Path:
    """Write conversations as JSON Lines: `{"id", "messages", ..., "persona_lens": 1}`, with what is known between.

    The file is whole or not there. Messages are read back exactly as they are, blank ones and thoughts included:
    the last field says that no other program wrote them.

    Args:
        path: Of the file; it is written over.
        conversations: At least one, no two of one name.

    Raises:
        ConversationError: None, two of one name, or something that is no conversation.
        PathError: The path cannot be written.

    Examples:
        >>> import tempfile
        >>> from persona_lens.conversations import read_conversations
        >>> chats = [Conversation.of([("user", "Hi"), ("assistant", "")], id="short", model="tiny")]
        >>> path = write_conversations(Path(tempfile.mkdtemp()) / "chats.jsonl", chats)
        >>> read_conversations(path) == chats
        True
    """
    target = check_target(path)
    names: set[str] = set()
    with (
        whole_or_nothing(target) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for index, chat in enumerate(conversations):
            if not isinstance(chat, Conversation):
                raise ConversationError(
                    f"item [{index}] is no conversation",
                    given=type(chat).__name__,
                    remedy="make it one: Conversation.of(messages, id=...)",
                )
            if chat.id in names:
                raise ConversationError(
                    f"two conversations have the name {chat.id!r}",
                    remedy="give one of them another id",
                )
            names.add(chat.id)
            line = {"id": chat.id, "messages": chat.as_dicts(), **chat.about, MARK: 1}
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
        if not names:
            raise ConversationError("there are no conversations to write", expected="at least one")
    return target
