"""Plans as interp-engine's server takes them: fields of a request, in a JSON file.

    write_engine_request(plan.where("all", sinks=True), "cap.json")

    {"steering": [{"point": "resid_post",
                   "layers": {"46": [{"method": "projection_cap", "vector": {...}, "min": 20.5}]}}],
     "steer_generated": true}

Both fields go into the body of `POST /v1/generate`. A vector is base64 of little-endian floats, or a plain list.

**The server has no position mask.** A request touches the attention sink too, so only plans that do so are
written: `.where("all", sinks=True)`, or `"prompt"` for `steer_generated: false`. In Python there is a mask:
`to_interp_engine`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.arrays import as_floats
from persona_lens.errors import InterventionError
from persona_lens.files import read_json, write_json
from persona_lens.interop.engine_moves import Clamp, Move, Push, Read, moves, plan_of, refuse
from persona_lens.interop.interp_engine import POINT, operations
from persona_lens.interop.packed_floats import packed, unpacked
from persona_lens.interventions import Plan, Where

SERVER = "the server of interp-engine"


def write_engine_request(plan: Plan, path: str | Path) -> Path:
    """Write a plan as the fields `steering` and `steer_generated` of a request.

    Args:
        plan: On all tokens, or all of the prompt, sinks too.
        path: File to write.

    Raises:
        InterventionError: The server has no words for a step, or for its tokens.

    Examples:
        >>> import tempfile
        >>> from persona_lens.interventions import Ceil, Direction
        >>> ghost = Direction("ghost", (3, 4), np.eye(2, 8))
        >>> plan = Plan.of(Ceil(ghost, thresholds=[1.0, 2.0])).where("all", sinks=True)
        >>> file = Path(tempfile.mkdtemp()) / "ghost.json"
        >>> read_engine_request(write_engine_request(plan, file))
        Plan of 1 step
          1. ceil 'ghost'; at layers 3-4; tokens all, sinks too; at 1 to 2
    """
    layers: dict[int, list[dict[str, Any]]] = {}
    done = moves(plan, SERVER)
    generated = _generated(plan)
    for move in done:
        for operation in operations(plan, move):
            entry = {"method": operation.method, "vector": _packed(move), **operation.numbers}
            if operation.method == "additive":
                entry["normalize"] = True
            layers.setdefault(move.layer, []).append(entry)
    if not layers:
        raise InterventionError("the plan does nothing", given=plan)
    steering = {"point": POINT, "layers": {str(layer): held for layer, held in layers.items()}}
    path = Path(path)
    write_json(path, {"steering": [steering], "steer_generated": generated})
    return path


def read_engine_request(path: str | Path, *, name: str | None = None) -> Plan:
    """The plan that a request would carry out.

    Args:
        path: A JSON file with the field `steering`: of `write_engine_request`, or a whole request.
        name: What the directions are called; the file's name by default.

    Raises:
        InterventionError: No such file, another layout, or operations that plans have no words for (swaps, pushes
            by a share of the norm, other places than the end of a block).
    """
    path = Path(path)
    try:
        content = read_json(path, InterventionError)
        where = Where(("all",) if content.get("steer_generated", True) else ("prompt",), sinks=True)
        found = list(_read(content["steering"], where))
    except FileNotFoundError as error:
        raise InterventionError("no such file", given=path) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InterventionError(
            f"{path.name} is no request with steering: {error!r}",
            expected='{"steering": [{"point", "layers": {layer: [{"method", "vector", ...}]}}]}',
            given=path,
        ) from error
    return plan_of(found, name or path.stem)


def _generated(plan: Plan) -> bool:
    known = {"all": True, "prompt": False}
    found: set[bool] = set()
    for number, step in enumerate(plan.steps, 1):
        where = step.where
        if where.masks is not None or where.names not in (("all",), ("prompt",)):
            why = "chooses tokens, and a request there has no position mask"
            refuse(SERVER, number, step, why, remedy="in Python there is one: to_interp_engine")
        if not where.sinks:
            refuse(
                SERVER,
                number,
                step,
                "leaves attention sinks alone, and a request there has no position mask, so that they would be "
                "touched",
                remedy='use to_interp_engine, or have them touched: plan.where("all", sinks=True)',
            )
        found.add(known[where.names[0]])
        if len(found) > 1:
            refuse(SERVER, number, step, "touches other tokens than the steps before it")
    return found.pop() if found else True


def _read(steering: Any, where: Where) -> Iterator[Read]:
    slots: dict[int, int] = {}
    for spec in steering:
        if spec.get("point", POINT) != POINT or spec.get("stream") is not None:
            raise InterventionError(
                "plans act on the residual stream after a block",
                expected=POINT,
                given=spec.get("point") if spec.get("stream") is None else "one of many streams",
            )
        for layer, held in spec["layers"].items():
            for entry in held:
                slot = slots.get(int(layer), 0)
                slots[int(layer)] = slot + 1
                yield Read(_move(entry, int(layer)), slot, where)


def _move(entry: Mapping[str, Any], layer: int) -> Move:
    method, vector = entry["method"], _unpacked(entry["vector"])
    if method == "additive":
        length = 1.0 if entry.get("normalize") else float(np.linalg.norm(vector.astype(np.float64)))
        return Push(1, layer, vector, float(entry["scale"]) * length)
    if method == "projection_cap":
        low, high = entry.get("min"), entry.get("max")
        return Clamp(
            1,
            layer,
            vector,
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
        )
    if method in ("ablate", "orthogonal"):
        coeff = float(entry.get("coeff", 1.0)) if method == "orthogonal" else 0.0
        return Clamp(1, layer, vector, 0.0, 0.0, 1.0 - coeff)
    raise InterventionError(
        "plans have no words for an operation of this request",
        expected="additive, projection_cap, orthogonal or ablate",
        given=method,
    )


def _packed(move: Move) -> dict[str, Any]:
    shape, data = list(move.vector.shape), packed(move.vector, "float32")
    return {"dtype": "float32", "shape": shape, "data": data}


def _unpacked(value: Any) -> Float[np.ndarray, " d_model"]:
    if isinstance(value, Mapping):
        return unpacked(value["data"], value["dtype"], value["shape"])
    return as_floats(value, "a vector", error=InterventionError)
