"""Tasks of lm-eval under conditions: equal to the same items asked directly, paired, resumed, refused."""

from __future__ import annotations

import warnings

import datasets
import lm_eval
import numpy as np
import pandas as pd
import pytest
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import EvaluationError
from persona_lens.evals.conditions import UNTOUCHED, Condition
from persona_lens.evals.evaluation import Evaluated, evaluate
from persona_lens.evals.price import arithmetic, formats, instructions
from persona_lens.harnesses.lm_eval import PersonaLM
from persona_lens.harnesses.loaded_tasks import load_tasks
from persona_lens.harnesses.own_tasks import OWN, TASKS, metric_name
from persona_lens.harnesses.task_runs import run_tasks
from persona_lens.interventions import Direction, Floor, Plan

TOKENS = 6


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module")
def conditions(model) -> list[Condition]:
    up = Direction("up", (1,), np.eye(1, model.d_model, 3))
    floors = [Plan.of(Floor(each, thresholds=2.5)) for each in (up, up.random(1))]
    return [
        Condition("cap", floors[0], "plan", 75, "floor up"),
        Condition("other", floors[1], "control", 75, "random 1", "floor up"),
    ]


def numbers(**_) -> dict[str, datasets.Dataset]:
    rows = [{"ask": f"{n} and 1 make", "right": n % 2, "text": "rain " * (n + 1)} for n in range(6)]
    return {"test": datasets.Dataset.from_list(rows)}


CHOICE = {
    "task": "choice",
    "custom_dataset": numbers,
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{ask}}",
    "doc_to_choice": [" a", " bc"],
    "doc_to_target": "{{right}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
ROLLING = {
    "task": "rolling",
    "custom_dataset": numbers,
    "test_split": "test",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "word_perplexity"}],
}


def odd(doc, results) -> dict:
    return {"length": len(results[0]), "pair": (1, 2, 3)}


ODD = {
    "task": "odd",
    "custom_dataset": numbers,
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{ask}}",
    "doc_to_target": "{{right}}",
    "process_results": odd,
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("length", "pair")
    ],
}


def test_our_tasks_say_what_our_evaluations_say(model, conditions):
    result = run_tasks(
        model,
        list(OWN),
        conditions,
        limit=3,
        batch_size=2,
        generation={"max_gen_toks": TOKENS},
        progress=False,
    )
    for name, ask in zip(OWN, (instructions, arithmetic, formats), strict=True):
        evaluation = ask()
        direct = evaluate(
            ask(3),
            model,
            [UNTOUCHED, *conditions],
            sampling=Sampling(temperature=0, max_new_tokens=TOKENS),
            progress=False,
        )
        wanted = direct.replies.drop_duplicates(["item", "condition"])
        wanted = wanted.set_index(["item", "condition"])["text"].str.strip()
        theirs = result.replies.loc[result.replies["task"] == name]
        theirs = theirs.drop_duplicates(["item", "condition"]).assign(
            item=theirs["item"].str.replace(f"{name}/", evaluation.items[0].id[:-1], regex=False)
        )
        found = theirs.set_index(["item", "condition"])["text"].str.strip()
        pd.testing.assert_series_equal(found[wanted.index], wanted)
        values = result.measures.set_index(["measure", "condition"])["value"]
        for row in direct.measures.to_dict("records"):
            key = f"{name}/{metric_name(row['measure'])}", row["condition"]
            assert values[key] == pytest.approx(row["value"])
    changed = [result.card["receipts"][name]["changed"] for name in ("as it is", "cap")]
    assert changed[0] == 0 < changed[1]
    told = {key: result.card[key] for key in ("default_system", "injected_text", "cut", "left_out")}
    assert told == {"default_system": False, "injected_text": "", "cut": 0, "left_out": []}
    assert (result.replies["condition"] == "floor up at strength 0").any()


