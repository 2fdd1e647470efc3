"""Stage 2: judges that say of every reply how far it plays its role, or shows its trait.

    from persona_lens.endpoints import EndpointSettings
    from persona_lens.judges import OpenAIJudge
    from persona_lens.runs.judging import judge_run

    judge = OpenAIJudge(EndpointSettings(model="gpt-4.1-mini"))
    labels = judge_run(run, judge)              # every verdict stored when it arrives

`OpenAIJudge` asks a chat server, `LocalJudge` any loaded model, `LikelihoodJudge` the model that wrote the
replies, without a judge's prompt, and `RuleJudge` nobody. They load on first use: importing this package imports
neither torch nor openai.
"""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names
from persona_lens.judges.base import LABELS, Case, Judge, Label, Verdict, judge_key

if TYPE_CHECKING:
    from persona_lens.judges.likelihood_judge import LikelihoodJudge
    from persona_lens.judges.local_judge import LocalJudge
    from persona_lens.judges.openai_judge import OpenAIJudge
    from persona_lens.judges.rule_judge import RuleJudge

__all__ = [
    "LABELS",
    "Case",
    "Judge",
    "Label",
    "LikelihoodJudge",
    "LocalJudge",
    "OpenAIJudge",
    "RuleJudge",
    "Verdict",
    "judge_key",
]

__getattr__ = lazy_names(
    __name__,
    {
        "LikelihoodJudge": "persona_lens.judges.likelihood_judge",
        "LocalJudge": "persona_lens.judges.local_judge",
        "OpenAIJudge": "persona_lens.judges.openai_judge",
        "RuleJudge": "persona_lens.judges.rule_judge",
    },
)
