"""`Monitor`: an alert for conversations that drift, with a false-alarm rate per conversation that was calibrated.

    monitor = Monitor.calibrate(calm_trace, statistic="cusum", false_alarms=0.05)
    monitor.measure(held_out_trace, drifting=drift_trace)    # what the rate really is, power and delay
    monitor.read(trace)                                      # alarms in finished conversations
    with monitor.watching(model) as watch:                   # or while replies are written
        model.chat("Who are you?")

Whatever the statistic, its maximum over the turns of each calm conversation is taken, and the threshold is one of
these maxima: so turns may depend on one another as they like, and conversations are what is counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from persona_lens.drift.monitor.alarms import alarm_frame, turn_frame
from persona_lens.drift.monitor.belonging import (
    check_live,
    check_model,
    check_same,
    needed_places,
)
from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.rule import Rule
from persona_lens.drift.monitor.setting import (
    Threshold,
    check_rate,
    choice_in_words,
    choose,
    reference_rows,
    told_short,
    too_few,
    usable_statistics,
    usual_horizon,
)
from persona_lens.drift.monitor.statistics import Statistic, find
from persona_lens.drift.monitor.traffic import compare_traffic, told_traffic
from persona_lens.drift.places import Places
from persona_lens.drift.trace import Trace
from persona_lens.drift.tracing import trace_places
from persona_lens.errors import MonitorError, PersonaLensWarning
from persona_lens.statistics.conformal import cases_needed
from persona_lens.statistics.resampling import Interval

if TYPE_CHECKING:
    from persona_lens.conversations import Conversation
    from persona_lens.drift.monitor.watching import Action, Watch
    from persona_lens.interventions.plan import Plan
    from persona_lens.model.persona_model import PersonaModel

Given = Trace | pd.DataFrame
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, eq=False)
class Monitor:
    """A rule that alarms, calibrated; made by `Monitor.calibrate` or `space.monitor`.

    Attributes:
        threshold: What alarms, and from where on.
        horizon: Turns of a conversation that the rate holds for.
        calm: The conversations it was calibrated on, up to the horizon, with those set aside.
        reference: Which of them the constants of the statistic come from; the others set the threshold.
        layer, reading: What was read; None where the calm readings do not tell.
        card: Model, space and how the calm conversations were read and chosen.
        places: How residuals are read while replies are written; None where no space was given.
        chosen: Of `statistic="auto"`, how well each statistic found drift; empty otherwise.
    """

    threshold: Threshold
    horizon: int
    calm: Readings
    reference: np.ndarray
    layer: int | None = None
    reading: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    places: Places | None = None
    chosen: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def calibrate(
        cls,
        calm: Given,
        statistic: str | Statistic = AUTO,
        *,
        false_alarms: float = 0.01,
        horizon: int | None = None,
        layer: int | None = None,
        directions: Sequence[str] | None = None,
        high: Sequence[str] = (),
        reading: str | None = None,
        drifting: Given | None = None,
        reference: int | None = None,
        places: Places | None = None,
        seed: int = 0,
    ) -> Monitor:
        """Set a threshold on calm conversations.

        Args:
            calm: A trace, or a frame as `persona_lens.drift.monitor.readings.Readings.of` takes it.
            statistic: A name (`known_statistics()`), a `Statistic`, or "auto": of all, that which finds most
                `drifting` conversations, or the simplest where there are none.
            false_alarms: Share of calm conversations that may alarm, each counted once.
            horizon: Turns of a conversation; by default as many as nine of ten have. Shorter calm conversations
                are left out, as they would make the threshold too low for others.
            layer: Where the trace has several.
            reading: Likewise.
            directions: All of the trace by default; of several, the most alarming counts.
            high: Directions of which high projections are alarming. Of the others low ones are, as of the axis,
                where low is far from the Assistant.
            drifting: Conversations that should alarm, for "auto".
            reference: How many calm conversations are set aside for the constants of the statistic; by default a
                third, or fewer if the rate needs the others. A statistic along one direction may need none.
            places: How the space reads residuals, for `watching`.
            seed: Of drawing those.

        Returns:
            The monitor.

        Raises:
            MonitorError: The rate needs more calm conversations than there are; nothing to read; no such
                statistic, layer or direction.

        Source: split conformal prediction over maxima of whole conversations.

        Examples:
            >>> rng = np.random.default_rng(0)
            >>> calm = pd.DataFrame({"conversation": np.repeat(np.arange(99), 10),
            ...                      "turn": np.tile(np.arange(10), 99), "projection": rng.normal(5.0, 1.0, 990)})
            >>> Monitor.calibrate(calm, "lowest", false_alarms=0.05)
            Monitor: lowest along axis
              alarms above -2.064, which is a projection below 2.064, within 10 turns
              false alarms: 5 % of calm conversations (this threshold: 1.7 to 10 %, 95 %), set on 99
        """
        rate = check_rate(false_alarms)
        high = tuple(high)
        card = dict(calm.card) if isinstance(calm, Trace) else {}
        layers = card.get("layers") or ()
        layer = layers[0] if layer is None and len(layers) == 1 else layer
        if reading is None and isinstance(calm, Trace):
            reading = "clean" if "clean" in calm.readings else calm.readings[0]
        given = Readings.of(calm, layer=layer, directions=directions, reading=reading)
        unknown = [name for name in high if name not in given.directions]
        if unknown:
            raise MonitorError(
                "no such direction was read",
                expected=", ".join(given.directions),
                given=", ".join(unknown),
            )
        read = given.rows(given.read.any(axis=1))
        turns = horizon or usual_horizon(read.counts, cases_needed(rate))
        whole = read.rows(read.counts >= turns).cut(turns)
        if not len(whole):
            raise too_few(0, rate)
        others = {} if drifting is None else {"drifting": drifting}
        auto = isinstance(statistic, str) and statistic == AUTO
        named = find("lowest") if auto else find(statistic)
        needed = named.needs_calm or len(whole.directions) > 1 or bool(auto and others)
        try:
            kept = reference_rows(len(whole), rate, reference, needed=needed, seed=seed)
        except MonitorError as error:
            short = len(read) - len(whole)
            raise told_short(error, short, turns) from error
        chosen = pd.DataFrame()
        if auto and drifting is not None:
            drift = Readings.of(
                drifting, layer=layer, directions=whole.directions, reading=reading
            ).cut(turns)
            names = usable_statistics(whole)
            named, chosen = choose(names, whole.rows(kept), drift, high, rate)
            card["chosen_on"] = sorted(drift.digests())
        rule = Rule.fitted(named, whole.rows(kept), high)
        threshold = Threshold.of(rule, whole.rows(~kept), rate)
        told = {
            "model": card.get("model"),
            "space": card.get("space"),
            "tokens": card.get("tokens"),
            "chosen_on": card.get("chosen_on"),
            "choice": choice_in_words(auto, named, chosen),
            "unread": len(given) - len(read) + _refused(calm),
            "shorter": len(read) - len(whole),
            "seed": seed,
        }
        return cls(threshold, turns, whole, kept, layer, reading, told, places, chosen)

    # What it says of itself --------------------------------------------------------------------------

    @property
    def rule(self) -> Rule:
        """What alarms."""
        return self.threshold.rule

    @property
    def directions(self) -> tuple[str, ...]:
        """Along which it reads."""
        return self.rule.directions

    @property
    def n(self) -> int:
        """Calm conversations that set the threshold."""
        return self.threshold.n

    @property
    def interval(self) -> Interval:
        """Where the real false-alarm rate of this threshold lies (95 %)."""
        return self.threshold.interval

    def __repr__(self) -> str:
        low, high = self.interval
        name = (self.card.get("model") or {}).get("model")
        where = "" if self.layer is None else f" at layer {self.layer}"
        aside = int(self.reference.sum())
        counted = [
            f"set on {self.n}",
            *([f"{aside} more for the statistic's constants"] if aside else []),
            *([f"{self.card['shorter']} shorter ones left out"] if self.card["shorter"] else []),
            *([f"{self.card['unread']} without a reading left out"] if self.card["unread"] else []),
        ]
        lines = [
            f"Monitor: {self.rule.statistic} along {', '.join(self.directions)}{where}"
            + (f" of {name}" if name else ""),
            f"  alarms above {self.threshold.value:.4g}{self._in_projections()} within {self.horizon} turns",
            f"  false alarms: {100 * self.threshold.rate:g} % of calm conversations (this threshold: "
            f"{100 * low:.2g} to {100 * high:.2g} %, 95 %), {', '.join(counted)}",
        ]
        if self.card["choice"]:
            lines.append(f"  {self.card['choice']}")
        return "\n".join(lines)

    def _in_projections(self) -> str:
        """The same as a projection, where the statistic is one."""
        if self.rule.statistic.name != "lowest" or self.rule.ladder is not None:
            return ""
        if self.rule.high:
            return f", which is a projection above {self.threshold.value:.4g},"
        return f", which is a projection below {-self.threshold.value:.4g},"

    # What it is used for -----------------------------------------------------------------------------

    def readings(self, given: Given) -> Readings:
        """Conversations as this monitor reads them.

        Raises:
            MonitorError: They were read with other weights, at another layer, or otherwise than it was calibrated.
        """
        card = given.card if isinstance(given, Trace) else {}
        check_same(self.card, card, self.layer)
        frame = given.frame if isinstance(given, Trace) else given
        layer = self.layer if "layer" in frame else None
        reading = self.reading if "reading" in frame else None
        return Readings.of(given, layer=layer, directions=self.directions, reading=reading)

    def read(self, given: Given) -> pd.DataFrame:
        """Alarms in finished conversations: one row for each that alarms, of the first turn that does.

        Args:
            given: A trace, or a frame as `calibrate` takes it.

        Returns:
            `conversation`, `turn`, `statistic`, `value`, `threshold`, `p` (share of calm conversations that
            come as far), `direction` (the most alarming), `reason` (all directions that alarm), `projection` along
            it, `z` (`z_default` of the trace), `nearest` roles, `reading`, `within` (whether the turn is one that
            the rate holds for) and the `message` of the user before it.

        Raises:
            MonitorError: As `readings`.

        Warns:
            PersonaLensWarning: Conversations are longer than calibrated for, of another kind, or not read.
        """
        readings = self.readings(given)
        found = alarm_frame(self, readings, given)
        problems = self.doubts(readings, found)
        if refused := _refused(given):
            problems.append(
                f"{refused} conversations could not be read, so nobody knows whether they would alarm"
            )
        for problem in problems:
            warnings.warn(problem, PersonaLensWarning, stacklevel=2)
        return found

    def trace(
        self, model: PersonaModel, conversations: Iterable[Conversation], **options: Any
    ) -> Trace:
        """Read conversations as this monitor wants them, for `read`; options as for `persona_lens.drift.trace`.

        Raises:
            MonitorError: The model is another, or the monitor knows no directions in residuals.
        """
        check_model(self.card, model)
        return trace_places(
            needed_places(self.places, self.layer),
            model,
            conversations,
            space_name=str(self.card.get("space") or ""),
            **{"tokens": self.card.get("tokens") or "answer", **options},
        )

    def values(self, given: Given) -> pd.DataFrame:
        """What the rule says after every turn: `conversation`, `turn`, `value`, `threshold`, `direction`,
        `alarming`, `within`.

        Raises:
            MonitorError: As `readings`.
        """
        return turn_frame(self, self.readings(given))

    def traffic(self, given: Given) -> pd.DataFrame:
        """Whether conversations are of the kind it was calibrated on; see `persona_lens.drift.monitor.traffic`."""
        return compare_traffic(self.calm, self.readings(given))

    def doubts(self, readings: Readings, alarms: pd.DataFrame, *, steered: int = 0) -> list[str]:
        """Why the rate may not hold for some conversations, of which so many turns were written under a plan."""
        longer = int((readings.counts > self.horizon).sum())
        found = []
        if longer:
            beyond = int((~alarms["within"].astype(bool)).sum())
            found.append(
                f"{longer} of {len(readings)} conversations are longer than the {self.horizon} turns calibrated "
                f"for; {beyond} of {len(alarms)} alarms come later than that, where the rate says nothing"
            )
        other = told_traffic(compare_traffic(self.calm, readings))
        if other:
            found.append(f"other traffic than calibrated on, so the rate may not hold: {other}")
        silent = int((~readings.read.any(axis=1)).sum())
        total = int(readings.counts.sum())
        if readings.unread > steered:
            found.append(
                f"{readings.unread - steered} of {total} turns have no reading and were passed over; "
                f"of {silent} conversations nothing was read"
            )
        if steered:
            found.append(
                f"{steered} of {total} turns were written under a plan, and count neither as calm nor as alarms"
            )
        return found

    def measure(
        self,
        held_out: Given,
        drifting: Given | None = None,
        *,
        changes: Mapping[str, int] | str | None = None,
        statistics: Sequence[str | Statistic] | None = None,
    ) -> pd.DataFrame:
        """What the rate really is, and what is found at it; see `persona_lens.drift.monitor.measuring.measure`."""
        from persona_lens.drift.monitor.measuring import measure  # noqa: PLC0415

        return measure(self, held_out, drifting, changes=changes, statistics=statistics)

    def watching(
        self,
        model: PersonaModel,
        *,
        action: Action = "log",
        then: Plan | None = None,
        keep: int = 10_000,
    ) -> Watch:
        """Watch replies while they are written; see `persona_lens.drift.monitor.watching.Watch`."""
        from persona_lens.drift.monitor.watching import Watch  # noqa: PLC0415

        check_model(self.card, model)
        check_live(self.card)
        return Watch(self, model, action=action, then=then, keep=keep)

    def save(self, folder: str | Path) -> Path:
        """Write it to a folder: safetensors and a JSON card."""
        from persona_lens.drift.monitor.storage import save_monitor  # noqa: PLC0415

        return save_monitor(self, folder)

    @classmethod
    def load(cls, folder: str | Path) -> Monitor:
        """Open a saved monitor.

        Raises:
            MonitorError: There is none, or its statistic is not registered or has changed.
        """
        from persona_lens.drift.monitor.storage import load_monitor  # noqa: PLC0415

        return load_monitor(folder)


def _refused(given: Given) -> int:
    """Conversations that a trace could not read."""
    return len(given.refused) if isinstance(given, Trace) else 0
