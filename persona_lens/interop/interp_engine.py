"""Plans for interp-engine, which steers and caps inside vLLM (`pip install 'persona-lens[interp-engine]'`).

    import interp_engine
    from persona_lens.interop import check_interp_engine, to_interp_engine

    model = interp_engine.load_model("Qwen/Qwen3-32B", backend="vllm")
    steering = to_interp_engine(plan, prompt)  # prompt: a Transcript, or token ids
    print(check_interp_engine(model, plan, prompt))  # does it do there what it does here?
    with steering.on(model):
        for step in interp_engine.generate_stream(model, prompt.ids.tolist(), max_tokens=100):
            print(step.token_str, end="")

| ours | theirs |
| --- | --- |
| `Add` | `AddSpec`, normalised |
| `Floor`, `Ceil`, `Band` at strength 1 | `ProjectionCapSpec` |
| `Set` | `ProjectionCapSpec` with both ends, or at another strength `OrthogonalDecompSpec` and `AddSpec` |
| `Ablate` | `AblateSpec`, or at another strength `OrthogonalDecompSpec` |
| tokens | a position mask over the prompt, and whether sampled tokens are touched: one choice for the whole plan |

Left to itself the engine touches every token, and a cap that reaches the attention sink rewrites it. The mask made
here leaves alone what our own hooks leave alone. It belongs to one prompt: open one block a prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from persona_lens.errors import InterventionError
from persona_lens.interop.engine_moves import Move, Push, moves, refuse
from persona_lens.interventions import Plan, Where
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from interp_engine import SteeringSpec

ENGINE = "interp-engine"
POINT = "resid_post"
"""What they call `blocks.{i}.hook_resid_post`."""


class Operation(NamedTuple):
    """One operation of theirs, not yet made: so that the file of it needs no interp-engine.

    Attributes:
        method: Their name: `additive`, `projection_cap`, `orthogonal`, `ablate`.
        numbers: Its other arguments.
    """

    method: str
    numbers: dict[str, float]


@dataclass(frozen=True, eq=False)
class EngineSteering:
    """What `interp_engine.steer` is to be given for one prompt.

    Attributes:
        spec: Operations by layer, at `resid_post`.
        ids: Of the prompt.
        position_mask: Positions of the prompt that are left alone.
        generated: Whether tokens sampled after the prompt are touched.
    """

    spec: SteeringSpec
    ids: list[int]
    position_mask: list[int]
    generated: bool

    def on(self, model: Any) -> AbstractContextManager[Any]:
        """Their `steer` block, for one pass over the prompt and what is sampled after it."""
        import interp_engine  # noqa: PLC0415

        return interp_engine.steer(
            model,
            self.spec,
            prompt_token_ids=self.ids,
            position_mask=self.position_mask,
            generated=self.generated,
        )

    def __str__(self) -> str:
        touched = len(self.ids) - len(self.position_mask)
        later = "and every sampled one" if self.generated else "and no sampled one"
        layers = ", ".join(map(str, sorted(self.spec.layers))) or "none"
        return f"layers {layers}; {touched} of {len(self.ids)} tokens of the prompt {later}"


def to_interp_engine(
    plan: Plan,
    prompt: Transcript | Sequence[int],
    *,
    sinks: Collection[int] = (0,),
    bos_id: int | None = None,
    spare_special: bool = False,
) -> EngineSteering:
    """A plan as interp-engine takes it, for one prompt.

    Args:
        plan: What to do; steps may differ in layers, and not in tokens.
        prompt: What will be generated from, or a finished transcript; token ids alone do where the plan chooses
            no tokens by their role.
        sinks: Positions left alone unless the plan says `sinks=True`: `model.sinks` where they were measured,
            the first token by default.
        bos_id: The tokenizer's BOS; as first token it is left alone too.
        spare_special: Leave special tokens of the prompt alone too, as the engine's own `SPECIAL_TOKENS` does:
            for models whose sinks nobody measured. Our own hooks do not.

    Raises:
        InterventionError: The engine has no words for a step (rotations, gates, caps at a strength other than 1,
            strengths by row, tokens other than those of the first step), or interp-engine is not installed.

    Examples:
        >>> from persona_lens.interventions import Direction, Floor
        >>> axis = Direction("assistant", (2,), np.array([[3.0, 4.0]]))
        >>> plan = Plan.of(Floor(axis, thresholds=1.5))
        >>> steering = to_interp_engine(plan, [11, 12, 13])
        >>> print(steering)
        layers 2; 2 of 3 tokens of the prompt and every sampled one
        >>> steering.position_mask, steering.spec.layers[2].operations[0].min
        ([0], 1.5)
    """
    engine = load_engine()
    done = moves(plan, ENGINE)
    tokens, ids = described(prompt, sinks, bos_id)
    touched, generated = scope(plan, tokens)
    if spare_special:
        touched = touched & ~tokens.chosen(Where(("special",), sinks=True))[0]
    layers: dict[int, Any] = {}
    for move in done:
        held = layers.setdefault(move.layer, engine.LayerSteeringSpec())
        held.operations += [_spec(engine, move, operation) for operation in operations(plan, move)]
    return EngineSteering(
        spec=engine.SteeringSpec(layers=layers, point=POINT),
        ids=ids,
        position_mask=np.flatnonzero(~touched).tolist(),
        generated=generated,
    )


def operations(plan: Plan, move: Move) -> list[Operation]:
    """What the engine does for a move of a plan: one operation, or two in a row.

    Raises:
        InterventionError: A cap that closes a part of the gap only.
    """
    if isinstance(move, Push):
        return [Operation("additive", {"scale": move.length})]
    if move.low != move.high:
        if move.strength != 1.0:
            refuse(
                ENGINE,
                move.step,
                plan.steps[move.step - 1],
                f"caps at strength {move.strength:g}, and a cap there closes the whole gap",
                remedy="use strength 1, with a threshold that asks for less",
            )
        ends = {"min": move.low, "max": move.high}
        return [
            Operation("projection_cap", {n: end for n, end in ends.items() if np.isfinite(end)})
        ]
    if move.strength == 1.0:
        if move.low == 0:
            return [Operation("ablate", {})]
        return [Operation("projection_cap", {"min": move.low, "max": move.high})]
    # h - s p v, and for a target the rest of h + s (t - p) v: what is left of p does not matter to a push.
    found = [Operation("orthogonal", {"coeff": 1.0 - move.strength})]
    target = move.strength * move.low
    return found if target == 0 else [*found, Operation("additive", {"scale": target})]


def load_engine() -> Any:
    """Their package.

    Raises:
        InterventionError: It is not installed.
    """
    try:
        import interp_engine  # noqa: PLC0415
    except ImportError as error:
        raise InterventionError(
            "interp-engine is not installed",
            remedy="pip install 'persona-lens[interp-engine]', and 'interp-engine[vllm]' for a GPU",
        ) from error
    return interp_engine


def _spec(engine: Any, move: Move, operation: Operation) -> Any:
    import torch  # noqa: PLC0415

    kinds = {
        "additive": engine.AddSpec,
        "projection_cap": engine.ProjectionCapSpec,
        "orthogonal": engine.OrthogonalDecompSpec,
        "ablate": engine.AblateSpec,
    }
    unit = move.vector.astype(np.float64) / np.linalg.norm(move.vector.astype(np.float64))
    vector = torch.from_numpy(unit.astype(np.float32))
    return kinds[operation.method](vector=vector, **operation.numbers)


def described(
    prompt: Transcript | Sequence[int], sinks: Collection[int], bos_id: int | None
) -> tuple[BatchTokens, list[int]]:
    """The prompt as our hooks would be told of it, and its ids."""
    if isinstance(prompt, Transcript):
        tokens = BatchTokens.of_transcripts(
            [prompt], padding_side="left", sinks=tuple(sinks), bos_id=bos_id
        )
        return tokens, [int(token) for token in prompt.ids]
    ids = [int(token) for token in prompt]
    if not ids:
        raise InterventionError("the prompt is empty", expected="one token or more")
    spared = {*sinks, *([0] if ids[0] == bos_id else [])}
    return BatchTokens.of_mask(np.ones((1, len(ids)), dtype=bool), sinks=sorted(spared)), ids


def scope(plan: Plan, tokens: BatchTokens) -> tuple[Bool[np.ndarray, " position"], bool]:
    """Which tokens of the prompt all steps touch, and whether they touch those that follow."""
    ahead = range(max(0, max(tokens.sinks, default=0) + 1 - tokens.width) + 1)
    found: tuple[np.ndarray, bool] | None = None
    for number, step in enumerate(plan.steps, 1):
        masks = step.where.masks
        if masks is not None and len(masks) != 1:
            why = f"has masks for {len(masks)} rows, and a request is one row"
            refuse(ENGINE, number, step, why, remedy="make a plan for each, with its own mask")
        chosen = tokens.chosen(step.where)[0]
        later = {bool(tokens.chosen_later(step.where, n)[0]) for n in ahead}
        if len(later) > 1:
            refuse(
                ENGINE,
                number,
                step,
                "leaves some sampled tokens alone, as the prompt ends before the last attention sink",
                remedy="use a longer prompt",
            )
        generated = later.pop()
        if found is not None and not (np.array_equal(found[0], chosen) and found[1] == generated):
            refuse(
                ENGINE,
                number,
                step,
                "touches other tokens of this prompt than the steps before it, and a request has one mask",
                remedy="give all steps the same tokens: plan.where(...)",
            )
        found = (chosen, generated)
    return found or (np.zeros(tokens.width, dtype=bool), False)
