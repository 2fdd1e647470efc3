"""Which tokens of a batch are which, at every forward pass of a cached, batched, padded generation.

Hooks see a block of residuals and nothing else: no ids, no mask, no position. So the batch is described once
(`BatchTokens`), and `Track` says which of its columns a pass runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from persona_lens.errors import InterventionError
from persona_lens.interventions.where import GROUPS, Where
from persona_lens.transcripts import Group, Transcript

_NO_GROUP = -1


@dataclass(frozen=True, eq=False)
class BatchTokens:
    """The columns of a padded batch that are known before it runs; further ones will be sampled.

    Attributes:
        present: Not a pad.
        excluded: BOS and attention sinks.
        sampled: Belongs to the reply, in a finished transcript.
        groups, turns: As in `Transcript`; None if the rows are not transcripts.
        user_turns, assistant_turns: How many the row has, the reply being sampled among them.
        rows: Which row of the whole call each row of the batch is.
        spared: Rows that nothing is done to, whatever their tokens; None if there are none.
        sinks: Positions of attention sinks, for columns to come.
        padded_masks: Whether masks may be over the padded row; only where who made them knows the padding.
    """

    present: Bool[np.ndarray, "row column"]
    excluded: Bool[np.ndarray, "row column"]
    sampled: Bool[np.ndarray, "row column"]
    groups: Int[np.ndarray, "row column"] | None
    turns: Int[np.ndarray, "row column"] | None
    user_turns: Int[np.ndarray, " row"]
    assistant_turns: Int[np.ndarray, " row"]
    rows: Int[np.ndarray, " row"]
    spared: Bool[np.ndarray, " row"] | None = None
    sinks: tuple[int, ...] = ()
    padded_masks: bool = True

    @classmethod
    def of_transcripts(
        cls,
        transcripts: Sequence[Transcript],
        *,
        padding_side: str,
        sinks: Sequence[int] = (0,),
        bos_id: int | None = None,
        rows: Sequence[int] | None = None,
        spared: Sequence[bool] | None = None,
        as_sampled: bool = False,
        padded_masks: bool = True,
    ) -> BatchTokens:
        """Describe a batch of transcripts, padded to the longest.

        Args:
            transcripts: Prompts (to be generated from) or finished conversations.
            padding_side: `left` or `right`.
            sinks: Positions that are attention sinks, counted from each row's first token.
            bos_id: The first token of a row is left out if it is this one.
            rows: Place of each transcript in the whole call; 0, 1, ... by default.
            spared: Of each transcript, whether nothing is done to it.
            as_sampled: Of a reply appended to its prompt, every token is the assistant's, thinking and tags too:
                so a plan touches what it touched while the reply was sampled.
            padded_masks: As the attribute.
        """
        width = max(len(transcript) for transcript in transcripts)
        shape = (len(transcripts), width)
        present, excluded, sampled = (np.zeros(shape, dtype=bool) for _ in range(3))
        groups, turns = (np.full(shape, _NO_GROUP, dtype=np.int64) for _ in range(2))
        for row, transcript in enumerate(transcripts):
            length = len(transcript)
            start = width - length if padding_side == "left" else 0
            columns = slice(start, start + length)
            present[row, columns] = True
            groups[row, columns] = transcript.groups
            turns[row, columns] = transcript.turns
            sampled[row, columns] = _sampled(transcript)
            if as_sampled and transcript.reply_start is not None:
                groups[row, columns][transcript.reply_start :] = Group.ASSISTANT.code
                turns[row, columns][transcript.reply_start :] = transcript.assistant_turns - 1
            places = [place for place in sinks if place < length]
            if length and bos_id is not None and transcript.ids[0] == bos_id:
                places.append(0)
            excluded[row, [start + place for place in places]] = True
        waiting = np.array([transcript.generating for transcript in transcripts])
        spoken = np.array([transcript.assistant_turns for transcript in transcripts])
        return cls(
            present=present,
            excluded=excluded,
            sampled=sampled,
            groups=groups,
            turns=turns,
            user_turns=np.array([transcript.user_turns for transcript in transcripts]),
            assistant_turns=spoken + waiting,
            rows=np.arange(len(transcripts)) if rows is None else np.asarray(rows),
            spared=np.asarray(spared) if spared is not None and any(spared) else None,
            sinks=tuple(sinks),
            padded_masks=padded_masks,
        )

    @classmethod
    def of_mask(
        cls, present: Bool[np.ndarray, "row column"], *, sinks: Sequence[int] = (0,)
    ) -> BatchTokens:
        """Describe a batch of which only the attention mask is known."""
        positions = present.cumsum(axis=1) - 1
        n_rows = len(present)
        return cls(
            present=present,
            excluded=present & np.isin(positions, list(sinks)),
            sampled=np.zeros_like(present),
            groups=None,
            turns=None,
            user_turns=np.zeros(n_rows, dtype=np.int64),
            assistant_turns=np.zeros(n_rows, dtype=np.int64),
            rows=np.arange(n_rows),
            sinks=tuple(sinks),
        )

    def repeated(self, copies: int) -> BatchTokens:
        """Each row several times in a row, as beams and several replies to a prompt run."""
        arrays = {
            held.name: np.repeat(getattr(self, held.name), copies, axis=0)
            for held in fields(self)
            if isinstance(getattr(self, held.name), np.ndarray)
        }
        return replace(self, **arrays)

    def chosen_rows(self, places: Int[np.ndarray, " kept"]) -> BatchTokens:
        """Some of the rows, in this order."""
        arrays = {
            held.name: getattr(self, held.name)[places]
            for held in fields(self)
            if isinstance(getattr(self, held.name), np.ndarray)
        }
        return replace(self, **arrays)

    def laid_out(self, columns: Sequence[Int[np.ndarray, " token"]], width: int) -> BatchTokens:
        """The same tokens in other columns, with holes between them.

        Args:
            columns: Of each row, the column of each of its tokens.
            width: Columns there are.
        """

        def moved(array: np.ndarray, empty: int) -> np.ndarray:
            laid = np.full((len(array), width), empty, dtype=array.dtype)
            for row, places in enumerate(columns):
                laid[row, places] = array[row, self.present[row]]
            return laid

        by_group = {
            name: None if array is None else moved(array, _NO_GROUP)
            for name, array in (("groups", self.groups), ("turns", self.turns))
        }
        return replace(
            self,
            present=moved(self.present, 0),
            excluded=moved(self.excluded, 0),
            sampled=moved(self.sampled, 0),
            **by_group,
        )

    @property
    def width(self) -> int:
        """Columns known beforehand."""
        return self.present.shape[1]

    def __len__(self) -> int:
        return len(self.present)

    def chosen(self, where: Where) -> Bool[np.ndarray, "row column"]:
        """Which of the known tokens `where` means."""
        allowed = self.present if where.sinks else self.present & ~self.excluded
        if self.spared is not None:
            allowed = allowed & ~self.spared[:, None]
        if where.masks is not None:
            return self._masked(where.masks) & allowed
        chosen = np.zeros_like(self.present)
        for name in where.names:
            chosen |= self._named(name, where.turn)
        return chosen & allowed

    def chosen_later(self, where: Where, ahead: int) -> Bool[np.ndarray, " row"]:
        """Of which rows `where` means the token sampled `ahead` columns after the known ones."""
        n_rows = len(self)
        if where.masks is not None:
            return np.zeros(n_rows, dtype=bool)
        chosen = np.zeros(n_rows, dtype=bool)
        for name in where.names:
            if name in ("all", "generated", "last"):
                chosen |= True
            elif name == Group.ASSISTANT.value:
                self._need_groups(name)
                # The token being sampled belongs to the last assistant turn there is.
                chosen |= True if where.turn is None else self._is_last(where.turn)
        if not where.sinks:
            chosen &= ~np.isin(self.present.sum(axis=1) + ahead, self.sinks)
        return chosen if self.spared is None else chosen & ~self.spared

    def _is_last(self, turn: int) -> Bool[np.ndarray, " row"]:
        return np.where(turn < 0, turn == -1, turn == self.assistant_turns - 1)

    def _named(self, name: str, turn: int | None) -> Bool[np.ndarray, "row column"]:
        if name == "all":
            return self.present
        if name == "prompt":
            return ~self.sampled
        if name == "generated":
            return self.sampled
        if name == "last":
            prompt = self.present & ~self.sampled
            last = prompt & (np.flip(np.flip(prompt, 1).cumsum(axis=1), 1) == 1)
            return last | self.sampled
        groups, turns = self._need_groups(name)
        chosen = groups == Group(name).code
        if turn is None:
            return chosen
        counts = self.user_turns if name == Group.USER.value else self.assistant_turns
        wanted = np.where(turn < 0, counts + turn, turn)
        return chosen & (turns == wanted[:, None])

    def _need_groups(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if self.groups is None or self.turns is None:
            raise InterventionError(
                f"which tokens are {name!r} is not known here",
                expected=f"transcripts, for {', '.join(GROUPS)}",
                remedy="plan.hooks(transcripts=[...]), or use model.intervene(plan)",
            )
        return self.groups, self.turns

    def _masked(self, masks: tuple[np.ndarray, ...]) -> Bool[np.ndarray, "row column"]:
        chosen = np.zeros_like(self.present)
        for row, place in enumerate(self.rows):
            if self.spared is not None and self.spared[row]:
                continue  # its tokens may be others than the mask is for
            columns = self.present[row].nonzero()[0]
            prompt = columns[~self.sampled[row, columns]]
            mask = masks[place]
            if self.padded_masks and len(mask) == self.width and len(columns) < self.width:
                chosen[row] = mask
            elif len(mask) == len(columns):
                chosen[row, columns] = mask
            elif len(mask) == len(prompt):
                chosen[row, prompt] = mask  # the same conversation, now with its reply
            else:
                raise InterventionError(
                    f"the mask of row {place} has the wrong length",
                    expected=f"{len(columns)}, one for each token",
                    given=len(mask),
                    remedy=None
                    if self.padded_masks
                    else "leave pads out of masks: rows are padded in here",
                )
        return chosen


class Track:
    """Where in its sequences a batch is: how many columns have passed, and what they are.

    Args:
        tokens: What is known of the batch.
        memory: What operations keep from pass to pass, by step and layer.
    """

    def __init__(
        self, tokens: BatchTokens, memory: dict[tuple[int, int], dict[str, Tensor]] | None = None
    ) -> None:
        self.tokens = tokens
        self.start = 0
        self.stop = 0
        self.memory: dict[tuple[int, int], dict[str, Tensor]] = {} if memory is None else memory
        self._alike = False
        self._passes: dict[tuple[int, torch.device], Bool[Tensor, "row column"] | None] = {}
        self._known: dict[int, Bool[np.ndarray, "row column"]] = {}

    def advance(self, n_columns: int) -> None:
        """Take note of a forward pass over the next columns."""
        self.place(self.stop, n_columns)

    def place(self, start: int, n_columns: int) -> None:
        """Take note of a forward pass over the columns from `start` on, whether or not they have passed before."""
        self.start, self.stop = start, start + n_columns
        # One column after the known ones is like another, once the sinks are behind it.
        alike = n_columns == 1 and start >= self.tokens.width and not self._near_sinks()
        if not (alike and self._alike):
            self._passes.clear()
        self._alike = alike

    def keep(self, places: Int[Tensor, " kept"]) -> None:
        """Go on with some of the rows, in this order."""
        chosen = places.cpu().numpy()
        self.tokens = self.tokens.chosen_rows(chosen)
        self.memory = {
            place: {name: held[places.to(held.device)] for name, held in kept.items()}
            for place, kept in self.memory.items()
        }
        self._known = {where: held[chosen] for where, held in self._known.items()}
        self._passes.clear()

    def mask(self, where: Where, device: torch.device) -> Bool[Tensor, "row column"] | None:
        """Which tokens of this pass `where` means; None if all."""
        key = (id(where), device)
        if key not in self._passes:
            chosen = self.columns(where)
            with torch.inference_mode(False):  # the same hooks may run with gradients later
                self._passes[key] = (
                    None
                    if chosen.all()
                    else torch.from_numpy(np.ascontiguousarray(chosen)).to(device)
                )
        return self._passes[key]

    def columns(
        self, where: Where, start: int | None = None, stop: int | None = None
    ) -> Bool[np.ndarray, "row column"]:
        """The same as an array; of this pass, or of other columns."""
        start, stop = self.start if start is None else start, self.stop if stop is None else stop
        if id(where) not in self._known:
            self._known[id(where)] = self.tokens.chosen(where)
        width = self.tokens.width
        known = self._known[id(where)][:, start : min(stop, width)]
        later = [
            self.tokens.chosen_later(where, column - width)
            for column in range(max(start, width), stop)
        ]
        return np.concatenate([known, np.stack(later, axis=1)], axis=1) if later else known

    def _near_sinks(self) -> bool:
        """Whether a row is so short that a sampled token may stand where a sink does."""
        if not self.tokens.sinks:
            return False
        shortest = int(self.tokens.present.sum(axis=1).min())
        return shortest + self.start - self.tokens.width <= max(self.tokens.sinks) + 1


def _sampled(transcript: Transcript) -> Bool[np.ndarray, " token"]:
    """The last assistant turn of a finished transcript and what follows it; nothing if the user spoke since."""
    sampled = np.zeros(len(transcript), dtype=bool)
    if transcript.generating or not transcript.assistant_turns:
        return sampled
    if transcript.reply_start is not None:
        sampled[transcript.reply_start :] = True
        return sampled
    spoken = np.isin(transcript.groups, (Group.ASSISTANT.code, Group.THINKING.code))
    last = spoken & (transcript.turns == transcript.assistant_turns - 1)
    start = int(last.nonzero()[0][0]) if last.any() else len(transcript)
    sampled[start:] = not (transcript.groups[start:] == Group.USER.code).any()
    return sampled
