"""Persona-based jailbreaks: requests that you bring, with and without a persona, judged by named scales.

    from persona_lens.evals.harm import cross, harm, harm_judge, harm_table, read_behaviours

    behaviours = read_behaviours("harmful-behaviors.csv", benign="benign-behaviors.csv")
    items = cross(behaviours, ["pirate", "demon", "oracle"], each=2)
    evaluation = harm(items, harm_judge(settings, "paper"))
    result = evaluate(evaluation, model, [UNTOUCHED, *capped(model, space)], space=space, out="evals/harm")
    harm_table(result.replies)          # what the cap does beyond random directions; over-refusal beside it

No harmful request and no answer to one is part of this package.
"""

from persona_lens.evals.harm.behaviours import Behaviour, Behaviours
from persona_lens.evals.harm.crossing import counted, cross
from persona_lens.evals.harm.first_turns import after_first_turns, first_turns
from persona_lens.evals.harm.hand_labels import agreement, export_labels, read_labels
from persona_lens.evals.harm.harm import harm
from persona_lens.evals.harm.harm_table import harm_table, persona_effect
from persona_lens.evals.harm.mixed_model import mixed_model
from persona_lens.evals.harm.projection_effect import harm_by_projection, projection_effect
from persona_lens.evals.harm.reading import read_behaviours
from persona_lens.evals.harm.refusal_rules import RefusalRules
from persona_lens.evals.harm.refusals import RefusalDirection, refusal_direction, with_overlap
from persona_lens.evals.harm.reply_outcomes import reply_outcomes
from persona_lens.evals.harm.rubrics import SCALES, HarmJudge, harm_judge

__all__ = [
    "SCALES",
    "Behaviour",
    "Behaviours",
    "HarmJudge",
    "RefusalDirection",
    "RefusalRules",
    "after_first_turns",
    "agreement",
    "counted",
    "cross",
    "export_labels",
    "first_turns",
    "harm",
    "harm_by_projection",
    "harm_judge",
    "harm_table",
    "mixed_model",
    "persona_effect",
    "projection_effect",
    "read_behaviours",
    "read_labels",
    "refusal_direction",
    "reply_outcomes",
    "with_overlap",
]
