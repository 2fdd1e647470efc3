"""Any model that sentence-transformers opens, by its name on the hub or by folder: `persona-lens[forecast]`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.errors import ModelError


class SentenceTransformerEmbedder:
    """Unit vectors by a sentence-transformers model, loaded on first use.

    Args:
        source: Name on the model hub, or a folder.
        prompt: Put before each text, for models that want to be told what the vectors are for.
        device: Such as "cpu" or "cuda"; the fastest there is by default.
        batch_size: Texts in one forward pass.

    Raises:
        ModelError: On first use: sentence-transformers is not installed, or the model cannot be loaded.

    Examples:
        >>> embedder = SentenceTransformerEmbedder("Qwen/Qwen3-Embedding-0.6B")
        >>> embedder.name
        'Qwen/Qwen3-Embedding-0.6B'
    """

    def __init__(
        self,
        source: str | Path,
        *,
        prompt: str | None = None,
        device: str | None = None,
        batch_size: int = 32,
    ) -> None:
        self.name = str(source)
        self.texts_per_call = 8 * batch_size
        self._prompt = prompt
        self._device = device
        self._batch_size = batch_size

    def fingerprint(self) -> str:
        """Of the weights, the prompt and the longest text that is read whole."""
        from persona_lens.model.fingerprint import fingerprint  # noqa: PLC0415 - loads torch

        used = (f"prompt={self._prompt}", f"longest={self._model.max_seq_length}")
        return fingerprint(self._model.state_dict(), settings=used)

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than what is read of them."""
        longest = self._model.max_seq_length
        if longest is None:
            return 0
        before = self._prompt or ""
        whole = self._model.tokenizer([before + text for text in texts], truncation=False)
        return sum(len(ids) > longest for ids in whole["input_ids"])

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
        """Vectors of length 1."""
        return self._model.encode(
            list(texts),
            prompt=self._prompt,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )

    @cached_property
    def _model(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer  # noqa: PLC0415
        except ImportError as error:
            raise ModelError(
                f"{self.name!r} needs sentence-transformers, which is not installed",
                remedy="pip install 'persona-lens[forecast]', or use the packaged all-MiniLM-L6-v2",
            ) from error
        try:
            return SentenceTransformer(self.name, device=self._device, trust_remote_code=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"cannot load the sentence model {self.name!r}",
                given=(str(error).strip() or type(error).__name__).splitlines()[0],
                remedy="give a name such as sentence-transformers/all-mpnet-base-v2, or a folder",
            ) from error
