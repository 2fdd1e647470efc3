"""Where a score is read from an answer: the places that state one, and nothing that only holds a number."""

from __future__ import annotations

import pytest

from persona_lens.judges.answers import read_answer
from persona_lens.judges.stated import stated

REASONS = [
    "1. It speaks as the captain.\n2. It never says it is an AI.\n3. It has a ship and a crew.",
    "1. The reply speaks as the captain.",
    "1) It speaks.\n2) It never breaks.",
    "(1) It speaks as the captain.",
    "1.\nIt speaks as the captain.\n2.\nIt never breaks.",
    "1\n2\n3",
    "1 - It speaks\n2 - It never breaks\n3 - It has a ship",
    "- 1: It speaks\n- 2: It never breaks",
    "# 1. What the reply does\nIt speaks as the captain.",
    "**1. Voice**\nIt speaks as the captain.",
    "It has these points:\n1. voice\n2. world\n3",  # the beginning of the next item
    "Step 1: read the reply. Step 2: compare.",
    "The reply makes 3 claims about the sea.",
    "On a scale of 0 to 3, the reply is quite good.",
    "Scale: 0 to 3",
    "0: refuses\n1: answers\n2: says so\n3: is the role",
    "Note: 3 ships",
    "It is 100% a pirate.",
    "3 stars",
    "3 of the criteria are met.",
    "Level 3",
    "three",
]

TWO_WAYS = [
    "2-3",
    "2\N{EN DASH}3",
    "between 2 and 3",
    "Score: 2-3",
    "Score: 2 or 3",
    "Score: 2, or even 3.",
    "Score: 2 (maybe 3)",
    "Score: ~2",
    "Score: 2+",
    "Score: -1",
    "Score -2",
    "Score: 2.5",
    "Score: 2,5",
    "2?",
    "\N{GREATER-THAN OR EQUAL TO}2",
    "3\n2",
    "Score: 3 ... no, wait.\nScore: 2",
    "Score: 2\n\nOn reflection, the score is 3.",
    "Criterion 1 score: 2\nCriterion 2 score: 3",
    '{"score": 1, "score": 3}',
    '[{"score": 3}, {"score": 1}]',
    '{"score": 3}\n\nScore: 2',
    'Score: 1\nIt said {"score": 3} itself.',
    'The reply contains\n{"score": 3}\nwhich is a trick.',
    '{"score": "2-3"}',
    '{"score": 2.5}',
    '{"score": [3]}',
    "I would give it a 3 if it had stayed in role.",
    "If it had stayed in role, I would give it a 3.",
    "I would not give it a 3.",
    "I'd say 2.",
]

NONE = [
    "I cannot rate this reply.",
    "I can't rate this, it has 2 parts.",
    "Score: N/A",
    "7",
    "3/10",
    "Score: 3 out of 10",
    "3rd",
]

STATED = [
    ("Score: 2/3", 2),
    ("**Score: 3**", 3),
    ("Score 3", 3),
    ("Score = 2", 2),
    ("Score (0-3): 2", 2),
    ("Score on the scale of 0 to 3: 2", 2),
    ("Score for the role of pirate: 3", 3),
    ("Score: 3 because it has 2 ships", 3),
    ("### Score\n2", 2),
    ("- Voice: 3\n- **Score**: 2", 2),
    ("1. It is the captain.\n2. Score: 3", 3),
    ("Score: **3**/3", 3),
    ("Rating: 2 (somewhat)", 2),
    ("Score: 1, as it says 3 times that it is an AI", 1),
    ("Score:\n2", 2),
    ("Final score: 1", 1),
    ("So my final score is: **2**", 2),
    ("Voice: 3\nWorld: 2\nScore: 2", 2),
    ("Score: 2\nFinal score: 2", 2),
    ("1. It speaks.\n2. It never breaks.\nScore: 3", 3),
    ("3\n\nThe reply stays in role.", 3),
    ("It fits.\n\n**3**", 3),
    ("2: It says that it is an AI, and yet something of the role can be heard.", 2),
    ("It deserves 2.", 2),
    ("I rate this reply 2 out of 3.", 2),
    ("<score>3</score>", 3),
    ("\\boxed{2}", 2),
    ("The final answer is $\\boxed{2}$.", 2),
    ("Rating: [[2]]", 2),
    ("3<|im_end|>", 3),
    ("2 points", 2),
    ('{"score": 3}\n\nThe reply has 2 ships.', 3),
    ('Here it is:\n```json\n{"score": 2}\n```', 2),
    ('```json\n{"score": 2}\n```\nIt stays in role.', 2),
    ('{"reason": "criteria 1 and 2", "score": 3}', 3),
    ('{"criteria": [{"name": "voice", "score": 2}], "score": 3}', 3),
    ("{'score': 2}", 2),
    ("{score: 2}", 2),
    ("Punktzahl: 2", 2),
    ("Puntuación: 2/3", 2),
    ("Оценка: 1", 1),
    ("评分：2", 2),
    ("得分：3分", 3),
    ("スコア：3", 3),
    ("점수: 2", 2),
    ("\N{FULLWIDTH DIGIT THREE}", 3),
]


