"""Variables of a chat template: checked before anything is rendered, so that none is without effect.

A template ignores what it does not know. Whoever asks for `enable_thinking` of a template that knows `thinking`
would get another run than was meant, without a word; so such a name is refused, and the template's own are told.

Examples:
    >>> template_variables("{% if thinking %}<think>{% endif %}{{ messages[0].content }}")
    ['thinking']
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from jinja2 import Environment, TemplateError, meta, nodes

from persona_lens.errors import TranscriptError

_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_OURS = ("messages", "add_generation_prompt")
# Arguments of `apply_chat_template` that would not reach the template.
_ARGUMENTS = (
    *("conversation", "chat_template", "continue_final_message", "tokenize", "padding", "truncation"),
    *("max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
)  # fmt: skip
_FROM_ELSEWHERE = ("raise_exception", "strftime_now", "tojson", "namespace", "range", "dict")


def template_variables(template: str) -> list[str] | None:
    """Names that a template looks up and that may be set, sorted; None if it cannot be parsed."""
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        parsed = environment.parse(_GENERATION.sub("", template))
    except TemplateError:
        return None
    # A variable that the template sets where it is not given counts as one that can be.
    asked = {
        test.node.name
        for test in parsed.find_all(nodes.Test)
        if test.name in ("defined", "undefined") and isinstance(test.node, nodes.Name)
    }
    names = meta.find_undeclared_variables(parsed) | asked
    return sorted(names.difference(_OURS, _FROM_ELSEWHERE))


def checked_variables(given: Mapping[str, Any], template: str) -> dict[str, Any]:
    """The variables, if the template knows each and a card can hold them.

    Raises:
        TranscriptError: Not a mapping from names, a name that the template does not mention or that is not the
            user's to set, or a value that is not plain data.

    Examples:
        >>> checked_variables({"enable_thinking": True}, "{% if enable_thinking %}<think>{% endif %}")
        {'enable_thinking': True}
        >>> checked_variables({"thinking": True}, "{% if enable_thinking %}<think>{% endif %}")
        Traceback (most recent call last):
            ...
        persona_lens.errors.TranscriptError: the chat template has no variable 'thinking'
          expected enable_thinking, given 'thinking'
          did you mean 'enable_thinking'?
    """
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise TranscriptError(
            "template variables are not a mapping from names to values",
            expected='such as {"enable_thinking": True}',
            given=repr(given),
        )
    known = template_variables(template)
    for name, value in given.items():
        if name in _OURS or name in _ARGUMENTS:
            raise TranscriptError(
                f"{name!r} is not a variable to be set",
                expected=_listed(known),
                remedy="leave it out: the encoder sets it for each conversation",
            )
        if known is not None and name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.5)
            raise TranscriptError(
                f"the chat template has no variable {name!r}",
                expected=_listed(known),
                given=repr(name),
                remedy=f"did you mean {close[0]!r}?"
                if close
                else "leave it out: it would have no effect",
            )
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TranscriptError(
                f"the template variable {name!r} is not plain data, which a card could hold",
                expected="text, a number, true, false, null, or lists and mappings of these",
                given=type(value).__name__,
            ) from error
    return dict(given)


def _listed(known: list[str] | None) -> str:
    return ", ".join(known or ()) or "none: this template has no variables"
