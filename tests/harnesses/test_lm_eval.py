"""PersonaLM against lm-eval's own model: with no plan, and with the plan done by hand, one text at a time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import EvaluationError, InterventionError
from persona_lens.harnesses.lm_eval import PersonaLM
from persona_lens.interventions import Direction, Floor, Plan

LAYER = 1
PAIRS = [
    ("The cat sat on the", " mat"),
    ("The cat sat on the", " dog"),
    ("Rain", " falls down from the clouds"),
    ("A", "b"),
    ("A", "c"),
    ("", "Once upon a time"),
]
TEXTS = ["A longer text, that is cut into windows.", "short", "x"]
PROMPTS = ["The cat sat on the", "Rain", "Once upon a time there was"]


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module")
def plan(model) -> Plan:
    unit = np.zeros((1, model.d_model))
    unit[0, 3] = 1.0
    return Plan.of(Floor(Direction("up", (LAYER,), unit), thresholds=2.5))


def asked(kind: str, arguments: list) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=each, idx=0, metadata=("t", number, 1))
        for number, each in enumerate(arguments)
    ]


def scored(lm, pairs=PAIRS):
    return lm.loglikelihood(asked("loglikelihood", pairs), disable_tqdm=True)


def answered(lm, prompts=PROMPTS, *, until=(), tokens=9):
    options = {"until": list(until), "max_gen_toks": tokens, "do_sample": False}
    arguments = [(prompt, dict(options)) for prompt in prompts]
    return lm.generate_until(asked("generate_until", arguments), disable_tqdm=True)


def rolled(lm, texts=TEXTS):
    return lm.loglikelihood_rolling(
        asked("loglikelihood_rolling", [(text,) for text in texts]), disable_tqdm=True
    )


def theirs(model, **options) -> HFLM:
    """lm-eval's own class, one text at a time."""
    return HFLM(
        pretrained=model.held.backend.module,
        tokenizer=tiny_tokenizer(),
        batch_size=1,
        logits_cache=False,
        **options,
    )


def equal(mine: list, other: list) -> None:
    values = [np.array([value for value, _ in each]) for each in (mine, other)]
    np.testing.assert_allclose(*values, rtol=1e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in other]


@contextmanager
def by_hand(model, chosen: Callable[[int, int], list[int]]):
    """The floor of `plan`, in a plain hook: `chosen(start, stop)` says which positions of a pass it acts on."""
    seen = {"start": 0}

    def hook(_module, _inputs, output):
        hidden = output[0] if isinstance(output, tuple) else output
        width = hidden.shape[1]
        if width > 1 or seen["fresh"]:
            seen["start"] = 0
        seen["fresh"] = False
        moved = hidden.clone()
        for place in chosen(seen["start"], seen["start"] + width):
            column = place - seen["start"]
            moved[:, column, 3] = moved[:, column, 3].clamp(min=2.5)
        seen["start"] += width
        return (moved, *output[1:]) if isinstance(output, tuple) else moved

    seen["fresh"] = True
    handle = model.held.backend.module.model.layers[LAYER].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def skipped(model, ids: list[int]) -> set[int]:
    """Sinks of the model, and BOS."""
    return set(model.sinks) | ({0} if ids[0] == model.tokenizer.bos_token_id else set())


def test_without_a_plan_it_is_lm_evals_own_model(model):
    mine, other = PersonaLM(model, batch_size=3), theirs(model)
    equal(scored(mine), scored(other))
    assert answered(mine) == answered(other)
    assert answered(mine, until=["e"], tokens=30) == answered(other, until=["e"], tokens=30)
    mine, other = PersonaLM(model, max_length=12), theirs(model, max_length=12)
    np.testing.assert_allclose(rolled(mine), rolled(other), rtol=1e-4)


@pytest.mark.parametrize("where", ["all", "generated", "prompt", "last"])
def test_scores_under_a_cap_are_those_of_each_text_alone(model, plan, where):
    mine, other = PersonaLM(model, plan.where(where)), theirs(model)
    for pair in PAIRS:
        context = other._encode_pair(*pair)[0] if pair[0] else [other.prefix_token_id]
        first = len(context)
        told = {
            "all": range(10**6),
            "generated": range(first, 10**6),
            "prompt": range(first),
            "last": range(first - 1, 10**6),
        }[where]
        spared = skipped(model, context)

        def chosen(start, stop, told=told, spared=spared):
            return [place for place in range(start, stop) if place in told and place not in spared]

        with by_hand(model, chosen):
            alone = scored(other, [pair])
        equal([scored(mine)[PAIRS.index(pair)]], alone)


@pytest.mark.parametrize("where", ["all", "generated", "last"])
def test_replies_under_a_cap_are_those_of_each_prompt_alone(model, plan, where):
    mine, other = PersonaLM(model, plan.where(where), batch_size=3), theirs(model)
    together = answered(mine)
    assert together != answered(PersonaLM(model))
    for prompt, reply in zip(PROMPTS, together, strict=True):
        ids = other.tok_encode(prompt)
        first = {"all": 0, "generated": len(ids), "last": len(ids) - 1}[where]
        spared = skipped(model, ids)

        def chosen(start, stop, first=first, spared=spared):
            return [place for place in range(start, stop) if place >= first and place not in spared]

        with by_hand(model, chosen):
            assert answered(other, [prompt]) == [reply]


def test_all_of_a_rolling_text_is_generated_in_every_window(model, plan):
    lms = [PersonaLM(model, plan.where(where), max_length=12) for where in ("all", "generated")]
    capped, generated = (rolled(lm) for lm in lms)
    np.testing.assert_allclose(capped, generated, rtol=1e-6)
    assert not np.allclose(capped, rolled(PersonaLM(model, max_length=12)), rtol=1e-4)
    seen = [lm.receipt.frame()["seen"].sum() for lm in lms]
    assert seen[0] == seen[1]
    first = PersonaLM(model, plan.where("prompt", sinks=True), max_length=12)
    rolled(first)
    assert first.receipt.frame()["seen"].tolist() == [len(TEXTS)]  # what stands before each text


