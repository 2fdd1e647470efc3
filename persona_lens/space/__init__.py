"""Persona space: axis, components, their stability, and projections on them."""

from persona_lens.space.persona_space import PersonaSpace

__all__ = ["PersonaSpace"]
