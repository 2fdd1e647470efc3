"""`Simulated`: conversations that were had, with the ids, the ending and the mean residual of every reply.

    simulated = Simulated.load("sims/plain")
    simulated.conversations[0].replies
    simulated.frame                       # a row for each reply
    simulated.means.shape                 # (replies, layers, d_model), in the order of the frame

A folder has the conversations as JSON lines, for any reader of logs, and what belongs to single replies batch by
batch. A batch is there whole or not at all.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.conversations import Conversation
from persona_lens.drift.simulation.simulation import Played, Simulation, about_talk, receipt_frame
from persona_lens.errors import PersonaLensWarning, RunError
from persona_lens.frames import ResultKind
from persona_lens.transcripts import Transcript, TranscriptEncoder
from persona_lens.transcripts.next_turns import next_turn

BATCH = ResultKind(
    "batch of simulated conversations",
    card="batch.json",
    frames=("replies", "receipt"),
    arrays="means.safetensors",
    error=RunError,
    remedy="simulate into a new folder",
)


@dataclass(frozen=True, eq=False)
class Simulated:
    """What came of a simulation.

    Attributes:
        conversations: In the order of the users; those that said nothing at all are left out.
        frame: One row for each reply: `conversation`, `batch`, `turn` (of the assistant, from 0), `finish` (as in
            `Reply`), `tokens` (of the reply), `prompt_tokens`, `thought` (as in `Reply`), `anew` (why its prompt
            was rendered anew; empty where it is the ids that were sent and came back), `ids`.
        means: Mean residual of each reply over its answer, after the plan acted; NaN where there is none. In the
            order of `frame`; None if no layers were asked for.
        before: The same before the plan acted at each layer; None without a plan that acts at one of them.
        layers: The blocks read.
        receipt: What the plan did, one row for each batch, operation and layer; empty without a plan.
        conditions: All that decided the replies.
    """

    conversations: tuple[Conversation, ...]
    frame: pd.DataFrame
    means: Float[np.ndarray, "reply layer d_model"] | None
    before: Float[np.ndarray, "reply layer d_model"] | None
    layers: tuple[int, ...]
    receipt: pd.DataFrame
    conditions: Mapping[str, Any]

    @classmethod
    def of(cls, batches: Sequence[Batch], conditions: Mapping[str, Any]) -> Simulated:
        """Batches put together."""
        layers = tuple(conditions["layers"])
        means = [batch.means for batch in batches if batch.means is not None]
        before = [batch.before for batch in batches if batch.before is not None]
        return cls(
            tuple(chat for batch in batches for chat in batch.conversations),
            pd.concat([batch.frame for batch in batches], ignore_index=True),
            np.concatenate(means) if means else None,
            np.concatenate(before) if before else None,
            layers,
            pd.concat([batch.receipt for batch in batches], ignore_index=True),
            conditions,
        )

    def transcripts(self, encoder: TranscriptEncoder) -> list[Transcript]:
        """The conversations as the model saw them, one transcript for each reply, which ends with it.

        Args:
            encoder: Of the model under test.

        Raises:
            TranscriptError: The encoder has another template.
        """
        by_name = {chat.id: chat for chat in self.conversations}
        found = []
        for name, rows in self.frame.groupby("conversation", sort=False):
            found += _as_seen(encoder, by_name[str(name)], [np.asarray(ids) for ids in rows["ids"]])
        return found

    def __repr__(self) -> str:
        return (
            f"Simulated({len(self.conversations)} conversations, {len(self.frame)} replies, "
            f"layers {list(self.layers)})"
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of conversations that were had; as `Simulated`."""

    conversations: tuple[Conversation, ...]
    frame: pd.DataFrame
    means: Float[np.ndarray, "reply layer d_model"] | None
    before: Float[np.ndarray, "reply layer d_model"] | None
    receipt: pd.DataFrame

    @classmethod
    def of(cls, played: Played, simulation: Simulation, number: int) -> Batch:
        """What is kept of conversations."""
        rows, means, before = [], [], []
        for talk in played.talks:
            for turn, answered in enumerate(talk.answers):
                reply = answered.reply
                rows.append(
                    {
                        "conversation": talk.user.name,
                        "batch": number,
                        "turn": turn,
                        "finish": reply.finish,
                        "tokens": len(reply.ids),
                        "prompt_tokens": answered.prompt_tokens,
                        "thought": reply.thought,
                        "anew": answered.anew,
                        "ids": np.asarray(reply.ids, dtype=np.int64).tolist(),
                    }
                )
                means.append(reply.mean)
                before.append(reply.before)
        _tell_silent(played)
        conversations = tuple(
            Conversation.of(
                talk.messages, id=talk.user.name, **about_talk(talk, simulation, played.reread)
            )
            for talk in played.talks
            if talk.messages
        )
        shape = (len(means), len(simulation.layers), simulation.model.d_model)
        acts = simulation.plan is not None and {*simulation.plan.layers} & {*simulation.layers}
        return cls(
            conversations,
            pd.DataFrame(rows, columns=COLUMNS),
            np.array(means, dtype=np.float32).reshape(shape) if simulation.layers else None,
            np.array(before, dtype=np.float32).reshape(shape) if acts else None,
            receipt_frame(played.receipt, number),
        )

    def save(self, folder: Path) -> None:
        """Write it; the card comes last."""
        # safetensors reads no file without a tensor.
        arrays = {
            "means": self.means,
            "before": self.before,
            "replies": np.array([len(self.frame)]),
        }
        BATCH.save(
            folder,
            {"conversations": [_packed(chat) for chat in self.conversations]},
            frames={"replies": self.frame, "receipt": self.receipt},
            arrays={name: array for name, array in arrays.items() if array is not None},
        )

    @classmethod
    def load(cls, folder: Path) -> Batch:
        """Read what `save` wrote.

        Raises:
            RunError: There is none, or it is damaged.
        """
        kept = BATCH.load(folder)
        chats = [
            Conversation.of(chat["messages"], id=chat["id"], **chat["about"])
            for chat in kept.card["conversations"]
        ]
        frame = kept.frames["replies"]
        frame["ids"] = [ids.tolist() for ids in frame["ids"]]
        means, before = (kept.arrays.get(name) for name in ("means", "before"))
        return cls(tuple(chats), frame, means, before, kept.frames["receipt"])


COLUMNS = [
    *("conversation", "batch", "turn", "finish", "tokens", "prompt_tokens", "thought", "anew"),
    "ids",
]


def _tell_silent(played: Played) -> None:
    silent = [talk for talk in played.talks if not talk.messages]
    if silent:
        whys = dict.fromkeys(
            f"{talk.user.name} ({talk.why or 'nothing to say'})" for talk in silent
        )
        warnings.warn(
            f"{len(silent)} of {len(played.talks)} conversations never began and are left out: their users said "
            f"nothing: {', '.join(list(whys)[:5])}",
            PersonaLensWarning,
            stacklevel=2,
        )


def _packed(chat: Conversation) -> dict[str, Any]:
    return {"id": chat.id, "messages": chat.as_dicts(), "about": dict(chat.about)}


def _as_seen(
    encoder: TranscriptEncoder, chat: Conversation, replies: Sequence[np.ndarray]
) -> list[Transcript]:
    messages = chat.as_dicts()
    ends = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    seen: list[Transcript] = []
    for end, ids in zip(ends, replies, strict=True):
        prompt = (
            next_turn(encoder, seen[-1], messages[:end]).prompt
            if seen
            else encoder.prompt(messages[:end])
        )
        seen.append(encoder.with_reply(prompt, ids))
    return seen
