"""Plans as `capping_config.pt`, so that the paper's released code does what they do.

The format, and what is easy to get wrong about it, is told in `persona_lens.interop.capping_config`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from persona_lens.errors import InterventionError
from persona_lens.interop.torch_files import write_torch
from persona_lens.interventions import Ceil, Floor, Plan, Step

CONTRAST = "contrast_role_pos3_default1"
"""What the paper calls its contrast of roles with the default; it points to the roles."""


def write_capping_config(plans: Mapping[str, Plan], path: str | Path) -> Path:
    """Write plans as the released code reads them (`load_capping_config`, `build_capping_steerer`).

    Floors are written reversed, as the released ones are: a ceiling at minus the threshold on minus the vector.
    Ceilings stay as they are. The file says that all its caps are ceilings, which the released code takes for
    granted, so that `read_release` takes them so whichever way they point.

    The released code caps every token, BOS and attention sinks too. A plan does so only with
    `.where("all", sinks=True)`; one that spares them has another effect there, and writing it warns. What
    `read_release` makes of the file spares the tokens that the plan spared.

    Args:
        plans: By the id of the experiment, such as "layers_14:22-p0.25" (end left out).
        path: File to write.

    Raises:
        InterventionError: A plan does anything the format has no words for.

    Examples:
        >>> import tempfile, torch
        >>> from persona_lens.interventions import Direction
        >>> axis = Direction("assistant", (14,), np.array([[3.0, 4.0]]))
        >>> plan = Plan.of(Floor(axis, thresholds=np.array([2.5]))).where("all", sinks=True)
        >>> file = Path(tempfile.mkdtemp()) / "capping_config.pt"
        >>> written = write_capping_config({"layers_14:15-p0.25": plan}, file)
        >>> config = torch.load(written, weights_only=True)
        >>> config["vectors"]
        {'layer_14/contrast_role_pos3_default1': {'vector': tensor([-3., -4.]), 'layer': 14}}
        >>> config["experiments"][0]["interventions"][0]["cap"]
        -2.5
    """
    import torch  # noqa: PLC0415

    vectors: dict[str, dict[str, Any]] = {}
    experiments: list[dict[str, Any]] = []
    for name, plan in plans.items():
        caps: list[dict[str, Any]] = []
        for step in plan.steps:
            operation = _expressible(step, name)
            sign = -1.0 if isinstance(operation, Floor) else 1.0
            direction = operation.direction
            for place, layer in enumerate(operation.layers):
                stored = sign * direction.values[place]
                key = _free_key(vectors, f"layer_{layer}/{_suffix(operation)}", stored)
                vectors[key] = {"vector": torch.from_numpy(stored), "layer": layer}
                cap = sign * float(operation.thresholds[place])
                caps.append({"vector": key, "cap": cap, "sinks": step.where.sinks})
        if not caps:
            raise InterventionError(f"the plan {name!r} does nothing", remedy="leave it out")
        if not all(step.where.sinks for step in plan.steps):
            _warn_of_sinks(name)
        experiments.append({"id": name, "interventions": caps})
    content = {"vectors": vectors, "experiments": experiments, "operation": "ceiling"}
    return write_torch(Path(path), content)


def _warn_of_sinks(plan: str) -> None:
    warnings.warn(
        f"the plan {plan!r} leaves BOS and attention sinks alone, and the released code will cap them too, which "
        'can change every later token; for the same effect in both write plan.where("all", sinks=True)',
        stacklevel=3,
    )


def _expressible(step: Step, plan: str) -> Floor | Ceil:
    operation, where = step.operation, step.where
    given: str | None = None
    if not isinstance(operation, (Floor, Ceil)):
        given = operation.name
    elif where.masks is not None or where.names != ("all",):
        given = f"tokens {where}"
    elif operation.strength != 1.0:
        given = f"strength {operation.strength}"
    if given is not None or not isinstance(operation, (Floor, Ceil)):
        raise InterventionError(
            f"a capping configuration cannot say what the plan {plan!r} does",
            expected="floors and ceilings at strength 1 on every token",
            given=given,
            remedy="write a band as a floor and a ceiling; save other plans with plan.save(folder)",
        )
    return operation


def _suffix(operation: Floor | Ceil) -> str:
    name = operation.direction.name
    if isinstance(operation, Ceil):
        return name
    return CONTRAST if name == "assistant" else f"minus_{name}"


def _free_key(vectors: Mapping[str, Mapping[str, Any]], key: str, values: np.ndarray) -> str:
    """The key itself if it is free or holds the same vector, else with a number."""
    number, free = 1, key
    while free in vectors and not np.array_equal(vectors[free]["vector"].numpy(), values):
        number += 1
        free = f"{key}_{number}"
    return free
