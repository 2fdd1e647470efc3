"""Is a catalogue fit to measure with? Counts, fields, lengths, leaks, and doubles among all its
texts.

A double is a sample counted twice, and a question that names a role is asked of one role alone. So
every text is looked at, and every two texts that do the same work: for the words they share and,
given an embedder, for what they mean.

Examples:
    >>> from persona_lens.catalog import Role
    >>> prompts = "You keep a light far out at sea.", "You keep the light far out at sea."
    >>> print(check_catalog([Role(name="keeper", prompts=prompts)]).faults[0])
    role keeper, prompts[0] and prompts[1] share their words (0.50)
      You keep a light far out at sea.
      You keep the light far out at sea.
      give one of them another framing: a scene, a habit, a belief, a manner of speech
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from persona_lens.catalog.doubles import TOKEN_LIMITS, Embedder, Limits, find_doubles
from persona_lens.catalog.house_rules import HouseRule
from persona_lens.catalog.report import Fault, Report
from persona_lens.catalog.rules import Standard, leaks, lengths, repeated_names, shortfalls
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait
from persona_lens.catalog.texts import catalog_texts


def check_catalog(
    roles: Sequence[Role] = (),
    traits: Sequence[Trait] = (),
    questions: Sequence[Question] = (),
    defaults: Sequence[DefaultPrompt] = (),
    rules: Sequence[HouseRule] = (),
    *,
    embedder: Embedder | None = None,
    limits: Limits = TOKEN_LIMITS,
    standard: Standard | None = None,
    imported: Collection[str] = (),
) -> Report:
    """Look for everything that would make a catalogue measure badly.

    Args:
        roles: Roles.
        traits: Traits.
        questions: Questions for everyone.
        defaults: Prompts of the default Assistant.
        rules: House rules, with their personas, neutral twins and requests.
        embedder: Makes unit vectors of texts, such as `TokenEmbedder`; without one, doubles are
            found by their words alone.
        limits: What is too alike, which depends on the embedder.
        standard: How much there has to be, such as `rules.FULL`; by default entries have what they
            have.
        imported: Entries that others wrote to rules of their own, such as "role baker": only their
            names are looked at, and own entries are held against them.

    Returns:
        A report, which Rich prints as a table and a list of faults.
    """
    texts = catalog_texts(roles, traits, questions, defaults, rules)
    has_own = any(text.owner not in imported for text in texts)
    doubles, measures = find_doubles(texts, embedder, limits) if has_own else ([], [])
    found = [
        *([] if standard is None else shortfalls(standard, roles, traits, questions, defaults)),
        *repeated_names(roles, traits, questions),
        *lengths(texts),
        *leaks(roles, traits, questions),
        *doubles,
    ]
    faults = [fault for fault in found if not _is_about(fault, imported)]
    counts = {
        "roles": len(roles),
        "traits": len(traits),
        "questions": len(questions),
        "default prompts": len(defaults),
        "house rules": len(rules),
        "system prompts": sum(text.family == "prompt" for text in texts),
        "questions of single entries": sum(text.field.startswith("questions[") for text in texts),
        "texts": len(texts),
    }
    return Report(counts, measures, faults)


def _is_about(fault: Fault, imported: Collection[str]) -> bool:
    """Whether a fault, other than a name given twice, concerns imported entries alone."""
    return fault.check != "name" and bool(fault.owners) and set(fault.owners) <= set(imported)
