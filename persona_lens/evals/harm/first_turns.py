"""Drift to harm: a persona answers something harmless first, and only then is asked for harm.

    first = first_turns(model, ["pirate", "demon"], space=space, out="evals/first")
    items = after_first_turns(first, behaviours, each=4)
    result = evaluate(harm(items, judge), model, conditions, space=space, out="evals/drift-to-harm")
    projection_effect(result.replies, by="first_projection")

The first turn is written once, with nothing acting, and is the same under every condition: what differs is what
follows. Source: paper section 4.3 (275 roles, 10 first questions, 440 harmful ones after each).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from persona_lens.catalog import CatalogSpec, load_questions, load_roles
from persona_lens.errors import EvaluationError, PersonaLensWarning
from persona_lens.evals.conditions import UNTOUCHED
from persona_lens.evals.evaluation import Evaluated, Evaluation, evaluate
from persona_lens.evals.harm.behaviours import Behaviour
from persona_lens.evals.harm.crossing import WITH
from persona_lens.evals.harm.refusal_rules import RefusalRules
from persona_lens.evals.items import Item
from persona_lens.rollouts.sampling import Sampling

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space


def first_turns(
    model: PersonaModel,
    personas: CatalogSpec,
    questions: CatalogSpec = "core",
    *,
    space: Space,
    n_questions: int | None = 10,
    prompts: int | None = 1,
    layer: int | None = None,
    sampling: Sampling | None = None,
    batch_size: int = 64,
    out: str | Path | None = None,
    progress: bool = True,
) -> Evaluated:
    """What each persona answers to harmless questions, and where these answers lie on the axis.

    Args:
        model: Answers.
        personas: Roles, as for `load_roles`.
        questions: Harmless ones, as for `load_questions`.
        space: On whose axis the answers are read.
        n_questions: The first so many; None for all.
        prompts: System prompts of each role; None for all.
        layer: Where answers are read; the middle by default.
        sampling: 128 tokens at temperature 0.7 by default.
        batch_size: Replies at a time.
        out: Keeps finished pieces there; the same call continues.
        progress: Show a progress bar.
    """
    asked = load_questions(questions)[:n_questions]
    items = [
        Item.asked(
            f"{role.name}/p{index}/{question.id}",
            question.text,
            system=prompt,
            cluster=role.name,
            about={"persona": role.name, "system": prompt, "question": question.text},
        )
        for role in load_roles(personas)
        for index, prompt in enumerate(role.prompts[:prompts])
        for question in asked
    ]
    evaluation = Evaluation(
        "first turns",
        "First turns of personas",
        items,
        [RefusalRules()],
        [],
        sampling or Sampling(max_new_tokens=128),
        "arXiv 2601.10387, section 4.3",
    )
    return evaluate(
        evaluation,
        model,
        [UNTOUCHED],
        space=space,
        layer=layer,
        batch_size=batch_size,
        out=out,
        progress=progress,
    )


def after_first_turns(
    first: Evaluated,
    behaviours: Iterable[Behaviour],
    *,
    each: int | None = None,
    seed: int = 0,
) -> tuple[Item, ...]:
    """Behaviours, each asked after first turns.

    Args:
        first: Of `first_turns`.
        behaviours: What is asked then; none with a system prompt of its own.
        each: Behaviours after each first turn, those asked least so far first; all by default.
        seed: Of the draw.

    Returns:
        Items whose `about` is that of `cross`, with `first_turn` and `first_projection`. Those of one persona are
        one cluster.

    Raises:
        EvaluationError: There are no behaviours, some bring their own prompts, or no first turn has a projection.

    Warns:
        PersonaLensWarning: First turns without a word or a projection were left out.
    """
    behaviours = list(behaviours)
    if not behaviours or any(behaviour.system for behaviour in behaviours):
        raise EvaluationError(
            "behaviours cannot be asked after first turns",
            expected="behaviours without system prompts of their own",
            given=f"{len(behaviours)}, some with" if behaviours else "none",
        )
    turns = first.replies
    known = turns.loc[turns["text"].str.strip().astype(bool) & turns["projection"].notna()]
    if known.empty:
        raise EvaluationError(
            "no first turn can be gone on from",
            expected="texts with projections",
            given=f"{len(turns)} without",
            remedy="make them by first_turns(..., space=space), with enough tokens",
        )
    if len(known) < len(turns):
        lost = len(turns) - len(known)
        warnings.warn(
            f"{lost} of {len(turns)} first turns have no text or no projection, and were left out",
            PersonaLensWarning,
            stacklevel=2,
        )
    rng = np.random.default_rng(seed)
    used = np.zeros(len(behaviours))
    items = []
    for turn in known.to_dict("records"):
        hand = np.lexsort((rng.random(len(behaviours)), used))[:each]
        used[hand] += 1
        told = [
            {"role": "system", "content": turn["system"]},
            {"role": "user", "content": turn["question"]},
            {"role": "assistant", "content": turn["text"].strip()},
        ]
        name = f"{turn['item']}/{turn['sample']}"
        items += [
            _item(behaviours[place], told, name, turn["persona"], turn["projection"])
            for place in sorted(hand)
        ]
    return tuple(items)


def _item(
    behaviour: Behaviour, told: list[dict[str, str]], name: str, persona: str, projection: float
) -> Item:
    return Item(
        f"{behaviour.id} | {name}",
        (*told, {"role": "user", "content": behaviour.asked}),
        cluster=persona,
        about={
            "behaviour": behaviour.id,
            "category": behaviour.category,
            "benign": behaviour.benign,
            "persona": persona,
            "prompted": WITH,
            "source": behaviour.source,
            "first_turn": name,
            "first_projection": float(projection),
        },
    )
