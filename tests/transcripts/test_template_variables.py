"""Variables of chat templates: known ones reach the template, unknown ones are refused."""

import pytest

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.variables import checked_variables, template_variables


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}", []),
        ("{% if enable_thinking is defined and enable_thinking %}<think>{% endif %}", ["enable_thinking"]),
        ("{% if not day is defined %}{% set day = 'today' %}{% endif %}{{ day }}", ["day"]),
        ("{% set effort = effort | default('low') %}{{ effort }}", ["effort"]),
        ("{% macro head(m) %}{{ m.role }}{{ budget }}{% endmacro %}{{ head(messages[0]) }}", ["budget"]),
        ("{% for m in messages %}{% if not a %}{% continue %}{% endif %}{{ b }}{% endfor %}", ["a", "b"]),
        ("{% generation %}{{ eos_token }}{% endgeneration %}", ["eos_token"]),
        ("{{ strftime_now('%d') }}{{ raise_exception('no') }}", []),
        ("{% if", None),
    ],
)  # fmt: skip
def test_the_variables_of_a_template(template, names):
    assert template_variables(template) == names


TEMPLATE = (
    "{{ messages[0].content }}{% if enable_thinking %}<think>{% endif %}{{ reasoning_effort }}"
)


def test_known_variables_pass():
    given = {"enable_thinking": False, "reasoning_effort": None}
    assert checked_variables(given, TEMPLATE) == given
    assert checked_variables({"anything": 1}, "{% if") == {"anything": 1}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"thinking": True}, r"(?s)no variable 'thinking'.*enable_thinking, reasoning_effort.*did you mean"),
        ({"xyz": True}, r"(?s)no variable 'xyz'.*no effect"),
        ({"messages": []}, "'messages' is not a variable to be set"),
        ({"tokenize": True}, "'tokenize' is not a variable to be set"),
        ({"reasoning_effort": object()}, r"(?s)'reasoning_effort' is not plain data.*object"),
        ({"reasoning_effort": float("nan")}, "not plain data"),
        ({1: 2}, "not a mapping from names"),
        (["enable_thinking"], "not a mapping from names"),
    ],
)  # fmt: skip
def test_others_are_refused(given, match):
    with pytest.raises(TranscriptError, match=match):
        checked_variables(given, TEMPLATE)


def test_a_template_without_variables_says_so():
    with pytest.raises(TranscriptError, match="this template has no variables"):
        checked_variables({"a": 1}, "{{ messages[0].content }}")
