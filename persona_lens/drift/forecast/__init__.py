"""Can the position of the model's next reply be forecast from the user's message alone, held out?

    forecaster = Forecaster().fit(trace.wide())  # a row a turn: conversation, turn, message, persona, axis, ...
    forecaster.scores_                           # R² by predictor and split, with null, interval and counts
    print(forecaster.question("axis").sentence)  # the last message, or where the model was?
    forecaster.explain("axis").kinds             # kinds of messages that pull either way
    forecaster.predict(["Who are you, really?"], previous={"axis": 4.2})

Whole personas are held out, the simulated users: rows of one person know one another.
"""

from persona_lens.drift.forecast.answering import Answer
from persona_lens.drift.forecast.explaining import Explanation
from persona_lens.drift.forecast.forecaster import Forecaster
from persona_lens.drift.forecast.predictors import PREDICTORS
from persona_lens.drift.forecast.truth import truth_beside

__all__ = ["PREDICTORS", "Answer", "Explanation", "Forecaster", "truth_beside"]
