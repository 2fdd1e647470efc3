"""What needs no comparing of texts: counts, fields, lengths, names, and questions that tell too much.

Examples:
    >>> from persona_lens.catalog import Question, load_roles
    >>> asked = [Question(id="sea", text="What do pirates fear?")]
    >>> [fault.problem for fault in leaks(load_roles(["pirate"]), (), asked)]
    ["names the role 'pirate'"]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from persona_lens.catalog.report import Fault
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait
from persona_lens.catalog.similarity import words
from persona_lens.catalog.texts import Family, Text, catalog_texts

RANGES: dict[Family, tuple[int, int]] = {
    "prompt": (8, 60),
    "question": (3, 40),
    "description": (4, 25),
    "rubric": (8, 45),
    "rule": (6, 45),
    "neutral": (5, 25),
}
"""Fewest and most words of a text. Default prompts may be shorter, and are not measured."""


@dataclass(frozen=True)
class Standard:
    """How much a catalogue has, and each entry in it.

    Attributes:
        roles: How many roles.
        traits: How many traits.
        questions: How many questions for everyone.
        defaults: How many prompts of the default Assistant.
        prompts: System prompts of a role, and pairs of a trait.
        trait_questions: A trait's own questions.
    """

    roles: int
    traits: int
    questions: int
    defaults: int
    prompts: int
    trait_questions: int


FULL = Standard(roles=275, traits=240, questions=240, defaults=5, prompts=5, trait_questions=40)
"""What the packaged catalogue has, which are the paper's numbers."""


def shortfalls(
    standard: Standard,
    roles: Sequence[Role],
    traits: Sequence[Trait],
    questions: Sequence[Question],
    defaults: Sequence[DefaultPrompt],
) -> Iterator[Fault]:
    """Entries and fields that are missing, or one too many."""
    given = {"roles": roles, "traits": traits, "questions": questions, "defaults": defaults}
    for what, entries in given.items():
        wanted = getattr(standard, what)
        if len(entries) != wanted:
            problem = f"are {len(entries)}, and should be {wanted}"
            yield Fault("count", what, problem, remedy=f"add {what} or take some out")
    for role in roles:
        yield from shortfalls_of_role(role, standard)
    for trait in traits:
        yield from shortfalls_of_trait(trait, standard)
    for question in questions:
        yield from _field_faults(f"question {question.id}", question, {}, ["tags"])


def shortfalls_of_role(role: Role, standard: Standard) -> Iterator[Fault]:
    """What a role lacks."""
    filled = ["group", "description", "tags", "rubric"]
    yield from _field_faults(f"role {role.name}", role, {"prompts": standard.prompts}, filled)


def shortfalls_of_trait(trait: Trait, standard: Standard) -> Iterator[Fault]:
    """What a trait lacks."""
    numbers = {"pairs": standard.prompts, "questions": standard.trait_questions}
    filled = ["description", "tags", "rubric"]
    yield from _field_faults(f"trait {trait.name}", trait, numbers, filled)


def _field_faults(
    where: str, entry: Any, numbers: dict[str, int], filled: Sequence[str]
) -> Iterator[Fault]:
    for field, wanted in numbers.items():
        if len(value := getattr(entry, field)) != wanted:
            problem = f"has {len(value)} {field}, and should have {wanted}"
            remedy = f"bring {field} to {wanted}"
            yield Fault("field", where, problem, remedy=remedy, owners=(where,))
    for field in filled:
        if not getattr(entry, field):
            remedy = f"fill in {field}"
            yield Fault("field", where, f"has no {field}", remedy=remedy, owners=(where,))


def lengths(texts: Sequence[Text]) -> Iterator[Fault]:
    """Texts that are too short or too long."""
    for text in texts:
        if text.owner.startswith("default "):
            continue
        fewest, most = RANGES[text.family]
        if not fewest <= (count := len(words(text.text))) <= most:
            remedy = f"write {fewest} to {most} words"
            problem = f"has {count} words"
            yield Fault("length", text.where, problem, (text.text,), remedy, (text.owner,))


def repeated_names(
    roles: Sequence[Role], traits: Sequence[Trait], questions: Sequence[Question]
) -> Iterator[Fault]:
    """Names that two entries of one kind share; a role and a trait may share theirs."""
    owners = [f"role {role.name}" for role in roles] + [f"trait {trait.name}" for trait in traits]
    owners += [f"question {question.id}" for question in questions]
    for owner, times in Counter(owners).items():
        if times > 1:
            problem, remedy = f"occurs {times} times", "rename the others"
            yield Fault("name", owner, problem, remedy=remedy, owners=(owner,))


def leaks(
    roles: Sequence[Role], traits: Sequence[Trait], questions: Sequence[Question]
) -> Iterator[Fault]:
    """Questions that name a role or their own trait, and so ask for what they should bring out."""
    names = {form: role.name for role in roles for form in _forms(role.name)}
    longest = max((len(form) for form in names), default=0)
    for text in catalog_texts(traits=traits, questions=questions):
        if text.family != "question":
            continue
        spoken = _spoken(text.text)
        kind, name = text.owner.split(" ")
        if kind == "trait" and _names_trait(spoken, [_stem(word) for word in name.split("_")]):
            remedy = "let the situation call for the trait instead"
            yield _leak(text, f"names its trait {name!r}", remedy)
        runs = {tuple(spoken[i : i + n]) for n in range(1, longest + 1) for i in range(len(spoken))}
        for form in sorted(runs & names.keys()):
            remedy = f"say it without {' '.join(form)!r}"
            yield _leak(text, f"names the role {names[form]!r}", remedy)


def _leak(text: Text, problem: str, remedy: str) -> Fault:
    return Fault("leak", text.where, problem, (text.text,), remedy, (text.owner,))


def _spoken(text: str) -> list[str]:
    """Words without apostrophes, so that a possessive reads as a plural."""
    return [word.replace("'", "") for word in words(text)]


def _forms(name: str) -> list[tuple[str, ...]]:
    *first, last = name.split("_")
    endings = [last, f"{last}s", f"{last}es"] + ([f"{last[:-1]}ies"] if last[-1] == "y" else [])
    return [(*first, ending) for ending in endings]


def _stem(word: str) -> str:
    """Enough of a word to know its relatives by: `methodi` for methodical, methodically.

    Short words are kept whole, or `cal` would find every call.
    """
    return word[: max(5, len(word) - 3)]


def _names_trait(spoken: Sequence[str], stems: Sequence[str]) -> bool:
    starts = range(len(spoken) - len(stems) + 1)
    return any(
        all(spoken[start + i].startswith(stem) for i, stem in enumerate(stems)) for start in starts
    )
