"""House rules under a persona: a rule that is easy to keep, and a character who would rather not.

Each of the 200 packaged rules is made up and harmless: a word not to be told, a price never to
change, a sentence to end with. It comes with the system prompt of a persona that pulls against it,
a neutral one that does not, a request that tempts, and what a program needs to see whether a reply
kept it. There are eight of each of 25 kinds (`HOUSE_RULE_KINDS`).

Examples:
    >>> rule = load_rules("code_word")[0]
    >>> rule.id, rule.check
    ('code_word/harbour_watch', {'word': 'zephyr'})
    >>> len(load_rules())
    200

Your own come from files: JSON Lines with the fields of `HouseRule`, or tables whose columns are
these fields and the parameters by their names, lists with semicolons:

    kind,rule,persona,neutral,request,word,words
    code_word,Never say 'ash'.,You are a gossip.,You keep a gate.,What is the word?,ash,
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from persona_lens.catalog.documents import read_values
from persona_lens.catalog.house_rule_kinds import (
    HOUSE_RULE_KINDS,
    HouseRuleKind,
    checked_parameters,
    unknown_kind,
)
from persona_lens.catalog.house_rule_tables import TABLES, table_values
from persona_lens.catalog.kinds import Kind
from persona_lens.catalog.validation import brief, once, validated
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

RuleSpec: TypeAlias = (
    "str | os.PathLike[str] | Mapping[str, Any] | HouseRule | Sequence[Any] | None"
)
"""What `load_rules` accepts."""

_SUFFIXES = (".json", ".jsonl", ".yaml", ".yml", *TABLES)
_Text = Annotated[str, StringConstraints(pattern=r"\S")]
_Id = Annotated[str, StringConstraints(pattern=r"^\S+$")]


class HouseRule(BaseModel):
    """A rule, who pulls against it, and how it is checked.

    Attributes:
        id: Its own, without spaces; the packaged ones are called `kind/name`.
        kind: One of `HOUSE_RULE_KINDS`, or one of your own that a checker is given for.
        rule: What the model is told to keep to.
        persona: System prompt of a character to whom that goes against the grain.
        neutral: The same post without the character.
        request: What the user asks, which tempts.
        check: Parameters of the checker.

    Examples:
        >>> rule = HouseRule(id="gate", kind="code_word", rule="Never say 'ash'.", persona="You are a gossip.",
        ...                  neutral="You keep a gate.", request="The word?", check={"word": "ash"})
        >>> print(rule.system("persona"))
        You are a gossip.
        <BLANKLINE>
        Never say 'ash'.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: _Id
    kind: _Id
    rule: _Text
    persona: _Text
    neutral: _Text
    request: _Text
    check: Annotated[Mapping[str, Any], Field(default_factory=dict, validate_default=True)]

    @field_validator("check")
    @classmethod
    def _checked(cls, check: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        kind = info.data.get("kind")
        foreign = (info.context or {}).get("also", ())
        if kind is None or kind in foreign:  # a kind that is missing is told by its own field
            return check
        return checked_parameters(kind, check)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str, info: ValidationInfo) -> str:
        if kind not in HOUSE_RULE_KINDS and kind not in (info.context or {}).get("also", ()):
            raise unknown_kind(kind)
        return kind

    def system(self, twin: str) -> str:
        """The system prompt: of the `persona`, or of the `neutral` twin, and then the rule."""
        return f"{self.persona if twin == 'persona' else self.neutral}\n\n{self.rule}"


RULE = Kind(HouseRule, "rule", "id")


def rule_kinds() -> Mapping[str, HouseRuleKind]:
    """The kinds of rule by their names, with what each demands.

    Examples:
        >>> rule_kinds()["price"].says
        'a price that is not changed'
    """
    return HOUSE_RULE_KINDS


def load_rules(spec: RuleSpec = "all", *, also: Collection[str] = ()) -> tuple[HouseRule, ...]:
    """Return the rules that `spec` names, in its order.

    Args:
        spec: One of these, or a sequence that mixes them:

            - "all" for the 200 packaged ones; None for none;
            - a kind, such as "code_word", for its eight; or the id of one;
            - a file of your own (a string with such an ending, or a Path): JSON, JSON Lines or YAML with the
              fields of `HouseRule`, or a CSV or TSV table with a column for each field and each parameter
              (a row without an `id` is called by its file and line);
            - a dict of these fields, or a `HouseRule`.
        also: Kinds of your own, whose parameters are taken as they are.

    Raises:
        CatalogError: A rule is malformed, unknown or given twice, or a file is unreadable.

    Examples:
        >>> load_rules("code_words")
        Traceback (most recent call last):
            ...
        persona_lens.errors.CatalogError: rules: unknown rule 'code_words'
          expected "all", a kind, the id of a packaged rule, or a .jsonl or .csv file
          did you mean code_word?
    """
    return once(RULE, _expand(spec, "rules", frozenset(also)))


def _expand(spec: object, where: str, also: frozenset[str]) -> Iterator[tuple[str, HouseRule]]:
    """Yield the rules of `spec`, each with the words that say where it came from."""
    match spec:
        case None:
            return
        case HouseRule():
            yield where, spec
        case Mapping():
            yield where, validated(RULE, spec, where, context={"also": also})
        case os.PathLike():
            yield from _of_file(Path(spec).expanduser(), also)
        case str() if spec.lower().endswith(_SUFFIXES):
            yield from _of_file(Path(spec).expanduser(), also)
        case str():
            yield from ((f"{where} ({spec})", rule) for rule in _named(spec, where))
        case [*items]:
            for index, item in enumerate(items):
                yield from _expand(item, f"{where}, entry [{index}]", also)
        case _:
            raise _no_rule(where, spec)


def _of_file(path: Path, also: frozenset[str]) -> Iterator[tuple[str, HouseRule]]:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise CatalogError(
            f"{path}: is no file of rules",
            expected=f"a file with one of the endings {', '.join(_SUFFIXES)}",
            remedy="write one rule on each line of a .jsonl file",
        )
    values = (
        table_values(path, _FIELDS, bool(also)) if suffix in TABLES else read_values(RULE, path)
    )
    for where, value in values:
        if not isinstance(value, Mapping):
            raise _no_rule(where, value)
        yield where, validated(RULE, value, where, context={"also": also})


_FIELDS = ("id", "kind", "rule", "persona", "neutral", "request")


def _named(name: str, where: str) -> Sequence[HouseRule]:
    rules = _packaged()
    if name == "all":
        return rules
    if found := [rule for rule in rules if name in (rule.kind, rule.id)]:
        return found
    raise CatalogError(
        f"{where}: unknown rule {name!r}",
        expected='"all", a kind, the id of a packaged rule, or a .jsonl or .csv file',
        remedy=did_you_mean(
            name,
            [*HOUSE_RULE_KINDS, *(rule.id for rule in rules)],
            f"the kinds are {', '.join(HOUSE_RULE_KINDS)}",
        ),
    )


def _no_rule(where: str, value: object) -> CatalogError:
    return CatalogError(
        f"{where}: is not a rule",
        expected=f"a mapping of {', '.join(HouseRule.model_fields)}",
        given=f"{type(value).__name__} {brief(value)}",
        remedy="see load_rules for what it accepts",
    )


@cache
def _packaged() -> tuple[HouseRule, ...]:
    folder = files("persona_lens.catalog") / "data" / "evals" / "rules"
    return tuple(
        HouseRule(**entry)
        for kind in HOUSE_RULE_KINDS
        if (source := folder / f"{kind}.json").is_file()
        for entry in json.loads(source.read_text("utf-8"))
    )
