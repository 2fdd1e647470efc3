"""How well single replies tell who wrote them, layer by layer, on questions and system prompts held out.

    from persona_lens.separability import Separability, measure_run

    found = measure_run(run)                     # reads the run, never the model
    found.values("identity", "role")             # [unit, layer]
    found.frame("auc")                           # tidy, with the null beside every value
    found.save("separability")

A reply is tested by what was trained on replies to other questions under other system prompts: question folds are
crossed with prompt folds, and each cell of that grid is tested once. Sums and scatter matrices add up over cells,
so all splits together cost little more than one. What each metric is stands in `METRICS`.
"""

from persona_lens.separability.leading import lead
from persona_lens.separability.measuring import measure, measure_run
from persona_lens.separability.replies import Replies
from persona_lens.separability.result import METRICS, Separability

__all__ = ["METRICS", "Replies", "Separability", "lead", "measure", "measure_run"]
