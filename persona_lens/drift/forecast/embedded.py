"""The embedder a forecast was fitted with, told from any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from persona_lens.embedding import MINILM, Embedder, embed_texts, open_embedder
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import ModelError

PROBE = "What would you like to talk about today?"
_ALIKE = 0.999  # cosine of the same text by the same embedder on another machine

Source = str | Path | EndpointSettings | Embedder | None


@dataclass(eq=False)
class FittedEmbedder:
    """An embedder, or the memory of one.

    Attributes:
        name: What people call it; "given" where only its vectors were ever seen.
        fingerprint: Of its weights, or of the server's model; None where it is not known.
        probe: Its vector of one sentence: a server may run another model under the same name.
        opened: Itself, where it is at hand.
    """

    name: str
    fingerprint: str | None
    probe: Float[np.ndarray, " dim"] | None
    opened: Embedder | None
    _compared: bool = False

    @classmethod
    def open(cls, source: Source) -> FittedEmbedder:
        """That of a forecast about to be fitted."""
        if source is None:
            return cls("given", None, None, None, True)
        opened = open_embedder(source)
        probe = embed_texts(opened, [PROBE], progress=False)[0]
        return cls(opened.name, opened.fingerprint(), probe, opened, True)

    @classmethod
    def remembered(
        cls, kept: dict[str, Any], probe: np.ndarray | None, source: Source
    ) -> FittedEmbedder:
        """That of a forecast read from a folder.

        Raises:
            ModelError: The one given is another.
        """
        opened = None if source is None else open_embedder(source)
        name, fingerprint = kept["name"], kept["fingerprint"]
        if opened is not None and opened.fingerprint() != fingerprint:
            raise ModelError(
                "the forecast was fitted with another embedder",
                expected=f"{name} ({fingerprint or 'unknown'})",
                given=f"{opened.name} ({opened.fingerprint()})",
                remedy="pass that one, or fit the forecast again",
            )
        return cls(name, fingerprint, probe, opened)

    def vectors(self, messages: Sequence[str], *, progress: bool) -> Float[np.ndarray, "row dim"]:
        """Unit vectors of messages.

        Raises:
            ModelError: It is not at hand, or does not give the vectors it gave.
        """
        if self.opened is None:
            raise ModelError(
                "there is neither an embedder nor embeddings",
                expected="embeddings" if self.name == "given" else f"the embedder {self.name}",
                remedy=f"pass embeddings=..., or Forecaster({MINILM!r})"
                if self.name == "given"
                else "load the forecast with embedder=..., or pass embeddings=...",
            )
        if not self._compared and self.probe is not None:
            now = embed_texts(self.opened, [PROBE], progress=False)
            self._check_same(self.probe[None], now)
        self._compared = True
        return embed_texts(self.opened, list(messages), progress=progress)

    def check_given(self, vectors: Float[np.ndarray, "row dim"], messages: Sequence[str]) -> None:
        """Refuse vectors that are not its own, by a few of them.

        Raises:
            ModelError: They are not.
        """
        if self.opened is not None:
            few = messages[:3]
            self._check_same(vectors[: len(few)], embed_texts(self.opened, few, progress=False))

    def cut(self, messages: Sequence[str]) -> int:
        """How many distinct messages it does not read to their ends; 0 where it does not tell."""
        cut: Any = getattr(self.opened, "cut", None)
        return 0 if cut is None else cut(list(dict.fromkeys(messages)))

    def _check_same(self, then: np.ndarray, now: np.ndarray) -> None:
        given = f"{then.shape[1]} and {now.shape[1]} numbers"
        if then.shape[1] == now.shape[1]:
            least = float((then * now).sum(axis=1).min())
            if least > _ALIKE:
                return
            given = f"cosines down to {least:.3f}"
        raise ModelError(
            f"these embeddings are not those of {self.name!r}",
            expected="the same vectors for the same messages",
            given=given,
            remedy="name the embedder that made them, or None where it cannot be named",
        )
