"""Texts of a catalogue that are the same, share their words or mean the same.

Examples:
    >>> from persona_lens.catalog import load_questions
    >>> from persona_lens.catalog.texts import catalog_texts
    >>> questions = load_questions(["q02", "So why does the tide come in and go out?"])
    >>> faults, measures = find_doubles(catalog_texts(questions=questions))
    >>> faults[0].where, faults[0].problem
    ('question q02, text and question question_1bb52475, text', 'share their words (1.00)')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from jaxtyping import Float

from persona_lens.catalog.report import Check, Fault, Measure
from persona_lens.catalog.similarity import Bounds, Found, search_vectors, search_words, words
from persona_lens.catalog.texts import Family, Text

Embedder = Callable[[list[str]], Float[np.ndarray, "text d"]]
"""Unit vectors of texts, such as `persona_lens.model.text_embedding.TokenEmbedder`."""

_FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True)
class Limits:
    """From which likeness on two texts are too alike, by family of texts.

    Attributes:
        words: Share of runs of three words.
        meaning: Cosine.
    """

    words: Mapping[Family, Bounds]
    meaning: Mapping[Family, Bounds]


# The nearest pairs of the packaged catalogue were read from the top down and one of each two that
# asked or said the same thing was rewritten; a limit stands where the pairs that were left had no
# more in common than their subject. The prompts of one entry share its subject, and share more than
# that only if they share a framing.
_WORDS: Mapping[Family, Bounds] = {
    "prompt": (0.5, 0.35),
    "question": (0.6, 0.6),
    "description": (0.5, 0.5),
    "rubric": (0.5, 0.5),
    "rule": (0.4, 0.4),
    "neutral": (0.6, 0.6),
}
TOKEN_LIMITS = Limits(
    words=_WORDS,
    meaning={
        "prompt": (0.75, 0.58),
        "question": (0.75, 0.75),
        "description": (0.75, 0.75),
        "rubric": (0.65, 0.65),
        "rule": (0.75, 0.75),
        "neutral": (0.75, 0.75),
    },
)
"""For the cosines of `persona_lens.model.text_embedding.TokenEmbedder`."""
SENTENCE_LIMITS = Limits(
    words=_WORDS,
    meaning={
        "prompt": (0.82, 0.82),
        "question": (0.85, 0.85),
        "description": (0.85, 0.85),
        "rubric": (0.82, 0.82),
        "rule": (0.9, 0.9),  # those of one kind demand the same
        "neutral": (0.9, 0.9),
    },
)
"""For the cosines of all-MiniLM-L6-v2 and of models like it."""


def find_doubles(
    texts: Sequence[Text], embedder: Embedder | None = None, limits: Limits = TOKEN_LIMITS
) -> tuple[list[Fault], list[Measure]]:
    """Compare every two texts that do the same work.

    The two sides of a trait's pair are alike on purpose, and are not compared.

    Args:
        texts: Texts.
        embedder: Makes unit vectors of texts; without one, they are compared by their words alone.
        limits: What is too alike, which depends on the embedder.

    Returns:
        The faults, each two texts in one fault at most, and how near the nearest texts are.
    """
    faults: dict[tuple[int, int], Fault] = {}
    for first, second in _same(texts):
        faults[first, second] = _fault("exact", texts[first], texts[second])
    measures: list[Measure] = []
    vectors = None if embedder is None else embedder([text.text for text in texts])
    for family in _FAMILIES:
        chosen = np.array([i for i, text in enumerate(texts) if text.family == family], int)
        if not len(chosen):
            continue
        members = [texts[index] for index in chosen]
        for check, bounds, found in _searches(family, members, chosen, vectors, limits):
            measures.append(_measure(family, check, members, found, bounds))
            for pair in found.pairs:
                key = int(chosen[pair.first]), int(chosen[pair.second])
                one, other = members[pair.first], members[pair.second]
                faults.setdefault(key, _fault(check, one, other, pair.score))
    return list(faults.values()), measures


def _same(texts: Sequence[Text]) -> Iterator[tuple[int, int]]:
    """Each text that has the same words as one before it, and that one."""
    seen: dict[tuple[str, ...], int] = {}
    for index, text in enumerate(texts):
        spoken = tuple(words(text.text))
        if spoken and (first := seen.setdefault(spoken, index)) != index:
            yield first, index


def _searches(
    family: Family,
    members: Sequence[Text],
    chosen: np.ndarray,
    vectors: np.ndarray | None,
    limits: Limits,
) -> Iterator[tuple[Check, Bounds, Found]]:
    owners = _numbers([text.owner for text in members])
    contrasts = _numbers([text.contrast or text.where for text in members])
    bounds = limits.words[family]
    nameless = [_nameless(text) for text in members]
    yield "words", bounds, search_words(nameless, owners, bounds, exempt=contrasts)
    if vectors is not None:
        bounds = limits.meaning[family]
        yield "meaning", bounds, search_vectors(vectors[chosen], owners, bounds, exempt=contrasts)


def _nameless(text: Text) -> str:
    """The text without the name of its role or trait: texts from a template differ in nothing else."""
    kind, name = text.owner.split(" ")
    if kind not in ("role", "trait"):
        return text.text
    spelling = name.replace("_", "[ _-]")
    return re.sub(rf"\b{spelling}\b", "someone", text.text, flags=re.IGNORECASE)


def _numbers(labels: Sequence[str]) -> list[int]:
    known = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [known[label] for label in labels]


def _fault(check: Check, one: Text, other: Text, score: float = 1.0) -> Fault:
    within = one.owner == other.owner and one.family == "prompt"
    how = {"exact": "", "words": f" ({score:.2f})", "meaning": f" (cosine {score:.2f})"}[check]
    what = {
        "exact": "are the same",
        "words": "share their words",
        "meaning": "mean much the same",
    }[check]
    where = f"{one.where} and {other.field if one.owner == other.owner else other.where}"
    remedy = (
        "give one of them another framing: a scene, a habit, a belief, a manner of speech"
        if within
        else "rewrite one of them about something else, or take it out"
    )
    texts, owners = (one.text, other.text), (one.owner, other.owner)
    return Fault(check, where, what + how, texts, remedy, owners)


def _measure(
    family: Family, check: Check, members: Sequence[Text], found: Found, bounds: Bounds
) -> Measure:
    has_own = len({text.owner for text in members}) < len(members)
    return Measure(
        family=family,
        search=check,
        texts=len(members),
        median=float(np.median(found.nearest)),
        highest=float(found.nearest.max()),
        limit=bounds[0],
        highest_own=float(found.nearest_own.max()) if has_own else None,
        own_limit=bounds[1],
    )
