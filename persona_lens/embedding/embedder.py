"""What an embedder is, and how many texts are embedded: each distinct one once, in batches, with a bar."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from persona_lens.errors import ModelError
from persona_lens.progress import StageProgress

_SHORTEST = 1e-9


@runtime_checkable
class Embedder(Protocol):
    """Something that turns texts into vectors.

    Attributes:
        name: What people call it.
        texts_per_call: How many texts it likes to be given at once.
    """

    name: str
    texts_per_call: int

    def fingerprint(self) -> str:
        """A short text that another model, or this one used in another way, does not share."""
        ...

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
        """One vector a text."""
        ...


def embed_texts(
    embedder: Embedder, texts: Sequence[str], *, progress: bool = True
) -> Float[np.ndarray, "text dim"]:
    """Unit vectors of texts; those that occur again are told by their hash and embedded once.

    Args:
        embedder: Makes the vectors.
        texts: Not empty, each of them.
        progress: Show a bar where there is more than one batch.

    Raises:
        ModelError: The embedder gave something else than one finite vector of one length a text, or a vector of
            zeros, which has no direction.

    Examples:
        >>> class Letters:
        ...     name, texts_per_call = "letters", 2
        ...     def fingerprint(self): return "1"
        ...     def __call__(self, texts): return np.array([[text.count("a"), text.count("b")] for text in texts])
        >>> embed_texts(Letters(), ["a", "bb", "a"])
        array([[1., 0.],
               [0., 1.],
               [1., 0.]], dtype=float32)
    """
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    distinct = dict(zip(keys, texts, strict=True))
    wanted, step = list(distinct.values()), max(1, embedder.texts_per_call)
    bar = StageProgress(
        "Embedding", len(wanted), shown=progress and len(wanted) > step, unit="messages"
    )
    vectors: list[np.ndarray] = []
    with bar.running():
        for start in range(0, len(wanted), step):
            batch = wanted[start : start + step]
            vectors.append(_checked(embedder, batch))
            bar.advance(len(batch))
    lengths = {found.shape[1] for found in vectors}
    if len(lengths) > 1:
        raise _odd(embedder, "vectors of one length", f"lengths {sorted(lengths)}")
    place = {key: row for row, key in enumerate(distinct)}
    rows = np.concatenate(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)
    return rows[[place[key] for key in keys]]


def unit_rows(
    vectors: Float[np.ndarray, "text dim"], what: str = "the embeddings"
) -> Float[np.ndarray, "text dim"]:
    """The same directions at length 1, in single precision.

    Raises:
        ModelError: Some are not finite, or have no direction.

    Examples:
        >>> unit_rows(np.array([[3.0, 4.0]]))
        array([[0.6, 0.8]], dtype=float32)
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~np.isfinite(norms) | (norms < _SHORTEST))
    if len(wrong):
        raise ModelError(
            f"{what}: {len(wrong)} of {len(vectors)} vectors are not finite or of length zero",
            expected="vectors that have a direction",
            given=f"the first at row {wrong[0]}",
            remedy="leave these texts out, or take another embedder",
        )
    return (vectors / norms[:, None]).astype(np.float32)


def _checked(embedder: Embedder, batch: Sequence[str]) -> Float[np.ndarray, "text dim"]:
    found = np.asarray(embedder(batch))
    if found.ndim != 2 or len(found) != len(batch) or not found.shape[1]:
        raise _odd(embedder, f"an array of {len(batch)} vectors", f"shape {found.shape}")
    return unit_rows(found, f"the embedder {embedder.name!r}")


def _odd(embedder: Embedder, expected: str, given: str) -> ModelError:
    return ModelError(
        f"the embedder {embedder.name!r} does not give a vector for each text",
        expected=expected,
        given=given,
    )
