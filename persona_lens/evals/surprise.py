"""How surprising a model finds what was written, with nothing acting on it: where a push has broken its language.

    Evaluation(..., judges=[..., Surprise(model)], measures=[..., Measure("surprise", "surprise", unit="nats")])

Labels of text that has fallen apart say nothing. Surprise is the mean negative log-probability of a token of the
reply; what the model itself writes at temperature 1 has that of its entropy, and gibberish several nats more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.evals.answering import Answerer
from persona_lens.evals.outcomes import Answer, Outcome
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


class Surprise:
    """Nats a token of the reply's text, as a judge of any evaluation.

    The text is tokenised anew, since judges see text. An empty reply has no surprise (`not asked`).

    Args:
        model: Which reads, best the one that wrote.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> from persona_lens.evals.items import Item
        >>> item = Item("job", prefill="My job is to")
        >>> judge = Surprise(PersonaModel.load("smollm2-135m-instruct"))
        >>> plain, torn = judge.outcomes([Answer(item, " help people."), Answer(item, " gap gap SEM dik gap.")])
        >>> plain.score < torn.score
        True
    """

    name = "surprise"

    def __init__(self, model: PersonaModel) -> None:
        self._model = model
        self._asker = Answerer(model, Sampling())

    def card(self) -> dict[str, Any]:
        """The model."""
        return {"name": self.name, "version": 1, "model": self._model.card()}

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """Mean negative log-probability of each."""
        tokenizer = self._model.tokenizer
        ids = [
            np.asarray(
                tokenizer(answer.text, add_special_tokens=False)["input_ids"], dtype=np.int64
            )
            for answer in answers
        ]
        asked = [place for place, tokens in enumerate(ids) if len(tokens)]
        outcomes = [Outcome(status="not asked", raw="empty")] * len(answers)
        if not asked:
            return outcomes
        prompts = {answers[place].item.id: answers[place].item for place in asked}
        encoded = {name: self._asker.prompt(item) for name, item in prompts.items()}
        scored = self._model.log_probs(
            [encoded[answers[place].item.id] for place in asked], [ids[place] for place in asked]
        )
        for place, values in zip(asked, scored, strict=True):
            outcomes[place] = Outcome(score=-float(np.mean(values)))
        return outcomes
