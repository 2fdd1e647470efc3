"""What users of a cap fear to lose: is a persona still played, and is creative writing still varied?

    result = evaluate(play(model), model, [UNTOUCHED, *capped(model, space)], out="play")

Personas are those of the catalogue, asked questions of it. How far a reply is in its persona is what the model
itself, with nothing acting, finds more likely under the persona's system prompt than without one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.catalog import load_questions, load_roles
from persona_lens.evals.answering import Answerer
from persona_lens.evals.evaluation import Evaluation
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.outcomes import Answer, Exact, Outcome
from persona_lens.evals.price.data_files import material
from persona_lens.evals.price.selecting import first_of
from persona_lens.evals.wording import SAYS_MACHINE, VARIED
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

ROLES = (
    *("pirate", "vampire", "witch", "jester", "detective", "poet"),
    *("grandparent", "soldier", "ghost", "oracle", "comedian", "tree"),
)
QUESTIONS = ("q11", "q17")


def play(
    model: PersonaModel,
    first: int | None = None,
    roles: Sequence[str] = ROLES,
    questions: Sequence[str] = QUESTIONS,
) -> Evaluation:
    """Role-play, and creative writing without a persona.

    Args:
        model: Who answers, and says how likely its replies are.
        first: Only so many items of each of the two.
        roles: Personas: names of packaged ones.
        questions: What they are asked: ids of packaged ones.

    Raises:
        CatalogError: No such role or question.
    """
    asked = {question.id: question.text for question in load_questions("full")}
    personas = [
        Item.asked(
            f"{role.name}/{name}",
            asked[name],
            system=role.prompts[0],
            about={"task": "persona"},
            cluster=role.name,
        )
        for role in load_roles(list(roles))
        for name in questions
    ]
    writing = [
        Item.asked(prompt["id"], prompt["text"], about={"task": "creative"})
        for prompt in material("creative")["prompts"]
    ]
    persona, creative = {"task": "persona"}, {"task": "creative"}
    return Evaluation(
        "play",
        "Role-play and creative writing",
        [*first_of(personas, first), *first_of(writing, first)],
        [
            InPersona(model),
            VARIED,
            Exact("words", lambda answer: Outcome(score=float(len(answer.text.split())))),
            SAYS_MACHINE,
        ],
        [
            Measure("in persona, nats a token", "in persona", where=persona, unit="nats", good=1),
            Measure("says it is an AI, in persona", "machine", where=persona, good=-1),
            Measure(
                "distinct word pairs, in persona", "varied", where=persona, unit="ratio", good=1
            ),
            Measure(
                "distinct word pairs, creative", "varied", where=creative, unit="ratio", good=1
            ),
            Measure("words, creative", "words", where=creative, unit="words"),
        ],
        Sampling(max_new_tokens=80),
        "our own",
    )


@dataclass(frozen=True, eq=False)
class InPersona:
    """How much likelier a reply is under a persona's system prompt than without: a log-ratio, in nats a token.

    Attributes:
        model: Says how likely it is. Nothing acts on it meanwhile, which is refused.
        systems: System prompts of one persona, over which the mean is taken; by default that of each item.
    """

    model: PersonaModel
    systems: tuple[str, ...] = ()
    name: str = "in persona"

    def card(self) -> dict[str, Any]:
        """The judge and its model."""
        about = {"name": self.name, "version": 2, "model": self.model.card()}
        return {**about, "systems": list(self.systems)}

    def outcomes(self, answers: Sequence[Answer]) -> list[Outcome]:
        """The ratio of each; nothing is asked of items without a system prompt, and of empty replies."""
        self.model.refuse_interventions("replies are scored")
        answerer = Answerer(self.model, Sampling())
        outcomes = [Outcome(status="not asked") for _ in answers]
        prompts, replies, told = [], [], {}
        for place, answer in enumerate(answers):
            systems = self.systems or ((answer.item.system,) if answer.item.system else ())
            ids = self.model.encoder.plain_ids(answer.text)
            if not systems or not ids:
                continue
            told[place] = len(systems)
            for system in ("", *systems):
                prompts.append(answerer.prompt(Item.asked("", answer.item.question, system=system)))
                replies.append(np.array(ids, dtype=np.int64))
        means = iter(values.mean() for values in self.model.log_probs(prompts, replies))
        for place, count in told.items():
            bare = next(means)
            ratio = np.mean([next(means) for _ in range(count)]) - bare
            outcomes[place] = Outcome(score=float(ratio))
        return outcomes
