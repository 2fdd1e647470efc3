"""Which marks of thoughts are in force, by table, by tokenizer, by template."""

import jinja2
import pytest

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.marks import KNOWN, Notation, ThoughtMarks
from persona_lens.transcripts.thoughts import Said, heard


@pytest.mark.parametrize(
    ("opens", "closes"),
    [
        ("<hidden_reasoning>", "</hidden_reasoning>"),
        ("<|thinking|>", "<|/thinking|>"),
        ("<|thinking|>", "</|thinking|>"),
        ("<|begin_think|>", "<|end_think|>"),
        ("<|thought_start|>", "<|thought_end|>"),
        ("<THOUGHT_BEGIN>", "<THOUGHT_END>"),
        ("[REASONING]", "[/REASONING]"),
        ("<cot>", "</cot>"),
        ("<scratchpad>", "</scratchpad>"),
    ],
)
def test_tokens_with_telling_names_are_marks(opens, closes):
    pair = ThoughtMarks(opens, closes)
    for notation in (
        Notation.of([opens, closes, "<|im_end|>"], ""),
        Notation.of([], f"{{{{ '{opens}' ~ m.thought ~ '{closes}' }}}}"),
    ):
        assert pair in notation.pairs
        assert heard(f"{opens}Hm.{closes}Boo!", notation) == Said("Boo!", "whole")
    assert heard(f"{opens}Hm.{closes}Boo!") == Said(f"{opens}Hm.{closes}Boo!", "none")


def test_one_mark_alone_is_none():
    assert Notation.of(["<|thinking|>", "<brb>", "</brb>"], "").pairs == KNOWN


def rendered(source: str):
    template = jinja2.Environment().from_string(source)

    def render(messages):
        try:
            return template.render(messages=messages)
        except jinja2.TemplateError as error:
            raise TranscriptError("no") from error

    return render


TALK = "{{% for m in messages %}}[{{{{ m.role }}}}]{}{{{{ m.content }}}}[end]{{% endfor %}}"


@pytest.mark.parametrize(
    ("written", "pair"),
    [
        ("<hmm>{{ m.reasoning_content }}</hmm>", ("<hmm>", "</hmm>")),
        ("<hmm>\n{{ m.reasoning_content }}\n</hmm>\n\n", ("<hmm>", "</hmm>")),
        (
            "<|t|>{{ m.reasoning_content }}<|e|><|b|>assistant<|c|>",
            ("<|t|>", "<|e|><|b|>assistant<|c|>"),
        ),
    ],
)
def test_what_a_template_writes_around_thoughts_is_a_mark(written, pair):
    source = TALK.format("{% if m.reasoning_content %}" + written + "{% endif %}")
    notation = Notation.of([], source, render=rendered(source))
    assert notation.pairs[0] == pair
    assert heard(f"{pair[0]}\nHm.\n{pair[1]}\nBoo!", notation) == Said("Boo!", "whole")


def test_marks_that_begin_as_what_stands_before_an_answer():
    source = (
        "{% for m in messages %}<|b|>{{ m.role }}{% if m.reasoning_content %}<|think|>{{ m.reasoning_content }}"
        "<|e|><|b|>assistant{% endif %}<|content|>{{ m.content }}<|e|>{% endfor %}"
    )
    notation = Notation.of([], source, render=rendered(source))
    assert notation.pairs[0] == ("<|think|>", "<|e|><|b|>assistant<|content|>")
    assert heard("<|think|>Hm", notation) == Said("", "cut")


def test_a_mark_may_close_the_thought_and_open_the_answer():
    apriel = Notation.of([], "Here are my reasoning steps:")
    text = "Hm.\n[BEGIN FINAL RESPONSE]\nBoo!\n[END FINAL RESPONSE]"
    assert heard(text, apriel, opened="Here are my reasoning steps:") == Said("Boo!", "whole")


def test_a_template_without_thoughts_declares_none():
    source = TALK.format("")
    assert Notation.of([], source, render=rendered(source)).pairs == KNOWN
    refusing = rendered("{{ messages[9].content }}")
    assert Notation.of([], "", render=refusing).pairs == KNOWN


def test_marks_in_words_count_only_where_the_template_has_them():
    text = "Here is my thought process: hm. Here is my response: Boo!"
    granite = Notation.of(
        [], "Write 'Here is my thought process:' before and 'Here is my response:' after it."
    )
    assert heard(text, granite) == Said("Boo!", "whole")
    assert heard(text) == Said(text, "none")


@pytest.mark.parametrize(
    ("tail", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", "<think>"),
        ("<|im_start|>assistant\n<think>\nOkay, ", "<think>"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", None),
        ("<|Assistant|></think>", None),
        ("<|im_start|>assistant\n", None),
        (" [/INST] [THINK]", "[THINK]"),
        ("", None),
    ],
)
def test_the_last_mark_of_a_prompt_says_where_a_reply_begins(tail, opened):
    assert Notation().opened_by(tail) == opened
