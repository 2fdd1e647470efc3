"""JSON of the fork of vLLM that steers and clamps (RhizoNymph/vllm), as plans.

Read are named modules (`vectors`, `clamps`, with `prefill_` and `decode_` before them) and fields of requests
(`steering_vectors`, `steering_clamps`), with vectors as plain lists or packed. What they mean, and in which order
they run, is told in `persona_lens.interop.vllm_steering`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from persona_lens.arrays import as_floats
from persona_lens.errors import InterventionError
from persona_lens.files import read_json
from persona_lens.interop.engine_moves import Clamp, Move, Push, Read, plan_of
from persona_lens.interop.packed_floats import unpacked
from persona_lens.interop.vllm_steering import HOOK, TIERS, Tier, clash
from persona_lens.interventions import Plan, Where

_EXPECTED = '{"clamps": {"post_block": {layer: [{"vector", "min", "max"}]}}, "vectors": ...}'

_LATE = 1000
"""Slots between the clamps of both phases and those of one: more than any layer holds."""


def read_steering_module(what: str | Path | Mapping[str, Any], *, name: str | None = None) -> Plan:
    """The plan that a module or a request would carry out; it touches attention sinks too, as the fork does.

    Args:
        what: A JSON file, or what is in one.
        name: What the directions are called: the files do not say. The file's name by default.

    Raises:
        InterventionError: No such file, another layout, another place than the end of a block, or clamps that one
            after the other are not what they are at once.

    Examples:
        >>> clamp = {"vector": [3.0, 4.0], "max": 4.0}
        >>> read_steering_module({"decode_clamps": {"post_block": {"20": [clamp]}}}, name="ghost")
        Plan of 1 step
          1. ceil 'ghost'; at layers 20; tokens generated, sinks too; at 4
    """
    source = "steering" if isinstance(what, Mapping) else Path(what).stem
    try:
        content = what if isinstance(what, Mapping) else read_json(Path(what), InterventionError)
        found = [read for tier in TIERS for read in _read(content, tier)]
    except FileNotFoundError as error:
        raise InterventionError("no such file", given=what) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InterventionError(
            f"{source} has no steering of vLLM as expected: {error!r}",
            expected=_EXPECTED,
        ) from error
    if not found:
        raise InterventionError(f"{source} holds no steering of vLLM", expected=_EXPECTED)
    _check(found)
    return plan_of(found, name or source)


def _read(content: Mapping[str, Any], tier: Tier) -> Iterator[Read]:
    """Moves of a tier; additions before clamps, and what acts in both phases before what acts in one."""
    where = Where(tier.names, sinks=True)
    late = 0 if tier == TIERS[0] else 1
    infix = "steering_" if any("steering_" in key for key in content) else ""
    pushes = _at_block(content.get(f"{tier.prefix}{infix}vectors"))
    for push in [] if pushes is None else _pushes(pushes):
        yield Read(push, late, where)
    clamps = _at_block(content.get(f"{tier.prefix}{infix}clamps"))
    slots: dict[int, int] = {}
    for clamp in [] if clamps is None else _clamps(clamps):
        slot = slots.get(clamp.layer, 0)
        slots[clamp.layer] = slot + 1
        yield Read(clamp, 2 + slot + _LATE * late, where)


def _at_block(hooks: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    others = set(hooks or {}) - {HOOK}
    if others:
        raise InterventionError(
            "plans act on the residual stream after a block",
            expected=HOOK,
            given=", ".join(sorted(others)),
        )
    return None if hooks is None else hooks.get(HOOK)


def _rows(blob: Mapping[str, Any]) -> Iterator[tuple[int, np.ndarray]]:
    rows = unpacked(blob["data"], blob["dtype"], blob["shape"])
    return zip(map(int, blob["layer_indices"]), rows, strict=True)


def _pushes(held: Mapping[str, Any]) -> Iterator[Push]:
    if "data" in held:
        scales = held.get("scales") or [1.0] * len(held["layer_indices"])
        entries = [
            (layer, row, scale) for (layer, row), scale in zip(_rows(held), scales, strict=True)
        ]
    else:
        entries = [
            (int(layer), entry["vector"], entry["scale"])
            if isinstance(entry, Mapping)
            else (int(layer), entry, 1.0)
            for layer, entry in held.items()
        ]
    for layer, given, scale in entries:
        vector = as_floats(given, "a vector", error=InterventionError)
        yield Push(
            1, layer, vector, float(scale) * float(np.linalg.norm(vector.astype(np.float64)))
        )


def _clamps(held: Mapping[str, Any]) -> Iterator[Clamp]:
    if "data" in held:
        numbers = zip(held["bounds"], held["strengths"], strict=True)
        for (layer, row), ((low, high), strength) in zip(_rows(held), numbers, strict=True):
            yield _clamp(layer, row, low, high, strength)
        return
    for layer, entries in held.items():
        for entry in entries:
            low, high = entry.get("min"), entry.get("max")
            if entry.get("value") is not None:
                low = high = entry["value"]
            yield _clamp(int(layer), entry["vector"], low, high, entry.get("strength", 1.0))


def _clamp(layer: int, vector: Any, low: Any, high: Any, strength: Any) -> Clamp:
    if low is None and high is None:
        raise ValueError("a clamp without ends")
    return Clamp(
        1,
        layer,
        as_floats(vector, "a vector", error=InterventionError),
        -math.inf if low is None else float(low),
        math.inf if high is None else float(high),
        float(strength),
    )


def _check(found: list[Read]) -> None:
    """Refuse clamps that act at once in one phase and would be another thing one after the other."""
    phases = {tier.names: tier.phases for tier in TIERS}
    for phase in ("prefill", "decode"):
        before: dict[int, list[Move]] = {}
        for read in sorted(found, key=lambda read: read.slot):
            if phase not in phases[read.where.names]:
                continue
            held = before.setdefault(read.move.layer, [])
            why = next((why for earlier in held if (why := clash(earlier, read.move))), None)
            if why is not None:
                raise InterventionError(
                    "these clamps act at once there, and steps of a plan one after the other",
                    given=f"one at layer {read.move.layer} that {why}",
                )
            held.append(read.move)
