"""Conversations: one type for chats, and a reader for the logs people hold, whoever wrote them.

Examples:
    >>> chat = Conversation.of([("user", "Hi"), ("assistant", "Hello.")], id="greeting", model="gemma-2-27b-it")
    >>> chat.n_turns, chat.about["model"]
    (1, 'gemma-2-27b-it')

Logs of the OpenAI kind, ShareGPT, the paper's transcripts, Inspect logs, exports of ChatGPT, Claude and
Neuronpedia, tables and data sets are told by their content. What is cut, refused or joined is counted, with its
place:

Examples:
    >>> log = ConversationLog([("human", "Hi"), ("human", "?")])
    >>> [chat.users for chat in log]
    [('Hi\\n\\n?',)]
    >>> print(log.report.summary.splitlines()[1])
    kept, with: 1 x messages of the user in a row, joined (the conversation, message 1)

`persona_lens.conversations.log` states what is done about everything that logs hold.
"""

from persona_lens.conversations.conversation import Conversation, Message, Role
from persona_lens.conversations.log import ConversationLog, read_conversations
from persona_lens.conversations.report import Finding, LogReport
from persona_lens.conversations.writing import write_conversations

__all__ = [
    "Conversation",
    "ConversationLog",
    "Finding",
    "LogReport",
    "Message",
    "Role",
    "read_conversations",
    "write_conversations",
]
