"""One word for each kind of embedder."""

from __future__ import annotations

from pathlib import Path

from persona_lens.embedding.embedder import Embedder
from persona_lens.embedding.minilm import MINILM, MiniLM
from persona_lens.embedding.sentences import SentenceTransformerEmbedder
from persona_lens.embedding.served import ServedEmbedder
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import ModelError


def open_embedder(which: str | Path | EndpointSettings | Embedder = MINILM) -> Embedder:
    """An embedder by name, folder, server, or as it is.

    Args:
        which: "all-MiniLM-L6-v2" (packaged, offline); any other name on the hub, or a folder, which
            sentence-transformers opens; the settings of a server; or an embedder.

    Raises:
        ModelError: It is none of these.

    Examples:
        >>> open_embedder("sentence-transformers/all-MiniLM-L6-v2").name
        'all-MiniLM-L6-v2'
    """
    if isinstance(which, EndpointSettings):
        return ServedEmbedder(which)
    if isinstance(which, str | Path) and str(which).strip():
        if str(which).removeprefix("sentence-transformers/") == MINILM:
            return MiniLM()
        return SentenceTransformerEmbedder(which)
    if isinstance(which, Embedder):
        return which
    raise ModelError(
        "not an embedder",
        expected="a name, a folder, EndpointSettings, or an object with name, texts_per_call, fingerprint() "
        "and a call that turns texts into vectors",
        given=repr(which)[:80],
        remedy=f"leave it out for {MINILM}",
    )