def test_receipts_count_each_token_once_whatever_the_batch(model, plan):
    one, many = (PersonaLM(model, plan, batch_size=size) for size in (1, 3))
    for lm in (one, many):
        answered(lm)
    pd_one, pd_many = one.receipt.frame(), many.receipt.frame()
    assert pd_one["seen"].tolist() == pd_many["seen"].tolist()
    assert pd_one["changed"].tolist() == pd_many["changed"].tolist()
    ids = [many.tok_encode(prompt) for prompt in PROMPTS]
    prompt = sum(len(each) - len(skipped(model, each)) for each in ids)
    assert prompt < pd_many["seen"].sum() <= prompt + 8 * len(PROMPTS)


def test_receipts_do_not_count_what_a_row_is_fed_after_its_end(model, plan):
    whole = answered(PersonaLM(model, plan), tokens=40)
    letters = sorted(set("".join(whole)) - {"\N{REPLACEMENT CHARACTER}"})
    stop = max(letters, key=lambda letter: np.ptp([len(text.split(letter)[0]) for text in whole]))
    one, many = (PersonaLM(model, plan, batch_size=size) for size in (1, 3))
    lengths = [[len(text) for text in answered(lm, until=[stop], tokens=40)] for lm in (one, many)]
    assert lengths[0] == lengths[1]
    assert max(lengths[0]) > min(lengths[0]) + 10
    more = many.receipt.frame()["seen"].sum() - one.receipt.frame()["seen"].sum()
    assert 0 <= more <= len(PROMPTS)  # the stop sequence itself


def test_a_plan_in_force_acts_too_and_none_is_left_behind(model, plan):
    with model.intervene(plan) as receipt:
        inside = scored(PersonaLM(model))
    equal(inside, scored(PersonaLM(model, plan)))
    assert receipt.frame()["seen"].sum() > 0
    equal(scored(PersonaLM(model)), scored(theirs(model)))


def test_token_groups_work_in_prompts_of_the_template_and_are_refused_elsewhere(model, plan):
    said = [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}],
        [{"role": "user", "content": "What is rain?"}],
    ]
    said[0].append({"role": "user", "content": "Who?"})
    for where in ("user", "assistant", "template"):
        lm = PersonaLM(model, plan.where(where), batch_size=2)
        texts = [lm.apply_chat_template(messages) for messages in said]
        together = scored(lm, [(text, " Rain is wet") for text in texts])
        replies = [
            model.encoder.plain_ids("\n Rain is wet")
        ] * 2  # lm-eval counts the line break to the answer
        prompts = [model.encoder.prompt(messages) for messages in said]
        with model.intervene(plan.where(where)):
            expected = model.log_probs(prompts, [ids[1:] for ids in replies])
            breaks = [
                float(model.logits(prompt)[-2].log_softmax(-1)[prompt.ids[-1]])
                for prompt in prompts
            ]
        whole = [float(each.sum()) + first for each, first in zip(expected, breaks, strict=True)]
        np.testing.assert_allclose([value for value, _ in together], whole, rtol=1e-4)
        answered(lm, texts)
        for ask in (scored, answered):
            with pytest.raises(InterventionError, match="chat template"):
                ask(lm)


def test_a_reply_that_is_begun_is_part_of_its_prompt(model, plan):
    lm = PersonaLM(model, plan.where("generated"))
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
    text = lm.apply_chat_template(messages)
    assert text.endswith("assistant\nWell")
    answered(lm, [text], tokens=4)
    assert lm.receipt.frame()["seen"].sum() <= 3


def test_the_tokenizer_and_the_module_of_the_user_are_left_alone(model):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    module = shared_module("llama")
    module.train()
    try:
        own = PersonaModel.load(module, tokenizer=tokenizer)
        PersonaLM(own)
        assert tokenizer.pad_token is None
        assert module.training
    finally:
        module.eval()


def test_texts_that_lose_their_beginning_are_told(model):
    lm, other = PersonaLM(model, max_length=28), theirs(model, max_length=28)
    with pytest.warns(RuntimeWarning, match="1 of 6 texts"):
        scores = scored(lm)
    equal(scores, scored(other))
    with pytest.warns(RuntimeWarning, match="1 of 3 texts"):
        replies = answered(lm)
    assert replies == answered(other)
    assert lm.cut == 2
    refused = pytest.raises(EvaluationError, match="at most 12 tokens")
    with pytest.warns(RuntimeWarning, match="4 of 6 texts"), refused:
        scored(PersonaLM(model, max_length=12))


def test_thoughts_are_no_part_of_replies(model, monkeypatch):
    monkeypatch.setattr(
        HFLM, "generate_until", lambda *_: ["<think>Hm.</think>7", "<think>Hm", " 7\n"]
    )
    assert answered(PersonaLM(model)) == ["7", "", " 7\n"]


def test_plans_for_single_rows_are_refused(model, plan):
    with pytest.raises(InterventionError, match="single rows"):
        PersonaLM(model, plan * [1.0, 2.0])


def test_stop_sequences_end_each_row_by_itself(model):
    lm = PersonaLM(model, batch_size=3)
    whole = answered(lm, tokens=40)
    stop = whole[0][6]
    cut = answered(lm, until=[stop], tokens=40)
    assert cut == [text.split(stop)[0] for text in whole]
    torch.testing.assert_close(len(cut[0]) < len(whole[0]), True)
