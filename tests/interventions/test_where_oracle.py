"""The right tokens at every step of a cached, batched, padded generation: compared with a brute-force account."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from brute_force import Alone, Choice, Spec, assert_same, plan_of, recording, run_alone
from tiny import shared_model, shared_module, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import InterventionError
from persona_lens.model.batching import left_padded, right_padded
from persona_lens.transcripts import Transcript

STEPS = 6
GREEDY = Sampling(temperature=0, max_new_tokens=STEPS)

CONVERSATIONS = (
    [("system", "Be odd."), ("user", "Sea?"), ("assistant", "Salt."), ("user", "Why?")],
    [
        ("system", "Short."),
        ("user", "Hi"),
        ("assistant", "Ho"),
        ("user", "And?"),
        ("assistant", "Hm."),
        ("user", "Go on, do."),
    ],
    [("user", "Who?")],
)


@cache
def prompts_of(architecture: str) -> list[Transcript]:
    encoder = shared_model(architecture).encoder
    return [
        encoder.prompt([{"role": role, "content": text} for role, text in said])
        for said in CONVERSATIONS
    ]


@cache
def alone_of(
    architecture: str,
    specs: tuple[Spec, ...],
    *,
    end_ids: tuple[int, ...] = (),
    sinks: tuple[int, ...] = (0,),
) -> list[Alone]:
    """Every row alone."""
    module, given = shared_module(architecture), {"end_ids": end_ids, "sinks": sinks}
    return [
        run_alone(module, prompt, specs, row=row, steps=STEPS, **given)
        for row, prompt in enumerate(prompts_of(architecture))
    ]


def vectors(seed: int, *layers: int) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {layer: rng.normal(size=16) for layer in layers}


FLOOR = Spec("floor", vectors(1, 0, 1, 2), 3.0)
SEVERAL = (
    FLOOR.on("generated"),
    Spec("add", vectors(2, 1), 4.0, strength=-0.7).on("user", "last"),
    Spec("ablate", vectors(3, 0, 2)).on("assistant"),
    Spec("rotate", vectors(4, 1, 2), 0.4).on("prompt"),
    Spec("floor", vectors(5, 1), 1.5, gate=(vectors(6, 1), 3.0, "above", "sequence")).on("all"),
)
ORDERED = (  # at one layer, along directions that are not orthogonal, so the order matters
    Spec("ceil", vectors(7, 1), -1.0),
    Spec("set", vectors(8, 1), 5.0).on("system", "generated"),
    Spec("band", vectors(7, 1), 0.5).on("template", "last"),
    Spec("add", vectors(9, 0, 1), 2.0, gate=(vectors(10, 0, 1), 0.0, "below", "token")),
)
BY_ROW = (
    Spec("add", vectors(2, 0, 1), 5.0, strength=(1.0, 0.0, -0.5)).on("last"),
    Spec("rotate", vectors(3, 2), 0.5, strength=(0.0, 1.0, -1.0)).on("all", sinks=True),
)


def compare(
    architecture: str,
    specs: tuple[Spec, ...],
    *,
    model: PersonaModel | None = None,
    sinks: tuple[int, ...] = (0,),
) -> list[Alone]:
    """Generate under the plan in one padded batch, and hold every row against the row alone."""
    model, prompts = model or shared_model(architecture), prompts_of(architecture)
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))  # of the batch
    assert set(model.sinks) <= set(sinks)
    inside = model.held.backend.module
    with model.intervene(plan_of(specs)) as receipt, recording(inside) as (residuals, states):
        replies = model.generate(prompts, GREEDY)
    alone = alone_of(architecture, specs, end_ids=tuple(model.end_ids), sinks=sinks)
    for row, prompt in enumerate(prompts):
        assert replies[row].ids.tolist() == alone[row].ids
        assert_same(alone[row], order.index(row), prompt, residuals, states)
    assert receipt.frame()["changed"].max() > 0
    return alone


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "qwen3_moe"])
@pytest.mark.parametrize("specs", [SEVERAL, ORDERED, BY_ROW], ids=["several", "ordered", "by row"])
def test_batched_and_cached_as_alone_and_uncached(
    architecture: str, specs: tuple[Spec, ...]
) -> None:
    compare(architecture, specs)


CHOICES = {
    "all": Choice(("all",)),
    "all and sinks": Choice(("all",), sinks=True),
    "prompt": Choice(("prompt",)),
    "generated": Choice(("generated",)),
    "last": Choice(("last",)),
    "assistant": Choice(("assistant",)),
    "first answer": Choice(("assistant",), turn=0),
    "reply": Choice(("assistant",), turn=-1),
    "answer before": Choice(("assistant",), turn=-2),
    "user": Choice(("user",)),
    "first question": Choice(("user",), turn=0),
    "second question": Choice(("user",), turn=1),
    "last question": Choice(("user",), turn=-1),
    "system": Choice(("system",)),
    "template": Choice(("template",)),
    "special": Choice(("special",)),
    "special and sinks": Choice(("special",), sinks=True),
    "system or user": Choice(("system", "user")),
    "prompt or assistant": Choice(("prompt", "assistant")),
}


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_of_tokens(name: str) -> None:
    choice = CHOICES[name]
    compare("llama", (Spec("add", vectors(1, 0, 1, 2), 3.0, choice=choice),))


def test_masks_over_the_prompts() -> None:
    rng = np.random.default_rng(0)
    masks = tuple(tuple(bool(b) for b in rng.random(len(p)) < 0.3) for p in prompts_of("llama"))
    compare("llama", (Spec("add", vectors(1, 0, 2), 3.0, choice=Choice((), masks=masks)),))


@pytest.mark.parametrize("per", ["token", "sequence"])
@pytest.mark.parametrize("side", ["above", "below"])
def test_gates_open_where_they_should(side: str, per: str) -> None:
    gate = (vectors(6, 1), 2.5 if side == "above" else -3.0, side, per)
    alone = compare("llama", (Spec("add", vectors(5, 1), 6.0, gate=gate).on("all"),))
    for chosen, let in (found.gates[0] for found in alone):
        # The gate has something to decide in every row, and opens after the first token chosen.
        assert chosen[0] < let[0]
        assert len(let) < len(chosen)
        assert per == "token" or let == chosen[chosen.index(let[0]) :]


def test_sinks_other_than_the_first_token() -> None:
    """Position 3 of every prompt, and one that the shortest row reaches while it is sampled."""
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    later = min(len(prompt) for prompt in prompts_of("llama")) + 2
    model.__dict__["sinks"] = {0: 50.0, 3: 50.0, later: 50.0}
    compare("llama", SEVERAL, model=model, sinks=(0, 3, later))
    compare("llama", (FLOOR.on("all", sinks=True),), model=model, sinks=(0, 3, later))


@pytest.fixture(scope="module")
def bridged() -> PersonaModel:
    """A model whose bridge carries a hook of the user's, so that everything runs on the bridge."""
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    model.bridge.add_hook("blocks.0.hook_resid_post", lambda residual, hook: residual)
    return model


