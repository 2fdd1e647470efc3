"""`Watch`: a monitor at work while replies are written.

    with monitor.watching(model) as watch:
        model.chat("Who are you?")                    # or model.generate(prompts), conversation by conversation
    watch.alarms                                      # one row for each conversation that alarmed
    watch.turns                                       # every reply that was heard

    with monitor.watching(model, action="raise"): ...             # DriftAlarm comes out of `generate`
    with monitor.watching(model, then=space.floor(percentile=75)) as watch: ...
    watch.receipt                                     # what the plan did, in conversations that had alarmed

Residuals are pooled while replies are written, so nothing is read twice. What belongs together is told by what was
sent before (`persona_lens.drift.monitor.recognising`), or said: `with watch.naming("chat 7"): model.chat(...)`.

All that the model writes in the thread is heard. Where it plays the users as well, load it twice.

A conversation alarms once. Where `then` is given its plan acts from the next reply of that conversation on, and on
no other. A reply under any plan lies where the plan puts it: it is noted with the reading `after`, and counts
neither for nor against its conversation.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from typing_extensions import Self

from persona_lens.drift.monitor.alarms import COLUMNS, reason
from persona_lens.drift.monitor.belonging import needed_places
from persona_lens.drift.monitor.memory import Memory, Recognised, stacked
from persona_lens.drift.monitor.readings import Readings
from persona_lens.errors import DriftAlarm, MonitorError, PersonaLensWarning
from persona_lens.interventions.plan import Plan, checked_plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.model.listening import Acting, Written, listening
from persona_lens.model.origins import warn_of_foreign_weights
from persona_lens.model.segments import Segments
from persona_lens.statistics.conformal import conformal_p
from persona_lens.transcripts import Group, Transcript

if TYPE_CHECKING:
    from persona_lens.drift.monitor.monitor import Monitor
    from persona_lens.model.persona_model import PersonaModel

Action = Literal["log", "warn", "raise"]
"""What an alarm does: a line of the logger `persona_lens.drift.monitor`, a PersonaLensWarning, or a DriftAlarm."""

TURN_COLUMNS = [
    *("conversation", "turn", "value", "threshold", "direction", "projection", "tokens"),
    *("reading", "alarming", "within"),
]
_LOG = logging.getLogger("persona_lens.drift.monitor")


class Watch:
    """Listens to what a model writes in the threads in which it is entered.

    Args:
        monitor: With `places`: made by `space.monitor`, or with `places=`.
        model: The model it was calibrated on.
        action: As `Action`.
        then: A plan that acts on conversations that have alarmed.
        keep: Conversations that are remembered; of more, those that were silent longest are forgotten, and go on
            as new ones.

    Attributes:
        layers: The block it listens at.
        receipt: What `then` has done.

    Raises:
        MonitorError: The monitor knows no directions in residuals, or watches forecasts.
        InterventionError: The plan does not fit the model, or is made for a number of rows.
    """

    def __init__(
        self,
        monitor: Monitor,
        model: PersonaModel,
        *,
        action: Action = "log",
        then: Plan | None = None,
        keep: int = 10_000,
    ) -> None:
        self._places = needed_places(monitor.places, monitor.layer)
        if monitor.rule.statistic.of_residuals:
            raise MonitorError(
                "nobody forecasts replies while they are written",
                expected="a statistic of projections",
                given=str(monitor.rule.statistic),
                remedy="read finished conversations: monitor.read(trace)",
            )
        if action not in get_args(Action):
            raise MonitorError(
                "no such action", expected=", ".join(get_args(Action)), given=repr(action)
            )
        self.monitor = monitor
        self.layers = self._places.layers
        self._place = self.layers.index(monitor.layer)
        self.receipt = None if then is None else _receipt(then, model)
        self._model, self._action, self._then = model, action, then
        self._lock = threading.RLock()
        self._here = _Here()
        self._memory = Memory(monitor.directions, model.tokenizer.decode, keep)
        self._alarms: list[dict[str, Any]] = []
        self._turns: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self._heard = 0

    # Where it listens --------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        block = listening(self._model, self)
        block.__enter__()
        self._here.blocks.append(block)
        return self

    def __exit__(self, kind: object, problem: object, trace: object) -> None:
        self._here.blocks.pop().__exit__(None, None, None)
        if kind is None:
            for doubt in self.doubts():
                warnings.warn(doubt, PersonaLensWarning, stacklevel=2)

    @contextmanager
    def naming(self, *conversations: str) -> Iterator[None]:
        """Say which conversations the prompts of the calls in the block belong to, in their order.

        For templates that render the past otherwise than it was sent, and for whoever has names of his own.

        Examples:
            with watch.naming("chat 7", "chat 8"):
                model.generate([prompt_of_7, prompt_of_8])
        """
        before, self._here.names = self._here.names, conversations
        try:
            yield
        finally:
            self._here.names = before

    # What was heard ----------------------------------------------------------------------------------

    @property
    def alarms(self) -> pd.DataFrame:
        """One row for each conversation that alarmed; columns as `Monitor.read` tells."""
        with self._lock:
            return pd.DataFrame(self._alarms, columns=COLUMNS)

    @property
    def turns(self) -> pd.DataFrame:
        """One row for each reply that was heard: `conversation`, `turn`, `value`, `threshold`, `direction`,
        `projection`, `tokens`, `reading` (`clean`, or `after` a plan's operations), `alarming`, `within`.

        Under a plan the value is that of the turns before. Those of forgotten conversations are gone.
        """
        with self._lock:
            rows = sorted(
                (each for turns in self._turns.values() for each in turns),
                key=lambda numbered: numbered[0],
            )
        return pd.DataFrame([row for _, row in rows], columns=TURN_COLUMNS)

    def readings(self) -> Readings:
        """The conversations that are remembered, without what was read under a plan."""
        with self._lock:
            return self._memory.readings()

    def doubts(self) -> list[str]:
        """Why the stated rate may not hold for what was heard; shown as warnings when a block ends."""
        heard = self.readings()
        if not len(heard):
            return []
        steered = int((self.turns["reading"] == "after").sum())
        found = self.monitor.doubts(heard, self.alarms, steered=steered)
        if self._memory.forgotten:
            found.append(
                f"{self._memory.forgotten} conversations were forgotten to remember others (keep=): who went on "
                "with one of them was taken for a new one"
            )
        return found

    def __repr__(self) -> str:
        alarms = self.alarms
        return (
            f"Watch({self._heard} replies of {self._memory.count} conversations, {len(alarms)} alarms, "
            f"action {self._action}{'' if self._then is None else ', then a plan'})"
        )

    # As a listener -----------------------------------------------------------------------------------

    def before(self, prompts: Sequence[Transcript]) -> Sequence[Acting]:
        """Recognise prompts; the plan acts on those whose conversation has alarmed."""
        with self._lock:
            asked = self._memory.recognised(prompts, self._here.names)
        self._here.asked = asked
        if self._then is None or self.receipt is None:
            return []
        rows = frozenset(row for row, one in enumerate(asked) if one.past.tripped is not None)
        return [Acting(self._then, self.receipt, rows)] if rows else []

    def after(self, written: Sequence[Written]) -> None:
        """Take note of replies, and alarm.

        Raises:
            DriftAlarm: A conversation alarms, and the action is "raise".
        """
        with self._lock:
            found = self._noted(written)
        if found:
            self._alarm(found, written)

    def _noted(self, written: Sequence[Written]) -> list[dict[str, Any]]:
        asked, self._here.asked = self._here.asked, []
        places = self._places
        which = [places.names.index(name) for name in self.monitor.directions]
        means = np.stack([_mean_of(each) for each in written]).astype(np.float64)
        values = places.along.coordinates(means)[:, self._place, which]
        now = []
        for one, each, value in zip(asked, written, values, strict=True):
            counted = np.isfinite(value).all() and not each.steered
            now.append(one.past.then(value if counted else value * np.nan, self._tokens(each)))
        names = [one.conversation for one in asked]
        joint = self.monitor.rule.joint(stacked(names, now, self.monitor.directions))
        threshold = self.monitor.threshold
        found = []
        for row, (one, past, each) in enumerate(zip(asked, now, written, strict=True)):
            turn = len(past.values) - 1
            value, place = float(joint.values[row, turn]), int(joint.which[row, turn])
            steered = bool(each.steered)
            crossed = not steered and value > threshold.value
            told = {
                "conversation": one.conversation,
                "turn": turn,
                "value": value,
                "threshold": threshold.value,
                "direction": self.monitor.directions[place],
                "projection": float(values[row, place]),
                "reading": "after" if steered else "clean",
                "within": turn < self.monitor.horizon,
            }
            row_told = {**told, "tokens": int(past.tokens[turn]), "alarming": crossed}
            self._turns.setdefault(one.conversation, []).append((self._heard, row_told))
            self._heard += 1
            if crossed and past.tripped is None:
                past = replace(past, tripped=turn)  # noqa: PLW2901
                near = places.turn(Segments(_mean_of(each)[None], []), 0)
                at = self._place * len(places.names) + which[place]
                found.append(
                    {
                        **told,
                        "statistic": str(self.monitor.rule.statistic),
                        "p": float(conformal_p(threshold.scores, np.array([value]))[0]),
                        "reason": reason(
                            self.monitor.directions, joint.along[row, turn], threshold.value
                        ),
                        "z": float(near["z_default"][at]),
                        "nearest": str(near["nearest"][at]),
                        "message": self._message(each.prompt),
                    }
                )
            for forgotten in self._memory.remember(one, past, each):
                self._turns.pop(forgotten, None)
        self._alarms += found
        return found

    def _tokens(self, each: Written) -> int:
        """Tokens of the answer."""
        if each.reply.thought == "none":
            return len(each.reply.ids)
        said = self._model.encoder.with_reply(each.prompt, each.reply.ids)
        return int(said.mask(Group.ASSISTANT, -1).sum())

    def _message(self, prompt: Transcript) -> str:
        """The last message of the user."""
        if not prompt.user_turns:
            return ""
        ids = prompt.ids[prompt.mask(Group.USER, -1)]
        return str(self._model.tokenizer.decode(ids.tolist())).strip()

    def _alarm(self, found: list[dict[str, Any]], written: Sequence[Written]) -> None:
        frame = pd.DataFrame(found, columns=COLUMNS)
        lines = [
            f"{row['conversation']}, turn {row['turn']}: {row['statistic']} of {row['reason']} at "
            f"{row['value']:.4g}, above {row['threshold']:.4g}"
            + (
                ""
                if row["within"]
                else f" (beyond the {self.monitor.horizon} turns calibrated for)"
            )
            for row in found
        ]
        if self._action == "raise":
            raise DriftAlarm(
                f"{len(found)} of {len(written)} conversations drift",
                given="; ".join(lines),
                alarms=frame,
                replies=[each.reply for each in written],
            )
        for line in lines:
            if self._action == "warn":
                warnings.warn(f"a conversation drifts: {line}", PersonaLensWarning, stacklevel=2)
            else:
                _LOG.warning("a conversation drifts: %s", line)


class _Here(threading.local):
    """What belongs to one thread."""

    def __init__(self) -> None:
        self.blocks: list[AbstractContextManager[Watch]] = []
        self.names: tuple[str, ...] | None = None
        self.asked: list[Recognised] = []


def _mean_of(each: Written) -> Float[np.ndarray, "layer d_model"]:
    assert each.reply.mean is not None
    return each.reply.mean


def _receipt(plan: Plan, model: PersonaModel) -> Receipt:
    checked_plan(plan).check(n_layers=model.n_layers, d_model=model.d_model)
    if plan.rows is not None:
        raise MonitorError(
            "the plan is made for single prompts, and any conversation may alarm",
            expected="one strength, and tokens chosen by names",
            given=f"strengths or masks for {plan.rows} rows",
        )
    tokenizer = model.tokenizer  # a receipt that is kept should not keep the weights
    return Receipt(
        plan,
        decode=lambda ids: str(tokenizer.decode(ids)),
        caution=warn_of_foreign_weights(plan.origins, model, stacklevel=4),
    )