def test_without_a_plan_values_are_those_of_lm_eval(model, conditions):
    result = run_tasks(model, [CHOICE, ROLLING], conditions, chat=False, piece=4, progress=False)
    own = lm_eval.simple_evaluate(
        HFLM(pretrained=model.held.backend.module, tokenizer=tiny_tokenizer(), batch_size=1),
        tasks=[CHOICE, ROLLING],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    replies = result.replies.loc[result.replies["condition"] == "as it is"]
    for task, metric in [("choice", "acc"), ("rolling", "word_perplexity")]:
        mine = replies.loc[replies["judge"] == f"{task}/{metric}", "score"].to_numpy()
        theirs = [example[metric] for example in own["samples"][task]]
        if task == "rolling":
            theirs = [-value / words for value, words in theirs]
        np.testing.assert_allclose(mine, theirs, rtol=1e-4)
    rows = result.measures.set_index(["measure", "condition"])
    assert rows.loc[("rolling/word_perplexity", "cap"), "unit"] == "nats a word"
    assert abs(rows.loc[("rolling/word_perplexity", "cap"), "change"]) > 1e-3
    off = rows.xs("floor up at strength 0", level="condition")
    assert (off["change"] == 0).all()
    assert (off["p"] == 1).all()


def test_a_killed_run_continues_and_asks_nothing_twice(model, conditions, tmp_path, monkeypatch):
    asked, real = [], PersonaLM.generate_until

    def killed(lm, requests, disable_tqdm=False):
        asked.append(len(requests))
        if len(asked) == 6:
            raise KeyboardInterrupt
        return real(lm, requests, disable_tqdm)

    monkeypatch.setattr(PersonaLM, "generate_until", killed)
    run = {"chat": False, "piece": 2, "out": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        run_tasks(model, [ODD], conditions, **run)
    result = run_tasks(model, [ODD], conditions, **run)
    assert len(asked) == 4 * 3 + 1  # four conditions, three pieces, one of them asked again
    assert len(result.replies) == 4 * 6
    assert result.card["left_out"] == ["odd/pair"]
    kept = Evaluated.load(tmp_path)
    pd.testing.assert_frame_equal(kept.measures, result.measures)


def test_examples_are_the_same_under_all_conditions(model, conditions, monkeypatch):
    prompts, real = [], PersonaLM.loglikelihood

    def noted(lm, requests, disable_tqdm=False):
        prompts.append([request.args for request in requests])
        return real(lm, requests, disable_tqdm)

    monkeypatch.setattr(PersonaLM, "loglikelihood", noted)
    task = {**CHOICE, "fewshot_split": "test"}
    run_tasks(model, [task], conditions, few_shot=2, limit=4, piece=2, progress=False)
    assert len(prompts) == 8
    assert prompts[:2] == prompts[2:4] == prompts[4:6] == prompts[6:]
    assert prompts[0][0][0].count("<|im_start|>user") == 3


def test_a_model_that_does_not_repeat_itself_is_told(model, conditions, monkeypatch):
    calls, real = [], PersonaLM.loglikelihood_rolling

    def drifting(lm, requests, disable_tqdm=False):
        calls.append(1)
        return [value + 0.01 * len(calls) for value in real(lm, requests, disable_tqdm)]

    monkeypatch.setattr(PersonaLM, "loglikelihood_rolling", drifting)
    with pytest.warns(RuntimeWarning, match="depend on more than the plan"):
        run_tasks(model, [ROLLING], conditions, chat=False, progress=False)


def test_nothing_is_said_where_nothing_is_wrong(model, conditions):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_tasks(model, [ROLLING], conditions, chat=False, limit=2, progress=False)


def test_task_files_tell_the_metrics_of_our_evaluations():
    tasks = TaskManager(include_path=str(TASKS), include_defaults=False).load(list(OWN))["tasks"]
    for name, ask in OWN.items():
        told = tasks[name].higher_is_better()
        assert told == {metric_name(each.name): each.good > 0 for each in ask().measures}
        longest = tasks[name].config.generation_kwargs["max_gen_toks"]
        assert longest == ask().sampling.max_new_tokens


@pytest.mark.parametrize(
    ("tasks", "given", "said"),
    [
        ([CHOICE], slice(0, 1), "has no control"),
        ([], slice(None), "no task"),
    ],
)
def test_what_cannot_be_compared_is_refused(model, conditions, tasks, given, said):
    with pytest.raises(EvaluationError, match=said):
        run_tasks(model, tasks, conditions[given], progress=False)


def test_names_that_nobody_knows_are_refused_with_what_was_meant(monkeypatch):
    def few(include_path, include_defaults):
        return TaskManager(include_path=include_path, include_defaults=False)

    monkeypatch.setattr("lm_eval.tasks.TaskManager", few)  # lm-eval's own take long to look through
    with pytest.raises(EvaluationError, match="mean persona_lens_instructions"):
        load_tasks(["persona_lens_instruction"])


def test_metrics_that_are_no_numbers_of_items_are_refused_alone(model, conditions):
    task = {**ODD, "process_results": lambda doc, results: {"pair": (1, 2, 3)}}
    task["metric_list"] = task["metric_list"][1:]
    with pytest.raises(EvaluationError, match="odd/pair"):
        run_tasks(model, [task], conditions, limit=1, progress=False)
