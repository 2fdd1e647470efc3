"""New entries, written by a language model and held to the same rules as the packaged ones.

The model is shown what an entry is, one finished example and, when its draft falls short, the
checker's own words; a draft that is still faulty after the last attempt is refused and never
returned.

Examples:
    >>> from persona_lens.endpoints import EndpointSettings
    >>> endpoint = Endpoint(EndpointSettings(model="qwen3", base_url="http://127.0.0.1:8000/v1"))
    >>> role = new_role("lighthouse_keeper", endpoint, hint="on a bare rock, a century ago")  # doctest: +SKIP
    >>> role.prompts[0]  # doctest: +SKIP
    'You keep a lighthouse on a bare rock, and have not spoken to anyone for a month.'
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from persona_lens.catalog.doubles import TOKEN_LIMITS, Embedder, Limits, find_doubles
from persona_lens.catalog.kinds import ROLE, TRAIT, Kind, Model
from persona_lens.catalog.loader import CatalogSpec, load_questions, load_roles, load_traits
from persona_lens.catalog.report import Fault
from persona_lens.catalog.rules import (
    FULL,
    RANGES,
    leaks,
    lengths,
    shortfalls_of_role,
    shortfalls_of_trait,
)
from persona_lens.catalog.schema import Group, PromptPair, Role, Trait, slug
from persona_lens.catalog.texts import catalog_texts
from persona_lens.catalog.validation import validated
from persona_lens.endpoints import Call, Endpoint
from persona_lens.errors import CatalogError

ATTEMPTS = 3
"""Drafts a model may send in for one entry."""
_MAX_TOKENS = 6000  # forty questions and ten prompts are about 1500
_SHOWN_FAULTS = 12

_SYSTEM = """\
You write entries for a catalogue of system prompts with which researchers study the personas of
language models. Write plain, concrete British English in your own words. Every prompt addresses its
reader as "you" and stands alone. No two texts may differ in wording only: each of the five brings
the character about in another way, such as who it is, a scene it is in now, its manner of speech, a
belief, a habit, a fear, or what others say of it. Never mention AI, language models or playing a
role. Answer with one JSON object and nothing else."""

_ROLE_TASK = """\
Write the role "{name}".{hint}
- group: assistant (service, analysis, teaching, advice), human (any other person) or fantastical
  (anything else)
- description: who that is, {description} words
- tags: two or three lowercase words
- prompts: five system prompts of {prompt} words; the role is recognisable from each of them alone
- rubric: what in a reply shows that this role speaks, one sentence of {rubric} words
This is a finished entry; write nothing like its texts:
{example}"""

_TRAIT_TASK = """\
Write the trait "{name}".{hint}
- description: what somebody with it does, {description} words
- tags: two or three lowercase words
- pairs: five pairs of system prompts of {prompt} words a side; positive pulls strongly towards the
  trait, negative towards its opposite, and the two are alike in framing, length and grammar
- questions: forty messages of a user, {question} words each, which somebody with the trait answers
  visibly otherwise than somebody with the opposite; concrete, of many kinds, and without naming the
  trait or any profession
