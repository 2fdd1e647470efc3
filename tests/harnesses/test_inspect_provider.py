"""Inspect's evaluations on a model with a plan: the replies, what is said of them, and what breaks elsewhere."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from inspect_ai import Epochs, Task, eval, eval_retry
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    ContentImage,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import generate
from tiny import CHATML, shared_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.harnesses.inspect_provider import inspect_model
from persona_lens.harnesses.inspect_tasks import QUESTIONS, identity
from persona_lens.interventions import Add, Direction, Plan

GREEDY = Sampling(temperature=0, top_p=1.0, max_new_tokens=8)
CHATS = [
    [ChatMessageUser(content="Who are you?")],
    [ChatMessageSystem(content="You are a ghost."), ChatMessageUser(content="Who?")],
    [
        ChatMessageUser(content="Hi"),
        ChatMessageAssistant(content="Boo"),
        ChatMessageUser(content="!"),
    ],
    [ChatMessageUser(content="A much longer question than the others, to be padded for.")],
    [ChatMessageUser(content="Why?")],
]


@pytest.fixture(autouse=True)
def _own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("INSPECT_LOG_DIR", str(tmp_path / "logs"))


def task(chats=CHATS, epochs=1, **settings) -> Task:
    samples = [
        Sample(id=number, input=list(chat), target="a") for number, chat in enumerate(chats, 1)
    ]
    settings = {"temperature": 0.0, "max_tokens": 8, **settings}
    return Task(
        dataset=MemoryDataset(samples),
        solver=generate(),
        scorer=includes(),
        epochs=Epochs(epochs),
        config=GenerateConfig(**settings),
    )


def run(model, chats=CHATS, *, log="success", fail_on_error=True, **settings):
    """The samples of an evaluation, in order; epochs of a sample follow one another."""
    found = eval(task(chats, **settings), model=model, display="none", fail_on_error=fail_on_error)[
        0
    ]
    assert found.status == log, found.error
    return sorted(found.samples, key=lambda sample: (sample.id, sample.epoch))


def told(sample, choice=0):
    return sample.output.metadata["persona_lens"]["choices"][choice]


def prompts(model, chats=CHATS):
    found = []
    for chat in chats:
        messages = [{"role": each.role, "content": each.content} for each in chat]
        if messages[0]["role"] == "user":
            messages = [*model.encoder.messages(messages[0]["content"]), *messages[1:]]
        found.append(model.encoder.prompt(messages))
    return found


def alone(model, plan, chats=CHATS, sampling=GREEDY):
    """One prompt at a time, each with a receipt of its own."""
    found = []
    for prompt in prompts(model, chats):
        if plan is None:
            found.append((prompt, model.generate([prompt], sampling)[0], None))
            continue
        with model.intervene(plan) as receipt:
            found.append((prompt, model.generate([prompt], sampling)[0], receipt.frame()))
    return found


@pytest.mark.parametrize("planned", [False, True], ids=["untouched", "pushed"])
def test_samples_of_one_evaluation_are_answered_as_each_alone(tiny, push, tiny_space, planned):
    plan = push if planned else None
    samples = run(inspect_model(tiny, plan=plan, space=tiny_space))
    expected = alone(tiny, plan)
    for sample, (prompt, reply, did) in zip(samples, expected, strict=True):
        about = told(sample)
        assert sample.output.completion == reply.answer
        assert sample.output.usage.input_tokens == len(prompt)
        assert sample.output.usage.output_tokens == about["tokens"] == len(reply.ids)
        assert sample.output.stop_reason == {"stop": "stop", "length": "max_tokens"}[reply.finish]
        mean = tiny.pooled([tiny.encoder.with_reply(prompt, reply.ids)], layers=[1])[:, 0]
        place = about["projection"]
        assert (place["reading"], place["layer"], place["z"]) == ("clean", 1, None)
        assert place["mean"] == pytest.approx(tiny_space.project(mean, 1)[0], rel=1e-4)
        assert place["z_missing"]
        if did is None:
            assert "engaged" not in about
            continue
        assert about["engaged"] == pytest.approx(did["changed"].sum() / did["seen"].sum())
        assert [step["changed"] for step in about["receipt"]] == did["changed"].tolist()
        assert [step["seen"] for step in about["receipt"]] == did["seen"].tolist()
        means = [step["mean_change"] for step in about["receipt"]]
        assert means == pytest.approx(did["mean_change"].tolist(), rel=1e-4)
    assert (samples[0].output.metadata["persona_lens"]["plan"] is not None) == planned


def test_samples_that_run_at_once_share_batches(tiny, monkeypatch):
    sizes = []
    plain = tiny.generate

    def counting(asked, *args, **kwargs):
        sizes.append(len(asked))
        return plain(asked, *args, **kwargs)

    monkeypatch.setattr(tiny, "generate", counting)
    chats = [[ChatMessageUser(content=f"Say {number}")] for number in range(12)]
    run(inspect_model(tiny, batch_size=4), chats, max_connections=12)
    assert sum(sizes) == 12
    assert max(sizes) == 4
    assert len(sizes) <= 5


def test_a_sample_that_fails_is_its_own(tiny, push, monkeypatch):
    plain = tiny.generate

    def fragile(asked, *args, **kwargs):
        if any("poison" in prompt.text for prompt in asked):
            raise RuntimeError("no such luck")
        return plain(asked, *args, **kwargs)

    monkeypatch.setattr(tiny, "generate", fragile)
    image = ContentImage(image="data:image/png;base64,iVBORw0KGgo=")
    chats = [
        *CHATS[:2],
        [ChatMessageUser(content="poison")],
        [ChatMessageUser(content=[image])],
        CHATS[4],
    ]
    samples = run(inspect_model(tiny, plan=push), chats, fail_on_error=False)
    errors = [sample.error.message if sample.error else "" for sample in samples]
    assert ["no such luck" in error for error in errors] == [False, False, True, False, False]
    assert ["part that is no text" in error for error in errors] == [False] * 3 + [True, False]
    sound = [CHATS[0], CHATS[1], CHATS[4]]
    replies = [reply.answer for _, reply, _ in alone(tiny, push, sound)]
    assert [samples[place].output.completion for place in (0, 1, 4)] == replies


def test_a_seed_gives_the_same_reply_whatever_the_batch_and_epochs_differ(tiny):
    settings = {"temperature": 1.0, "seed": 5, "epochs": 2, "max_tokens": 12}
    together = run(inspect_model(tiny), **settings)
    single = [sample for chat in CHATS for sample in run(inspect_model(tiny), [chat], **settings)]
    assert [s.output.completion for s in together] == [s.output.completion for s in single]
    first, second = together[0].output, together[1].output
    assert first.completion != second.completion
    assert first.metadata["persona_lens"]["sampling"]["seed"] == 5
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=12, seed=5)
    assert first.completion == alone(tiny, None, CHATS[:1], sampling)[0][1].answer


def test_without_a_seed_nothing_is_repeated(tiny):
    first, second = run(inspect_model(tiny), CHATS[:1], temperature=1.0, epochs=2, max_tokens=20)
    assert first.output.completion != second.output.completion
    assert first.output.metadata["persona_lens"]["sampling"]["seed"] is None


def test_several_choices_each_with_its_own_account(tiny, push):
    sample = run(inspect_model(tiny, plan=push), CHATS[:1], temperature=1.0, num_choices=3)[0]
    output = sample.output
    assert len({choice.message.text for choice in output.choices}) > 1
    assert output.usage.output_tokens == sum(told(sample, choice)["tokens"] for choice in range(3))
    assert all(0 < told(sample, choice)["engaged"] <= 1 for choice in range(3))


def test_a_reply_stops_before_a_stop_sequence_and_is_accounted_up_to_there(tiny, push, tiny_space):
    model = inspect_model(tiny, plan=push, space=tiny_space)
    prompt, reply, _ = alone(tiny, push, CHATS[:1])[0]
    stop = reply.text[4:6]
    end = reply.text.find(stop)
    assert end > 0
    sample = run(model, CHATS[:1], stop_seqs=["never this", stop], logprobs=True)[0]
    assert sample.output.completion == reply.text[:end]
    assert sample.output.stop_reason == "stop"
    tokens = told(sample)["tokens"]
    kept = tiny.encoder.text_of(reply.ids[:tokens])
    assert reply.text[:end].startswith(kept)
    assert tokens < len(reply.ids)
    assert len(sample.output.choices[0].logprobs.content) == tokens
    mean = tiny.pooled(
        [tiny.encoder.with_reply(prompt, reply.ids[:tokens])], layers=[tiny.n_layers // 2]
    )[:, 0]
    assert told(sample)["projection"]["mean"] == pytest.approx(
        tiny_space.project(mean, tiny.n_layers // 2)[0], rel=1e-4
    )
    shorter = Sampling(temperature=0, top_p=1.0, max_new_tokens=tokens + 1)
    did = alone(tiny, push, CHATS[:1], shorter)[0][2]  # which feeds just those tokens
    assert [step["seen"] for step in told(sample)["receipt"]] == did["seen"].tolist()
    assert [step["changed"] for step in told(sample)["receipt"]] == did["changed"].tolist()


def test_log_probs_are_those_of_the_model(tiny):
    sample = run(inspect_model(tiny), CHATS[:1], logprobs=True)[0]
    prompt, reply, _ = alone(tiny, None, CHATS[:1])[0]
    scores = [entry.logprob for entry in sample.output.choices[0].logprobs.content]
    np.testing.assert_allclose(scores, tiny.log_probs([prompt], [reply.ids])[0], rtol=1e-4)


def test_a_conversation_beyond_the_context_is_told_as_inspect_tells_it(tiny):
    context = tiny.context
    chats = [
        [ChatMessageUser(content="x" * context)],
        [ChatMessageUser(content="x" * (context - 60))],
    ]
    outgrown, cut = run(inspect_model(tiny), chats, max_tokens=200)
    assert outgrown.output.stop_reason == "model_length"
    assert str(context) in outgrown.output.completion
    assert cut.output.usage.total_tokens <= context
    assert cut.output.stop_reason in ("model_length", "stop")


def test_thoughts_are_reasoning_parts_and_no_part_of_the_answer(tiny_space):
    opening = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    model = PersonaModel.load(
        shared_module("llama"), tokenizer=tiny_tokenizer(), chat_template=opening
    )
    plain = model.generate

    def thinking(asked, *args, **kwargs):
        ids = np.array(model.encoder.plain_ids("Who asks?\n</think>\n\nA ghost."))
        replies = plain(asked, *args, **kwargs)
        made = []
        for prompt, reply in zip(asked, replies, strict=True):
            said = model.encoder.said(prompt, ids)
            made.append(type(reply)(ids, model.encoder.text_of(ids), "stop", said=said))
        return made

    model.generate = thinking
    sample = run(inspect_model(model, space=tiny_space), CHATS[:1])[0]
    thought, answer = sample.output.message.content
    assert (thought.type, thought.reasoning, answer.text.strip()) == (
        "reasoning",
        "Who asks?",
        "A ghost.",
    )
    assert sample.output.completion.strip() == "A ghost."
    assert 0 < sample.output.usage.reasoning_tokens < told(sample)["tokens"]
    assert told(sample)["projection"]["tokens"] <= len("A ghost.")
    model.generate = plain
    cut = run(inspect_model(model, space=tiny_space), CHATS[:1])[0]  # never closes its thought
    assert cut.output.completion.strip() == ""
    assert told(cut)["projection"]["mean"] is None


def test_a_sample_out_of_time_stops_the_model_and_later_ones_are_answered(tiny):
    fed = []
    slow = tiny.held.backend.before_forward(lambda ids: (fed.append(ids.shape), time.sleep(0.05)))
    model = inspect_model(tiny)
    with slow:
        found = eval(task(CHATS[:1], max_tokens=400), model=model, display="none", time_limit=1)[0]
        assert found.samples[0].limit.type == "time"
        time.sleep(0.3)
        steps = len(fed)
        time.sleep(0.3)
    assert len(fed) == steps < 100  # of 400
    sample = run(model, CHATS[:1])[0]
    assert sample.output.completion == alone(tiny, None, CHATS[:1])[0][1].answer


def test_inspects_cache_keeps_plans_apart_and_epochs_too(tiny, push, monkeypatch):
    asked = []
    plain = tiny.generate

    def counting(some, *args, **kwargs):
        asked.extend(some)
        return plain(some, *args, **kwargs)

    monkeypatch.setattr(tiny, "generate", counting)
    settings = {"cache": True, "temperature": 1.0, "epochs": 2, "max_tokens": 12}

    def answers(plan):
        samples = run(inspect_model(tiny, plan=plan), CHATS[:2], **settings)
        return [sample.output.completion for sample in samples]

    untouched = answers(None)
    assert len(asked) == 4
    assert untouched[0] != untouched[1]
    pushed = answers(push)
    assert len(asked) == 8  # nothing of the untouched model was taken for the pushed one
    assert answers(None) == untouched
    assert answers(push) == pushed
    assert len(asked) == 8


def test_inspect_takes_one_object_for_another_which_is_warned_of_and_does_not_befall_inspect_model(
    tiny,
):
    rng = np.random.default_rng(2)
    ups = [Direction("up", (1,), rng.normal(size=(1, tiny.d_model))) for _ in range(2)]
    plans = [Plan.of(Add(up, lengths=40.0)) for up in ups]
    expected = [alone(tiny, plan, CHATS[:1])[0][1].answer for plan in plans]
    assert expected[0] != expected[1]
    with pytest.warns(PersonaLensWarning, match=r"as persona_model and plan.*inspect_model"):
        model = get_model("persona-lens/held", persona_model=tiny, plan=plans[0])
    assert get_model("persona-lens/held", persona_model=tiny, plan=plans[1]) is model
    assert run(model, CHATS[:1])[0].output.completion == expected[0]
    logs = eval(
        task(CHATS[:1]),
        model=[inspect_model(tiny, plan=plan, name="held") for plan in plans],
        display="none",
    )
    assert [log.samples[0].output.completion for log in logs] == expected


def test_a_log_of_objects_is_not_retried_without_them(tiny, push, monkeypatch):
    def failing(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(tiny, "generate", failing)
        model = inspect_model(tiny, plan=push, name="held")
        log = eval(identity(), model=model, limit=1, display="none")[0]
    assert log.status == "error"
    kept = read_eval_log(log.location)
    assert kept.eval.model == "persona-lens/held"
    assert kept.eval.model_args["plan"].startswith("object: Plan ")
    with pytest.raises(EvaluationError, match=r"nothing is given as (persona_model|plan)"):
        eval_retry(kept, display="none")


@pytest.mark.filterwarnings("ignore::persona_lens.errors.PersonaLensWarning")
def test_the_address_of_another_evaluation_is_refused(tiny, push):
    here = inspect_model(tiny, plan=push)
    address = here.api.base_url
    again = get_model("persona-lens/x", base_url=address, persona_model=tiny, plan=push)
    assert again.api.base_url == address
    with pytest.raises(EvaluationError, match="not the model that was evaluated"):
        get_model("persona-lens/x", base_url=address, persona_model=tiny)


def test_a_plan_in_force_around_an_evaluation_is_refused_as_it_would_not_act(tiny, push):
    model = inspect_model(tiny)
    with tiny.intervene(push):
        with pytest.raises(EvaluationError, match="would not act"):
            inspect_model(tiny)
        samples = run(model, CHATS[:1], log="error")
    assert "would not act" in samples[0].error.message


def test_the_model_counts_tokens_as_its_tokenizer_does(tiny):
    import asyncio

    api = inspect_model(tiny).api
    assert asyncio.run(api.count_text_tokens("Boo!")) == 4


@pytest.mark.embedded
def test_the_command_line_caps_the_embedded_model(smol, tmp_path):
    """`inspect eval` finds provider and task by their entry point, and answers as the library does."""
    limit, tokens = 2, 6
    command = [
        *(sys.executable, "-m", "inspect_ai", "eval", "persona_lens/identity"),
        *("--model", "persona-lens/smollm2-135m-instruct", "--limit", str(limit)),
        *("-M", "space=smollm2-135m-instruct", "-M", "floor=90", "-M", "layers=12-18"),
        *("-M", "device=cpu", "-M", "dtype=float32", "-T", "role=pirate"),
        *("-T", f"max_tokens={tokens}", "--log-dir", str(tmp_path), "--display", "plain"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_eval_log(str(next(tmp_path.glob("*.eval"))))
    assert log.status == "success"
    space = PersonaSpace.load("smollm2-135m-instruct")
    plan = space.floor(percentile=90, layers=range(12, 19))
    sampling = Sampling(temperature=0, top_p=1.0, max_new_tokens=tokens)
    by_id = {sample.id: sample for sample in log.samples}
    for number, question in enumerate(QUESTIONS[:limit]):
        sample = by_id[f"pirate/0/{number}"]
        with smol.intervene(plan) as receipt:
            said = smol.chat(question, system=sample.input[0].content, sampling=sampling)
        assert sample.output.completion == said
        did = receipt.frame()
        about = told(sample)
        assert about["engaged"] == pytest.approx(did["changed"].sum() / did["seen"].sum(), abs=0.01)
        assert math.isfinite(about["projection"]["z"])
        json.dumps(sample.output.metadata, allow_nan=False)
