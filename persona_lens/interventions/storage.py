"""A plan as a folder: `plan.json` says what is done, `plan.safetensors` holds the vectors. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from persona_lens.arrays import plain
from persona_lens.errors import InterventionError
from persona_lens.files import read_json, read_tensors, write_json, write_tensors
from persona_lens.interventions.operations.operation import restored
from persona_lens.interventions.plan import Plan, Step
from persona_lens.interventions.where import Where

FORMAT = 1


def save_plan(plan: Plan, folder: Path) -> Path:
    """Write a plan; the JSON file comes last, so that a folder with one is whole.

    Examples:
        >>> import tempfile
        >>> from persona_lens.interventions import Ablate, Direction
        >>> folder = Path(tempfile.mkdtemp())
        >>> plan = Plan.of(Ablate(Direction("ghost", (3,), np.eye(1, 8)))).where("user", turn=-1)
        >>> repr(load_plan(save_plan(plan, folder))) == repr(plan)
        True
    """
    steps, tensors = _packed(plan)
    (folder / "plan.json").unlink(missing_ok=True)
    write_tensors(folder / "plan.safetensors", tensors)
    write_json(
        folder / "plan.json",
        {
            "format": FORMAT,
            "hook_point": "blocks.{layer}.hook_resid_post",
            "orientation": "positive is towards what the direction is named after",
            "steps": steps,
        },
    )
    return folder


def plan_digest(plan: Plan) -> str:
    """12 hex digits that tell a plan from any that does something else.

    Examples:
        >>> from persona_lens.interventions import Ablate, Direction
        >>> plan = Plan.of(Ablate(Direction("ghost", (3,), np.eye(1, 8))))
        >>> plan_digest(plan) == plan_digest(plan.at(3)), plan_digest(plan) == plan_digest(plan.where("user"))
        (True, False)
    """
    steps, tensors = _packed(plan)
    digest = hashlib.sha256(json.dumps(plain(steps), sort_keys=True).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:12]


def load_plan(folder: Path) -> Plan:
    """Read what `save_plan` wrote.

    Raises:
        InterventionError: No plan there, a damaged one, or one this version cannot read.
    """
    try:
        card = read_json(folder / "plan.json", InterventionError)
        if card["format"] > FORMAT:
            raise InterventionError(
                "this plan was saved by a newer Persona Lens",
                expected=f"format {FORMAT}",
                given=card["format"],
                remedy="upgrade persona-lens",
            )
        # A plan without steps has no tensors, and safetensors does not read a file without any.
        tensors = (
            read_tensors(folder / "plan.safetensors", InterventionError) if card["steps"] else {}
        )
        return Plan(
            tuple(
                _step(entry, f"step{number}", tensors) for number, entry in enumerate(card["steps"])
            )
        )
    except FileNotFoundError as error:
        raise InterventionError(
            f"no plan in {folder}", expected="plan.json and plan.safetensors"
        ) from error
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise InterventionError(
            f"the plan in {folder} is damaged", given=repr(error), remedy="save it again"
        ) from error


def _packed(plan: Plan) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """The steps of a plan as plain data, and their tensors by the names that stand there."""
    tensors: dict[str, np.ndarray] = {}
    steps = []
    for number, step in enumerate(plan.steps):
        key = f"step{number}"
        where = {"names": step.where.names, "turn": step.where.turn, "sinks": step.where.sinks}
        if step.where.masks is not None:
            where["masks"] = [mask.astype(int).tolist() for mask in step.where.masks]
        steps.append({"operation": step.operation.stored(key, tensors), "where": where})
    return steps, tensors


def _step(entry: dict[str, Any], key: str, tensors: dict[str, np.ndarray]) -> Step:
    where = entry["where"]
    masks = where.get("masks")
    choice = Where(
        tuple(where["names"]),
        turn=where["turn"],
        masks=None if masks is None else tuple(np.array(mask, dtype=bool) for mask in masks),
        sinks=where["sinks"],
    )
    return Step(restored(entry["operation"], key, tensors), choice)
