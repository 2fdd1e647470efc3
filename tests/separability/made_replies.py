"""Replies whose truth is known: vectors of roles and traits, effects of prompts and questions, and noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from persona_lens.separability import Replies


def made_replies(
    *,
    n_roles: int = 12,
    n_traits: int = 6,
    n_prompts: int = 4,
    n_questions: int = 6,
    d_model: int = 16,
    role_size: tuple[float, ...] = (0.0,),
    trait_gap: tuple[float, ...] = (0.0,),
    prompt_size: float = 0.0,
    question_size: float = 0.0,
    samples: int = 1,
    seed: int = 0,
) -> Replies:
    """Noise of variance 1 in every direction, plus at each layer:

    `role_size` times a random unit vector for each role, `trait_gap` between the two sides of each trait,
    half of it either way, and effects of every system prompt and of every question, shared by all.
    """
    rng = np.random.default_rng(seed)
    keys = [("default", "default", "", p) for p in range(n_prompts)]
    keys += [("role", f"role_{r}", "", p) for r in range(n_roles) for p in range(n_prompts)]
    keys += [
        ("trait", f"trait_{t}", side, p)
        for t in range(n_traits)
        for p in range(n_prompts)
        for side in ("positive", "negative")
    ]
    n_layers = len(role_size)
    directions = {}
    for _, unit, _, _ in keys:
        drawn = rng.normal(size=d_model)
        directions.setdefault(unit, drawn / np.linalg.norm(drawn))
    of_question = rng.normal(size=(n_questions, n_layers, d_model)) * question_size
    rows = []
    for kind, unit, side, prompt in keys:
        sign = {"positive": 0.5, "negative": -0.5}.get(side, 1.0)
        sizes = {"role": role_size, "trait": trait_gap}.get(kind, (0.0,) * n_layers)
        center = np.outer(sizes, directions[unit]) * sign
        center = center + rng.normal(size=(n_layers, d_model)) * prompt_size
        for question in range(n_questions):
            for _ in range(samples):
                value = center + of_question[question] + rng.normal(size=(n_layers, d_model))
                rows.append((value, kind, unit, side, prompt, question))
    values, kind, unit, side, prompt, question = zip(*rows, strict=True)
    return Replies(
        values=np.array(values, dtype=np.float32),
        kind=np.array(kind),
        unit=np.array(unit),
        side=np.array(side),
        prompt=np.array(prompt),
        question=np.array(question),
    )


def chosen(replies: Replies, rows: np.ndarray) -> Replies:
    """Some of the replies."""
    names = ("values", "kind", "unit", "side", "prompt", "question")
    return replace(replies, **{name: getattr(replies, name)[rows] for name in names})


def thinned(replies: Replies, share: float = 0.8, seed: int = 0) -> Replies:
    """Replies missing here and there."""
    return chosen(replies, np.random.default_rng(seed).random(len(replies.kind)) < share)
