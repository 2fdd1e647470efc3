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

from collections.abc import Sequence

from persona_lens.catalog.doubles import TOKEN_LIMITS, Embedder, Limits, find_doubles
from persona_lens.catalog.report import Report
from persona_lens.catalog.rules import Standard, leaks, lengths, repeated_names, shortfalls
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait
from persona_lens.catalog.texts import catalog_texts


def check_catalog(
    roles: Sequence[Role] = (),
    traits: Sequence[Trait] = (),
    questions: Sequence[Question] = (),
    defaults: Sequence[DefaultPrompt] = (),
    *,
    embedder: Embedder | None = None,
    limits: Limits = TOKEN_LIMITS,
    standard: Standard | None = None,
) -> Report:
    """Look for everything that would make a catalogue measure badly.

    Args:
        roles: Roles.
        traits: Traits.
        questions: Questions for everyone.
        defaults: Prompts of the default Assistant.
        embedder: Makes unit vectors of texts, such as `TokenEmbedder`; without one, doubles are
            found by their words alone.
        limits: What is too alike, which depends on the embedder.
        standard: How much there has to be, such as `rules.FULL`; by default entries have what they
            have.

    Returns:
        A report, which Rich prints as a table and a list of faults.
    """
    texts = catalog_texts(roles, traits, questions, defaults)
    doubles, measures = find_doubles(texts, embedder, limits)
    faults = [
        *([] if standard is None else shortfalls(standard, roles, traits, questions, defaults)),
        *repeated_names(roles, traits, questions),
        *lengths(texts),
        *leaks(roles, traits, questions),
        *doubles,
    ]
    counts = {
        "roles": len(roles),
        "traits": len(traits),
        "questions": len(questions),
        "default prompts": len(defaults),
        "system prompts": sum(text.family == "prompt" for text in texts),
        "questions of single entries": sum(text.field.startswith("questions[") for text in texts),
        "texts": len(texts),
    }
    return Report(counts, measures, faults)
