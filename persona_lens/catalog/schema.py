"""The kinds of catalog entry, checked the moment they are built.

Every model is frozen and refuses fields it does not know, so an entry that exists is sound:
later rooms read `role.prompts` without checking anything again.

Examples:
    >>> Role(name="pirate", prompts=("You are a pirate.",)).prompts[0]
    'You are a pirate.'
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from persona_lens.errors import CatalogError

Group = Literal["assistant", "human", "fantastical"]
"""The three kinds of role: Assistant-like, human, and fantastical or otherwise not human."""

TraitQuestions = Literal["shared", "own"]
"""What a trait is asked: the questions of all, or those of its own."""

_MODEL_NAME = "{model_name}"
_NAME = re.compile(r"[a-z][a-z0-9_]*")

_Item = TypeVar("_Item")
_Known = TypeVar("_Known", "Topic", "Script")


def slug(text: str) -> str:
    """Return the catalog name closest to `text`, or "" where it has no Latin letter.

    Examples:
        >>> slug("Lighthouse Keeper"), slug("2nd Fiancée"), slug("海賊")
        ('lighthouse_keeper', 'nd_fiancee', '')
    """
    latin = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "_", latin.lower())
    return words.lstrip("_0123456789").rstrip("_")


def _fault(problem: str, remedy: str) -> PydanticCustomError:
    """Word a failed check twice over: as pydantic's message, and in parts for the loader."""
    return PydanticCustomError(
        "catalog", "{problem}; {remedy}", {"problem": problem, "remedy": remedy}
    )


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        suggestion = repr(slug(name)) if slug(name) else "a name such as 'lighthouse_keeper'"
        raise _fault("is not lowercase words joined by underscores", f"write {suggestion}")
    return name


def _check_text(text: str) -> str:
    if not text.strip():
        raise _fault("is blank", "write some text here or take the entry out")
    return text


