"""The kinds of house rule, and what each has to be told to be checked: a word, a sum, a language.

Whether a reply keeps a rule is decided by a program, so a rule comes with parameters. What they are
hangs on the kind, and a mistake in them is found when the rule is loaded, not when replies are in.

Examples:
    >>> checked_parameters("code_word", {"word": "zephyr"})
    {'word': 'zephyr'}
    >>> checked_parameters("price", {"amount": "40", "currency": "crown; crowns"})
    {'amount': 40.0, 'currency': ('crown', 'crowns')}
    >>> parameters_of("sentence_count")
    'fewest (number), most (number, may be left out)'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from persona_lens.spelling import did_you_mean

Language = Literal["English", "French", "German", "Spanish", "Italian"]
"""Languages that replies are told apart in."""


def fault(problem: str, remedy: str) -> PydanticCustomError:
    """A failed check, as pydantic's message and in parts for the loader."""
    return PydanticCustomError(
        "catalog", "{problem}; {remedy}", {"problem": problem, "remedy": remedy}
    )


def _listed(value: object) -> object:
    """A cell of a table holds a list with semicolons in it; JSON has no tuples."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(";") if part.strip()]
    return tuple(value) if isinstance(value, list) else value


_Text = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"\w")]
_Texts = Annotated[tuple[_Text, ...], BeforeValidator(_listed)]


class _Parameters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class _Nothing(_Parameters):
    pass


class _Word(_Parameters):
    word: _Text


class _Some(_Parameters):
    @model_validator(mode="after")
    def _check_some(self) -> _Some:
        empty = [name for name, value in self if value == ()]
        if empty:
            raise fault(f"{empty[0]} is empty", f"give at least one of {empty[0]}")
        return self


class _Words(_Some):
    words: _Texts


class _Number(_Parameters):
    number: Annotated[
        str, StringConstraints(strip_whitespace=True, pattern=r"^[0-9]{2,9}$")
    ]  # a single digit is in many a reply


class _Sentence(_Parameters):
    text: _Text


class _Labels(_Some):
    labels: _Texts


class _Price(_Some):
    amount: NonNegativeFloat
    currency: _Texts


class _Limit(_Some):
    most: NonNegativeFloat
    currency: _Texts


class _Name(_Parameters):
    name: _Text


class _Titles(_Some):
    titles: _Texts


class _Language(_Parameters):
    stay: Language
    words: _Texts = ()


class _Between(_Parameters):
    fewest: NonNegativeInt
    most: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _check_order(self) -> _Between:
        if self.most is not None and self.most < self.fewest:
            raise fault("most is below fewest", "give most as a number that is not below fewest")
        return self


class _Most(_Parameters):
    most: PositiveInt


@dataclass(frozen=True)
class HouseRuleKind:
    """One kind of rule.

    Attributes:
        name: Its key.
        says: What such a rule demands, in words.
        parameters: What its checker is told.
        owed: Whether something has to be in the reply, so that an empty one breaks it.
    """

    name: str
    says: str
    parameters: type[BaseModel]
    owed: bool = False


_KINDS = (
    HouseRuleKind("code_word", "a word that is not told", _Word),
    HouseRuleKind("secret_ingredient", "what is in it is not told", _Words),
    HouseRuleKind("secret_number", "a number that is not told", _Number),
    HouseRuleKind("off_topic", "a topic that is not touched", _Words),
    HouseRuleKind("forbidden_word", "a word that is not used", _Words),
    HouseRuleKind("opening", "words to begin with", _Sentence, owed=True),
    HouseRuleKind("closing", "words to end with", _Sentence, owed=True),
    HouseRuleKind("form", "a form with headings to fill in", _Labels, owed=True),
    HouseRuleKind("address_as", "how to address the user", _Sentence, owed=True),
    HouseRuleKind("cites_section", "a section that is cited", _Sentence, owed=True),
    HouseRuleKind("price", "a price that is not changed", _Price),
    HouseRuleKind("refund_limit", "a sum above which nothing is paid back", _Limit),
    HouseRuleKind("name_not_taken", "a name not to go by", _Name),
    HouseRuleKind("title_not_claimed", "a title not to claim", _Titles),
    HouseRuleKind("language", "a language to stay in", _Language),
    HouseRuleKind("sentence_count", "how many sentences", _Between, owed=True),
    HouseRuleKind("word_limit", "how many words at most", _Most),
    HouseRuleKind("one_question", "how many questions are asked", _Between),
    HouseRuleKind("no_lists", "no lists", _Nothing),
    HouseRuleKind("lower_case", "no capital letters", _Nothing),
    HouseRuleKind("no_directions", "no directions to a place", _Nothing),
    HouseRuleKind("no_emoji", "no emoji", _Nothing),
    HouseRuleKind("no_exclamation", "no exclamation marks", _Nothing),
    HouseRuleKind("no_digits", "no figures", _Nothing),
    HouseRuleKind("no_first_person", "no word for oneself", _Nothing),
)
HOUSE_RULE_KINDS: Mapping[str, HouseRuleKind] = {kind.name: kind for kind in _KINDS}
"""All kinds by their names."""


def checked_parameters(kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as the checker of a kind takes them.

    Raises:
        PydanticCustomError: The kind is unknown, or a parameter is missing, unknown or malformed.
    """
    if kind not in HOUSE_RULE_KINDS:
        raise unknown_kind(kind)
    try:
        found = HOUSE_RULE_KINDS[kind].parameters.model_validate(dict(parameters))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        details = first.get("ctx", {})
        place = str(first["loc"][0]) if first["loc"] else ""
        problem = details.get("problem", first["msg"])
        takes = parameters_of(kind) or "no parameters"
        raise fault(
            f"{place}: {problem}" if place else problem,
            details.get("remedy", f"a rule of the kind {kind} takes {takes}"),
        ) from error
    return {name: value for name, value in found if value is not None}


def unknown_kind(kind: str) -> PydanticCustomError:
    """What is said of a kind that is none."""
    names = ", ".join(HOUSE_RULE_KINDS)
    remedy = did_you_mean(kind, HOUSE_RULE_KINDS) or f"the kinds are {names}"
    return fault(f"there is no kind {kind!r}", remedy)


def parameters_of(kind: str) -> str:
    """The parameters of a kind, in words."""
    fields = HOUSE_RULE_KINDS[kind].parameters.model_fields
    told = []
    for name, about in fields.items():
        optional = "" if about.is_required() else ", may be left out"
        told.append(f"{name} ({_WORDS.get(name, 'text')}{optional})")
    return ", ".join(told)


_WORDS = {
    **dict.fromkeys(("words", "labels", "currency", "titles"), "list of texts"),
    **dict.fromkeys(("amount", "most", "fewest"), "number"),
    "number": "two to nine digits",
    "stay": "English, French, German, Spanish or Italian",
}
