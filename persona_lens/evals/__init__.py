"""What personas and interventions do to behaviour, each evaluation with matched controls and intervals.

    from persona_lens.evals import UNTOUCHED, capped, evaluate
    from persona_lens.evals.rules import rules

    result = evaluate(rules(first=20), model, [UNTOUCHED, *capped(model, space)], out="rules")
    result.measures                                              # kill it: the same call continues

`persona_lens.evals.registry` names the evaluations. Questions that take several strengths, caps or roles at once
have a function of their own: `dose_response`, `capping_sweep` and `composed_steering`. `sink_experiment` asks
nothing: it reads neutral text.
"""

from persona_lens.evals.capping import capping_sweep
from persona_lens.evals.composed_steering import ComposedSteering, composed_steering
from persona_lens.evals.conditions import UNTOUCHED, Condition, capped, steered
from persona_lens.evals.dose_response import DoseResponse, dose_response
from persona_lens.evals.evaluation import Evaluated, Evaluation, evaluate
from persona_lens.evals.items import Item
from persona_lens.evals.measures import Measure
from persona_lens.evals.sinks import sink_experiment

__all__ = [
    "UNTOUCHED",
    "ComposedSteering",
    "Condition",
    "DoseResponse",
    "Evaluated",
    "Evaluation",
    "Item",
    "Measure",
    "capped",
    "capping_sweep",
    "composed_steering",
    "dose_response",
    "evaluate",
    "sink_experiment",
    "steered",
]
