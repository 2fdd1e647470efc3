"""Two persona spaces side by side: two models of any width and depth, two judges, two sets of questions.

    from persona_lens.analysis.comparison import compare

    comparison = compare(PersonaSpace.load("gemma"), PersonaSpace.load("qwen"))
    comparison.frame          # every measure at every matched depth, with interval and null
    comparison.similarity     # layer by layer
    comparison.plot()

Models do not share a residual stream, so what is compared is how each arranges the roles and traits that both
have. Directions are compared only where both spaces are of one model.
"""

from persona_lens.analysis.comparison.comparing import MEASURES, compare
from persona_lens.analysis.comparison.result import Comparison

__all__ = ["MEASURES", "Comparison", "compare"]
