"""Named vectors at every layer, and how they are packed."""

from persona_lens.vectors.table import VectorTable

__all__ = ["VectorTable"]