def _check_some(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    if not items:
        raise _fault("is empty", "give at least one")
    return items


def _check_items(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    return _check_unlike(_check_some(items))


def _check_unlike(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    for index, item in enumerate(items):
        if item in items[:index]:
            raise _fault(
                f"holds the same at [{items.index(item)}] and [{index}]",
                "keep one of the two or reword the other",
            )
    return items


def _check_ids(items: tuple[_Known, ...]) -> tuple[_Known, ...]:
    seen: dict[str, int] = {}
    for index, item in enumerate(items):
        if (first := seen.setdefault(item.id, index)) != index:
            raise _fault(
                f"holds {item.id!r} at [{first}] and [{index}]",
                "take one of the two out or give it another id",
            )
    return items


_Name = Annotated[str, AfterValidator(_check_name)]
_Text = Annotated[str, AfterValidator(_check_text)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Role(_Entry):
    """A character a model can be asked to play, with system prompts that bring it about.

    Examples:
        >>> keeper = Role(name="keeper", prompts=("You keep a lighthouse.",), tags=("solitude",))
        >>> keeper.group is None, keeper.tags
        (True, ('solitude',))
    """

    name: _Name
    prompts: Annotated[tuple[_Text, ...], AfterValidator(_check_items)]
    group: Group | None = None
    description: str = ""
    tags: tuple[_Text, ...] = ()
    rubric: str = ""
    """What in a reply shows that this role speaks; for the judge."""
    questions: Annotated[tuple[_Text, ...], AfterValidator(_check_unlike)] = ()
    """Questions of its own, as the paper's files hold them."""
    eval_prompt: str = ""
    """A ready-made prompt for the judge, to be used in place of one made from the rubric."""
    original_name: str = ""
    """What its file calls it, where that cannot be a catalog name."""


class PromptPair(_Entry):
    """Two system prompts, alike in framing, that pull towards a trait and towards its opposite.

    Examples:
        >>> PromptPair(positive="You are calm.", negative="You are agitated.").negative
        'You are agitated.'
    """

    positive: _Text
    negative: _Text

    @model_validator(mode="after")
    def _check_contrast(self) -> PromptPair:
        if self.positive == self.negative:
            raise _fault(
                "has the same text on both sides", "write the opposite into the negative side"
            )
        return self


class Trait(_Entry):
    """A quality of character with pairs of contrasting system prompts.

    Examples:
        >>> pair = PromptPair(positive="You are calm.", negative="You are agitated.")
        >>> Trait(name="calm", pairs=(pair,)).pairs[0].positive
        'You are calm.'
    """

    name: _Name
    pairs: Annotated[tuple[PromptPair, ...], AfterValidator(_check_items)]
    description: str = ""
    tags: tuple[_Text, ...] = ()
    questions: Annotated[tuple[_Text, ...], AfterValidator(_check_unlike)] = ()
    """Questions of its own, to which the trait makes a difference."""
    rubric: str = ""
    """What a reply with this trait does, and one without; for the judge."""
    eval_prompt: str = ""
    """A ready-made prompt for the judge, to be used in place of one made from the rubric."""
    original_name: str = ""
    """What its file calls it, where that cannot be a catalog name."""

    def own_questions(self) -> tuple[Question, ...]:
        """The trait's own questions, with ids.

        Raises:
            CatalogError: It has none.

        Examples:
            >>> pair = PromptPair(positive="You are calm.", negative="You are agitated.")
            >>> trait = Trait(name="calm", pairs=(pair,), questions=("The pan is on fire. What now?",))
            >>> trait.own_questions()[0].id
            'calm_q01'
        """
        if not self.questions:
            raise CatalogError(
                f"the trait {self.name!r} has no questions of its own",
                remedy='add some to its entry, or collect with trait_questions="shared"',
            )
        return tuple(
            Question(id=f"{self.name}_q{number:02}", text=text)
            for number, text in enumerate(self.questions, start=1)
        )


class Question(_Entry):
    """A question put to every role, worded so that who answers shows in the answer.

    Examples:
        >>> Question(id="tide", text="Why does the tide come in?", tags=("explain",)).text
        'Why does the tide come in?'
    """

    id: _Name
    text: _Text
    tags: tuple[_Text, ...] = ()
    original_id: int | str | None = None
    """What its file calls it, where that cannot be a catalog id."""


class DefaultPrompt(_Entry):
    """A system prompt under which a model plays no role but its own; `text` may be empty.

    Examples:
        >>> DefaultPrompt(id="none", text="").fill("Qwen3")
        ''
    """

    id: _Name
    text: str

    def fill(self, model_name: str) -> str:
        """Return the text with `{model_name}` replaced.

        Examples:
            >>> DefaultPrompt(id="named", text="Your name is {model_name}.").fill("Qwen3")
            'Your name is Qwen3.'
        """
        if _MODEL_NAME in self.text and not model_name.strip():
            raise CatalogError(
                f"the default prompt {self.id!r} needs a model name",
                given=repr(model_name),
                remedy="pass the name people know the model by, such as 'Qwen3'",
            )
        # Not str.format: other braces in a user's prompt are plain text.
        return self.text.replace(_MODEL_NAME, model_name)


class Topic(_Entry):
    """What a user comes to talk about.

    Examples:
        >>> Topic(id="sourdough", text="Your starter smells of nail polish.").id
        'sourdough'
    """

    id: _Name
    text: _Text


class Script(_Entry):
    """What a user says in one conversation, message after message, whatever the answers are.

    Examples:
        >>> starter = Topic(id="sourdough", text="Your starter smells of nail polish.")
        >>> script = Script(user="baker", domain="kitchen", topic=starter, messages=("Can I save it?",))
        >>> script.id, len(script.messages)
        ('baker/sourdough', 1)
    """

    user: _Name
    domain: _Name
    topic: Topic
    messages: Annotated[tuple[_Text, ...], AfterValidator(_check_some)]

    @property
    def id(self) -> str:
        """Its user and its topic; no user has two scripts of one topic."""
        return f"{self.user}/{self.topic.id}"


class User(_Entry):
    """Somebody who talks to a model: who that is, what about, and some conversations word for word.

    Examples:
        >>> starter = Topic(id="sourdough", text="Your starter smells of nail polish.")
        >>> baker = User(id="baker", domain="kitchen", description="You bake.", topics=(starter,))
        >>> baker.topics[0].text, baker.scripts
        ('Your starter smells of nail polish.', ())
    """

    id: _Name
    domain: _Name
    """The kind of conversation: packaged are coding, writing, therapy and philosophy."""
    description: _Text
    """Who this is, wants what and writes how, said to whoever plays them ("You are ...")."""
    topics: Annotated[tuple[Topic, ...], AfterValidator(_check_items), AfterValidator(_check_ids)]
    scripts: Annotated[tuple[Script, ...], AfterValidator(_check_ids)] = ()

    @model_validator(mode="after")
    def _check_scripts(self) -> User:
        for script in self.scripts:
            if (script.user, script.domain) != (self.id, self.domain):
                raise _fault(
                    f"has a script of {script.domain}/{script.user}", "give it to that user"
                )
            if script.topic not in self.topics:
                raise _fault(
                    f"has a script of {script.topic.id!r}, which is none of its topics",
                    "add it to the topics, word for word as in the script",
                )
        return self
