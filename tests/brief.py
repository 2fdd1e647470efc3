"""Less to compute, for code of pages and notebooks: what is tested is that it runs, not what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.catalog.neutral import Exchange, load_neutral
from persona_lens.runs.engines.worker import Worker

MOST_TOKENS = 4
MOST_CHARACTERS = 40
MOST_REPLIES = 8
MOST_TIMED = 4
MOST_DRAWS = 20
MOST_CONTROLS = 4


def keep_replies_brief(patch: pytest.MonkeyPatch) -> None:
    """Have every model stop after a few tokens, cut the replies and neutral texts that come with us, draw less."""
    whole, known = PersonaModel.generate, PersonaSpace.sample_replies
    timed = Worker.seconds

    def generate(
        model: PersonaModel, prompts: Any, sampling: Sampling | None = None, **options: Any
    ) -> Any:
        asked = sampling or Sampling()
        fewer = min(asked.max_new_tokens, MOST_TOKENS)
        return whole(model, prompts, asked.model_copy(update={"max_new_tokens": fewer}), **options)

    def sample_replies(space: PersonaSpace, **options: bool) -> pd.DataFrame:
        replies = known(space, **options)
        some = replies.groupby(["kind", "label"], sort=False, dropna=False).head(MOST_REPLIES)
        return some.assign(reply=some["reply"].str[:MOST_CHARACTERS])

    def seconds(worker: Worker, asked: Any, settings: Any) -> float:
        return timed(worker, asked[:MOST_TIMED], settings)

    def fewer(method: Callable[..., Any], **most: int) -> Callable[..., Any]:
        def limited(space: PersonaSpace, *given: Any, **options: Any) -> Any:
            few = {name: min(options.get(name, limit), limit) for name, limit in most.items()}
            return method(space, *given, **{**options, **few})

        return limited

    patch.setattr(PersonaSpace, "sweep", fewer(PersonaSpace.sweep, n_draws=MOST_DRAWS))
    patch.setattr(
        PersonaSpace,
        "reconstruct",
        fewer(PersonaSpace.reconstruct, n_draws=MOST_DRAWS, n_random=MOST_CONTROLS),
    )
    patch.setattr(PersonaSpace, "calibrate", fewer(PersonaSpace.calibrate, replies=MOST_REPLIES))
    patch.setattr(Worker, "seconds", seconds)
    patch.setattr(PersonaModel, "generate", generate)
    patch.setattr(PersonaSpace, "sample_replies", sample_replies)
    shorten_neutral_texts(patch)


def shorten_neutral_texts(patch: pytest.MonkeyPatch) -> None:
    """Cut the answers of the neutral exchanges after their first sentence."""
    cut = [
        Exchange(question=each.question, answer=f"{each.answer.split('. ')[0]}.")
        for each in load_neutral()
    ]
    patch.setattr("persona_lens.space.budget.load_neutral", lambda: cut)
