"""What interventions do to a model: dose-response, compositions of traits, capping and its price, the sink.

from persona_lens.evals import dose_response

result = dose_response(model, space, judge, out="dose")      # kill it: the same call continues
result.measures, result.fits
"""

from persona_lens.evals.capping import capping_sweep
from persona_lens.evals.composed_steering import ComposedSteering, composed_steering
from persona_lens.evals.dose_response import DoseResponse, dose_response
from persona_lens.evals.sinks import sink_experiment

__all__ = [
    "ComposedSteering",
    "DoseResponse",
    "capping_sweep",
    "composed_steering",
    "dose_response",
    "sink_experiment",
]
