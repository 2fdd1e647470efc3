"""Plans act on a HookedTransformer as on the plain module: under `intervene`, and as its own hooks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hooked import Pair

from persona_lens import PersonaModel, Sampling
from persona_lens.interventions import Ablate, Add, Direction, Floor, Plan
from persona_lens.model.batching import left_padded

TEXTS = [
    ("Who are you?", "I am the keeper of the lighthouse."),
    ("Why?", "No."),
    ("Tell me a very short story about a locked door.", "It opened."),
]
VECTORS = np.random.default_rng(0).standard_normal((2, 16))
GHOST = Direction("ghost", (0, 2), VECTORS)

PLANS = {
    "add by row": Plan.of(Add(GHOST, lengths=2.0)) * [0.0, 1.0, 2.0],
    "floor on what is generated": Plan.of(Floor(GHOST, thresholds=0.5)).where("generated"),
    "ablate on the user's tokens": Plan.of(Ablate(GHOST)).where("user", sinks=True),
}


@pytest.fixture(params=PLANS.values(), ids=PLANS.keys())
def plan(request: pytest.FixtureRequest) -> Plan:
    """Plans that treat rows, prompts and replies differently, so that padding shows."""
    return request.param


def prompts_of(model: PersonaModel):
    return [model.encoder.prompt(model.encoder.messages(question)) for question, _ in TEXTS]


def finished(model: PersonaModel):
    return [
        model.encoder.encode([*model.encoder.messages(q), {"role": "assistant", "content": a}])
        for q, a in TEXTS
    ]


def test_steered_replies_and_receipts_are_the_same(pair: Pair, plan: Plan) -> None:
    replies, frames = [], []
    for model in (pair.plain, pair.hooked):
        with model.intervene(plan) as receipt:
            sampling = Sampling(temperature=0, max_new_tokens=12)
            replies.append([r.ids.tolist() for r in model.generate(prompts_of(model), sampling)])
        frames.append(receipt.frame())
    assert replies[0] == replies[1]
    assert frames[1]["changed"].sum() > 0
    pd.testing.assert_frame_equal(frames[1], frames[0], rtol=1e-4, atol=1e-4)
    assert not pair.transformer.list_hooks()


def test_steered_readings_are_the_same(pair: Pair, plan: Plan) -> None:
    found = []
    for model in (pair.plain, pair.hooked):
        said = finished(model)
        replies = [model.tokenizer(answer)["input_ids"] for _, answer in TEXTS]
        unsteered = model.pooled(said)
        with model.intervene(plan):
            means = model.pooled(said)
            scores = np.concatenate(model.log_probs(prompts_of(model), replies))
        assert not np.allclose(means, unsteered, atol=1e-4)
        found.append((means, scores, np.concatenate(model.kl(plan, said))))
    for ours, theirs in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_hooks_of_a_plan_do_on_the_model_itself_what_intervene_does(pair: Pair, plan: Plan) -> None:
    model, transformer = pair.hooked, pair.transformer
    said = finished(model)
    ids, mask = left_padded([transcript.ids for transcript in said], model.pad_id, "cpu")
    seen: dict[str, torch.Tensor] = {}
    keep = [
        (model.hook_name(layer), lambda residual, hook: seen.update({hook.name: residual}))
        for layer in range(model.n_layers)
    ]
    hooks = plan.hooks(transcripts=said)  # BOS counts as a sink, and the tiny models have no other
    transformer.run_with_hooks(ids, attention_mask=mask.long(), fwd_hooks=[*hooks, *keep])
    with model.intervene(plan):
        means = model.pooled(said)
    for row, transcript in enumerate(said):
        positions = torch.zeros_like(mask[row])
        positions[mask[row]] = torch.from_numpy(model.reply_positions(transcript))
        for layer in range(model.n_layers):
            expected = seen[model.hook_name(layer)][row, positions].mean(0)
            torch.testing.assert_close(
                torch.tensor(means[row, layer]), expected, rtol=1e-4, atol=1e-4
            )


def test_hooks_of_a_plan_steer_its_own_generate(pair: Pair) -> None:
    plan = Plan.of(Add(GHOST, lengths=2.0)).where("generated")
    prompt, sampling = prompts_of(pair.hooked)[0], Sampling(temperature=0, max_new_tokens=8)
    with pair.hooked.intervene(plan):
        expected = pair.hooked.generate([prompt], sampling)[0].ids.tolist()
    # With its cache, TransformerLens 3.5.1 miscounts learned positions.
    cached = pair.transformer.cfg.positional_embedding_type == "rotary"
    with pair.transformer.hooks(fwd_hooks=plan.hooks(transcripts=[prompt])):
        whole = pair.transformer.generate(
            torch.tensor(prompt.ids)[None],
            max_new_tokens=8,
            do_sample=False,
            stop_at_eos=False,
            use_past_kv_cache=cached,
            verbose=False,
        )
    assert whole[0, len(prompt) :][: len(expected)].tolist() == expected
    assert expected != pair.hooked.generate([prompt], sampling)[0].ids.tolist()
