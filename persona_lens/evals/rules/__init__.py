"""Rules under persona: a rule, a character that pulls against it, a neutral twin, and a program that decides.

    from persona_lens.evals.rules import persona_effect, rules

    result = evaluate(rules(), model, [UNTOUCHED, *capped(model, space)], space=space, out="rules")
    persona_effect(result.replies, by_kind=True)

200 rules of 25 kinds are packaged; everything is made up, and nobody else is asked.
"""

from persona_lens.evals.rules.asked import rules
from persona_lens.evals.rules.checkers import CHECKERS, kept
from persona_lens.evals.rules.coherence import incoherent
from persona_lens.evals.rules.effects import (
    against_controls,
    broken_shares,
    persona_effect,
    projection_relation,
)
from persona_lens.evals.rules.slopes import rule_slopes

__all__ = [
    "CHECKERS",
    "against_controls",
    "broken_shares",
    "incoherent",
    "kept",
    "persona_effect",
    "projection_relation",
    "rule_slopes",
    "rules",
]
