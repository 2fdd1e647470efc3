"""Every text of a catalogue, with the words that say where it stands.

Examples:
    >>> from persona_lens.catalog import load_roles
    >>> texts = catalog_texts(roles=load_roles(["pirate"]))
    >>> texts[0].where, texts[0].family, len(texts)
    ('role pirate, prompts[0]', 'prompt', 7)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from persona_lens.catalog.house_rules import HouseRule
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait

Family = Literal["prompt", "question", "description", "rubric", "rule", "neutral"]
"""Texts that do the same work, and so can be doubles of each other."""


@dataclass(frozen=True)
class Text:
    """One text.

    Attributes:
        owner: The entry, such as "role pirate".
        field: Where in the entry, such as "prompts[2]".
        family: What work it does.
        text: The text itself.
        contrast: The same for the two sides of a trait's pair, which are alike on purpose; else "".
    """

    owner: str
    field: str
    family: Family
    text: str
    contrast: str = ""

    @property
    def where(self) -> str:
        """Entry and field."""
        return f"{self.owner}, {self.field}"


def catalog_texts(
    roles: Sequence[Role] = (),
    traits: Sequence[Trait] = (),
    questions: Sequence[Question] = (),
    defaults: Sequence[DefaultPrompt] = (),
    rules: Sequence[HouseRule] = (),
) -> list[Text]:
    """All texts of these entries; empty ones are left out."""
    found = [text for role in roles for text in _of_role(role)]
    found += [text for trait in traits for text in _of_trait(trait)]
    found += [Text(f"question {each.id}", "text", "question", each.text) for each in questions]
    found += [Text(f"default {each.id}", "text", "prompt", each.text) for each in defaults]
    found += [text for rule in rules for text in _of_rule(rule)]
    return [text for text in found if text.text.strip()]


def _of_role(role: Role) -> Iterator[Text]:
    owner = f"role {role.name}"
    for index, prompt in enumerate(role.prompts):
        yield Text(owner, f"prompts[{index}]", "prompt", prompt)
    yield from _of_either(role, owner)


def _of_trait(trait: Trait) -> Iterator[Text]:
    owner = f"trait {trait.name}"
    for index, pair in enumerate(trait.pairs):
        for side in ("positive", "negative"):
            field = f"pairs[{index}]"
            text = getattr(pair, side)
            yield Text(owner, f"{field}.{side}", "prompt", text, f"{owner}, {field}")
    yield from _of_either(trait, owner)


def _of_either(entry: Role | Trait, owner: str) -> Iterator[Text]:
    for index, question in enumerate(entry.questions):
        yield Text(owner, f"questions[{index}]", "question", question)
    yield Text(owner, "description", "description", entry.description)
    yield Text(owner, "rubric", "rubric", entry.rubric)


def _of_rule(rule: HouseRule) -> Iterator[Text]:
    owner = f"rule {rule.id}"
    yield Text(owner, "rule", "rule", rule.rule)
    yield Text(owner, "persona", "prompt", rule.persona)
    yield Text(owner, "neutral", "neutral", rule.neutral)
    yield Text(owner, "request", "question", rule.request)
