"""What Inspect finds when it looks for extensions: the provider `persona-lens`, and the tasks. Loads no torch."""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi

from persona_lens.harnesses.inspect_tasks import identity

__all__ = ["identity", "persona_lens_provider"]


@modelapi(name="persona-lens")
def persona_lens_provider() -> type[ModelAPI]:
    """The provider's class, loaded when the first model is made."""
    from persona_lens.harnesses.inspect_provider import PersonaLensAPI  # noqa: PLC0415

    return PersonaLensAPI
