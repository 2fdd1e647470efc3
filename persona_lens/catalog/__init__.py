"""Who a model is asked to play, and what it is asked: roles, traits, questions, defaults.

The full set has 275 roles with five system prompts each, 240 traits with five pairs of contrasting
prompts and forty questions of their own, 240 questions for everyone, and five system prompts of a
model's default behaviour. The core set, which is loaded by default, has 48 of the roles (16
Assistant-like, 16 human, 16 fantastical), 16 of the traits and 24 of the questions. Your own
entries come from dicts, files, folders in the layout of the paper's data, or datasets, and can be
mixed with the packaged ones.

Beside them stand users for studies of drift: who talks to a model, about what, and what they say
(`load_users`, `load_scripts`); and ordinary conversations, in which nothing should drift
(`load_everyday`). `load_rules` has made-up rules and personas that pull against them.

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
      expected the name of a packaged role
      did you mean pirate?
"""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names
from persona_lens.catalog.everyday import EverydayChat, load_everyday, split_everyday
from persona_lens.catalog.house_rules import HouseRule, RuleSpec, load_rules, rule_kinds
from persona_lens.catalog.loader import (
    CatalogSpec,
    load_defaults,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.catalog.neutral import Exchange, load_neutral
from persona_lens.catalog.paper_layout import export_catalog
from persona_lens.catalog.schema import (
    DefaultPrompt,
    Group,
    PromptPair,
    Question,
    Role,
    Script,
    Topic,
    Trait,
    User,
    slug,
)
from persona_lens.catalog.users import UserSpec, load_scripts, load_users, user_domains

if TYPE_CHECKING:
    from persona_lens.catalog.checking import check_catalog
    from persona_lens.catalog.writing import new_role, new_trait

__all__ = [
    "CatalogSpec",
    "DefaultPrompt",
    "EverydayChat",
    "Exchange",
    "Group",
    "HouseRule",
    "PromptPair",
    "Question",
    "Role",
    "RuleSpec",
    "Script",
    "Topic",
    "Trait",
    "User",
    "UserSpec",
    "check_catalog",
    "export_catalog",
    "load_defaults",
    "load_everyday",
    "load_neutral",
    "load_questions",
    "load_roles",
    "load_rules",
    "load_scripts",
    "load_traits",
    "load_users",
    "new_role",
    "new_trait",
    "rule_kinds",
    "slug",
    "split_everyday",
    "user_domains",
]

# These bring numpy and scipy, which nobody needs for loading.
__getattr__ = lazy_names(
    __name__,
    {
        "check_catalog": "persona_lens.catalog.checking",
        "new_role": "persona_lens.catalog.writing",
        "new_trait": "persona_lens.catalog.writing",
    },
)
