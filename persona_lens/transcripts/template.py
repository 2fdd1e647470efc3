"""``ChatTemplate``: messages as text, ``ChatTemplate(reader).render([{"role": "user", "content": "Hi"}])``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.defaults import DEFAULT_KWARGS, PLAIN_TEMPLATE, with_stopped_clock
from persona_lens.transcripts.tokens import TokenReader
from persona_lens.transcripts.variables import checked_variables


class ChatTemplate:
    """A tokenizer's chat template, or another, with the variables that are in force.

    Args:
        reader: Of the tokenizer, which renders.
        chosen: Jinja source, or the name of one of the tokenizer's templates; by default its own, or
            `PLAIN_TEMPLATE` where it has none.
        variables: Override the defaults.

    Attributes:
        source: Of the template.
        variables: Those that were given.
        hash: 16 hex digits over template, variables and special tokens.
        stands_in: Whether it is `PLAIN_TEMPLATE`, for want of one.

    Raises:
        TranscriptError: The template is unusable, or does not know one of the variables.
    """

    def __init__(
        self,
        reader: TokenReader,
        chosen: str | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> None:
        self._tokenizer = tokenizer = reader.tokenizer
        self._in_force = dict(DEFAULT_KWARGS)
        self.stands_in = chosen is None and not tokenizer.chat_template
        if self.stands_in:
            chosen = PLAIN_TEMPLATE
            if not reader.adds_bos():
                self._in_force["bos_token"] = ""
        try:
            self.source: str = tokenizer.get_chat_template(chosen)
        except ValueError as error:
            raise TranscriptError(
                "the tokenizer has several chat templates and none is the default",
                given=error,
                remedy="pass the name of one as chat_template",
            ) from error
        self.variables = checked_variables(variables or {}, self.source)
        self._in_force |= self.variables
        self._rendered = with_stopped_clock(self.source)
        self.hash = self._hashed()

    def _hashed(self) -> str:
        facts = {
            "template": self._rendered,
            "kwargs": self._in_force,
            "special": self._tokenizer.special_tokens_map,
        }
        source = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.sha256(source.encode()).hexdigest()[:16]

    def render(self, messages: list[dict[str, str]], *, prompt: bool = True) -> str:
        """The messages as text, with the generation prompt behind them or without.

        Raises:
            TranscriptError: The template refuses them.
        """
        try:
            text = self._tokenizer.apply_chat_template(
                [self._as_it_reads(message) for message in messages],
                chat_template=self._rendered,
                add_generation_prompt=prompt,
                tokenize=False,
                **self._in_force,
            )
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise TranscriptError(
                "the chat template refuses these messages",
                expected="an order of roles that the template takes",
                given=f"roles {[message['role'] for message in messages]}: {error}",
                remedy="most templates want user and assistant in turn, the user first",
            ) from error
        assert isinstance(text, str)
        return text

    def _as_it_reads(self, message: dict[str, str]) -> dict[str, str]:
        """The message with its thought under the name that the template looks for."""
        name = self._thought_field
        if name == "reasoning_content" or "reasoning_content" not in message:
            return message
        return {name if key == "reasoning_content" else key: text for key, text in message.items()}

    @cached_property
    def _thought_field(self) -> str:
        for name in ("reasoning_content", "reasoning", "thinking"):
            if re.search(rf"\.{name}\b|['\"]{name}['\"]", self.source):
                return name
        return "reasoning_content"
