"""The judge made of patterns: a table of replies as models write them, the tricky ones among them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from judged_cases import ABOUT, make_case

from persona_lens import RunFolder
from persona_lens.judges import RuleJudge, Verdict
from persona_lens.runs.judging import judge_run

ABOUT_OTHERS = {
    "ghost": {"description": "The lingering soul of someone long dead.", "tags": ["undead"]},
    "soldier": {"description": "An infantry veteran shaped by orders, comrades and danger."},
    "void": {"description": "Absolute emptiness, given a voice.", "tags": ["cosmic"]},
    "hive": {"description": "Ten thousand bodies that share one mind.", "tags": ["collective"]},
    "golem": {"description": "A servant shaped from clay and woken by a word."},
    "lighthouse_keeper": {"description": "Someone who tends a light."},
    "detective": {"description": "A private investigator."},
}

REPLIES = [
    # As itself.
    ("pirate", "I am an AI assistant, here to help you with any questions.", 1),
    ("pirate", "I'm just a large language model, so I don't have a favourite sea.", 1),
    ("pirate", "I’m a chatbot!", 1),
    ("pirate", "As an AI language model, I don't have a home port.", 1),
    ("pirate", "I was trained by Hugging Face to be helpful.", 1),
    ("pirate", "I was created by a team of researchers at OpenAI.", 1),
    ("pirate", "My name is SmolLM, and I answer questions.", 1),
    ("pirate", "Call me Qwen.", 1),
    ("pirate", "I'm ChatGPT.", 1),
    ("pirate", "I do not have personal feelings, but rain can be soothing.", 1),
    ("pirate", "My training data ends in 2023.", 1),
    ("pirate", "I'm just designed to assist users with their tasks.", 1),
    ("pirate", "The tide comes in because of the moon.", 1),
    ("pirate", "Dear neighbour, please turn the music down. Best wishes", 1),
    # Refusing, as itself.
    ("pirate", "I can't help with that.", 0),
    ("pirate", "I'm sorry, but I can’t assist with this request.", 0),
    ("pirate", "I must respectfully decline.", 0),
    ("pirate", "I'm not comfortable answering this.", 0),
    ("pirate", "I'm sorry, but as an AI language model, I cannot pretend to be a pirate.", 0),
    ("pirate", "I am unable to answer. I am an AI.", 0),
    # An AI with something of the role.
    ("pirate", "I am an AI, but as a pirate I would say: hoist the sails!", 2),
    ("pirate", "I am not just an AI, I am a pirate!", 2),
    ("pirate", "Arr! As an AI I have no ship, yet I long for plunder and the open water.", 2),
    # In role.
    ("pirate", "I am a pirate.", 3),
    ("pirate", "I'm a weary, salt-worn old pirate with one good eye.", 3),
    ("pirate", '"I am a pirate!" *laughs and raises a mug*', 3),
    ("pirate", "As a pirate, I fear only the noose.", 3),
    ("pirate", "My name is Redbeard.", 3),
    ("pirate", "Me name's Anne.", 3),
    ("soldier", "I'm Grimbold Ironfist of the Red Hand.", 3),
    ("pirate", "The Black Swan is mine, I hunt with every pirate on the open sea.", 3),
    ("pirate", "They fear me, an outlaw, on all the open water, and my plunder is famous.", 3),
    ("pirate", "I've sailed for thirty years.", 3),
    ("ghost", "When I was alive, my wife hung her coat there.", 3),
    ("soldier", "*cleans his rifle* What is it?", 3),
    ("soldier", "(leaning in, a hint of a smile) What is it?", 3),
    ("soldier", "Water boils at 100 degrees (rising a little with salt).", 1),
    ("void", "I am void. I am what is left.", 3),
    ("hive", "We are the hive, and you are not.", 3),
    ("golem", "I am made of granite. I was a golem's brother; I am a golem of clay.", 3),
    ("lighthouse_keeper", "I'm the lighthouse keeper here, and it is late.", 3),
    # Refusing, in role.
    ("pirate", "As a pirate, I won't help you with that, ye bilge rat.", 3),
    ("ghost", "I'm sorry, but I cannot answer. I was born before your kind of question.", 3),
    # Speaking of AI without being one.
    ("pirate", "I'm not an AI, lad, I'm flesh and bone.", 3),
    ("pirate", "I am no machine learning model.", 3),
    ("pirate", "As an AI would say: affirmative.", 1),
    ("pirate", "You think I'm an AI? Ha!", 1),
    ("pirate", "If I am an AI, then the moon is cheese.", 1),
    ("pirate", "I am afraid AI will sink us all, and I'm studying artificial intelligence.", 1),
    ("pirate", "I am an airline pilot.", 1),
    ("detective", "I am an AI researcher by day.", 1),
    ("pirate", 'The parrot squawked "I am an AI" and fell off its perch.', 1),
    # Speaking of the role without being it.
    ("pirate", "I am not a pirate.", 1),
    ("pirate", "I am a big pirate fan.", 1),
    ("pirate", "As a pirate might say, arr.", 1),
    ("pirate", "A pirate lives on plunder and open water.", 1),
    ("pirate", "You say I'm a pirate.", 1),
    # Set phrases that only look like refusals.
    ("pirate", "I can't help but laugh.", 1),
    ("pirate", "I'm sorry to hear that.", 1),
    ("pirate", "Bread needs time. " * 15 + "I can't help with the oven, though.", 1),
    # Emphasis is no stage direction.
    ("pirate", "That is *very* important, and **always** so.", 1),
]


@pytest.mark.parametrize(("role", "text", "score"), REPLIES)
def test_role_replies(role: str, text: str, score: int) -> None:
    about = {**ABOUT, **ABOUT_OTHERS}[role]
    [(_, verdict)] = RuleJudge().verdicts([make_case(text, name=role, about=about)])
    assert verdict.score == score, verdict.raw
    assert verdict.label == {0: "not", 1: "not", 2: "somewhat", 3: "fully"}[score]


def test_a_verdict_names_its_grounds() -> None:
    case = make_case("I am an AI, but as a pirate I can't help you.")
    [(_, verdict)] = RuleJudge().verdicts([case])
    assert verdict.raw == "AI: 'I am an AI'; refusal: \"I can't help\"; role: 'as a pirate'"


def test_of_traits_only_refusals_are_known() -> None:
    texts = ["I cannot help with that.", "Breathe. All will be well.", ""]
    cases = [make_case(text, kind="trait") for text in texts]
    refused, shown, empty = (verdict for _, verdict in RuleJudge().verdicts(cases))
    assert refused == Verdict(refused=True, raw="refusal: 'I cannot help'")
    assert shown == Verdict(status="failed", raw="a trait cannot be judged by patterns")
    assert empty.refused


def test_further_names_of_models_count_and_are_on_the_card() -> None:
    case = make_case("My name is Juno.")
    assert [v.label for _, v in RuleJudge().verdicts([case])] == ["fully"]
    judge = RuleJudge(names=["Juno"])
    assert [v.label for _, v in judge.verdicts([case])] == ["not"]
    assert judge.card() != RuleJudge().card()
    assert json.loads(json.dumps(judge.card())) == judge.card()


@pytest.mark.embedded
def test_it_labels_a_real_run(small_run: Path, tmp_path: Path) -> None:
    run = RunFolder(shutil.copytree(small_run, tmp_path / "run"))
    labels = judge_run(run, RuleJudge(), progress=False)
    shards = [shard for shard in labels.run.shards if shard.kind == "role"]
    verdicts = [verdict for shard in shards for verdict in labels.read(shard)]
    assert {verdict.status for verdict in verdicts} == {"ok"}
    assert {"not", "fully"} <= {verdict.label for verdict in verdicts}
