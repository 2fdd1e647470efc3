"""What several tests of the catalogue need, made once."""

from __future__ import annotations

import pytest

from persona_lens.catalog import load_questions, load_roles, load_traits
from persona_lens.catalog.texts import catalog_texts
from persona_lens.model.text_embedding import TokenEmbedder


@pytest.fixture(scope="session")
def embedder() -> TokenEmbedder:
    """As the command line has it."""
    texts = catalog_texts(load_roles("full"), load_traits("full"), load_questions("full"))
    return TokenEmbedder([text.text for text in texts])