@pytest.mark.parametrize("specs", [SEVERAL, ORDERED, BY_ROW], ids=["several", "ordered", "by row"])
def test_the_same_through_the_bridge(bridged: PersonaModel, specs: tuple[Spec, ...]) -> None:
    assert type(bridged.held.backend).__name__ == "BridgeBackend"
    compare("llama", specs, model=bridged)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("specs", [SEVERAL, ORDERED, BY_ROW], ids=["several", "ordered", "by row"])
def test_hooks_in_generate_of_transformer_lens(cached: bool, specs: tuple[Spec, ...]) -> None:
    model, prompts = shared_model("llama"), prompts_of("llama")
    ids, mask = left_padded([prompt.ids for prompt in prompts], model.pad_id, "cpu")
    residuals: list[torch.Tensor] = []

    def read(residual: torch.Tensor, hook: object) -> torch.Tensor:
        residuals.append(residual.clone())
        return residual

    hooks = [*plan_of(specs).hooks(transcripts=prompts), ("blocks.1.hook_resid_post", read)]
    with model.bridge.hooks(fwd_hooks=hooks):
        said = model.bridge.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=STEPS,
            do_sample=False,
            stop_at_eos=False,
            use_past_kv_cache=cached,
            return_type="tokens",
            verbose=False,
        )
    assert [residual.shape[1] for residual in residuals[1:]] == (
        [1] * (STEPS - 1) if cached else [ids.shape[1] + step for step in range(1, STEPS)]
    )
    for row, alone in enumerate(alone_of("llama", specs)):
        assert said[row, ids.shape[1] :].tolist() == alone.ids
        for step, whole in enumerate(alone.residuals):
            ours = residuals[step][row]
            ours = ours[-1:] if cached and step else ours[-len(whole) :]
            torch.testing.assert_close(ours, whole[-len(ours) :], rtol=1e-4, atol=1e-4)


PADS_ONLY = {
    name: Spec("set", vectors(4, 0, 2), 7.0).on(name)
    for name in ("all", "prompt", "generated", "last")
}


