"""Stage 3: the mean residual of finished replies, read by the model that wrote them or by another."""

from persona_lens.activations.reading import read_replies

__all__ = ["read_replies"]
