"""Models: loading, replies and pooled residuals, with TransformerLens at hand.

A floor-1 room: it knows tokens and tensors, and nothing of roles, traits or spaces.
"""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names
from persona_lens.model.embedded import EMBEDDED

if TYPE_CHECKING:
    from persona_lens.interventions.hooks import hook_name
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.rollouts.reply import Reply
    from persona_lens.rollouts.sampling import Sampling

__all__ = ["EMBEDDED", "PersonaModel", "Reply", "Sampling", "hook_name"]

__getattr__ = lazy_names(
    __name__,
    {
        "hook_name": "persona_lens.interventions.hooks",
        "Reply": "persona_lens.rollouts.reply",
        "PersonaModel": "persona_lens.model.persona_model",
        "Sampling": "persona_lens.rollouts.sampling",
    },
)
