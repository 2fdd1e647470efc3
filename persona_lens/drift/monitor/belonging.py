"""Whether readings are of what a monitor was calibrated on: model, layer, tokens, template.

A rate holds for one model, one layer, one choice of tokens and one chat template; what was read otherwise is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persona_lens.drift.places import Places
from persona_lens.errors import MonitorError
from persona_lens.interventions.origin import Origin
from persona_lens.model.origins import foreign_weights
from persona_lens.model.persona_model import PersonaModel

_REMEDY = "calibrate one for what you have: Monitor.calibrate(...)"


def check_same(ours: Mapping[str, Any], theirs: Mapping[str, Any], layer: int | None) -> None:
    """Refuse a trace that was made otherwise than the calm one; what neither or one of them tells is let pass.

    Args:
        ours: Card of the monitor: `model` and `tokens`.
        theirs: Card of the trace.
        layer: Of the monitor.

    Raises:
        MonitorError: Other weights, another template, other tokens, or another layer.
    """
    if layer is not None and theirs.get("layers") and layer not in theirs["layers"]:
        raise MonitorError(
            "the conversations were read at another layer than the monitor was calibrated at",
            expected=f"layer {layer}",
            given=", ".join(map(str, theirs["layers"])),
            remedy=f"trace them with layers={layer}",
        )
    told, known = ours.get("model") or {}, theirs.get("model") or {}
    here, there = Origin.of_card(told), Origin.of_card(known)
    if here is not None and there is not None and not _same(here, there):
        raise MonitorError(
            "the monitor was calibrated on other weights than those that read the conversations",
            expected=_said(here),
            given=_said(there),
            remedy=_REMEDY,
        )
    _check("chat template", told.get("template_hash"), known.get("template_hash"))
    _check("choice of tokens", ours.get("tokens"), theirs.get("tokens"))


def check_model(ours: Mapping[str, Any], model: PersonaModel) -> None:
    """Refuse a model that the monitor was not calibrated on.

    Raises:
        MonitorError: Other weights or another template.
    """
    told = ours.get("model") or {}
    origin = Origin.of_card(told)
    foreign = "" if origin is None else foreign_weights([origin], model)
    if foreign:
        raise MonitorError(
            "the monitor was calibrated on other weights",
            given=foreign,
            remedy=_REMEDY,
        )
    _check("chat template", told.get("template_hash"), model.encoder.template_hash)


def check_live(ours: Mapping[str, Any]) -> None:
    """Refuse a monitor of tokens over which no reply is read while it is written.

    Raises:
        MonitorError: It is one.
    """
    if ours.get("tokens") == "paper":
        raise MonitorError(
            "the monitor was calibrated on tokens around replies, which are not there while they are written",
            expected="the tokens of the answer",
            remedy='trace the calm conversations with tokens="answer"',
        )


def needed_places(places: Places | None, layer: int | None) -> Places:
    """How residuals are read, if the monitor knows.

    Raises:
        MonitorError: It was calibrated without a space.
    """
    if places is None or layer not in places.layers:
        raise MonitorError(
            "the monitor knows no directions in residuals, so it can only read traces",
            expected="a monitor of a space: space.monitor(model, ...), or Monitor.calibrate(..., places=...)",
        )
    return places


def _check(what: str, ours: Any, theirs: Any) -> None:
    if ours is not None and theirs is not None and ours != theirs:
        raise MonitorError(
            f"the monitor was calibrated with another {what}",
            expected=ours,
            given=theirs,
            remedy=_REMEDY,
        )


def _same(one: Origin, other: Origin) -> bool:
    """Whether two records may be of the same weights; in two dtypes no fingerprint can tell, so names do."""
    if not one.fingerprint or not other.fingerprint:
        return one.name == other.name
    if one.fingerprint == other.fingerprint:
        return True
    return one.dtype != other.dtype and (one.name, one.architecture) == (
        other.name,
        other.architecture,
    )


def _said(origin: Origin) -> str:
    return f"{origin.name} ({origin.fingerprint[:8]})" if origin.fingerprint else origin.name