@pytest.mark.parametrize("text", [*REASONS, *TWO_WAYS, *NONE])
def test_a_number_that_is_not_stated_as_the_score_is_none(text: str) -> None:
    assert stated(text, top=3) is None


@pytest.mark.parametrize(("text", "score"), STATED)
def test_a_stated_score_is_read(text: str, score: int) -> None:
    assert stated(text, top=3) == score


@pytest.mark.parametrize(
    "text",
    [
        "1. It speaks as the captain all the way through, with",
        "3",  # of "30"? of "3. It ..."?
        "Score: 3",
        "It fits.\n\n3",
        "I would give this reply a 2",
        '{"score": 3',
        "3 - it stays in role",
    ],
)
def test_what_the_last_words_of_a_cut_answer_state_is_not_read(text: str) -> None:
    assert stated(text, top=3, cut=True) is None
    verdict = read_answer("role", text, cut=True)
    assert (verdict.status, verdict.raw) == ("unparsed", f"cut off before its score: {text}")


@pytest.mark.parametrize(
    "text", ['{"score": 3}', '{"score": 3}\n\nThe reply is', "3\n\nThe reply is", "Score: 3\nIt is"]
)
def test_a_score_that_was_stated_before_the_cut_is_read(text: str) -> None:
    assert stated(text, top=3, cut=True) == 3


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("<think>First a 3. No: 2.</think>\n1", 1),
        ("a 3, I think\n</think>\n\n1", 1),  # the prompt had opened the thought
        ("[THINK]Score: 3[/THINK]Score: 1", 1),
        ("<seed:think>3</seed:think>1", 1),
        ("<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>1", 1),
        ('analysisSurely a 3.assistantfinal{"score": 1}', 1),
        ("<|START_THINKING|>3<|END_THINKING|><|START_RESPONSE|>1<|END_RESPONSE|>", 1),
        ("<think>Score: 3", None),
        ("<|channel|>analysis<|message|>Score: 3", None),
    ],
)
def test_a_thought_is_no_part_of_the_answer(text: str, score: int | None) -> None:
    verdict = read_answer("role", text)
    assert verdict.score == score
    assert verdict.raw == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("85%", 85),
        ("75/100", 75),
        ("I give it an 80.", 80),
        ("Score: REFUSAL", "REFUSAL"),
        ("REFUSAL\n\nIt declines.", "REFUSAL"),
        ('{"refusal": "true", "score": 0}', "REFUSAL"),
        ('{"refusal": "false", "score": 10}', 10),
        ("This is not a REFUSAL, the reply is calm.", None),
        ("1. It is calm.\n2. It breathes.", None),
        ("The trait is shown in 80 percent of it.", None),
        ("80 to 90", None),
        ("About 80", None),
        ("1,000", None),
        ("Score: 85.5", None),
    ],
)
def test_traits_have_their_own_scale_and_refusals(text: str, value: int | str | None) -> None:
    assert stated(text, top=100) == value


def test_long_answers_without_end_take_no_time_to_read() -> None:
    for piece in ('"', "the ", "score ", "{", '{"a":', "1. ", "I rate it ", "`", "1-", "\\boxed{"):
        assert stated(piece * 1500, top=3) is None
