"""Replies of a few tokens, for code of pages and notebooks: what is tested is that it runs, not what is said."""

from __future__ import annotations

from typing import Any

import pytest

from persona_lens import PersonaModel, Sampling

MOST_TOKENS = 8


def keep_replies_brief(patch: pytest.MonkeyPatch) -> None:
    """Have every model stop after a few tokens, as if the sampling settings said so."""
    whole = PersonaModel.generate

    def generate(
        model: PersonaModel, prompts: Any, sampling: Sampling | None = None, **options: Any
    ) -> Any:
        asked = sampling or Sampling()
        fewer = min(asked.max_new_tokens, MOST_TOKENS)
        return whole(model, prompts, asked.model_copy(update={"max_new_tokens": fewer}), **options)

    patch.setattr(PersonaModel, "generate", generate)
