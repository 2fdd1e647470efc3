"""What a worker in another process, maybe on another machine, needs to know to load its models by itself.

Models do not travel between processes: each worker opens the weights from its own disk or cache.

Examples:
    >>> spec = WorkerSpec(ModelSpec("smollm2-135m-instruct", dtype="float32"), threads=2)
    >>> spec.build().facts().n_layers
    30
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from persona_lens.model.embedded import EMBEDDED
from persona_lens.model.persona_model import PersonaModel
from persona_lens.runs.engines.worker import Worker

if TYPE_CHECKING:
    from persona_lens.model.hardware import DtypeName


@dataclass(frozen=True)
class ModelSpec:
    """The arguments of `PersonaModel.load`, kept for later.

    Attributes:
        source: An embedded name, a hub name, a folder or a `.gguf` file. Paths are made absolute, because a worker
            may run in another folder; on another machine the same path has to hold the same model.
        dtype, device, device_map, revision, chat_template, template_kwargs, trust_remote_code: As for
            `PersonaModel.load`.

    Examples:
        >>> ModelSpec("smollm2-135m-instruct", dtype="float32").load().n_layers
        30
    """

    source: str | Path
    dtype: DtypeName = "auto"
    device: str | None = None
    device_map: Any = None
    revision: str | None = None
    chat_template: str | None = None
    template_kwargs: Mapping[str, Any] | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        path = Path(self.source).expanduser()
        if str(self.source) not in EMBEDDED and path.exists():
            object.__setattr__(self, "source", path.absolute())

    def load(self) -> PersonaModel:
        """Load the model.

        Raises:
            ModelError, DownloadError: As `PersonaModel.load`.
        """
        return PersonaModel.load(
            **{field.name: getattr(self, field.name) for field in fields(self)}
        )

    def on_cpu(self) -> ModelSpec:
        """The same on the CPU, unless a device is named already."""
        placed = self.device is not None or self.device_map is not None
        return self if placed else replace(self, device="cpu")


@dataclass(frozen=True)
class WorkerSpec:
    """A worker that is yet to be built.

    Attributes:
        writer: Samples the replies.
        reader: Reads them; the writer by default.
        threads: Of PyTorch on the CPU; by default what the process is given.
    """

    writer: ModelSpec
    reader: ModelSpec | None = None
    threads: int | None = None

    def build(self) -> Worker:
        """Load the models, in the process this is called in, and set its number of threads.

        Raises:
            ModelError, DownloadError: As `PersonaModel.load`.
        """
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return Worker(self.writer.load(), None if self.reader is None else self.reader.load())

    def on_cpu(self) -> WorkerSpec:
        """The same with models on the CPU, unless their devices are named already.

        Examples:
            >>> WorkerSpec(ModelSpec("gemma-3-270m")).on_cpu().writer.device
            'cpu'
        """
        reader = None if self.reader is None else self.reader.on_cpu()
        return replace(self, writer=self.writer.on_cpu(), reader=reader)
