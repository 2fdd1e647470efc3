"""Conversations: one type for chats, whoever recorded them.

Examples:
    >>> chat = Conversation.of([("user", "Hi"), ("assistant", "Hello.")], id="greeting", model="gemma-2-27b-it")
    >>> chat.n_turns, chat.about["model"]
    (1, 'gemma-2-27b-it')
"""

from persona_lens.conversations.conversation import Conversation, Message, Role

__all__ = ["Conversation", "Message", "Role"]
