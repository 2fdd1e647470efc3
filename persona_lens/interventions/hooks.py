"""A plan as plain TransformerLens hooks, for bridges and for the `HookedTransformer` of TransformerLens 3.

    tokens, mask = ...
    logits = bridge.run_with_hooks(tokens, fwd_hooks=plan.hooks())
    with bridge.hooks(fwd_hooks=plan.hooks(mask=mask)):
        bridge.generate(tokens, attention_mask=mask)

A hook sees residuals and nothing else, so what it must know of a pass is looked up where it was called from: how
many tokens came before, where pads are, where the prompt of a generation ends (`forward_pass`). The same list may
see one text after another, in chunks, cached or not, with drafts and beams; what cannot be told is refused in the
first pass that cannot be judged (`following`). Whose tokens they are it must be told (`transcripts=`), and outside
of `generate` where a prompt ends, if the text grows without a cache (`mask=`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from persona_lens.errors import InterventionError
from persona_lens.interventions.following import PassFollower
from persona_lens.interventions.plan import Plan
from persona_lens.interventions.receipt import Receipt
from persona_lens.interventions.running import PlanRun
from persona_lens.interventions.tokens import BatchTokens
from persona_lens.transcripts import Transcript

LensHook = Callable[..., Tensor | None]
"""`f(residual, hook) -> new residual`, or None to read only."""


def hook_name(layer: int) -> str:
    """Name of the residual stream after block `layer` in TransformerLens.

    Examples:
        >>> hook_name(12)
        'blocks.12.hook_resid_post'
    """
    return f"blocks.{layer}.hook_resid_post"


def tap_hooks(
    taps: Mapping[int, Callable[[Tensor], Tensor | None]],
) -> list[tuple[str, LensHook]]:
    """Functions of the residual stream, by layer, as TransformerLens takes hooks: pairs of name and function.

    Examples:
        >>> [name for name, _ in tap_hooks({3: lambda residual: None})]
        ['blocks.3.hook_resid_post']
    """

    def as_hook(tap: Callable[[Tensor], Tensor | None]) -> LensHook:
        def hook_fn(residual: Tensor, hook: Any) -> Tensor | None:
            return tap(residual)

        return hook_fn

    return [(hook_name(layer), as_hook(tap)) for layer, tap in taps.items()]


def lens_hooks(
    plan: Plan,
    transcripts: Sequence[Transcript] | None = None,
    *,
    mask: Any = None,
    padding_side: str = "left",
    sinks: Sequence[int] = (0,),
    receipt: Receipt | None = None,
) -> list[tuple[str, LensHook]]:
    """`(hook name, function)` pairs, at `blocks.{i}.hook_resid_post` of each layer of the plan.

    Args:
        plan: What to do.
        transcripts: The rows of the batch, so that tokens can be chosen by their role; padded on `padding_side`.
        mask: Attention mask of the prompts, `[batch, position]`, where the model is given none or the prompt's end
            cannot be told; without transcripts.
        padding_side: Where the pads are, with `transcripts`.
        sinks: Positions left alone, counted from each row's first token: attention sinks and BOS. `model.sinks`
            has the sinks measured, and not a BOS that is none: where texts begin with one, pass
            `{0, *model.sinks}`. The first token by default.
        receipt: Notes what is done; see `persona_lens.interventions.Receipt`.

    Raises:
        InterventionError: Both a mask and transcripts, or a receipt that is not of this plan or asks for detail.
            The hooks raise it where tokens are fed in a way that leaves open which are which, or where another
            batch runs than `mask` or `transcripts` said.

    Examples:
        >>> from persona_lens.interventions import Ablate, Direction
        >>> [name for name, _ in Plan.of(Ablate(Direction("ghost", (3, 4), np.eye(2, 8)))).hooks()]
        ['blocks.3.hook_resid_post', 'blocks.4.hook_resid_post']
    """
    if transcripts is not None and mask is not None:
        raise InterventionError(
            "transcripts say where the pads are", remedy="give transcripts or a mask, not both"
        )
    if receipt is not None and receipt.plan is not plan:
        raise InterventionError(
            "the receipt belongs to another plan", remedy="receipt = Receipt(plan), then plan.hooks"
        )
    if receipt is not None and receipt.detail:
        raise InterventionError(
            "hooks do not see the ids of the tokens they touch",
            expected="a receipt without detail",
            remedy="for detail, use model.intervene(plan, detail=True)",
        )
    tokens, ids = None, None
    if transcripts is not None:
        tokens = BatchTokens.of_transcripts(transcripts, padding_side=padding_side, sinks=sinks)
        ids = np.zeros(tokens.present.shape, dtype=np.int64)
        ids[tokens.present] = np.concatenate([transcript.ids for transcript in transcripts])
    elif mask is not None:
        present = np.asarray(mask.bool().cpu() if isinstance(mask, Tensor) else mask).astype(bool)
        tokens = BatchTokens.of_mask(present, sinks=sinks)
    following = PassFollower(plan, tokens, ids, sinks=sinks)
    return tap_hooks(PlanRun(plan, following, receipt=receipt).taps())
