"""All stages of a report, in their order."""

from __future__ import annotations

from persona_lens.paper import behaviour_stages, drift_stages, space_stages
from persona_lens.paper.stage import Stage

STAGES: tuple[Stage, ...] = (
    *space_stages.STAGES,
    *behaviour_stages.STAGES[:2],
    *drift_stages.STAGES[:2],
    *behaviour_stages.STAGES[2:],
    *drift_stages.STAGES[2:],
)
