"""How large a model is, told by its config: no weight is read, so a plan can be checked and sized at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from persona_lens.errors import ModelError
from persona_lens.model.embedded import embedded_status
from persona_lens.model.hub import hub_within_reach
from persona_lens.model.loading import RANDOM, quiet_transformers
from persona_lens.model.registry import EMBEDDED


@dataclass(frozen=True)
class ModelShape:
    """The size of a model.

    Attributes:
        n_layers: Blocks.
        d_model: Width of the residual stream.
        parameters: All of them, the embedding included.

    Examples:
        >>> shape_of("smollm2-135m-instruct")
        ModelShape(n_layers=30, d_model=576, parameters=134515008)
    """

    n_layers: int
    d_model: int
    parameters: int

    def check_layers(self, layers: list[int] | None) -> None:
        """Refuse layers that the model has not.

        Raises:
            ModelError: One is not a block of it.

        Examples:
            >>> ModelShape(30, 576, 134_515_008).check_layers([3, 29])
        """
        for layer in layers or ():
            if not 0 <= layer < self.n_layers:
                raise ModelError("no such layer", expected=f"0 to {self.n_layers - 1}", given=layer)


def shape_of(source: str | Path, revision: str | None = None) -> ModelShape | None:
    """The shape of what `PersonaModel.load` would open; None where only loading tells it.

    Args:
        source: An embedded name, `random:` with a name, a folder, or a hub name, of which the config alone is
            fetched. A GGUF file, an adapter and a repository with code of its own tell nothing.
        revision: Hub revision.

    Examples:
        >>> shape_of("random:gemma-3-270m:3").n_layers, shape_of("some.gguf")
        (18, None)
    """
    text = str(source)
    if text.startswith(RANDOM):
        name, _, seed = text.removeprefix(RANDOM).rpartition(":")
        return shape_of(name if name and seed.isdecimal() else text.removeprefix(RANDOM), revision)
    if text in EMBEDDED:
        entry, status = EMBEDDED[text], embedded_status(text)
        if not status.present:
            return ModelShape(entry.n_layers, entry.d_model, entry.parameters)
        text = str(status.path)
    folder = Path(text).expanduser()
    if folder.is_file() or folder.suffix == ".gguf":
        return None
    if folder.is_dir() and not (folder / "config.json").is_file():
        return None
    try:
        with quiet_transformers(), hub_within_reach():
            config = AutoConfig.from_pretrained(
                str(folder) if folder.is_dir() else text, revision=revision
            )
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError, ImportError, AttributeError):
        return None  # loading it will say what is wrong
    inner = config.get_text_config()
    return ModelShape(
        int(inner.num_hidden_layers), int(inner.hidden_size), int(model.num_parameters())
    )
