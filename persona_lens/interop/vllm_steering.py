"""Plans for the fork of vLLM that steers and clamps in its own kernels (RhizoNymph/vllm), as JSON.

    write_steering_module(plan.where("generated"), "cap.json")
    vllm serve MODEL --enable-steering --steering-modules cap=cap.json      # {"steering_name": "cap"} in a request

    client.chat.completions.create(..., extra_body=steering_fields(plan.where("generated")))

What the fork does at the end of a block, `post_block`: it adds one vector, then measures the projections on all
clamped directions **at once**, and applies all corrections together. Ours run one after the other. The two are the
same where directions are orthogonal, or one clamp bounds from below what another bounds from above; all else is
refused, and so is a push behind a clamp that it would push past.

| ours | theirs |
| --- | --- |
| `Add` | `steering_vectors`, summed a layer |
| `Floor`, `Ceil`, `Band`, `Set`, `Ablate`, at strengths from 0 to 1 | `steering_clamps` |
| `.where("all", sinks=True)` | prefill and decode |
| `.where("prompt", sinks=True)` | prefill |
| `.where("generated")` | decode |

There are no other tokens there: what is done to a prompt is done to its attention sink too. The layout is that of
the fork's documentation in July 2026. The fork itself has not been run here. A checkout from before it had clamps
takes the additions out of a module and drops the clamps without a word; a module of clamps alone it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from persona_lens.errors import InterventionError
from persona_lens.files import write_json
from persona_lens.interop.engine_moves import Clamp, Move, Push, moves, refuse
from persona_lens.interop.packed_floats import packed
from persona_lens.interventions import Plan, Step

FORK = "the steering fork of vLLM"
HOOK = "post_block"
"""What the fork calls `blocks.{i}.hook_resid_post`."""

MAX_DIRECTIONS = 4
"""Clamps at one layer, unless its server was started with `--steering-config.max_clamp_directions`."""


class Tier(NamedTuple):
    """A choice of tokens that the fork has fields for.

    Attributes:
        prefix: How its fields begin.
        names: What `Where` calls these tokens.
        phases: The passes it acts in.
    """

    prefix: str
    names: tuple[str, ...]
    phases: tuple[str, ...]


TIERS = (
    Tier("", ("all",), ("prefill", "decode")),
    Tier("prefill_", ("prompt",), ("prefill",)),
    Tier("decode_", ("generated",), ("decode",)),
)


def steering_fields(plan: Plan, *, max_directions: int = MAX_DIRECTIONS) -> dict[str, Any]:
    """A plan as fields of one request: `extra_body` of an OpenAI client.

    Args:
        plan: What to do.
        max_directions: Clamps at one layer that the server takes.

    Raises:
        InterventionError: The fork has no words for a step, for its tokens or for its order.

    Examples:
        >>> from persona_lens.interventions import Direction, Floor
        >>> axis = Direction("assistant", (14, 15), np.eye(2, 8))
        >>> plan = Plan.of(Floor(axis, thresholds=[2.5, 3.0])).where("generated")
        >>> fields = steering_fields(plan)["decode_steering_clamps"]["post_block"]
        >>> fields["layer_indices"], fields["bounds"], fields["strengths"]
        ([14, 15], [[2.5, None], [3.0, None]], [1.0, 1.0])
    """
    return _fields(plan, "steering_", max_directions)


def write_steering_module(
    plan: Plan, path: str | Path, *, max_directions: int = MAX_DIRECTIONS
) -> Path:
    """Write a plan as a named module: a file for `--steering-modules`, and a body for `/v1/steering/set`.

    Args:
        plan: What to do.
        path: File to write.
        max_directions: As in `steering_fields`.

    Raises:
        InterventionError: As `steering_fields`.

    Examples:
        >>> import json, tempfile
        >>> from persona_lens.interventions import Ablate, Direction
        >>> plan = Plan.of(Ablate(Direction("ghost", (3,), np.eye(1, 8)))).where("generated")
        >>> file = write_steering_module(plan, Path(tempfile.mkdtemp()) / "ghost.json")
        >>> list(json.loads(file.read_text()))
        ['decode_clamps']
    """
    path = Path(path)
    write_json(path, _fields(plan, "", max_directions))
    return path


def clash(earlier: Move, later: Move) -> str | None:
    """Why two moves at one layer are not the same at once as one after the other; None where they are.

    Examples:
        >>> low, high = Clamp(1, 0, np.ones(4), 0.0, np.inf), Clamp(2, 0, -np.ones(4), -2.0, np.inf)
        >>> clash(low, high) is None, clash(low, Clamp(2, 0, np.arange(4.0), 0.0, np.inf))
        (True, 'clamps along a direction that is not orthogonal to the one before it')
    """
    if isinstance(earlier, Push):
        return None  # additions come first there too
    one, other = (np.asarray(move.vector, np.float64) for move in (earlier, later))
    cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    if abs(cosine) < 1e-6:
        return None
    if isinstance(later, Push):
        return "pushes what a clamp before it bounds, and additions come before all clamps there"
    if abs(cosine) > 1 - 1e-9:
        low, high = (later.low, later.high) if cosine > 0 else (-later.high, -later.low)
        ends = [(earlier.low, earlier.high), (low, high)]
        for (below, none_above), (none_below, above) in (ends, ends[::-1]):
            if none_above == np.inf and none_below == -np.inf and below <= above:
                return None
        return "clamps again along the direction of a clamp before it"
    return "clamps along a direction that is not orthogonal to the one before it"


def _fields(plan: Plan, infix: str, max_directions: int) -> dict[str, Any]:
    done = moves(plan, FORK)
    tiers = [_tier(number, step) for number, step in enumerate(plan.steps, 1)]
    if not done:
        raise InterventionError("the plan does nothing", given=plan)
    for phase in ("prefill", "decode"):
        _check(
            plan, [move for move in done if phase in tiers[move.step - 1].phases], max_directions
        )
    fields: dict[str, Any] = {}
    for tier in TIERS:
        held = [move for move in done if tiers[move.step - 1] == tier]
        pushes = [move for move in held if isinstance(move, Push)]
        clamps = [move for move in held if isinstance(move, Clamp)]
        if pushes:
            fields[f"{tier.prefix}{infix}vectors"] = {HOOK: _vectors(pushes)}
        if clamps:
            fields[f"{tier.prefix}{infix}clamps"] = {HOOK: _clamps(clamps)}
    return fields


def _tier(number: int, step: Step) -> Tier:
    where = step.where
    found = [tier for tier in TIERS if where.masks is None and where.names == tier.names]
    if not found:
        refuse(
            FORK,
            number,
            step,
            "chooses tokens that are neither the whole prompt nor all sampled ones",
            remedy='say plan.where("all", sinks=True), where("prompt", sinks=True) or where("generated")',
        )
    if not where.sinks and "prefill" in found[0].phases:
        refuse(
            FORK,
            number,
            step,
            "leaves BOS and attention sinks alone, which would be touched there",
            remedy='act on the reply only, plan.where("generated"), or on them too, plan.where("all", sinks=True)',
        )
    return found[0]


def _check(plan: Plan, done: list[Move], max_directions: int) -> None:
    """Refuse moves of one phase that are another thing in the order of the fork."""
    before: dict[int, list[Move]] = {}
    for move in done:
        step = plan.steps[move.step - 1]
        held = before.setdefault(move.layer, [])
        for earlier in held:
            why = clash(earlier, move)
            if why is not None:
                remedy = "put additions first, and two bounds of one direction into one band"
                refuse(FORK, move.step, step, f"{why}, at layer {move.layer}", remedy=remedy)
        if isinstance(move, Clamp) and not 0 <= move.strength <= 1:
            why = f"has strength {move.strength:g}, and a clamp there has one from 0 to 1"
            refuse(FORK, move.step, step, why)
        held.append(move)
        if sum(isinstance(one, Clamp) for one in held) > max_directions:
            refuse(
                FORK,
                move.step,
                step,
                f"is clamp number {max_directions + 1} at layer {move.layer}, more than there is room for",
                remedy="start the server with a larger --steering-config.max_clamp_directions, and give it as "
                "max_directions",
            )


def _vectors(pushes: list[Push]) -> Mapping[str, Any]:
    total: dict[int, np.ndarray] = {}
    for push in pushes:
        vector = np.asarray(push.vector, np.float64)
        pushed = push.length * vector / np.linalg.norm(vector)
        total[push.layer] = total.get(push.layer, 0.0) + pushed
    rows = np.stack([total[layer] for layer in sorted(total)])
    return {
        "dtype": "float32",
        "shape": list(rows.shape),
        "layer_indices": sorted(total),
        "data": packed(rows, "float32"),
    }


def _clamps(clamps: list[Clamp]) -> Mapping[str, Any]:
    rows = np.stack([clamp.vector for clamp in clamps])
    ends = [[clamp.low, clamp.high] for clamp in clamps]
    return {
        # In double precision the digest that keeps prefixes apart is the same as for plain lists of numbers.
        "dtype": "float64",
        "shape": list(rows.shape),
        "layer_indices": [clamp.layer for clamp in clamps],
        "data": packed(rows, "float64"),
        "bounds": [[end if np.isfinite(end) else None for end in pair] for pair in ends],
        "strengths": [clamp.strength for clamp in clamps],
    }
