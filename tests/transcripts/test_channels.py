"""Replies in channels: only the assistant's final words are the answer."""

import pytest

from persona_lens.transcripts.marks import Notation
from persona_lens.transcripts.thoughts import Said, heard

BEFORE = "<|start|>assistant"
ANALYSIS = "<|channel|>analysis<|message|>They ask who I am."
FINAL = "<|start|>assistant<|channel|>final<|message|>A ghost."
CALL = "<|start|>assistant<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>"
RESULT = "<|start|>functions.look to=assistant<|channel|>commentary<|message|>1<|end|>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{ANALYSIS}<|end|>{FINAL}", Said("A ghost.", "whole")),
        (f"{ANALYSIS}<|end|>{FINAL}<|return|>", Said("A ghost.", "whole")),
        (f"{BEFORE}{ANALYSIS}<|end|>{FINAL}", Said("A ghost.", "whole")),
        ("<|channel|>final<|message|>A ghost.", Said("A ghost.", "none")),
        (ANALYSIS, Said("", "cut")),
        (f"{ANALYSIS}<|end|>", Said("", "whole")),
        (f"{ANALYSIS}<|end|><|start|>assistant<|channel|>fi", Said("", "cut")),
        ("<|channel|>ana", Said("", "cut")),
        (f"{ANALYSIS}<|end|>{CALL}", Said("", "whole")),
        (f"{ANALYSIS}<|end|>{CALL}{RESULT}{FINAL}", Said("A ghost.", "whole")),
        ("<|channel|>commentary<|message|>Let me look.<|end|>" + FINAL, Said("A ghost.", "whole")),
        (f"{ANALYSIS}<|end|>{ANALYSIS[:-1]}<|end|>{FINAL}", Said("A ghost.", "whole")),
        (f"{ANALYSIS}<|end|>{FINAL}<|end|><|start|>user<|message|>Boo?", Said("A ghost.", "cut")),
        ("analysisThey ask who I am.assistantfinalA ghost.", Said("A ghost.", "whole")),
        ("analysisHm.assistantcommentary to=f{}assistantfinalA ghost.", Said("A ghost.", "whole")),
        ("A ghost.", Said("A ghost.", "none")),
    ],
)  # fmt: skip
def test_only_final_words_are_the_answer(text, expected):
    assert heard(text, before=BEFORE) == expected
    assert heard(text) == expected


def test_a_prompt_may_have_begun_the_message():
    assert heard("Hm.", before=f"{BEFORE}{ANALYSIS}") == Said("", "cut")
    assert heard(f"Hm.<|end|>{FINAL}", before=f"{BEFORE}{ANALYSIS}") == Said("A ghost.", "whole")
    assert heard("A ghost.", before=f"{BEFORE}<|channel|>final<|message|>") == Said(
        "A ghost.", "none"
    )
    assert heard("final<|message|>A ghost.", before=f"{BEFORE}<|channel|>") == Said(
        "A ghost.", "none"
    )


def test_words_left_of_dropped_tokens_are_a_cut_thought_only_of_a_writer_in_channels():
    assert heard("analysisThey ask", Notation(channels=True)) == Said("", "cut")
    assert heard("analysisThey ask").thought == "none"
    assert heard("analysis of the sea", Notation(channels=True)).thought == "none"
