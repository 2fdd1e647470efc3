"""The four kinds of entry, with what the loaders, the checker and the files need to know of each.

Examples:
    >>> ROLE.plural, ROLE.key, QUESTION.key
    ('roles', 'name', 'id')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Kind(Generic[Model]):
    """One kind of entry.

    Attributes:
        model: Class of its entries.
        noun: What people call one.
        key: Field that tells its entries apart.
        takes_sentences: Whether a plain sentence is an entry.
    """

    model: type[Model]
    noun: str
    key: str
    takes_sentences: bool = False

    @property
    def plural(self) -> str:
        """What people call several; also the stem of file names."""
        return f"{self.noun}s"

    def key_of(self, entry: Model) -> str:
        """Name or id of an entry."""
        return getattr(entry, self.key)


ROLE = Kind(Role, "role", "name")
TRAIT = Kind(Trait, "trait", "name")
QUESTION = Kind(Question, "question", "id", takes_sentences=True)
DEFAULT = Kind(DefaultPrompt, "default", "id", takes_sentences=True)
