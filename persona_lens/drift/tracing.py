"""Conversations read with a model: every reply's mean residual, projected on the axis and other directions.

    found = trace(space, model, read_conversations("chats.jsonl"), directions=["axis", "pc2", "trait:calm"])
    found.frame, found.motion(), found.curves(by="domain")

All turns of a conversation are read in one forward pass where that is what reading each by itself would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from persona_lens.conversations import Conversation
from persona_lens.drift.places import Places
from persona_lens.drift.trace import KEYS, OWN_COLUMNS, READINGS, Reading, Trace
from persona_lens.drift.turns import Long, Tokens, TurnFinder, TurnText
from persona_lens.errors import ConversationError, SpaceError, TranscriptError
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.persona_model import PersonaModel
from persona_lens.model.segments import read_segments
from persona_lens.progress import StageProgress
from persona_lens.space.space import Space
from persona_lens.transcripts.pieces import words

if TYPE_CHECKING:
    from persona_lens.interventions.plan import Plan

_Columns = dict[str, np.ndarray]

TOGETHER = 32
"""Conversations that are laid out and read at a time, whatever their number."""


def trace(
    space: Space,
    model: PersonaModel,
    conversations: Iterable[Conversation],
    *,
    layers: Sequence[int] | int | None = None,
    directions: Sequence[str] = ("axis",),
    plan: Plan | None = None,
    readings: Sequence[Reading] | None = None,
    tokens: Tokens | None = None,
    detail: bool = False,
    long: Long = "refuse",
    context: int | None = None,
    token_budget: int | None = None,
    progress: bool = True,
) -> Trace:
    """Where the replies of conversations lie, turn by turn.

    Args:
        space: Fitted; of `model`, or a warning says that it is another's.
        model: Reads the text; it need not have written it.
        conversations: What was said; a list, or a `ConversationLog`, which is read as a stream.
        layers: Blocks to read; the middle one of the model by default, as in the paper.
        directions: Names the space knows: "axis", "pc1", traits, roles (`persona_lens.space.naming`).
        plan: Acts while the text is read once more: readings `before` and `after`.
        readings: Which of `persona_lens.drift.trace.READINGS` to make; all that there can be by default.
        tokens: Which tokens of a reply are averaged: `answer`, or those that the `paper`'s code takes; as the
            space was read by default.
        detail: Keep the projection of every token too.
        long: What to do with a conversation that does not fit the model's context: `refuse` it, or read it in
            overlapping `windows`.
        context: Tokens of a window, if fewer than the model takes.
        token_budget: Tokens of a reading batch, pads included; by default what suits the device.
        progress: Show a progress bar.

    Returns:
        The trace. Conversations that cannot be read are in `refused`, and cost no others.

    Raises:
        SpaceError: Not fitted, unknown direction or layer, or of another width than the model.
        ConversationError: Nothing could be read, or readings are asked for that need a plan.
        InterventionError: A plan is in force already, and nothing would tell.

    Source: paper section 4.1.

    Examples:
        >>> from persona_lens import PersonaModel, PersonaSpace
        >>> model, space = PersonaModel.load("smollm2-135m-instruct"), PersonaSpace.load("smollm2-135m-instruct")
        >>> chat = Conversation.of([("user", "Is water wet?"), ("assistant", "Yes, to the touch."),
        ...                         ("user", "Speak as a ghost."), ("assistant", "Whooo... I drift.")], id="a")
        >>> found = trace(space, model, [chat], layers=20, progress=False)
        >>> found.frame[["turn", "layer", "direction", "tokens"]].values.tolist()
        [[0, 20, 'axis', 6], [1, 20, 'axis', 7]]
    """
    if model.d_model != space.table.d_model:
        raise SpaceError(
            "the space is of another model",
            expected=f"a width of {space.table.d_model}",
            given=f"{model.d_model}, of {model.name}",
        )
    model.refuse_interventions("no clean reading can be made")
    if space.origin is not None:
        warn_of_foreign_weights([space.origin], model, stacklevel=2)
    return trace_places(
        Places.of(space, _layers(layers, model), directions),
        model,
        conversations,
        space_name=space.model_name,
        plan=plan,
        readings=readings,
        tokens=tokens or ("paper" if space.as_in_paper else "answer"),
        detail=detail,
        long=long,
        context=context,
        token_budget=token_budget,
        progress=progress,
    )


def trace_places(
    places: Places,
    model: PersonaModel,
    conversations: Iterable[Conversation],
    *,
    space_name: str,
    plan: Plan | None = None,
    readings: Sequence[Reading] | None = None,
    tokens: Tokens = "answer",
    detail: bool = False,
    long: Long = "refuse",
    context: int | None = None,
    token_budget: int | None = None,
    progress: bool = True,
) -> Trace:
    """The same where the directions were taken from a space before; other arguments and errors as for `trace`.

    Args:
        places: Of that space.
        model: The one they were read from, which is not checked here.
        conversations: What was said.
        space_name: What the card calls the space.
    """
    model.refuse_interventions("no clean reading can be made")
    made = _readings(readings, plan)
    finder = TurnFinder(model, tokens=tokens, long=long, context=context)
    rows = _Rows(places, model, detail)
    held, total = _counted(conversations)
    bar = StageProgress("Tracing", total, shown=progress, unit="conversations")
    with bar.running():
        for chunk in _chunks(held, TOGETHER):
            texts = rows.lay_out(finder, chunk)
            for plans, sides in _passes(made, plan):
                acting = nullcontext() if plans is None else model.intervene(plans)
                with acting:
                    rows.read(texts, sides, token_budget)
            bar.advance(len(chunk))
    if not rows.turns:
        raise ConversationError(
            "no conversation could be read",
            given=f"{len(rows.refused)} refused"
            + (f"; {rows.refused[0][0]}: {rows.refused[0][1]}" if rows.refused else ""),
        )
    card = {
        "model": model.card(),
        "space": space_name,
        "layers": list(places.layers),
        "directions": list(places.names),
        "readings": list(made),
        "tokens": tokens,
        "plan": None if plan is None else str(plan),
        "conversations": total,
    }
    return rows.trace(card)


def _layers(layers: Sequence[int] | int | None, model: PersonaModel) -> list[int]:
    if layers is None:
        return [model.n_layers // 2]
    return [layers] if isinstance(layers, int) else list(layers)


def _readings(asked: Sequence[Reading] | None, plan: Plan | None) -> tuple[Reading, ...]:
    there = READINGS if plan is not None else ("clean",)
    wanted = there if asked is None else tuple(dict.fromkeys(asked))
    unknown = [reading for reading in wanted if reading not in there]
    if unknown or not wanted:
        raise ConversationError(
            "no such reading",
            expected=", ".join(there) + ("" if plan is not None else "; others need a plan"),
            given=", ".join(unknown) or "none",
        )
    return tuple(reading for reading in READINGS if reading in wanted)


def _passes(
    readings: Sequence[Reading], plan: Plan | None
) -> Iterator[tuple[Plan | None, list[Reading]]]:
    """Forward passes over a text: under which plan, and what is read in each."""
    if "clean" in readings:
        yield None, ["clean"]
    steered: list[Reading] = [reading for reading in readings if reading != "clean"]
    if steered:
        yield plan, steered


def _counted(conversations: Iterable[Conversation]) -> tuple[Iterable[Conversation], int]:
    """What can be gone through, and how many there are."""
    if isinstance(conversations, Conversation):
        return [conversations], 1
    held = list(conversations) if iter(conversations) is conversations else conversations
    return held, len(held) if isinstance(held, Sequence) else sum(1 for _ in held)


def _chunks(held: Iterable[Conversation], size: int) -> Iterator[list[Conversation]]:
    left = iter(held)
    while chunk := list(islice(left, size)):
        yield chunk


class _Rows:
    """Rows of a trace as they come, one chunk of conversations after the other."""

    def __init__(self, places: Places, model: PersonaModel, detail: bool) -> None:
        self._places = places
        self._model = model
        self._detail = detail
        self._parts: list[_Columns] = []
        self._details: list[_Columns] = []
        self._names: set[str] = set()
        self.turns: list[dict[str, Any]] = []
        self.refused: list[tuple[str, str]] = []

    def lay_out(
        self, finder: TurnFinder, chunk: Sequence[Conversation]
    ) -> list[tuple[Conversation, TurnText]]:
        """The texts of some conversations; those that cannot be laid out are noted with the reason."""
        texts = []
        for conversation in chunk:
            try:
                self._note(conversation.id)
                own = finder.texts(conversation)
            except (ConversationError, TranscriptError) as error:
                self.refused.append((conversation.id, str(error)))
                continue
            texts += [(conversation, text) for text in own]
            numbered = sorted(
                (turn for text in own for turn in text.turns), key=lambda turn: turn.number
            )
            for turn in numbered:
                said = conversation.prompt_of(turn.number)
                message = said[-1].content if said and said[-1].role == "user" else ""
                self.turns.append(
                    {
                        **{
                            name: value
                            for name, value in conversation.about.items()
                            if isinstance(value, str | int | float | bool)
                        },
                        "conversation": conversation.id,
                        "turn": turn.number,
                        "since": turn.since,
                        "tokens": int(turn.chosen.sum()),
                        "message": message,
                        "reply": conversation.replies[turn.number],
                    }
                )
        return texts

    def _note(self, name: str) -> None:
        """Refuse a second conversation of a name: their turns could not be told apart."""
        if name in self._names:
            raise ConversationError(
                "another conversation has this id",
                expected="an id of its own for each",
                given=repr(name),
            )
        self._names.add(name)

    def read(
        self,
        texts: Sequence[tuple[Conversation, TurnText]],
        readings: Sequence[Reading],
        token_budget: int | None,
    ) -> None:
        """One forward pass over some texts."""
        read = read_segments(
            self._model,
            [text.transcript for _, text in texts],
            [text.segments() for _, text in texts],
            layers=self._places.layers,
            units=self._places.units,
            before="before" in readings,
            token_budget=token_budget,
        )
        for reading in readings:
            sides = (read.before if reading == "before" else read.after) or []
            for (conversation, text), segments in zip(texts, sides, strict=True):
                for place, turn in enumerate(text.turns):
                    keys = (conversation.id, turn.number, reading)
                    self._parts.append(_keyed(keys, self._places.turn(segments, place)))
                    if self._detail:
                        ids = text.transcript.ids[turn.chosen].tolist()
                        said = words(ids, self._model.encoder.reader.decode)
                        told = self._places.tokens(segments, place, said)
                        self._details += [_keyed(keys, columns) for columns in told]

    def trace(self, card: dict[str, Any]) -> Trace:
        """All of them."""
        turns = pd.DataFrame(self.turns)
        told = [column for column in turns.columns if column not in OWN_COLUMNS]
        return Trace(
            frame=_frame(self._parts),
            turns=turns.loc[:, [*OWN_COLUMNS, *told]],
            refused=pd.DataFrame(self.refused, columns=["conversation", "reason"]),
            card=card,
            tokens=_frame(self._details),
        )


def _keyed(keys: tuple[str, int, Reading], columns: _Columns) -> _Columns:
    rows = len(columns["layer"])
    named = zip(KEYS, keys, strict=False)
    return {name: np.full(rows, key, dtype=object) for name, key in named} | columns


def _frame(parts: Sequence[_Columns]) -> pd.DataFrame:
    """Rows in the order of conversations as they came, their turns in order."""
    if not parts:
        return pd.DataFrame(columns=[*KEYS])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    frame = pd.DataFrame(columns).astype({"turn": np.int64, "layer": np.int64})
    came = pd.Categorical(frame["conversation"], frame["conversation"].unique()).codes
    order = np.lexsort((frame["turn"], came))
    return frame.iloc[order].reset_index(drop=True)
