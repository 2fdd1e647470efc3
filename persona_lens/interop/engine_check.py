"""Whether interp-engine does to a model what our own hooks do: asked before a reply is believed.

    for layer in check_interp_engine(model, plan, prompt):
        assert layer.steered, layer

An engine that replays CUDA graphs runs no Python, one with a prefix cache may reuse keys and values made without
the plan, and both write fluent text. On the eager backend the two agree to rounding; those on a GPU have not been
tried.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from persona_lens.interop.interp_engine import (
    POINT,
    described,
    load_engine,
    scope,
    to_interp_engine,
)
from persona_lens.interventions import Plan
from persona_lens.transcripts import Transcript

if TYPE_CHECKING:
    import torch


class EngineCheck(NamedTuple):
    """How a plan acts in the engine, against how it acts here, at one layer.

    Attributes:
        layer: Block whose output was compared.
        moved: Largest change by the plan over the norm of the residual vector, as computed here.
        difference: Largest difference between engine and here, over the same norm.
        left_alone: Largest change in the engine, over the norm, of tokens that the plan does not touch.
    """

    layer: int
    moved: float
    difference: float
    left_alone: float

    @property
    def steered(self) -> bool:
        """Whether the engine carried the plan out: it differs from here by less than a tenth of the effect."""
        return self.difference <= 0.1 * self.moved and self.left_alone <= 0.1 * self.moved


def check_interp_engine(
    model: Any,
    plan: Plan,
    prompt: Transcript | Sequence[int],
    *,
    sinks: Collection[int] = (0,),
    bos_id: int | None = None,
) -> list[EngineCheck]:
    """Compare what the engine does to a prompt with what our hooks do to the same residual vectors.

    A hook that never fires says nothing, and the text reads well all the same. So at every layer of the plan its
    steps are run here on what the engine reads before them, and compared with what it reads after them: two passes
    over the prompt a layer.

    Args:
        model: Of `interp_engine.load_model`, any backend that captures.
        plan: What is to be done. A plan that happens to move no token of this prompt proves nothing: `moved` is 0.
        prompt: As in `to_interp_engine`, and so are the others.

    Raises:
        InterventionError: As `to_interp_engine`.

    Examples:
        >>> import interp_engine, torch
        >>> from transformers import AutoConfig, AutoModelForCausalLM
        >>> from persona_lens.interventions import Add, Direction
        >>> shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> config = AutoConfig.for_model("llama", vocab_size=9, **shape)
        >>> module = AutoModelForCausalLM.from_config(config)
        >>> model = interp_engine.EagerModel("tiny", hf_model=module, tokenizer=object(), device="cpu")
        >>> plan = Plan.of(Add(Direction("ghost", (1,), torch.ones(1, 8)), lengths=1.0))
        >>> [(layer.layer, layer.steered) for layer in check_interp_engine(model, plan, [1, 2, 3])]
        [(1, True)]
    """
    import torch  # noqa: PLC0415

    engine = load_engine()
    tokens, ids = described(prompt, sinks, bos_id)
    touched, _ = scope(plan, tokens)
    transcripts = [prompt] if isinstance(prompt, Transcript) else None
    spared = {*sinks, *([0] if bos_id is not None and ids[:1] == [bos_id] else [])}

    def read(part: Plan, layer: int) -> torch.Tensor:
        address = engine.Address(POINT, layer)
        with to_interp_engine(part, prompt, sinks=sinks, bos_id=bos_id).on(model):
            return engine.capture(model, torch.tensor([ids]), [address])[address].float().cpu()

    found: list[EngineCheck] = []
    for layer in plan.layers:
        before = read(_up_to(plan, layer - 1), layer)
        after = read(_up_to(plan, layer), layer)
        mask = None if transcripts else torch.ones(1, len(ids))
        here = before.clone()
        for _, hook in _up_to(plan, layer, layer).hooks(
            transcripts, mask=mask, sinks=sorted(spared)
        ):
            changed = hook(here, None)
            here = here if changed is None else changed
        norm = before.norm(dim=-1)
        moved, difference = (here - before).norm(dim=-1) / norm, (after - here).norm(dim=-1) / norm
        alone = ((after - before).norm(dim=-1) / norm)[0, torch.from_numpy(~touched)]
        found.append(
            EngineCheck(
                layer,
                float(moved.max()),
                float(difference.max()),
                float(alone.max()) if len(alone) else 0.0,
            )
        )
    return found


def _up_to(plan: Plan, last: int, first: int = 0) -> Plan:
    """The plan at its layers from `first` to `last`."""
    chosen = [
        (step, [layer for layer in step.operation.layers if first <= layer <= last])
        for step in plan.steps
    ]
    kept = [Plan((step,)).at(layers) for step, layers in chosen if layers]
    return Plan(tuple(part.steps[0] for part in kept))
