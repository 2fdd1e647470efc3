"""Where a reply lies on the axis: before and after the plan, read again with nothing acting; the monitor's say.

    reader = ReplyReader(model, space, layer=20, monitor=monitor)
    reader.along                                  # what a `ContinuousBatch` reads of every token meanwhile
    reader.place(positions, finished.after)       # {"mean": 6.2, "low": 5.1, "high": 7.3, "z": 0.4, "tokens": 30}
    reader.read([said])                           # whole conversations, all their turns, with nothing acting

Nothing is kept of a conversation: its earlier turns are recognised in the messages that are sent, and read again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from persona_lens.conversations import Conversation
from persona_lens.drift.monitor.belonging import check_live, check_model, needed_places
from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.places import Places
from persona_lens.drift.turns import Turn, TurnFinder, TurnText
from persona_lens.errors import ConversationError, ServerError, TranscriptError
from persona_lens.model.continuous import Along
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.segments import Segments, read_segments
from persona_lens.statistics.conformal import conformal_p
from persona_lens.statistics.serial import serial_margin

if TYPE_CHECKING:
    from persona_lens.drift.monitor import Monitor
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space
    from persona_lens.transcripts import Transcript

AXIS = "axis"


@dataclass(frozen=True, eq=False)
class Said:
    """A conversation whose last reply was written here.

    Attributes:
        messages: That were sent; None where the prompt was plain text.
        whole: Prompt and reply.
    """

    messages: Sequence[Mapping[str, str]] | None
    whole: Transcript


@dataclass(frozen=True, eq=False)
class CleanReading:
    """A conversation read with nothing acting.

    Attributes:
        turns: Of each reply, where it lies and which roles are nearest; the last is the one that was written now.
        tokens: Of that one, the projections of the answer's tokens.
        verdict: What the monitor says; None without one.
    """

    turns: list[dict[str, Any]]
    tokens: Float[np.ndarray, " token"]
    verdict: dict[str, Any] | None

    @property
    def last(self) -> dict[str, Any]:
        """Where the reply lies that was written now."""
        return self.turns[-1]


class ReplyReader:
    """Places replies of one model on the axis of its space.

    Args:
        model: Wrote them.
        space: Fitted; of that model, or a warning says that it is another's.
        layer: Block; the monitor's by default, and the middle one without a monitor.
        monitor: Says whether a conversation drifts.

    Raises:
        ServerError: The space is of another width.
        SpaceError: It is not fitted, or does not cover the layer.
        MonitorError: The monitor is of another model, or cannot watch.
    """

    def __init__(
        self,
        model: PersonaModel,
        space: Space,
        *,
        layer: int | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        if model.d_model != space.table.d_model:
            raise ServerError(
                "the space is of another model",
                expected=f"a width of {space.table.d_model}",
                given=f"{model.d_model}, of {model.name}",
            )
        if space.origin is not None:
            warn_of_foreign_weights([space.origin], model, stacklevel=3)
        watched = None
        if monitor is not None:
            check_model(monitor.card, model)
            check_live(monitor.card)
            if monitor.rule.statistic.of_residuals:
                raise ServerError(
                    "the monitor watches forecasts, which nobody makes here",
                    expected="a statistic of projections",
                    given=str(monitor.rule.statistic),
                )
            needed_places(monitor.places, monitor.layer)
            watched = monitor.layer
        middle = model.n_layers // 2 if watched is None else watched
        self.layer = middle if layer is None else layer
        self.monitor = monitor
        read = sorted({self.layer, *(() if watched is None else (watched,))})
        self._places = Places.of(space, read, [AXIS])
        self._own = read.index(self.layer)
        self._watched = None if watched is None else read.index(watched)
        self._model = model
        self._finder = TurnFinder(model)

    @property
    def along(self) -> Along:
        """What is read of every token while it is written."""
        return Along((self.layer,), self._places.units[[self._own]])

    @property
    def spread(self) -> tuple[float, float] | None:
        """Mean and standard deviation of default replies; None where the space does not know them."""
        mean = float(self._places.means[0, self._own, 0])
        deviation = float(self._places.deviations[0, self._own, 0])
        return (mean, deviation) if math.isfinite(mean) and deviation > 0 else None

    def card(self) -> dict[str, Any]:
        """What is read, for replies."""
        return {
            "direction": AXIS,
            "layer": self.layer,
            "unit": "residual stream; z in standard deviations of default replies",
            "interval": 0.95,
        }

    def answers(self, prompt: Transcript, whole: Transcript) -> Bool[np.ndarray, " token"]:
        """Which tokens of a reply count: those of the answer."""
        return self._model.reply_positions(whole)[len(prompt) :]

    def values(
        self, projections: Float[np.ndarray, "token layer direction"]
    ) -> Float[np.ndarray, " token"]:
        """Projections on the axis of what a batch has read."""
        return self._coordinates(projections[:, 0, 0])

    def place(
        self,
        counted: Bool[np.ndarray, " token"],
        projections: Float[np.ndarray, "token layer direction"],
    ) -> dict[str, Any]:
        """Mean projection of a reply, its interval (95 %), `z`, and the number of tokens."""
        return self._place(self.values(projections)[counted[: len(projections)]])

    def read(self, said: Sequence[Said]) -> list[CleanReading]:
        """Some conversations, with nothing acting, in one pass."""
        laid = [[text for text in self._texts(each) if _spoken(text)] for each in said]
        texts = [text for own in laid for text in own]
        read = []
        if texts:
            read = read_segments(
                self._model,
                [text.transcript for text in texts],
                [text.segments() for text in texts],
                layers=self._places.layers,
                units=self._places.units,
            ).after
        found, start = [], 0
        for each, own in zip(said, laid, strict=True):
            found.append(self._clean(each, own, read[start : start + len(own)]))
            start += len(own)
        return found

    def _texts(self, said: Said) -> list[TurnText]:
        """The text with the reply that was written now, and earlier turns in it wherever they are read rightly."""
        whole = said.whole
        number = max(whole.assistant_turns - 1, 0)
        counted = self._model.reply_positions(whole)
        now = Turn(number, 0, counted)
        earlier = self._earlier(said)
        shared: list[Turn] = []
        apart = []
        for text in earlier:
            ids = text.transcript.ids
            if len(ids) <= len(whole) and np.array_equal(whole.ids[: len(ids)], ids):
                rest = np.zeros(len(whole) - len(ids), dtype=bool)
                shared += [
                    replace(turn, chosen=np.concatenate([turn.chosen, rest])) for turn in text.turns
                ]
            else:
                apart.append(text)
        return [*apart, TurnText(whole, (*shared, now))]

    def _earlier(self, said: Said) -> list[TurnText]:
        messages = said.messages or ()
        if not any(message["role"] == "assistant" for message in messages):
            return []
        pairs = [(message["role"], message["content"]) for message in messages]
        try:
            return self._finder.texts(Conversation.of(pairs, id="now"))
        except (ConversationError, TranscriptError):
            return []  # turns that no one can place stay unread, as the reply says

    def _clean(
        self, said: Said, texts: Sequence[TurnText], read: Sequence[Segments]
    ) -> CleanReading:
        count = max(said.whole.assistant_turns, 1)
        nothing = np.empty(0)
        turns: list[dict[str, Any]] = [
            {"turn": turn, **self._place(nothing), "nearest": None} for turn in range(count)
        ]
        now = nothing
        means = np.full((count, len(self._places.layers), self._model.d_model), np.nan)
        tokens = np.full(count, np.nan)
        for text, segments in zip(texts, read, strict=True):
            for place, turn in enumerate(text.turns):
                if not turn.chosen.any():
                    continue
                values = self._coordinates(segments.tokens[2 * place][:, self._own, 0])
                mean = segments.means[2 * place]
                near = self._nearest(mean)
                turns[turn.number] = {"turn": turn.number, **self._place(values), "nearest": near}
                means[turn.number], tokens[turn.number] = mean, len(values)
                if turn.number == count - 1:
                    now = values
        return CleanReading(turns, now, self._verdict(means, tokens))

    def _nearest(self, mean: Float[np.ndarray, "layer d_model"]) -> dict[str, Any] | None:
        """The roles nearest a reply, and the cosine with the first of them, from the mean of all roles."""
        roles, cosine = self._places.nearest(mean.astype(np.float64))[self._own]
        return {"roles": roles, "cosine": cosine} if roles else None

    def _verdict(self, means: np.ndarray, tokens: np.ndarray) -> dict[str, Any] | None:
        monitor = self.monitor
        if monitor is None or self._watched is None:
            return None
        places = needed_places(monitor.places, monitor.layer)
        at = places.layers.index(monitor.layer)
        which = [places.names.index(name) for name in monitor.directions]
        along = places.along
        values = means[:, self._watched].astype(np.float64) @ along.units[at][which].T
        values = along.gains[at][which] * values - along.offsets[at][which]
        count = len(values)
        joint = monitor.rule.joint(
            Readings(
                ("now",),
                monitor.directions,
                np.array([count]),
                np.arange(count)[None],
                values[None],
                tokens[None],
            )
        )
        threshold = monitor.threshold
        crossed = np.flatnonzero(joint.crossings(threshold.value)[0])
        value = float(joint.values[0, -1])
        low, high = monitor.interval
        return {
            "alarming": bool(len(crossed) and crossed[-1] == count - 1),
            "since": int(crossed[0]) if len(crossed) else None,
            "statistic": str(monitor.rule.statistic),
            "value": number(value),
            "threshold": number(threshold.value),
            "p": number(float(conformal_p(threshold.scores, np.array([value]))[0]))
            if math.isfinite(value)
            else None,
            "direction": monitor.directions[int(joint.which[0, -1])],
            "layer": monitor.layer,
            "turn": count - 1,
            "within": count <= monitor.horizon,
            "false_alarms": {
                "rate": threshold.rate,
                "low": number(low),
                "high": number(high),
                "calm": monitor.n,
                "horizon": monitor.horizon,
            },
        }

    def _coordinates(self, projections: Float[np.ndarray, " token"]) -> Float[np.ndarray, " token"]:
        along = self._places.along
        return along.gains[self._own, 0] * projections - along.offsets[self._own, 0]

    def _place(self, values: Float[np.ndarray, " token"]) -> dict[str, Any]:
        if not len(values) or not np.isfinite(values).all():
            return {"mean": None, "low": None, "high": None, "z": None, "tokens": len(values)}
        mean, margin = float(values.mean()), float(serial_margin(values))
        scale = self.spread
        return {
            "mean": mean,
            "low": number(mean - margin),
            "high": number(mean + margin),
            "z": None if scale is None else (mean - scale[0]) / scale[1],
            "tokens": len(values),
        }


def _spoken(text: TurnText) -> bool:
    """Whether anything in a text is to be read: replies may be empty."""
    return any(turn.chosen.any() for turn in text.turns)


def number(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return float(value) if math.isfinite(value) else None
