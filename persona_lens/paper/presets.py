"""How much of the paper is done: `minutes`, `hours` or `paper`.

    PRESETS["minutes"].replies["steering"]

A preset says what is asked in every stage. Time, disk and money follow from it and from how fast the model answers
(`persona_lens.paper.planning`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from persona_lens.catalog import load_questions
from persona_lens.errors import EvaluationError
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.planning import CollectionPlan
from persona_lens.spelling import did_you_mean


@dataclass(frozen=True)
class Preset:
    """What is asked, stage by stage.

    Attributes:
        name: Its own.
        about: Whom it is for, in a line.
        reference: Layers, width and parameters of the model it is reckoned for where none can be looked at.
        collection: Roles, traits and questions of the run.
        min_count: Replies a label needs for a vector of its own.
        draws: Behind intervals of the sweep and of the comparison.
        every: The sweep measures one layer in so many.
        roles, prompts, questions: Of the susceptibility evaluation.
        strengths: Of the pushes, as fractions of the mean residual norm.
        controls: Random directions beside each push and cap.
        depths, percentiles: Of the caps; the first of each is the recommended one, as the paper's.
        personas: Items of role-play under the caps; all if None, as for the next two.
        rules: House rules, each under a persona and by its twin.
        price: Items of each kind of the price.
        scripts: Conversations of each domain.
        turns: Of each conversation.
        everyday: Kinds of everyday conversations, of eight each.
        completions: Of each prefill at each strength.
        reply, long_reply: Tokens of replies; the longer one for the price.
        harmful: Requests that are asked, of those brought.
        batch: Replies at a time.
        permutations: Behind the null of the forecast.
    """

    name: str
    about: str
    reference: tuple[int, int, float]
    collection: CollectionPlan
    min_count: int = 10
    draws: int = 200
    every: int = 1
    roles: int = 50
    prompts: int = 4
    questions: int = 5
    strengths: tuple[float, ...] = (-0.2, -0.1, 0.1, 0.2)
    controls: int = 2
    depths: tuple[tuple[float, float], ...] = ((0.7, 0.9), (0.5, 0.7))
    percentiles: tuple[float, ...] = (75.0, 50.0)
    personas: int | None = None
    rules: int | None = None
    price: int | None = None
    scripts: int = 20
    turns: int = 10
    everyday: int = 0
    completions: int = 400
    reply: int = 64
    long_reply: int = 256
    harmful: int = 1100
    batch: int = 64
    permutations: int = 50

    @property
    def conditions_steered(self) -> int:
        """Conditions of steering, nothing included."""
        return 1 + len(self.strengths) * (1 + self.controls)

    @property
    def conditions_capped(self) -> int:
        """Conditions of capping, nothing included: each cap has two kinds of control."""
        return 1 + len(self.depths) * len(self.percentiles) * (1 + 2 * self.controls)


_MINUTES = Preset(
    "minutes",
    "the embedded model on two cores: every experiment once, small",
    reference=(30, 576, 1.35e8),
    collection=CollectionPlan(
        questions=load_questions()[:6],
        prompts=2,
        default_samples=4,
        sampling=Sampling(max_new_tokens=32),
    ),
    min_count=4,
    draws=100,
    every=5,
    roles=10,
    prompts=1,
    questions=2,
    strengths=(-0.2, 0.2),
    controls=1,
    percentiles=(75.0,),
    personas=10,
    rules=10,
    price=12,
    scripts=10,
    turns=4,
    completions=12,
    reply=32,
    long_reply=64,
    harmful=20,
    permutations=20,
)

_HOURS = Preset(
    "hours",
    "a model of about 8 billion parameters on one GPU: the core catalogue, whole evaluations",
    reference=(32, 4096, 8.0e9),
    collection=CollectionPlan(
        roles="core",
        traits="core",
        questions=load_questions("full")[:60],
        default_samples=4,
        sampling=Sampling(max_new_tokens=256),
        batch_size=128,
    ),
    strengths=(-0.3, -0.2, -0.1, 0.1, 0.2, 0.3),
    depths=((0.7, 0.9), (0.5, 0.7), (0.2, 0.9)),
    everyday=13,
    completions=100,
    reply=128,
)

_PAPER = Preset(
    "paper",
    "27 to 70 billion parameters, the protocol whole: replies from servers, read by workers",
    reference=(80, 8192, 7.0e10),
    collection=CollectionPlan(
        roles="full",
        traits="full",
        questions="full",
        default_samples=1,
        sampling=Sampling(max_new_tokens=512),
        batch_size=128,
    ),
    strengths=(-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0),
    depths=((0.7, 0.9), (0.5, 0.7), (0.7, 0.8), (0.8, 1.0), (0.2, 0.9)),
    percentiles=(75.0, 50.0, 25.0),
    turns=12,
    everyday=26,
    reply=512,
    long_reply=512,
    permutations=200,
)

PRESETS: Mapping[str, Preset] = {each.name: each for each in (_MINUTES, _HOURS, _PAPER)}
"""By name."""


def preset(name: str | Preset) -> Preset:
    """The preset of that name.

    Raises:
        EvaluationError: There is none.

    Examples:
        >>> preset("minutes").conditions_steered, preset("minutes").conditions_capped
        (5, 7)
    """
    if isinstance(name, Preset):
        return name
    if name not in PRESETS:
        raise EvaluationError(
            "no such preset",
            expected=", ".join(PRESETS),
            given=name,
            remedy=did_you_mean(name, PRESETS),
        )
    return PRESETS[name]
