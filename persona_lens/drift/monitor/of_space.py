"""A monitor of a space: calm conversations had and read, then calibrated on.

    monitor = space.monitor(model, false_alarms=0.05, layer=20)

Without other conversations, the model answers the calibration half of the packaged everyday conversations
(`persona_lens.catalog.everyday`); the other half is for `Monitor.measure`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from persona_lens.catalog import load_everyday, split_everyday
from persona_lens.conversations import Conversation
from persona_lens.drift.monitor.monitor import Monitor
from persona_lens.drift.monitor.statistics import Statistic
from persona_lens.drift.places import Places
from persona_lens.drift.simulation import casts, simulate
from persona_lens.drift.trace import Trace
from persona_lens.drift.tracing import trace
from persona_lens.drift.turns import Long
from persona_lens.rollouts.sampling import Sampling
from persona_lens.space.space import Space

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

Talks = Trace | pd.DataFrame | Iterable[Conversation]

TURNS = 10
"""Of the everyday conversations."""


def space_monitor(
    space: Space,
    model: PersonaModel,
    *,
    calm: Talks | None = None,
    drifting: Talks | None = None,
    layer: int | None = None,
    directions: Sequence[str] = ("axis",),
    turns: int = TURNS,
    sampling: Sampling | None = None,
    out: str | Path | None = None,
    long: Long = "refuse",
    progress: bool = True,
    statistic: str | Statistic = "auto",
    false_alarms: float = 0.01,
    horizon: int | None = None,
    high: Sequence[str] = (),
    reference: int | None = None,
    seed: int = 0,
) -> Monitor:
    """A monitor that reads along directions of a space.

    Args:
        space: Fitted; of `model`.
        model: Is to be watched.
        calm: Conversations of the model that are as they should be, or their trace; by default it answers the
            calibration half of the everyday conversations.
        drifting: Conversations that should alarm, to choose a statistic by.
        layer: Block; the middle one of the model by default.
        directions: Names the space knows.
        turns: Of the everyday conversations, at most their ten.
        sampling: Of the replies to them.
        out: Folder that keeps these; the same call continues what is there.
        long: As for `persona_lens.drift.trace`.
        progress: Show progress bars.
        statistic: A name, a `Statistic`, or "auto", as for `Monitor.calibrate`; and so are those below.
        false_alarms: Share of calm conversations that may alarm, each counted once.
        horizon: Turns of a conversation; by default as many as nine of ten have.
        high: Directions of which high projections are alarming. Of the others low ones are.
        reference: How many calm conversations are set aside for the constants of the statistic.
        seed: Of drawing those.

    Raises:
        MonitorError: As `Monitor.calibrate`.
        SpaceError: As `persona_lens.drift.trace`.

    Examples:
        >>> from persona_lens import PersonaModel, PersonaSpace
        >>> model, space = PersonaModel.load("smollm2-135m-instruct"), PersonaSpace.load("smollm2-135m-instruct")
        >>> calm = [Conversation.of([("user", f"What is {n} + {n}?"), ("assistant", f"{2 * n}."),
        ...                          ("user", "Sure?"), ("assistant", "Yes.")], id=str(n)) for n in range(4)]
        >>> monitor = space_monitor(space, model, calm=calm, layer=20, false_alarms=0.2, progress=False)
        >>> monitor.n, monitor.horizon, monitor.layer
        (4, 2, 20)
    """
    chosen = model.n_layers // 2 if layer is None else layer
    about: dict[str, Any] = {"calm": "conversations that were given"}
    if calm is None:
        chats, _ = split_everyday(load_everyday())
        sampling = sampling or Sampling()
        said = simulate(
            model,
            casts.everyday(chats),
            turns=min(turns, TURNS),
            sampling=sampling,
            out=out,
            progress=progress,
        )
        calm = said.conversations
        about = {
            "calm": "the calibration half of the everyday conversations",
            "sampling": sampling.model_dump(),
        }

    def traced(given: Talks) -> Trace | pd.DataFrame:
        if isinstance(given, Trace | pd.DataFrame):
            return given
        return trace(
            space,
            model,
            given,
            layers=[chosen],
            directions=directions,
            tokens="answer",
            long=long,
            progress=progress,
        )

    places = Places.of(space, [chosen], directions)
    monitor = Monitor.calibrate(
        traced(calm),
        statistic,
        false_alarms=false_alarms,
        horizon=horizon,
        layer=chosen,
        directions=places.names,
        high=high,
        drifting=None if drifting is None else traced(drifting),
        reference=reference,
        places=places,
        seed=seed,
    )
    if monitor.card["model"] is None:  # a frame tells no model: that of whoever asks
        about |= {"model": model.card(), "space": space.model_name, "tokens": "answer"}
    return replace(monitor, card={**monitor.card, **about})
