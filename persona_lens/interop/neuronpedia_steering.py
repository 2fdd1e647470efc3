"""Plans as Neuronpedia's inference server takes them: the steering fields of a request, and back.

    {"steer_method": "PROJECTION_CAP",
     "vectors": [{"hook": "blocks.40.hook_resid_post", "steering_vector": [...], "strength": -20.5}, ...],
     "strength_multiplier": 1.0, "normalize_steering": false, "steer_special_tokens": true}

Other fields of the request (prompt, model, seed, ...) are the caller's. What the server does:

| method | what | ours |
| --- | --- | --- |
| `SIMPLE_ADDITIVE` | adds strength times the vector, made a unit vector first if told to normalise | `Add` |
| `ORTHOGONAL_DECOMP` | multiplies the projection by the strength | `Ablate` at strength 1 - strength |
| `PROJECTION_CAP` | keeps the projection at or below the strength | `Ceil`; `Floor` on the reversed vector |

One method a request. Vectors run in order. Every token is touched, attention sinks too; without
`steer_special_tokens` (chats only) the special tokens of the prompt are not. The request's `types` must name
`STEERED`. All this was read in the server's source of August 2026; no server has been asked.

The demo's own cap is published as `assistant_cap_with_vectors.json` on its asset server and not in its repository:
its layout is not known here, and it is not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from persona_lens.arrays import as_floats
from persona_lens.errors import InterventionError
from persona_lens.files import read_json, write_json
from persona_lens.interop.capping_config import MIN_COSINE
from persona_lens.interop.engine_moves import Clamp, Move, Push, Read, moves, plan_of, refuse
from persona_lens.interventions import Direction, Plan, Where

SERVER = "a steering request of Neuronpedia"
_HOOK = re.compile(r"blocks\.(\d+)\.hook_resid_(pre|post)")
_UNSPECIAL = ("system", "user", "assistant", "thinking", "template")
_ADD, _SCALE, _CAP = "SIMPLE_ADDITIVE", "ORTHOGONAL_DECOMP", "PROJECTION_CAP"


def neuronpedia_fields(plan: Plan) -> dict[str, Any]:
    """The steering fields of a request.

    Args:
        plan: Steps of one kind, on every token, or on every one that is not special:
            `.where("all", sinks=True)`, or `.where("system", "user", "assistant", "thinking", "template",
            sinks=True)`.

    Raises:
        InterventionError: A request has no words for a step, for its tokens, or for two kinds at once.

    Examples:
        >>> from persona_lens.interventions import Floor
        >>> axis = Direction("assistant", (40,), np.array([[3.0, 4.0]]))
        >>> fields = neuronpedia_fields(Plan.of(Floor(axis, thresholds=20.5)).where("all", sinks=True))
        >>> fields["steer_method"], *fields["vectors"][0].values()
        ('PROJECTION_CAP', [-3.0, -4.0], -20.5, 'blocks.40.hook_resid_post')
    """
    done = moves(plan, SERVER)
    if not done:
        raise InterventionError("the plan does nothing", given=plan)
    special = _special(plan)
    method = _method(plan, done)
    entries = [entry for move in done for entry in _entries(move, method)]
    return {
        "steer_method": method,
        "vectors": entries,
        "strength_multiplier": 1.0,
        "normalize_steering": False,
        "steer_special_tokens": special,
    }


def write_neuronpedia_request(plan: Plan, path: str | Path) -> Path:
    """Write `neuronpedia_fields` as JSON.

    Args:
        plan: As there.
        path: File to write.

    Raises:
        InterventionError: As there.
    """
    path = Path(path)
    write_json(path, neuronpedia_fields(plan))
    return path


def read_neuronpedia_request(
    what: str | Path | Mapping[str, Any],
    *,
    axis: Direction | None = None,
    name: str | None = None,
) -> Plan:
    """The plan that a request would carry out.

    Args:
        what: A JSON file with the fields `steer_method` and `vectors`, or what is in one.
        axis: The Assistant Axis, Assistant-positive: a cap on a vector that points the other way (cosine below
            -0.5) becomes a floor towards the Assistant, which is the same thing.
        name: What the directions are called; that of the axis or the file by default.

    Raises:
        InterventionError: No such file, another layout, features by number (their vectors are in Neuronpedia's
            database), or another place than the residual stream.

    Examples:
        >>> vector = {"hook": "blocks.3.hook_resid_post", "steering_vector": [3.0, 4.0], "strength": -2.0}
        >>> read_neuronpedia_request({"steer_method": "PROJECTION_CAP", "vectors": [vector]}, name="ghost")
        Plan of 1 step
          1. ceil 'ghost'; at layers 3; tokens all, sinks too; at -2
    """
    source = "request" if isinstance(what, Mapping) else Path(what).stem
    try:
        content = what if isinstance(what, Mapping) else read_json(Path(what), InterventionError)
        names = ("all",) if content.get("steer_special_tokens", True) else _UNSPECIAL
        if not content.get("vectors") and content.get("features"):
            raise InterventionError(
                "this request names features by number",
                expected="vectors with hook, steering_vector and strength",
                remedy="fetch their vectors from Neuronpedia first",
            )
        found = list(_read(content, Where(names, sinks=True), axis))
    except FileNotFoundError as error:
        raise InterventionError("no such file", given=what) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InterventionError(
            f"{source} is no steering request of Neuronpedia: {error!r}",
            expected='{"steer_method", "vectors": [{"hook", "steering_vector", "strength"}]}',
        ) from error
    return plan_of(found, name or (source if axis is None else axis.name))


def _special(plan: Plan) -> bool:
    known = {("all",): True, _UNSPECIAL: False}
    found: set[bool] = set()
    for number, step in enumerate(plan.steps, 1):
        where = step.where
        if where.masks is not None or where.turn is not None or where.names not in known:
            remedy = 'say plan.where("all", sinks=True)'
            refuse(SERVER, number, step, "chooses tokens, which the server does not", remedy=remedy)
        if not where.sinks:
            why = "leaves attention sinks alone, which would be touched there"
            refuse(
                SERVER, number, step, why, remedy='have them touched: plan.where("all", sinks=True)'
            )
        found.add(known[where.names])
        if len(found) > 1:
            refuse(SERVER, number, step, "touches other tokens than the steps before it")
    return found.pop()


def _method(plan: Plan, done: list[Move]) -> str:
    """The one method that all moves can be said in."""
    possible = {_ADD, _SCALE, _CAP}
    for move in done:
        step = plan.steps[move.step - 1]
        if isinstance(move, Push):
            own = {_ADD}
        else:
            own = {_SCALE} if move.low == move.high == 0 else set()
            own |= {_CAP} if move.strength == 1 else set()
        if not own:
            why = f"caps at strength {getattr(move, 'strength', 1.0):g}, and a cap is whole"
            refuse(SERVER, move.step, step, why)
        if not possible & own:
            why = "is of another kind than the steps before it, and a request has one method"
            refuse(SERVER, move.step, step, why, remedy="send it to interp-engine itself")
        possible &= own
    return next(method for method in (_ADD, _SCALE, _CAP) if method in possible)


def _entries(move: Move, method: str) -> Iterator[dict[str, Any]]:
    hook = f"blocks.{move.layer}.hook_resid_post"
    vector = np.asarray(move.vector, np.float64)

    def entry(values: np.ndarray, strength: float) -> dict[str, Any]:
        return {"steering_vector": values.tolist(), "strength": float(strength), "hook": hook}

    if isinstance(move, Push):
        yield entry(vector / np.linalg.norm(vector), move.length)
    elif method == _SCALE:
        yield entry(vector, 1.0 - move.strength)
    else:
        if math.isfinite(move.low):
            yield entry(-vector, -move.low)
        if math.isfinite(move.high):
            yield entry(vector, move.high)


def _read(content: Mapping[str, Any], where: Where, axis: Direction | None) -> Iterator[Read]:
    method, times = content["steer_method"], float(content.get("strength_multiplier", 1.0))
    slots: dict[int, int] = {}
    for entry in content["vectors"]:
        match = _HOOK.fullmatch(entry["hook"])
        layer = -1 if match is None else int(match[1]) - (match[2] == "pre")
        if layer < 0:
            raise InterventionError(
                "plans act on the residual stream after a block",
                expected="blocks.{i}.hook_resid_post, or hook_resid_pre of the next block",
                given=entry["hook"],
            )
        vector = as_floats(entry["steering_vector"], "a vector", error=InterventionError)
        strength = times * float(entry["strength"])
        if method == _ADD:
            unit = bool(content.get("normalize_steering", False))
            length = 1.0 if unit else float(np.linalg.norm(vector.astype(np.float64)))
            move: Move = Push(1, layer, vector, strength * length)
        elif method == _SCALE:
            move = Clamp(1, layer, vector, 0.0, 0.0, 1.0 - strength)
        elif method == _CAP and _reversed(vector, layer, axis):
            move = Clamp(1, layer, -vector, -strength, math.inf)
        elif method == _CAP:
            move = Clamp(1, layer, vector, -math.inf, strength)
        else:
            raise ValueError(f"unknown method {method!r}")
        slots[layer] = slots.get(layer, -1) + 1
        yield Read(move, slots[layer], where)


def _reversed(vector: np.ndarray, layer: int, axis: Direction | None) -> bool:
    if axis is None or layer not in axis.layers:
        return False
    if vector.shape != (axis.d_model,):
        raise InterventionError(
            "the vectors belong to a model of another width than the axis",
            expected=f"d_model {axis.d_model}",
            given=vector.shape[0],
        )
    values = vector.astype(np.float64)
    return float(values @ axis.units[axis.index(layer)] / np.linalg.norm(values)) <= -MIN_COSINE
