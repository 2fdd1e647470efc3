"""Read a Hugging Face tokenizer without changing it.

Calling a tokenizer sets truncation and padding on its Rust backend, and other libraries change a
tokenizer's BOS settings behind one's back. So the backend is asked directly, and where its present
settings would cut, pad or split text, a clean copy is asked in its place.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from persona_lens.errors import TranscriptError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class TokenReader:
    """Ids, character offsets and decoded text, with nothing added and nothing left out.

    Args:
        tokenizer: A fast Hugging Face tokenizer.

    Attributes:
        special_ids: Ids of all special tokens, added ones included.
        special_texts: The texts of those tokens.
        added_ids: Ids of all added tokens, special or not, by their texts.

    Raises:
        TranscriptError: The tokenizer has no character offsets.

    Example::

        ids, offsets = TokenReader(tokenizer).encode("Hi<|im_end|>")
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not getattr(tokenizer, "is_fast", False) or not hasattr(tokenizer, "backend_tokenizer"):
            raise TranscriptError(
                "the tokenizer gives no character offsets",
                expected="a fast tokenizer (with a tokenizer.json behind it)",
                given=type(tokenizer).__name__,
                remedy="load it with AutoTokenizer.from_pretrained(..., use_fast=True)",
            )
        self.tokenizer = tokenizer
        self._copy: Tokenizer | None = None
        self._literal: Tokenizer | None = None
        added = tokenizer.added_tokens_decoder
        self.special_ids: frozenset[int] = frozenset(tokenizer.all_special_ids) | {
            index for index, token in added.items() if token.special
        }
        self.added_ids = {str(token.content): index for index, token in added.items()}
        self.special_texts = {str(added[i].content) for i in self.special_ids if i in added}

    def encode(self, text: str) -> tuple[Int[np.ndarray, " n_tokens"], list[tuple[int, int]]]:
        """Ids of a text and the characters (start, end) of each; special tokens are recognised."""
        encoding = self._backend().encode(text, add_special_tokens=False)
        return np.array(encoding.ids, dtype=np.int64), encoding.offsets

    def encode_as_text(self, text: str) -> list[int]:
        """Ids of a text in which special tokens are mere letters."""
        if self._literal is None:
            self._literal = copy.deepcopy(self._backend())
            self._literal.encode_special_tokens = True
        return self._literal.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens kept."""
        return self._backend().decode(list(ids), skip_special_tokens=False)

    def continuation(self, before: Sequence[int], ids: Sequence[int]) -> str:
        """Text of ids as the continuation of others: alone, sentencepiece drops a first space."""
        context = list(before[-8:])
        known, both = self.decode(context), self.decode([*context, *ids])
        return both[len(known) :] if both.startswith(known) else self.decode(ids)

    def normalize(self, text: str) -> str:
        """Text as the tokenizer's own normaliser leaves it."""
        normalizer = self._backend().normalizer
        return normalizer.normalize_str(text) if normalizer else text

    def adds_bos(self) -> bool:
        """Whether the tokenizer puts a BOS before plain text."""
        ids = self._backend().encode("a").ids
        return bool(ids) and ids[0] == self.tokenizer.bos_token_id

    def _backend(self) -> Tokenizer:
        backend: Tokenizer = self.tokenizer.backend_tokenizer  # pyright: ignore
        if not (backend.truncation or backend.padding or backend.encode_special_tokens):
            return backend
        if self._copy is None:
            self._copy = copy.deepcopy(backend)
            self._copy.no_truncation()
            self._copy.no_padding()
            self._copy.encode_special_tokens = False
        return self._copy
