"""Drift: where the replies of conversations lie in persona space, turn by turn.

from persona_lens.drift import trace

found = trace(space, model, conversations)       # or space.trace(conversations, model)
found.curves(by="domain")

Conversations that nobody has had yet are simulated: `persona_lens.drift.simulation`. Where the next reply
will be is forecast from the user's message: `persona_lens.drift.forecast`.
"""

from persona_lens.drift.trace import READINGS, Reading, Trace
from persona_lens.drift.tracing import trace

__all__ = ["READINGS", "Reading", "Trace", "trace"]
