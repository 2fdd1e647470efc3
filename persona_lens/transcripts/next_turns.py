"""The prompt of a conversation's next turn: the ids that were sent and came back, and what is said behind them.

A conversation that is rendered anew for every turn is tokenised anew too, and its earlier replies are no longer
the tokens that were sampled: "what was asked is what is read" would end with the first turn. So the ids stay, and
only what the template writes between the reply and the next one is added. Where a template shows the past
otherwise once a conversation goes on (Mistral's move the system text, Qwen3's drop thoughts and their marks), the
ids would not be what its servers send; then the conversation is rendered anew, and the reason is told.

Examples:
    >>> from persona_lens import PersonaModel
    >>> encoder = PersonaModel.load("smollm2-135m-instruct").encoder
    >>> asked = encoder.messages("Who are you?")
    >>> said = encoder.with_reply(encoder.prompt(asked), encoder.plain_ids("A ghost."))
    >>> talk = [*asked, {"role": "assistant", "content": "A ghost."}, {"role": "user", "content": "Whose?"}]
    >>> turn = next_turn(encoder, said, talk)
    >>> turn.prompt.ids[:len(said)].tolist() == said.ids.tolist(), turn.anew
    (True, '')
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.encoder import TranscriptEncoder
from persona_lens.transcripts.groups import Group, Transcript

_STAND_INS = ("Yes.", "Yes", "a")
"""What stands for a reply while it is found out what a template writes behind one; of several ends, since some
tokenizers join the last letter of a reply to what follows."""

MOVED = "the template writes what came before otherwise once the conversation goes on"
DROPPED = "the template drops earlier thoughts"
JOINED = "no token begins where a reply ends"


class NextTurn(NamedTuple):
    """What the next reply is written to.

    Attributes:
        prompt: It waits for that reply.
        anew: Why the conversation was rendered anew; empty where its ids are those that were sent and came back.
    """

    prompt: Transcript
    anew: str = ""


def next_turn(
    encoder: TranscriptEncoder, said: Transcript, messages: Sequence[Mapping[str, str]]
) -> NextTurn:
    """The prompt that follows a reply.

    Args:
        encoder: Of the model that replies.
        said: From `encoder.with_reply`, after the last reply.
        messages: The whole conversation: what `said` is of, the reply as text, and the user's next message.

    Raises:
        TranscriptError: The messages do not end with a reply and a user's message, or the template refuses them.
    """
    if [message["role"] for message in messages[-2:]] != ["assistant", "user"]:
        raise TranscriptError(
            "a conversation goes on with a message of the user's",
            expected="messages that end with a reply and the user's answer to it",
            given=f"roles {[message['role'] for message in messages]}",
        )
    tail, reason = _tail(encoder, said, messages)
    if tail is None:
        return NextTurn(encoder.prompt(messages), reason)
    return NextTurn(
        Transcript(
            ids=np.concatenate([said.ids, tail.ids]),
            groups=np.concatenate([said.groups, tail.groups]),
            turns=np.concatenate([said.turns, tail.turns]),
            text=said.text + tail.text,
            user_turns=tail.user_turns,
            assistant_turns=tail.assistant_turns,
            generating=True,
        )
    )


def _tail(
    encoder: TranscriptEncoder, said: Transcript, messages: Sequence[Mapping[str, str]]
) -> tuple[Transcript | None, str]:
    """What the template writes behind the reply; else why the conversation cannot go on by its ids."""
    *asked, _, user = messages
    before = encoder.prompt(asked).text
    reply = said.text[len(said.text) - len(_reply(encoder, said)) :]
    for stand_in, whole in _stood_in(encoder, asked, user):
        if not whole.text.startswith(before):
            return None, MOVED
        lead, found, behind = whole.text[len(before) :].partition(stand_in)
        if not found or (lead.strip() and not reply.startswith(lead)):
            return None, MOVED
        if _thinks(said) and not _keeps(encoder, said, before + reply + behind, asked, user):
            return None, DROPPED
        spoken = np.flatnonzero(whole.mask("assistant", turn=-1))
        start = int(spoken[-1]) + 1
        tail = Transcript(
            ids=whole.ids[start:],
            groups=whole.groups[start:],
            turns=whole.turns[start:],
            text=behind,
            user_turns=whole.user_turns,
            assistant_turns=whole.assistant_turns,
            generating=True,
        )
        # A token that reaches beyond the reply carries something of what follows.
        if encoder.reader.decode(whole.ids[spoken].tolist()).lstrip() == stand_in:
            return tail, ""
    return None, JOINED


def _stood_in(
    encoder: TranscriptEncoder, asked: Sequence[Mapping[str, str]], user: Mapping[str, str]
) -> Iterator[tuple[str, Transcript]]:
    """The conversation with another reply in the place of the last one."""
    for stand_in in _STAND_INS:
        reply = {"role": "assistant", "content": stand_in}
        yield stand_in, encoder.prompt([*asked, reply, user])


def _reply(encoder: TranscriptEncoder, said: Transcript) -> str:
    """The text of the last reply as it was sampled."""
    start = len(said) if said.reply_start is None else said.reply_start
    return encoder.reader.continuation(said.ids[:start].tolist(), said.ids[start:].tolist())


def _thinks(said: Transcript) -> bool:
    start = len(said) if said.reply_start is None else said.reply_start
    return bool((said.groups[start:] == Group.THINKING.code).any())


def _keeps(
    encoder: TranscriptEncoder,
    said: Transcript,
    wanted: str,
    asked: Sequence[Mapping[str, str]],
    user: Mapping[str, str],
) -> bool:
    """Whether the template shows the thought of an earlier reply, white space aside."""
    last = said.turns == said.assistant_turns - 1
    answer, thought = (
        encoder.reader.decode(said.ids[last & (said.groups == group.code)].tolist())
        for group in (Group.ASSISTANT, Group.THINKING)
    )
    reply = {"role": "assistant", "content": answer, "reasoning_content": thought}
    return _squeezed(encoder.prompt([*asked, reply, user]).text) == _squeezed(wanted)


def _squeezed(text: str) -> str:
    return "".join(text.split())