- rubric: what a reply with this trait does, and one without, one sentence of {rubric} words
This is a finished entry, with three of its questions; write nothing like its texts:
{example}"""


class _Draft(BaseModel):
    model_config = ConfigDict(extra="forbid")

    description: str
    tags: list[str]
    rubric: str


class _RoleDraft(_Draft):
    group: Group
    prompts: list[str]


class _TraitDraft(_Draft):
    pairs: list[PromptPair]
    questions: list[str]


def new_role(
    name: str,
    endpoint: Endpoint,
    *,
    hint: str = "",
    known: CatalogSpec = "full",
    embedder: Embedder | None = None,
    limits: Limits = TOKEN_LIMITS,
) -> Role:
    """Have a model write a role, and check it against those there are.

    Args:
        name: Name of the role; it becomes lowercase words joined by underscores.
        endpoint: The model that writes.
        hint: What to know about the role beyond its name.
        known: Roles it must differ from, as `load_roles` takes them.
        embedder: As in `check_catalog`; finds texts that say in other words what a known one says.
        limits: As in `check_catalog`.

    Raises:
        CatalogError: The name is taken or cannot be one, or no draft passed.
        EndpointError: The server does not answer.
    """
    roles = load_roles(known)
    name = _free_name(ROLE, name, [role.name for role in roles])
    task = _task(_ROLE_TASK, name, hint, load_roles("smuggler")[0])

    def faults(role: Role) -> list[Fault]:
        texts = catalog_texts(roles=[role, *roles])
        return [
            *shortfalls_of_role(role, FULL),
            *lengths(catalog_texts(roles=[role])),
            # The questions of other entries are no rivals of a role's prompts, and are many.
            *find_doubles([t for t in texts if t.family != "question"], embedder, limits)[0],
        ]

    return _written(ROLE, name, endpoint, task=task, draft=_RoleDraft, faults=faults)


def new_trait(
    name: str,
    endpoint: Endpoint,
    *,
    hint: str = "",
    known: CatalogSpec = "full",
    embedder: Embedder | None = None,
    limits: Limits = TOKEN_LIMITS,
) -> Trait:
    """Have a model write a trait with pairs and questions, and check it against those there are.

    The arguments and errors are those of `new_role`.
    """
    traits, questions = load_traits(known), load_questions("full")
    name = _free_name(TRAIT, name, [trait.name for trait in traits])
    example = load_traits("curious")[0]
    task = _task(
        _TRAIT_TASK, name, hint, example.model_copy(update={"questions": example.questions[:3]})
    )

    def faults(trait: Trait) -> list[Fault]:
        return [
            *shortfalls_of_trait(trait, FULL),
            *lengths(catalog_texts(traits=[trait])),
            *leaks(load_roles("full"), [trait], ()),
            *find_doubles(
                catalog_texts(traits=[trait, *traits], questions=questions), embedder, limits
            )[0],
        ]

    return _written(TRAIT, name, endpoint, task=task, draft=_TraitDraft, faults=faults)


def _free_name(kind: Kind[Any], name: str, taken: Sequence[str]) -> str:
    free = slug(name)
    if free and free not in taken:
        return free
    raise CatalogError(
        f"there is a {kind.noun} {free!r} already" if free else f"{name!r} gives no name",
        remedy=f"load_{kind.plural}({free!r}) has it; choose another name for a new one"
        if free
        else "choose a name with Latin letters",
    )


def _task(template: str, name: str, hint: str, example: Role | Trait) -> str:
    ranges = {family: f"{fewest} to {most}" for family, (fewest, most) in RANGES.items()}
    hint = f" {hint.strip()}" if hint.strip() else ""
    shown = example.model_dump_json(exclude_defaults=True, indent=1)
    return template.format(name=name.replace("_", " "), hint=hint, example=shown, **ranges)


def _written(
    kind: Kind[Model],
    name: str,
    endpoint: Endpoint,
    *,
    task: str,
    draft: type[BaseModel],
    faults: Callable[[Model], list[Fault]],
) -> Model:
    """The first draft without faults."""
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": task}]
    owner, problems = f"{kind.noun} {name}", [""]
    for attempt in range(1, ATTEMPTS + 1):
        call = Call(
            f"{owner}, draft {attempt}",
            messages,
            temperature=1.0,
            max_tokens=_MAX_TOKENS,
            response_format=draft,
        )
        text = endpoint.ask(call).text
        try:
            fields = draft.model_validate_json(_json_in(text)).model_dump()
            entry = validated(kind, {"name": name, **fields}, "the draft")
        except (ValidationError, CatalogError) as error:
            problems = [str(error)]
        else:
            problems = [str(fault) for fault in faults(entry) if owner in fault.owners]
            if not problems:
                return entry
        told = "\n".join(problems[:_SHOWN_FAULTS])
        complaint = f"This has faults. Mend them and send the whole entry again.\n{told}"
        messages += [
            {"role": "assistant", "content": text},
            {"role": "user", "content": complaint},
        ]
    raise CatalogError(
        f"none of {ATTEMPTS} drafts of the {owner} passed",
        given=f"{len(problems)} faults in the last one, first {problems[0].splitlines()[0]}",
        remedy="give a hint, ask a larger model, or write it by hand",
    )


def _json_in(text: str) -> str:
    """The outermost object, for models that put a fence or a word of greeting around it."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text
