"""What a template gets where neither the tokenizer nor the caller says anything."""

from __future__ import annotations

from typing import Any

PLAIN_TEMPLATE = """\
{{- bos_token }}
{%- for message in messages if message.role != 'system' or message.content %}
{%- if not loop.first %}{{ '\\n\\n' }}{% endif %}
{%- if message.role != 'system' %}{{ message.role | capitalize }}:{% endif %}
{%- if message.role != 'system' and message.content %}{{ ' ' }}{% endif %}
{{- message.content }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"""
"""For models without a chat template: a plain dialogue, the system text before it.

The generation prompt ends in "Assistant:" without a space, because base models carry the space in
the first token of the reply. BOS is written where the tokenizer itself adds one to plain text.
"""

# Llama 3 and others print the current day; prompts must not change from day to day.
DEFAULT_KWARGS: dict[str, Any] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
_DAY = {"d": "26", "-d": "26", "e": "26", "m": "07", "-m": "7", "b": "Jul", "B": "July"}
_DAY |= {"y": "24", "Y": "2024", "a": "Fri", "A": "Friday", "j": "208", "F": "2024-07-26"}
_DAY |= {"H": "12", "I": "12", "M": "00", "S": "00", "p": "PM"}
# Functions cannot be passed to a template (transformers makes strings of them), but a macro can
# stand before it. Its last newline belongs to the block tag, so the template's own text stays.
_STOPPED_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{code}', '{value}')" for code, value in _DAY.items())
    + " }}{% endmacro %}\n"
)


def with_stopped_clock(template: str) -> str:
    """A template that is always told noon of 26 July 2024 when it asks ``strftime_now``.

    Examples:
        >>> with_stopped_clock("{{ messages }}")
        '{{ messages }}'
        >>> with_stopped_clock("Today is {{ strftime_now('%d %B') }}").splitlines()[-1]
        "Today is {{ strftime_now('%d %B') }}"
    """
    return _STOPPED_CLOCK + template if "strftime_now" in template else template
