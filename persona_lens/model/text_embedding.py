"""Sentence vectors without a sentence model: what is near in meaning, offline and in seconds.

`TokenEmbedder` takes the mean of a language model's token embeddings, in which rare tokens weigh
more than common ones, and removes the direction that all sentences share (smooth inverse frequency:
Arora, Liang and Ma 2017, "A simple but tough-to-beat baseline for sentence embeddings"). It is a
look-up, without a forward pass, and it sees reworded and reordered sentences as near; sentences
that say the same in quite other words it does not. `SentenceEmbedder` is for those: a model made
for sentences, one forward pass each.

Examples:
    >>> embed = TokenEmbedder(["Why does the tide come in?", "Who are you?", "Sing me a song."])
    >>> texts = "Why does the tide come in?", "The tide comes in: why?", "Sing about a dog."
    >>> tide, again, song = embed(texts)
    >>> bool(tide @ again > 0.7 > tide @ song)
    True
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from persona_lens.errors import ModelError
from persona_lens.model.embedded import embedded_folder

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_EMBEDDING = "model.embed_tokens.weight"
_NUMBER = re.compile(r"\d[\d.,:]*")


class TokenEmbedder:
    """Unit vectors of sentences from the token embeddings of an embedded model.

    Args:
        background: Ordinary sentences of the kind to be embedded. They tell which tokens are common
            and which direction all share, so that the vector of a sentence does not depend on what
            it is compared with.
        model: An embedded model; only its tokenizer and its token embeddings are read, and torch is
            not needed.
        smoothing: `a` in the weight a / (a + frequency) of a token. The default is the value with
            which the nearest pairs of the packaged questions agree best with those that
            all-MiniLM-L6-v2 finds.
        components: How many of the directions that sentences share most are removed.
    """

    def __init__(
        self,
        background: Sequence[str],
        *,
        model: str = "smollm2-135m-instruct",
        smoothing: float = 3e-3,
        components: int = 1,
    ) -> None:
        from safetensors import safe_open  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415

        folder = embedded_folder(model)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        with safe_open(str(folder / "model.safetensors"), "numpy") as weights:
            table = weights.get_tensor(_EMBEDDING).astype(np.float32)
        # Embeddings share a large mean, and their length says more of frequency than of meaning.
        table -= table.mean(axis=0)
        table /= np.linalg.norm(table, axis=1, keepdims=True) + 1e-9
        self._table = table
        counts = np.asarray(self._counts(background).sum(axis=0)).ravel()
        # Half a count for tokens never seen: rarer than any that was.
        frequency = (counts + 0.5) / (counts + 0.5).sum()
        self._weights = (smoothing / (smoothing + frequency)).astype(np.float32)
        self._shared = np.zeros((table.shape[1], 0), dtype=np.float32)
        vectors = self._means(background)
        _, directions = np.linalg.eigh(vectors.T @ vectors)
        self._shared = directions[:, directions.shape[1] - components :]

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text d_model"]:
        """Vectors of length 1; a text without a single token gets zeros."""
        vectors = self._means(texts)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def _means(self, texts: Sequence[str]) -> Float[np.ndarray, "text d_model"]:
        counts = self._counts(texts)
        lengths = np.maximum(np.asarray(counts.sum(axis=1)), 1)
        means = (counts.multiply(self._weights) @ self._table) / lengths
        return means - (means @ self._shared) @ self._shared.T

    def _counts(self, texts: Sequence[str]) -> csr_matrix:
        """How often each token occurs in each text."""
        from scipy.sparse import csr_matrix  # noqa: PLC0415

        encodings = self._tokenizer.encode_batch(
            [_plain(text) for text in texts], add_special_tokens=False
        )
        tokens: list[Int[np.ndarray, " token"]] = [np.array(each.ids, int) for each in encodings]
        ends = np.cumsum([0, *map(len, tokens)])
        columns = np.concatenate([np.array([], int), *tokens])
        ones = np.ones(len(columns), dtype=np.float32)
        counts = csr_matrix((ones, columns, ends), shape=(len(texts), len(self._table)))
        counts.sum_duplicates()
        return counts


class SentenceEmbedder:
    """Unit vectors of sentences from a model made for them, as the mean of its last hidden states.

    This is how the all-MiniLM, E5 and GTE models are meant to be used.

    Args:
        source: Name on the model hub, or a folder with the model and its tokenizer.
        batch_size: Sentences at a time.
        max_tokens: Where a sentence is cut, special tokens included; by default where its tokenizer does.

    Raises:
        ModelError: The model cannot be loaded.
    """

    def __init__(
        self, source: str | Path, *, batch_size: int = 128, max_tokens: int | None = None
    ) -> None:
        from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415

        from persona_lens.model.loading import quiet_transformers  # noqa: PLC0415 - loads torch

        self._batch_size = batch_size
        self._max_tokens = max_tokens
        try:
            with quiet_transformers():
                self._tokenizer: Any = AutoTokenizer.from_pretrained(str(source))
                self._model: Any = AutoModel.from_pretrained(str(source)).eval()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"cannot load the sentence model {str(source)!r}",
                given=str(error).splitlines()[0],
                remedy="give a name such as sentence-transformers/all-MiniLM-L6-v2, or a folder",
            ) from error

    def cut(self, texts: Sequence[str]) -> int:
        """How many sentences have more tokens than are read."""
        longest = self._max_tokens or self._tokenizer.model_max_length
        whole = self._tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
        return sum(len(ids) > longest for ids in whole)

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text d_model"]:
        """Vectors of length 1."""
        import torch  # noqa: PLC0415

        # Sentences of like length together, so that little is padded.
        order = np.argsort([len(text) for text in texts])
        vectors = np.zeros((len(texts), int(self._model.config.hidden_size)), dtype=np.float32)
        for start in range(0, len(order), self._batch_size):
            rows = order[start : start + self._batch_size]
            inputs = self._tokenizer(
                [texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            )
            with torch.inference_mode():
                hidden = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
            means = (hidden * mask).sum(1) / mask.sum(1)
            vectors[rows] = torch.nn.functional.normalize(means.float(), dim=-1).numpy()
        return vectors


def _plain(text: str) -> str:
    """Lower case after a space, so that a word has the same token wherever it stands.

    Digits are tokens of their own and would outweigh the words about them, so numbers are left out.
    """
    words = _NUMBER.sub(" ", text.lower()).strip()
    return f" {words or text}"
