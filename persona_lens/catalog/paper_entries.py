"""Entries as the paper's released files write them, into our fields and back.

There a role is `{"instruction": [{"pos": ...}], "questions": [...], "eval_prompt": ...}` and a
trait has `neg` beside each `pos`; the name is the file's, the description is in a list of its own.
What these files have no field for (group, tags, rubric) is written under our names, which a reader
of the paper's files passes over.

Examples:
    >>> from persona_lens.catalog.kinds import TRAIT
    >>> calm = {"instruction": [{"pos": "Be calm.", "neg": "Be agitated."}]}
    >>> from_paper(TRAIT, calm, "traits/instructions/calm.json", name="calm")["pairs"]
    [{'positive': 'Be calm.', 'negative': 'Be agitated.'}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from persona_lens.catalog.kinds import QUESTION, ROLE, Kind
from persona_lens.catalog.mappings import PassedOver, named
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait
from persona_lens.catalog.validation import brief
from persona_lens.errors import CatalogError

_PROMPTS = ("instruction", "instructions")
_POSITIVE = ("pos", "positive")
_NEGATIVE = ("neg", "negative")
_CARRIED = ("questions", "eval_prompt", "description", "group", "tags", "rubric")
_RENAMED = {*_PROMPTS, "name"}


def is_paper_entry(kind: Kind[Any], value: object) -> bool:
    """Whether `value` is one role, trait or question, or the default prompts, written the paper's way.

    Examples:
        >>> is_paper_entry(QUESTION, {"question": "Who are you?", "id": 0})
        True
    """
    if not isinstance(value, Mapping):
        return False
    if kind is QUESTION:
        return "question" in value and "text" not in value
    return any(key in value for key in _PROMPTS)


def has_negative(value: Mapping[str, Any]) -> bool:
    """Whether any of its prompts has a negative side, as only those of traits have."""
    prompts = next((value[key] for key in _PROMPTS if key in value), ())
    return isinstance(prompts, list) and any(_side(prompt, _NEGATIVE) for prompt in prompts)


def from_paper(
    kind: Kind[Any],
    value: Mapping[str, Any],
    where: str,
    *,
    name: object,
    passed_over: PassedOver | None = None,
) -> dict[str, Any]:
    """Our fields for a role, a trait or a question of the paper's.

    Args:
        kind: What it is.
        value: What the file says.
        where: The words that say where it came from.
        name: What the file calls it; a name or id in `value` goes before.
        passed_over: Remembers fields that have no place in ours.

    Raises:
        CatalogError: It has no prompts, or a prompt without its sides.
    """
    passed_over = passed_over or PassedOver()
    if kind is QUESTION:
        entry = {"text": value["question"]}
        if "tags" in value:
            entry["tags"] = value["tags"]
        passed_over.note(where, value.keys() - {"question", "id", "tags"})
        return named(kind, value.get("id", name)) | entry
    entry = named(kind, value.get("name", name))
    entry |= {key: value[key] for key in _CARRIED if value.get(key) not in (None, "", [])}
    prompts = _prompts(value, where)
    if kind is ROLE:
        if has_negative(value):
            raise CatalogError(
                f"{where}: has a negative side, so it is a trait and not a role",
                remedy="load it with load_traits",
            )
        entry["prompts"] = [_needed(prompt, _POSITIVE, where) for prompt in prompts]
    else:
        entry["pairs"] = [
            {
                "positive": _needed(prompt, _POSITIVE, where),
                "negative": _needed(prompt, _NEGATIVE, where),
            }
            for prompt in prompts
        ]
    passed_over.note(where, value.keys() - {*_CARRIED, *_RENAMED})
    return entry


def defaults_from_paper(value: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Our fields for each prompt of the paper's `default.json`.

    Examples:
        >>> prompts = {"instruction": [{"pos": ""}, {"pos": "You are {model_name}."}]}
        >>> defaults_from_paper(prompts, "default.json")
        [{'id': 'default_1', 'text': ''}, {'id': 'default_2', 'text': 'You are {model_name}.'}]
    """
    entries = []
    for number, prompt in enumerate(_prompts(value, where), start=1):
        known = prompt.get("id") if isinstance(prompt, Mapping) else None
        entries.append(
            {"id": known or f"default_{number}", "text": _needed(prompt, _POSITIVE, where)}
        )
    return entries


def to_paper(entry: Role | Trait, stem: str) -> dict[str, Any]:
    """What the paper's file of a role or trait would say, without the description.

    Args:
        entry: The role or trait.
        stem: Name of the file; the entry's own is written beside it only where it differs.
    """
    name = entry.original_name or entry.name
    if isinstance(entry, Role):
        prompts = [{"pos": prompt} for prompt in entry.prompts]
    else:
        prompts = [{"pos": pair.positive, "neg": pair.negative} for pair in entry.pairs]
    kept = {key: getattr(entry, key, None) for key in _CARRIED if key != "description"}
    rest = {key: list(v) if isinstance(v, tuple) else v for key, v in kept.items() if v}
    return ({} if name == stem else {"name": name}) | {"instruction": prompts, **rest}


def question_to_paper(question: Question) -> dict[str, Any]:
    """A line of the paper's `extraction_questions.jsonl`."""
    original = question.original_id
    line: dict[str, Any] = {
        "question": question.text,
        "id": question.id if original is None else original,
    }
    return line | ({"tags": list(question.tags)} if question.tags else {})


def defaults_to_paper(defaults: Sequence[DefaultPrompt]) -> dict[str, Any]:
    """What the paper's `default.json` would say."""
    numbered = enumerate(defaults, start=1)
    return {
        "instruction": [
            {"pos": default.text}
            | ({} if default.id == f"default_{number}" else {"id": default.id})
            for number, default in numbered
        ]
    }


def _prompts(value: Mapping[str, Any], where: str) -> list[Any]:
    prompts = next((value[key] for key in _PROMPTS if key in value), None)
    if isinstance(prompts, list):
        return prompts
    raise CatalogError(
        f"{where}: has no list of prompts",
        expected='"instruction": [{"pos": "..."}]',
        given=brief(prompts),
        remedy="write its prompts as a list, in square brackets",
    )


def _side(prompt: object, keys: Sequence[str]) -> Any:
    if isinstance(prompt, str) and keys is _POSITIVE:
        return prompt
    if isinstance(prompt, Mapping):
        return next((prompt[key] for key in keys if key in prompt), None)
    return None


def _needed(prompt: object, keys: Sequence[str], where: str) -> Any:
    side = _side(prompt, keys)
    if side is None:
        raise CatalogError(
            f"{where}: a prompt has no {keys[0]!r}",
            given=brief(prompt),
            remedy=f'write it as {{"{keys[0]}": "..."}}',
        )
    return side
