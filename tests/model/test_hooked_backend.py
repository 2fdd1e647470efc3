"""A HookedTransformer where TransformerLens has none; with TransformerLens 3, `tests/tl3` has the rest."""

from __future__ import annotations

import pytest
from tiny import tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import ModelError


class HookedTransformer:
    """Named like the class that TransformerLens 4 no longer has."""


def test_a_hooked_transformer_is_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"(?s)left TransformerLens in 4\.0.*Bridge.*3\.5\.1"):
        PersonaModel.load(HookedTransformer(), tokenizer=tiny_tokenizer())
