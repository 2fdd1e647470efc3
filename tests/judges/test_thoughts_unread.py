"""No judge reads a thought, and none takes one that was cut for an answer."""

import numpy as np
import pytest
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.judges import Case, LikelihoodJudge, RuleJudge
from persona_lens.judges.answers import settled
from persona_lens.judges.prompts import judge_messages
from persona_lens.rollouts import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.transcripts.thoughts import Said

ANSWER = "Arr, I am a pirate, and Captain Wren be my name!"
THOUGHT = "As an AI language model I own no ship, but they want a pirate."
SHARD = Shard(
    kind="role",
    name="pirate",
    prompt_index=0,
    system="You are a pirate.",
    requests=(Request(question_id="q01", question="Who are you?"),),
)
THINKING = [
    f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}",
    f"{THOUGHT}\n</think>\n\n{ANSWER}",
    f"[THINK]{THOUGHT}[/THINK]{ANSWER}",
    f"<seed:think>{THOUGHT}</seed:think>{ANSWER}",
    f"<|START_THINKING|>{THOUGHT}<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
    f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
    f"analysis{THOUGHT}assistantfinal{ANSWER}",
]


def case(text: str, **fields) -> Case:
    reply = Reply(ids=np.array([], dtype=int), text=text, **fields)
    return Case(SHARD, 0, reply, {"description": "An outlaw at sea."})


@pytest.mark.parametrize("text", THINKING)
def test_rules_and_prompts_see_the_answer_alone(text):
    [(_, verdict)] = RuleJudge().verdicts([case(text)])
    assert verdict.label == "fully"
    shown = judge_messages(case(text))[-1]["content"]
    assert ANSWER in shown
    assert THOUGHT not in shown
    assert shown == judge_messages(case(ANSWER))[-1]["content"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"<think>{THOUGHT}", None),
        (THOUGHT, Said("", "cut")),
        (f"<|channel|>analysis<|message|>{THOUGHT}", None),
    ],
)
def test_a_thought_that_was_cut_gets_no_label(text, said):
    verdict = settled(case(text, said=said, finish="length"))
    assert verdict is not None
    assert (verdict.status, verdict.label) == ("failed", None)
    assert "within its thought" in verdict.raw


def test_a_thought_without_an_answer_is_an_empty_reply_if_the_model_ended_it():
    text = f"<think>{THOUGHT}</think>"
    assert settled(case(text)).label == "not"
    assert settled(case(text, finish="length")).status == "failed"


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())


def test_likelihoods_are_of_the_answer_behind_an_empty_thought(model):
    tokenizer, encoder = model.tokenizer, model.encoder

    def ids(text: str) -> np.ndarray:
        return np.array(tokenizer(text, add_special_tokens=False)["input_ids"])

    def score(text: str) -> float:
        said = encoder.said(encoder.prompt(encoder.messages("?")), ids(text))
        noted = np.zeros(len(ids(text)))  # of the whole reply, thought included: not to be used
        reply = Reply(ids=ids(text), text=text, said=said, log_probs=noted)
        judge = LikelihoodJudge(model, max_tokens=5)
        (found,) = judge._ratios([Case(SHARD, 0, reply)], own_known=True)
        return found

    def by_hand(lead: str) -> float:
        both = [
            model.log_probs(
                [encoder.prompt(encoder.messages("Who are you?", system=system))],
                [[*ids(lead), *ids("Arr, m")]],
            )[0][len(ids(lead)) :][:5]
            for system in ("You are a pirate.", "")
        ]
        return float((both[0].astype(np.float64) - both[1]).mean())

    assert score("<think>\nAs an AI\n</think>\n\nArr, mate") == pytest.approx(
        by_hand("<think>\n\n</think>\n\n"), abs=1e-5
    )
    assert score("<think>Other words</think>Arr, mate") == pytest.approx(
        by_hand("<think></think>"), abs=1e-5
    )


def test_a_cut_thought_has_no_likelihood(model):
    encoder, text = model.encoder, "<think>They ask"
    ids = np.array(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    said = encoder.said(encoder.prompt(encoder.messages("?")), ids)
    reply = Reply(ids=ids, text=text, said=said, finish="length")
    assert LikelihoodJudge(model)._ratios([Case(SHARD, 0, reply)], own_known=True) == [None]
