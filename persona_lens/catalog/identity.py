"""Roles near the Assistant, at length, and questions about who answers: for how easily a model takes a role on.

Fifty roles whose kind is nearest to an assistant's work, each with four system prompts of 60 to 120 words. They
tell what is done and how, and neither that the speaker is an AI nor that it is none: a model that stays the
Assistant can play them all. The five questions ask who, under what name, from where, and twice whether it is what
it is.

Examples:
    >>> roles = load_identity_roles()
    >>> len(roles), len(roles[0].prompts), [question.id for question in load_identity_questions()]
    (50, 4, ['who', 'name', 'origin', 'language_model', 'role_playing'])

Source: the protocol, its numbers and the questions are those of The Assistant Axis, section 3.2.1; the choice of
roles and all prompts are ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from persona_lens.catalog.documents import SUFFIXES
from persona_lens.catalog.kinds import QUESTION, ROLE
from persona_lens.catalog.loader import CatalogSpec, load_questions, load_roles
from persona_lens.catalog.schema import Question, Role
from persona_lens.catalog.similarity import words
from persona_lens.catalog.validation import once
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

ROLES, PROMPTS, QUESTIONS = 50, 4, 5
WORDS = (60, 120)
"""Fewest and most words of a prompt."""


def _long_prompts(role: Role) -> Role:
    counts = [len(words(prompt)) for prompt in role.prompts]
    if len(counts) != PROMPTS or not all(WORDS[0] <= count <= WORDS[1] for count in counts):
        raise ValueError(
            f"{role.name} has prompts of {counts} words, not {PROMPTS} of {WORDS[0]} to {WORDS[1]}"
        )
    return role


class IdentitySet(BaseModel):
    """What the packaged file holds: as many as promised, no name and no text twice.

    Attributes:
        questions: Asked of every role.
        roles: With their prompts.

    Examples:
        >>> len(packaged_identity().roles)
        50
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: Annotated[tuple[Question, ...], Field(min_length=QUESTIONS, max_length=QUESTIONS)]
    roles: Annotated[
        tuple[Annotated[Role, AfterValidator(_long_prompts)], ...],
        Field(min_length=ROLES, max_length=ROLES),
    ]

    @model_validator(mode="after")
    def _check_unique(self) -> IdentitySet:
        names = [role.name for role in self.roles] + [question.id for question in self.questions]
        texts = [prompt for role in self.roles for prompt in role.prompts]
        texts += [question.text for question in self.questions]
        for what, given in (
            ("name", names),
            ("text", [" ".join(words(text)) for text in texts]),
        ):
            twice = sorted({each for each in given if given.count(each) > 1})
            if twice:
                raise ValueError(f"a {what} is given twice: {twice[0]!r}")
        return self


@cache
def packaged_identity() -> IdentitySet:
    """The packaged roles and questions."""
    source = files("persona_lens.catalog") / "data" / "evals" / "identity_roles.json"
    return IdentitySet.model_validate(json.loads(source.read_text("utf-8")))


def load_identity_roles(spec: CatalogSpec = "all") -> tuple[Role, ...]:
    """Return the roles that `spec` names, in its order.

    Args:
        spec: One of these, or a sequence that mixes them:

            - "all", for the fifty packaged ones, or the name of one of them;
            - anything else that `load_roles` takes, names apart: a file, a folder, a dict, a Role.

    Raises:
        CatalogError: A role is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> keeper = {"name": "keeper", "prompts": ["You keep a lighthouse on a bare rock."]}
        >>> [role.name for role in load_identity_roles(["auditor", keeper])]
        ['auditor', 'keeper']
        >>> load_identity_roles("auditer")
        Traceback (most recent call last):
            ...
        persona_lens.errors.CatalogError: identity roles: unknown role 'auditer'
          expected "all", or the name of one of the 50 packaged ones
          did you mean auditor?
    """
    return once(ROLE, _roles(spec, "identity roles"))


def load_identity_questions(spec: CatalogSpec = "all") -> tuple[Question, ...]:
    """Return the questions that `spec` names, in its order.

    Args:
        spec: "all" for the five, the id of one, or what `load_questions` takes, such as a sentence; or a sequence
            that mixes them.

    Raises:
        CatalogError: A question is malformed or given twice, or a file is unreadable.

    Examples:
        >>> [question.text for question in load_identity_questions(["who", "What do you do all day?"])]
        ['Who are you?', 'What do you do all day?']
    """
    return once(QUESTION, _questions(spec, "identity questions"))


def _roles(spec: object, where: str) -> Iterator[tuple[str, Role]]:
    known = {role.name: role for role in packaged_identity().roles}
    if spec == "all":
        yield from ((f"{where} (all)", role) for role in known.values())
    elif isinstance(spec, list | tuple):
        for place, each in enumerate(spec):
            yield from _roles(each, f"{where}, entry [{place}]")
    elif isinstance(spec, str) and not _is_place(spec):
        if spec not in known:
            raise CatalogError(
                f"{where}: unknown role {spec!r}",
                expected=f'"all", or the name of one of the {len(known)} packaged ones',
                remedy=did_you_mean(
                    spec, known, "give a role of the catalogue as one: *load_roles(...)"
                ),
            )
        yield where, known[spec]
    else:
        yield from ((where, role) for role in load_roles(spec))  # pyright: ignore[reportArgumentType]


def _questions(spec: object, where: str) -> Iterator[tuple[str, Question]]:
    known = {question.id: question for question in packaged_identity().questions}
    if spec == "all":
        yield from ((f"{where} (all)", question) for question in known.values())
    elif isinstance(spec, list | tuple):
        for place, each in enumerate(spec):
            yield from _questions(each, f"{where}, entry [{place}]")
    elif isinstance(spec, str) and spec in known:
        yield where, known[spec]
    else:
        yield from ((where, it) for it in load_questions(spec))  # pyright: ignore[reportArgumentType]


def _is_place(spec: str) -> bool:
    """Whether it names a file, a folder or a dataset."""
    return os.sep in spec or spec.lower().endswith(SUFFIXES) or spec.startswith("datasets:")


class LabelledReply(BaseModel):
    """A made-up reply to "Who are you?", and who speaks in it.

    Attributes:
        label: assistant, human, nonhuman, mystical, nonsensical or other.
        text: The reply, which may be empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: Literal["assistant", "human", "nonhuman", "mystical", "nonsensical", "other"]
    text: str


@cache
def load_labelled_replies() -> tuple[LabelledReply, ...]:
    """Seventy-two replies, twelve of each label, on which judges of identity are measured.

    Examples:
        >>> load_labelled_replies()[0].label
        'assistant'
    """
    source = files("persona_lens.catalog") / "data" / "evals" / "identity_replies.json"
    return tuple(LabelledReply(**entry) for entry in json.loads(source.read_text("utf-8")))
