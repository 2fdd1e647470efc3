"""The folder of Neuronpedia's first demo of the Assistant Axis: `persona.yaml` and the files it names.

    persona = read_neuronpedia_persona("meta-llama/Llama-3.3-70B-Instruct")
    persona.axis  # at every layer, Assistant-positive

It has contrast vectors at every layer, which point from the Assistant to the roles, and fitted components as
pickled scikit-learn objects. Those are not opened: the demo puts the reversed contrast vector in place of the
first of them, and that is the axis here. For the same reason such a folder is not written;
`write_neuronpedia_axis` writes what came after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from persona_lens.errors import InterventionError
from persona_lens.interop.neuronpedia_axis import read_manifest
from persona_lens.interop.torch_files import as_array, read_torch
from persona_lens.interventions import Direction


@dataclass(frozen=True, eq=False)
class NeuronpediaPersona:
    """The older folder of the demo, without its pickled components.

    Attributes:
        axis: The Assistant Axis at every layer, Assistant-positive: the contrast vectors reversed.
        layers: Blocks that its components were fitted at; the demo reads at the first.
        titles: Of the components that it shows.
        blank_system_prompt: Whether they were fitted with an empty system message.
        unread: Files with pickled objects, which were not opened.
    """

    axis: Direction
    layers: tuple[int, ...]
    titles: tuple[str, ...]
    blank_system_prompt: bool
    unread: tuple[str, ...]


def read_neuronpedia_persona(folder: str | Path) -> NeuronpediaPersona:
    """Read `persona.yaml` and the contrast vectors it names; no pickle is opened.

    Raises:
        InterventionError: No manifest there, or one of another layout.
        SpaceError: The vectors are missing or damaged, or in a file with more than tensors.
    """
    folder = Path(folder)
    content = read_manifest(folder / "persona.yaml")
    try:
        fitted = [(int(entry["layer"]), str(entry["file"])) for entry in content.get("pca") or []]
        titles = tuple(map(str, content.get("pc_titles") or ()))
        file = folder / str(content.get("contrast_vectors", "contrast_vectors.pt"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InterventionError(
            f"{folder.name} holds no persona of Neuronpedia: {error!r}",
            expected="pca, a list of layer and file, in persona.yaml",
        ) from error
    values = as_array(read_torch(file), ndim=2, source=file, what="contrast vectors by layer")
    fitted.sort()
    return NeuronpediaPersona(
        axis=Direction("assistant", tuple(range(len(values))), -values),
        layers=tuple(layer for layer, _ in fitted),
        titles=titles,
        blank_system_prompt=bool(content.get("blank_system_prompt", False)),
        unread=tuple(name for _, name in fitted),
    )
