"""`plan.hooks()` in every way there is of feeding tokens: as if each row ran alone, whole and anew at each step.

Right tokens are easily had where a plan hardly matters, so the pushes here are large, and the tokens compared are
not those that come without a plan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from brute_force import Choice, Spec, blocks_of, plan_of, run_alone
from test_where_oracle import vectors
from tiny import shared_model, shared_module, tiny_module
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessor

from persona_lens.errors import InterventionError
from persona_lens.interventions import Direction, Plan, Set
from persona_lens.model.batching import left_padded
from persona_lens.transcripts import Transcript

STEPS = 5
TEXTS = ("Sea? Sea? Sea? Why", "Hi", "Go on, do. Go on, do")  # repeats, so that drafts are found

PUSH = Spec("add", vectors(1, 0, 1), 4.0)
GATED = Spec("add", vectors(5, 1), 6.0, gate=(vectors(6, 1), 3.0, "above", "sequence"))
PLANS: dict[str, list[Spec]] = {
    **{name: [PUSH.on(name)] for name in ("all", "prompt", "generated", "last")},
    "sinks too": [PUSH.on("all", sinks=True)],
    "two, from the second layer on": [
        Spec("set", vectors(1, 1), 5.0).on("generated"),
        Spec("ceil", vectors(3, 2), -1.0).on("prompt"),
    ],
    "gate per token": [
        Spec("add", vectors(5, 1), 6.0, gate=(vectors(6, 1), 1.0, "above", "token"))
    ],
    "gate per sequence": [GATED, Spec("floor", vectors(7, 2), 2.0).on("last")],
}


@cache
def prompts(architecture: str) -> list[Transcript]:
    encoder = shared_model(architecture).encoder
    return [encoder.prompt([{"role": "user", "content": text}]) for text in TEXTS]


@cache
def alone(architecture: str, plan: str, row: int) -> list[int]:
    specs = PLANS.get(plan, [])
    return run_alone(
        shared_module(architecture), prompts(architecture)[row], specs, steps=STEPS
    ).ids


def text_of(ids: Sequence[int]) -> Transcript:
    """A text without roles."""
    none = np.zeros(len(ids), dtype=np.int64)
    return Transcript(np.array(ids), none, none, text="", user_turns=0, assistant_turns=0)


def batch(rows: Sequence[int], architecture: str = "llama") -> tuple[Tensor, Tensor]:
    chosen = [prompts(architecture)[row].ids for row in rows]
    ids, mask = left_padded(chosen, shared_model(architecture).pad_id, "cpu")
    return ids, mask.long()


def lens(architecture: str = "llama") -> Any:
    return shared_model(architecture).bridge.original_model


def generated(ids: Tensor, mask: Tensor, *, on: str = "llama", **options: Any) -> list[list[int]]:
    given = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, **options}
    found = lens(on).generate(ids, attention_mask=mask, max_new_tokens=STEPS, **given)
    return found[:, ids.shape[1] :].tolist()


def by_bridge(ids: Tensor, mask: Tensor, *, cached: bool = True) -> list[list[int]]:
    found = shared_model("llama").bridge.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=STEPS,
        do_sample=False,
        stop_at_eos=False,
        use_past_kv_cache=cached,
        return_type="tokens",
        verbose=False,
    )
    assert isinstance(found, Tensor)
    return found[:, ids.shape[1] :].tolist()


def streamed(ids: Tensor, mask: Tensor) -> list[list[int]]:
    pieces = shared_model("llama").bridge.generate_stream(
        ids,
        attention_mask=mask,
        max_new_tokens=STEPS,
        max_tokens_per_yield=2,
        do_sample=False,
        stop_at_eos=False,
        return_type="tokens",
        verbose=False,
    )
    found = torch.cat([piece for piece in pieces if isinstance(piece, Tensor)], dim=1)
    return found[:, ids.shape[1] :].tolist()


def from_embeds(ids: Tensor, mask: Tensor) -> list[list[int]]:
    embeds = lens().get_input_embeddings()(ids)
    found = lens().generate(
        inputs_embeds=embeds, attention_mask=mask, max_new_tokens=STEPS, eos_token_id=None
    )
    return found.tolist()


def by_hand(ids: Tensor, mask: Tensor) -> list[list[int]]:
    """A loop over the model with a cache, the prompt in one pass."""
    held, fed, said = DynamicCache(config=lens().config), ids, []
    for _ in range(STEPS):
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        logits = lens()(
            fed, attention_mask=mask, position_ids=places, past_key_values=held, use_cache=True
        ).logits
        fed = logits[:, -1:].argmax(-1)
        said.append(fed)
        mask = torch.cat([mask, torch.ones_like(fed)], dim=1)
    return torch.cat(said, dim=1).tolist()


def after_a_prefix(ids: Tensor, mask: Tensor, *, only_new: bool) -> list[list[int]]:
    held, length = DynamicCache(config=lens().config), 6
    places = (mask.cumsum(-1) - 1).clamp(min=0)[:, :length]
    lens()(
        ids[:, :length],
        attention_mask=mask[:, :length],
        position_ids=places,
        past_key_values=held,
        use_cache=True,
    )
    fed = ids[:, length:] if only_new else ids
    return generated(fed, mask, past_key_values=held)


WAYS: dict[str, Callable[[Tensor, Tensor], list[list[int]]]] = {
    "with a cache": generated,
    "without a cache": lambda *given: generated(*given, use_cache=False),
    "in chunks of 5": lambda *given: generated(*given, prefill_chunk_size=5),
    "the bridge's own": by_bridge,
    "the bridge's own, without a cache": lambda *given: by_bridge(*given, cached=False),
    "streamed": streamed,
    "from embeddings": from_embeds,
    "by hand": by_hand,
}
DRAFTS: dict[str, dict[str, Any]] = {
    "looked up": {"prompt_lookup_num_tokens": 3},
    "looked up, prompt in chunks": {"prompt_lookup_num_tokens": 3, "prefill_chunk_size": 5},
    "by another model": {"assistant_model": tiny_module("llama", seed=5)},
    "by the model unsteered": {"assistant_model": tiny_module("llama")},
    "by its own early layers": {"assistant_early_exit": 2},
}


def compare(way: Callable[[Tensor, Tensor], list[list[int]]], rows: Sequence[int]) -> None:
    """Every plan, with hooks that have seen another text before."""
    given, moved = batch(rows), 0
    for plan, specs in PLANS.items():
        expected = [alone("llama", plan, row) for row in rows]
        moved += expected != [alone("llama", "", row) for row in rows]
        with (
            torch.no_grad(),
            shared_model("llama").bridge.hooks(fwd_hooks=plan_of(specs).hooks()),  # pyright: ignore[reportArgumentType]
        ):
            lens()(torch.arange(40, 50)[None], use_cache=False)
            assert way(*given) == expected, plan
    assert moved == len(PLANS)


@pytest.mark.parametrize("way", WAYS)
def test_a_padded_batch_whose_pads_nobody_told(way: str) -> None:
    compare(WAYS[way], [0, 1])


@pytest.mark.parametrize("way", DRAFTS)
def test_drafts_that_are_checked_several_tokens_at_a_time(way: str) -> None:
    compare(lambda *given: generated(*given, **DRAFTS[way]), [0])


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2"])
@pytest.mark.parametrize(
    "options",
    [{"use_cache": False}, {"prefill_chunk_size": 4}, {"prompt_lookup_num_tokens": 3}],
    ids=["without a cache", "in chunks", "looked up"],
)
def test_other_architectures(architecture: str, options: dict[str, Any]) -> None:
    for plan in ("generated", "gate per sequence"):
        with torch.no_grad(), shared_model(architecture).bridge.hooks(plan_of(PLANS[plan]).hooks()):  # pyright: ignore[reportArgumentType]
            said = generated(*batch([2], architecture), on=architecture, **options)
        assert said == [alone(architecture, plan, 2)]


@pytest.mark.parametrize("only_new", [False, True])
@pytest.mark.parametrize("plan", ["all", "generated", "prompt", "gate per sequence"])
def test_a_prompt_of_which_a_part_is_cached(plan: str, only_new: bool) -> None:
    specs = [GATED] if plan == "gate per sequence" else PLANS[plan]
    rows = [0, 2]
    expected = [
        run_alone(shared_module("llama"), prompts("llama")[row], specs, steps=STEPS).ids
        for row in rows
    ]
    with torch.no_grad(), shared_model("llama").bridge.hooks(plan_of(specs).hooks()):  # pyright: ignore[reportArgumentType]
        assert after_a_prefix(*batch(rows), only_new=only_new) == expected


def test_a_prompt_of_one_token_after_another_text() -> None:
    token = 50
    hooks = plan_of(PLANS["generated"]).hooks()
    with torch.no_grad(), shared_model("llama").bridge.hooks(hooks):  # pyright: ignore[reportArgumentType]
        generated(*batch([0]))
        ids = torch.tensor([[token]])
        said = generated(ids, torch.ones_like(ids))
    assert said == [
        run_alone(shared_module("llama"), text_of([token]), PLANS["generated"], steps=STEPS).ids
    ]


def test_a_generation_that_was_broken_off_leaves_nothing_behind() -> None:
    class Stops(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            if input_ids.shape[1] > batch([0])[0].shape[1] + 2:
                raise KeyboardInterrupt
            return scores

    for plan, specs in PLANS.items():
        with torch.no_grad(), shared_model("llama").bridge.hooks(plan_of(specs).hooks()):  # pyright: ignore[reportArgumentType]
            with pytest.raises(KeyboardInterrupt):
                generated(*batch([0]), logits_processor=[Stops()])
            assert generated(*batch([1])) == [alone("llama", plan, 1)]


def test_two_texts_in_turns() -> None:
    """A gate per sequence knows each by its cache."""
    specs = PLANS["gate per sequence"]
    hooks, bridge = plan_of(specs).hooks(), shared_model("llama").bridge
    said: list[list[int]] = [[], []]
    with torch.no_grad(), bridge.hooks(hooks):  # pyright: ignore[reportArgumentType]
        streams = [
            bridge.generate_stream(
                batch([row])[0],
                max_new_tokens=STEPS,
                max_tokens_per_yield=1,
                do_sample=False,
                stop_at_eos=False,
                return_type="tokens",
                verbose=False,
            )
            for row in (0, 2)
        ]
        for pieces in zip(*streams, strict=True):
            for row, piece in enumerate(pieces):
                said[row] += piece[0].tolist()  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    for row, text in enumerate((0, 2)):
        assert said[row][-STEPS:] == alone("llama", "gate per sequence", text)


@torch.no_grad()
def steered_logits(
    prompt: Sequence[int], reply: Sequence[int], specs: Sequence[Spec], row: int = 0
) -> Tensor:
    """Of each token of a reply, in one uncached pass a token over the plain module."""
    module, found = shared_module("llama"), []
    text = text_of(prompt)
    with ExitStack() as stack:

        def changing(layer: int) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
                h = output[0]
                for spec in specs:
                    if layer in spec.vectors:
                        h, *_ = spec.apply(layer, h, text, row, (0,))
                return h[None]

            return hook

        for layer, block in enumerate(blocks_of(module)):
            stack.callback(block.register_forward_hook(changing(layer)).remove)
        for length in range(len(reply)):
            ids = torch.tensor([[*prompt, *reply[:length]]])
            found.append(module(ids, use_cache=False).logits[0, -1])
    return torch.stack(found)


BY_ROW = [Spec("add", vectors(1, 0, 1), 4.0, strength=(1.0, -0.5)).on("last")]
MASKS = tuple(tuple(at % 2 == 0 for at in range(len(prompts("llama")[row]))) for row in (0, 1))
BY_MASK = [Spec("add", vectors(1, 0), 9.0, choice=Choice((), masks=MASKS))]


@pytest.mark.parametrize(
    "specs",
    [PLANS["generated"], PLANS["two, from the second layer on"], BY_ROW, BY_MASK],
    ids=["generated", "two", "by row", "by mask"],
)
@pytest.mark.parametrize("told", [False, True])
def test_beams_and_several_replies_to_a_prompt(specs: list[Spec], told: bool) -> None:
    ids, mask = batch([0, 1])
    hooks = plan_of(specs).hooks(mask=mask if told else None)
    torch.manual_seed(0)
    common = {
        "attention_mask": mask,
        "max_new_tokens": STEPS,
        "eos_token_id": None,
        "pad_token_id": 0,
        "num_return_sequences": 2,
        "return_dict_in_generate": True,
        "output_logits": True,
        "output_scores": True,
    }
    with torch.no_grad(), shared_model("llama").bridge.hooks(fwd_hooks=hooks):  # pyright: ignore[reportArgumentType]
        sampled = lens().generate(ids, do_sample=True, **common)
        beams = lens().generate(ids, num_beams=3, do_sample=False, **common)
    for row in range(4):
        prompt = prompts("llama")[row // 2].ids.tolist()
        reply = sampled.sequences[row, ids.shape[1] :].tolist()
        expected = steered_logits(prompt, reply, specs, row // 2)
        torch.testing.assert_close(
            torch.stack([step[row] for step in sampled.logits]), expected, rtol=1e-4, atol=1e-4
        )
        reply = beams.sequences[row, ids.shape[1] :].tolist()
        scores = steered_logits(prompt, reply, specs, row // 2).log_softmax(-1)
        mean = scores[range(len(reply)), reply].mean()
        torch.testing.assert_close(beams.sequences_scores[row], mean, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("plan", ["all", "generated", "gate per sequence"])
def test_guidance_by_another_text(plan: str) -> None:
    """The other text runs within the generation, in a cache of its own, and has a prompt of its own."""
    ids, other = batch([0])[0], batch([2])[0]
    with torch.no_grad(), shared_model("llama").bridge.hooks(plan_of(PLANS[plan]).hooks()):  # pyright: ignore[reportArgumentType]
        found = lens().generate(
            ids,
            guidance_scale=2.0,
            negative_prompt_ids=other,
            max_new_tokens=STEPS,
            eos_token_id=None,
            pad_token_id=0,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
    reply = found.sequences[0, ids.shape[1] :].tolist()
    towards, away = (
        steered_logits(text[0].tolist(), reply, PLANS[plan]).log_softmax(-1)
        for text in (ids, other)
    )
    torch.testing.assert_close(
        torch.stack([step[0] for step in found.scores]),
        2.0 * (towards - away) + away,
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_whole_texts_read_their_pads_from_the_attention_mask(side: str) -> None:
    ids, mask = batch([0, 1])
    if side == "right":
        ids, mask = ids.flip(1), mask.flip(1)
    direction = Direction("one", (0,), np.eye(1, 16))
    seen: list[Tensor] = []
    bridge, name = shared_model("llama").bridge, "blocks.0.hook_resid_post"
    keep = (name, lambda residual, hook: seen.append(residual.detach()))
    hooks = Plan.of(Set(direction, targets=np.array([7.0]))).hooks()
    bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=[*hooks, keep])  # pyright: ignore[reportArgumentType]
    with bridge.hooks(fwd_hooks=hooks):  # pyright: ignore[reportArgumentType]
        bridge.run_with_hooks(ids, attention_mask=mask, stop_at_layer=1, fwd_hooks=[keep])
        _, held = bridge.run_with_cache(ids, attention_mask=mask, names_filter=[name])
    expected = mask.bool() & (mask.cumsum(1) > 1)  # neither pads nor each row's first token
    for residual in (*seen, held[name]):
        assert torch.equal((residual[..., 0] - 7.0).abs() < 1e-4, expected)


# What cannot be told -----------------------------------------------------------------------------------------


def refused(plan: str, match: str) -> Any:
    stack = ExitStack()
    stack.enter_context(torch.no_grad())
    stack.enter_context(shared_model("llama").bridge.hooks(plan_of(PLANS[plan]).hooks()))  # pyright: ignore[reportArgumentType]
    stack.enter_context(pytest.raises(InterventionError, match=match))
    return stack


@pytest.mark.parametrize("plan", ["prompt", "generated", "last"])
def test_several_tokens_after_others_by_hand(plan: str) -> None:
    ids, _ = batch([0])
    with refused(plan, r"(?s)belong to the prompt or to the reply.*use generate"):
        held = DynamicCache(config=lens().config)
        lens()(ids[:, :5], past_key_values=held, use_cache=True)
        lens()(ids[:, 5:9], past_key_values=held, use_cache=True)


@pytest.mark.parametrize("plan", ["prompt", "generated", "last"])
def test_a_text_that_grows_by_hand(plan: str) -> None:
    ids, _ = batch([0])
    with refused(plan, r"(?s)a reply growing or another prompt.*plan\.hooks\(mask="):
        lens()(ids[:, :9], use_cache=False)
        lens()(ids[:, :10], use_cache=False)


def test_a_text_that_grows_by_hand_from_a_prompt_that_is_told() -> None:
    ids, mask = batch([0, 1])
    with (
        torch.no_grad(),
        shared_model("llama").bridge.hooks(plan_of(PLANS["last"]).hooks(mask=mask)),  # pyright: ignore[reportArgumentType]
    ):
        for _ in range(STEPS):
            places = (mask.cumsum(-1) - 1).clamp(min=0)
            logits: Any = lens()(
                ids, attention_mask=mask, position_ids=places, use_cache=False
            ).logits
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=1)
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
    assert ids[:, -STEPS:].tolist() == [alone("llama", "last", row) for row in (0, 1)]


def test_gates_whose_past_nobody_saw() -> None:
    ids, mask = batch([0])
    held = DynamicCache(config=lens().config)
    with torch.no_grad():
        lens()(ids[:, :5], past_key_values=held, use_cache=True)
    with refused("gate per sequence", r"(?s)had opened in what is in the cache.*gate per token"):
        generated(ids, mask, past_key_values=held)
    with refused("gate per sequence", r"(?s)beams change places.*num_beams"):
        generated(ids, mask, num_beams=2)


def test_a_cached_reply_that_becomes_part_of_a_prompt() -> None:
    ids, mask = batch([0])
    with refused("generated", r"(?s)cached tokens that were run otherwise.*without that cache"):
        held = DynamicCache(config=lens().config)
        generated(ids, mask, past_key_values=held)
        more = torch.cat([ids, ids], dim=1)
        generated(more, torch.ones_like(more), past_key_values=held)


def test_masks_and_texts_that_share_rows() -> None:
    ids, _ = batch([0])
    square = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
    with refused("all", r"(?s)an attention mask of this form.*plan\.hooks\(mask="):
        lens()(ids, attention_mask=square, use_cache=False)
    places = torch.cat([torch.arange(6), torch.arange(ids.shape[1] - 6)])[None]
    with refused("all", r"(?s)several texts share a row.*a row of its own"):
        lens()(ids, position_ids=places, use_cache=False)


def test_a_static_cache_whose_empty_columns_are_read() -> None:
    with refused("all", r"(?s)empty columns of this static cache.*eager"):
        generated(*batch([0]), cache_implementation="static", disable_compile=True)


def test_a_batch_other_than_the_one_that_was_told() -> None:
    bridge, plan = shared_model("llama").bridge, plan_of(PLANS["all"])
    ids, mask = batch([0, 2])
    wrong = [
        plan.hooks(transcripts=[prompts("llama")[row] for row in (2, 0)]),  # other tokens
        plan.hooks(mask=mask.flip(0)),  # other pads
        plan.hooks(transcripts=prompts("llama")),  # more rows
    ]
    for hooks in wrong:
        with (
            torch.no_grad(),
            bridge.hooks(hooks),  # pyright: ignore[reportArgumentType]
            pytest.raises(InterventionError, match="not the one the hooks were made for"),
        ):
            generated(ids, mask)


@pytest.mark.filterwarnings("ignore:Dynamo does not know")
def test_a_compiled_model() -> None:
    class Model(nn.Module):
        def forward(self, h: Tensor, past_key_values: object = None) -> Any:
            for _, hook in hooks:
                h = hook(h + 1.0, hook=None)  # pyright: ignore[reportAssignmentType]
            return h

    hooks = plan_of(PLANS["all"]).hooks()
    Model()(torch.zeros(1, 3, 16))
    with pytest.raises(InterventionError, match=r"(?s)a compiled model.*torch\.compile"):
        torch.compile(Model(), backend="eager")(torch.zeros(1, 3, 16))


def test_a_prompt_token_by_token_and_twice_with_the_same_hooks() -> None:
    given = batch([0, 1])
    for plan in ("generated", "gate per sequence"):
        with torch.no_grad(), shared_model("llama").bridge.hooks(plan_of(PLANS[plan]).hooks()):  # pyright: ignore[reportArgumentType]
            for _ in range(2):
                said = generated(*given, prefill_chunk_size=1)
                assert said == [alone("llama", plan, row) for row in (0, 1)]
