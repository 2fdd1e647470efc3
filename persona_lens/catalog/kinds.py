"""The kinds of entry, with what the loaders, the checker and the files need to know of each.

Examples:
    >>> ROLE.plural, ROLE.key, QUESTION.key
    ('roles', 'name', 'id')
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import BaseModel

from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Script, Trait, User

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Kind(Generic[Model]):
    """One kind of entry.

    Attributes:
        model: Class of its entries.
        noun: What people call one.
        key: Field that tells its entries apart.
        takes_sentences: Whether a plain sentence is an entry.
        parts: For each field whose items are mappings, how one of them is written.
    """

    model: type[Model]
    noun: str
    key: str
    takes_sentences: bool = False
    parts: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def plural(self) -> str:
        """What people call several; also the stem of file names."""
        return f"{self.noun}s"

    def key_of(self, entry: Model) -> str:
        """Name or id of an entry."""
        return getattr(entry, self.key)


ROLE = Kind(Role, "role", "name")
TRAIT = Kind(Trait, "trait", "name", parts={"pairs": '{"positive": "...", "negative": "..."}'})
QUESTION = Kind(Question, "question", "id", takes_sentences=True)
DEFAULT = Kind(DefaultPrompt, "default", "id", takes_sentences=True)
USER = Kind(
    User,
    "user",
    "id",
    parts={
        "topics": '{"id": "...", "text": "..."}',
        "scripts": '{"topic": "...", "messages": ["...", "..."]}',
    },
)
SCRIPT = Kind(Script, "script", "id")
