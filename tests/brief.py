"""Replies of a few tokens, for code of pages and notebooks: what is tested is that it runs, not what is said."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from persona_lens import PersonaModel, PersonaSpace, Sampling

MOST_TOKENS = 8
MOST_CHARACTERS = 40


def keep_replies_brief(patch: pytest.MonkeyPatch) -> None:
    """Have every model stop after a few tokens, and cut the replies that come with a space."""
    whole = PersonaModel.generate

    def generate(
        model: PersonaModel, prompts: Any, sampling: Sampling | None = None, **options: Any
    ) -> Any:
        asked = sampling or Sampling()
        fewer = min(asked.max_new_tokens, MOST_TOKENS)
        return whole(model, prompts, asked.model_copy(update={"max_new_tokens": fewer}), **options)

    def sample_replies(space: PersonaSpace) -> pd.DataFrame:
        replies = known(space)
        return replies.assign(reply=replies["reply"].str[:MOST_CHARACTERS])

    known = PersonaSpace.sample_replies
    patch.setattr(PersonaModel, "generate", generate)
    patch.setattr(PersonaSpace, "sample_replies", sample_replies)
