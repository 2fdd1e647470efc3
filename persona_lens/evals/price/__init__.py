"""What an intervention costs: does a model still do as it is told, reckon, and keep to a form?

    from persona_lens.evals.price import price, price_table, with_controls

    result = evaluate(price(), model, with_controls(capped(model, space)), out="price")
    result.measures          # each with its change from no plan, paired by item
    price_table(result.replies, price().measures)      # and how many items fell and rose, by chance or not

All answers are checked by programs: no judge, no other model, no network. The same items run in
lm-evaluation-harness as tasks `persona_lens_instructions`, `persona_lens_arithmetic` and `persona_lens_formats`.
"""

from persona_lens.evals.price.arithmetic import arithmetic
from persona_lens.evals.price.controls import with_controls
from persona_lens.evals.price.formats import formats
from persona_lens.evals.price.instructions import followed_by_kind, instructions
from persona_lens.evals.price.table import price_table
from persona_lens.evals.price.together import price

__all__ = [
    "arithmetic",
    "followed_by_kind",
    "formats",
    "instructions",
    "price",
    "price_table",
    "with_controls",
]
