"""A monitor as a folder: `monitor.safetensors` with the calm readings, and `monitor.json` with all the rest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from persona_lens.arrays import without_gaps
from persona_lens.drift.monitor.monitor import Monitor
from persona_lens.drift.monitor.readings import Readings
from persona_lens.drift.monitor.rule import Rule
from persona_lens.drift.monitor.setting import Threshold
from persona_lens.drift.places import Places
from persona_lens.errors import MonitorError
from persona_lens.frames import ResultKind
from persona_lens.space.directions import CalibratedDirections

_KIND = ResultKind(
    "monitor",
    card="monitor.json",
    arrays="monitor.safetensors",
    error=MonitorError,
    remedy="upgrade persona-lens, or calibrate it again",
)
_PLACES = ("means", "deviations", "roles", "role_mean")
_ALONG = ("units", "gains", "offsets")


def save_monitor(monitor: Monitor, folder: str | Path) -> Path:
    """Write it.

    Examples:
        >>> import tempfile
        >>> rng = np.random.default_rng(0)
        >>> calm = pd.DataFrame({"conversation": np.repeat(np.arange(19), 3), "turn": np.tile(np.arange(3), 19),
        ...                      "projection": rng.normal(size=57)})
        >>> monitor = Monitor.calibrate(calm, "path", false_alarms=0.05)
        >>> repr(load_monitor(save_monitor(monitor, tempfile.mkdtemp()))) == repr(monitor)
        True
    """
    rule, arrays = monitor.rule.stored()
    places, more = _stored_places(monitor.places)
    card = {
        "rule": rule,
        "threshold": monitor.threshold.value,
        "false_alarms": monitor.threshold.rate,
        "n": monitor.n,
        "realised_false_alarms_95": list(monitor.interval),
        "horizon": monitor.horizon,
        "layer": monitor.layer,
        "reading": monitor.reading,
        "conversations": list(monitor.calm.names),
        "places": places,
        "chosen": without_gaps(monitor.chosen.to_dict("records")),
        "about": without_gaps(dict(monitor.card)),
    }
    calm = {f"calm.{name}": array for name, array in monitor.calm.arrays().items()}
    held = {"reference": monitor.reference, **calm, **arrays, **more}
    return _KIND.save(folder, card, arrays=held)


def load_monitor(folder: str | Path) -> Monitor:
    """Read what `save_monitor` wrote.

    Raises:
        MonitorError: There is none, it is damaged, or its statistic is not the one it was calibrated with.
    """
    kept = _KIND.load(folder, remedy="make one: persona-lens calibrate-monitor --help")
    card, arrays = kept.card, kept.arrays
    rule = Rule.restored(card["rule"], arrays)
    calm = Readings.stored(
        card["conversations"],
        rule.directions,
        {name.removeprefix("calm."): a for name, a in arrays.items() if name.startswith("calm.")},
    )
    reference = arrays["reference"]
    threshold = Threshold.of(rule, calm.rows(~reference), card["false_alarms"])
    if not np.isclose(threshold.value, card["threshold"], rtol=1e-9, atol=1e-12):
        raise MonitorError(
            f"the statistic {rule.statistic} is not what the monitor was calibrated with",
            expected=f"a threshold of {card['threshold']:.6g} on its calm conversations",
            given=f"{threshold.value:.6g}",
            remedy="register the statistic it was calibrated with, or calibrate again",
        )
    return Monitor(
        threshold,
        int(card["horizon"]),
        calm,
        reference,
        card["layer"],
        card["reading"],
        card["about"],
        _restored_places(card["places"], arrays),
        pd.DataFrame(card["chosen"]),
    )


def _stored_places(places: Places | None) -> tuple[Any, dict[str, np.ndarray]]:
    if places is None:
        return None, {}
    card = {
        "layers": list(places.layers),
        "directions": list(places.names),
        "roles": list(places.role_names),
    }
    arrays = {f"places.{name}": getattr(places, name) for name in _PLACES}
    return card, arrays | {f"along.{name}": getattr(places.along, name) for name in _ALONG}


def _restored_places(card: Any, arrays: Mapping[str, np.ndarray]) -> Places | None:
    if card is None:
        return None
    along = CalibratedDirections(
        tuple(card["directions"]), *(arrays[f"along.{name}"] for name in _ALONG)
    )
    held = {name: arrays[f"places.{name}"] for name in _PLACES}
    return Places(
        layers=tuple(card["layers"]), along=along, role_names=tuple(card["roles"]), **held
    )
