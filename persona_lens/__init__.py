"""Persona Lens: who is a language model being?

    from persona_lens import PersonaModel, PersonaSpace

    model = PersonaModel.load("smollm2-135m-instruct")
    space = PersonaSpace.collect(model, roles="core", traits="core", run="runs/first").fit()
    space.map(layer=20).show()

Names load on first use: importing the package does not import torch.
"""

from typing import TYPE_CHECKING, Any

from persona_lens._lazy import lazy_names
from persona_lens.threads import wait_briefly

if TYPE_CHECKING:
    __version__: str
    from persona_lens.catalog import (
        DefaultPrompt,
        Question,
        Role,
        Trait,
        load_defaults,
        load_questions,
        load_roles,
        load_traits,
    )
    from persona_lens.errors import PersonaLensError
    from persona_lens.interventions import Direction, Plan, Receipt
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.persona_space import PersonaSpace
    from persona_lens.rollouts.reply import Reply
    from persona_lens.rollouts.sampling import Sampling
    from persona_lens.runs.store.folder import RunFolder
    from persona_lens.transcripts import Transcript, TranscriptEncoder
    from persona_lens.vectors.table import VectorTable

_HOMES = {
    "PersonaModel": "persona_lens.model.persona_model",
    "PersonaSpace": "persona_lens.persona_space",
    "VectorTable": "persona_lens.vectors.table",
    "Sampling": "persona_lens.rollouts.sampling",
    "Reply": "persona_lens.rollouts.reply",
    "RunFolder": "persona_lens.runs.store.folder",
    "Direction": "persona_lens.interventions",
    "Plan": "persona_lens.interventions",
    "Receipt": "persona_lens.interventions",
    "Transcript": "persona_lens.transcripts",
    "TranscriptEncoder": "persona_lens.transcripts",
    "Role": "persona_lens.catalog",
    "Trait": "persona_lens.catalog",
    "Question": "persona_lens.catalog",
    "DefaultPrompt": "persona_lens.catalog",
    "load_roles": "persona_lens.catalog",
    "load_traits": "persona_lens.catalog",
    "load_questions": "persona_lens.catalog",
    "load_defaults": "persona_lens.catalog",
    "PersonaLensError": "persona_lens.errors",
}

__all__ = [
    "DefaultPrompt",
    "Direction",
    "PersonaLensError",
    "PersonaModel",
    "PersonaSpace",
    "Plan",
    "Question",
    "Receipt",
    "Reply",
    "Role",
    "RunFolder",
    "Sampling",
    "Trait",
    "Transcript",
    "TranscriptEncoder",
    "VectorTable",
    "__version__",
    "load_defaults",
    "load_questions",
    "load_roles",
    "load_traits",
]

_lookup = lazy_names(__name__, _HOMES)

wait_briefly()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("persona-lens")
    return _lookup(name)


def __dir__() -> list[str]:
    return __all__