@pytest.mark.parametrize("name", PADS_ONLY)
@pytest.mark.parametrize("cached", [True, False])
def test_hooks_told_of_pads_only(cached: bool, name: str) -> None:
    model, prompts = shared_model("llama"), prompts_of("llama")
    ids, mask = left_padded([prompt.ids for prompt in prompts], model.pad_id, "cpu")
    spec = PADS_ONLY[name]
    with model.bridge.hooks(fwd_hooks=plan_of([spec]).hooks(mask=mask)):
        said = model.bridge.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=STEPS,
            do_sample=False,
            stop_at_eos=False,
            use_past_kv_cache=cached,
            return_type="tokens",
            verbose=False,
        )
    for row, alone in enumerate(alone_of("llama", (spec,))):
        assert said[row, ids.shape[1] :].tolist() == alone.ids


@pytest.mark.parametrize("specs", [SEVERAL, ORDERED, BY_ROW], ids=["several", "ordered", "by row"])
def test_a_finished_conversation_is_read_as_it_was_generated(specs: tuple[Spec, ...]) -> None:
    """Right-padded and in one pass, the same tokens are touched as when the reply was sampled."""
    model, prompts, alone = shared_model("llama"), prompts_of("llama"), alone_of("llama", specs)
    whole = [
        model.encoder.with_reply(prompt, found.ids[:-1])
        for prompt, found in zip(prompts, alone, strict=True)
    ]
    plan = plan_of(specs)
    with model.intervene(plan):
        means = model.pooled(whole, [np.ones(len(said), dtype=bool) for said in whole], layers=[1])
    ids, mask = right_padded([said.ids for said in whole], model.pad_id, "cpu")
    residuals: list[torch.Tensor] = []

    def read(residual: torch.Tensor, hook: object) -> torch.Tensor:
        residuals.append(residual.detach())
        return residual

    hooks = plan.hooks(transcripts=whole, padding_side="right")
    model.bridge.run_with_hooks(
        ids, attention_mask=mask.long(), fwd_hooks=[*hooks, ("blocks.1.hook_resid_post", read)]
    )
    for row, found in enumerate(alone):
        expected = found.residuals[-1]
        ours = residuals[0][row, : len(expected)]
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(means[row, 0], expected.mean(0), rtol=1e-3, atol=1e-4)


def test_rows_keep_their_strengths_and_masks_whatever_batch_they_fall_into() -> None:
    model, prompts = shared_model("llama"), prompts_of("llama")
    rng = np.random.default_rng(1)
    masks = tuple(tuple(bool(b) for b in rng.random(len(p)) < 0.5) for p in prompts)
    by_mask = Spec("set", vectors(5, 1), 4.0, choice=Choice((), masks=masks))
    specs = (*BY_ROW, by_mask)
    for batch_size in (1, 2, 3):
        with model.intervene(plan_of(specs)):
            replies = model.generate(prompts, GREEDY, batch_size=batch_size)
        for alone, reply in zip(alone_of("llama", specs), replies, strict=True):
            assert reply.ids.tolist() == alone.ids


def test_masks_of_prompts_still_fit_when_the_reply_is_read() -> None:
    model, prompts = shared_model("llama"), prompts_of("llama")
    masks = tuple(tuple(at % 3 == 0 for at in range(len(p))) for p in prompts)
    spec = Spec("add", vectors(1, 0), 9.0, choice=Choice((), masks=masks))
    plan = plan_of([spec])
    alone = alone_of("llama", (spec,))
    whole = [
        model.encoder.with_reply(p, found.ids[:-1]) for p, found in zip(prompts, alone, strict=True)
    ]
    with model.intervene(plan):
        means = model.pooled(whole, [np.ones(len(said), dtype=bool) for said in whole], layers=[1])
    for row, found in enumerate(alone):
        np.testing.assert_allclose(means[row, 0], found.residuals[-1].mean(0), rtol=1e-3, atol=1e-4)
    too_short = plan_of([replace(spec, choice=Choice((), masks=(masks[0][:-1], *masks[1:])))])
    with (
        model.intervene(too_short),
        pytest.raises(InterventionError, match="row 0 has the wrong length"),
    ):
        model.pooled(whole)


@pytest.mark.parametrize(("end", "lengths"), [(117, [2, 6, 2]), (245, [6, 6, 3]), (255, [6, 6, 0])])
def test_rows_that_ended_change_nothing_for_the_others(end: int, lengths: list[int]) -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    model.__dict__["end_ids"] = (end,)  # a token that some rows come to say
    alone = compare("llama", ORDERED, model=model)
    assert [len(found.ids) for found in alone] == lengths
