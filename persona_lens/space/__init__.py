"""Persona space: axis, components, their stability, and projections on them."""

from persona_lens.space.space import Space

__all__ = ["Space"]
