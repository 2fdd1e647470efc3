"""Who a model is asked to play, and what it is asked: roles, traits, questions, defaults.

The core set has 48 roles (16 Assistant-like, 16 human, 16 fantastical) with five system prompts
each, 16 traits with five pairs of contrasting prompts, 24 questions and the five system prompts
of a model's default behaviour. Your own entries are given as dicts or JSON files of the same
shape and can be mixed with the core ones.

Examples:
    >>> from persona_lens.catalog import load_questions, load_roles
    >>> keeper = {"name": "lighthouse_keeper", "prompts": ["You keep a lighthouse on a bare rock."]}
    >>> roles = load_roles(["pirate", "oracle", keeper])
    >>> [role.name for role in roles]
    ['pirate', 'oracle', 'lighthouse_keeper']
    >>> load_questions()[1].text
    'Why does the tide come in and go out?'

A mistake is answered with where it is and what to do:

Examples:
    >>> load_roles("priate")
    Traceback (most recent call last):
        ...
    persona_lens.errors.CatalogError: roles: unknown role 'priate'
      expected the name of a core role
      did you mean pirate?
"""

from persona_lens.catalog.loader import (
    CatalogSpec,
    load_defaults,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.catalog.schema import (
    DefaultPrompt,
    Group,
    PromptPair,
    Question,
    Role,
    Trait,
    slug,
)

__all__ = [
    "CatalogSpec",
    "DefaultPrompt",
    "Group",
    "PromptPair",
    "Question",
    "Role",
    "Trait",
    "load_defaults",
    "load_questions",
    "load_roles",
    "load_traits",
    "slug",
]
