"""Vectors of texts: a sentence model here, any model that sentence-transformers opens, or one behind a server.

    embedder = open_embedder()                              # all-MiniLM-L6-v2: from pip, offline ever after
    embedder = open_embedder("Qwen/Qwen3-Embedding-0.6B")   # pip install 'persona-lens[forecast]'
    embedder = open_embedder(EndpointSettings(model="text-embedding-3-small"))
    vectors = embed_texts(embedder, messages)               # unit rows, each distinct text embedded once

Whoever has a model of their own passes any object that has what `Embedder` lists.
"""

from persona_lens.embedding.embedder import Embedder, embed_texts
from persona_lens.embedding.minilm import MINILM, MiniLM
from persona_lens.embedding.opening import open_embedder
from persona_lens.embedding.sentences import SentenceTransformerEmbedder
from persona_lens.embedding.served import ServedEmbedder

__all__ = [
    "MINILM",
    "Embedder",
    "MiniLM",
    "SentenceTransformerEmbedder",
    "ServedEmbedder",
    "embed_texts",
    "open_embedder",
]
