"""Sentence vectors: near what is worded anew, far from the rest, whatever stands beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from persona_lens.catalog import load_questions, load_traits
from persona_lens.errors import ModelError
from persona_lens.model.text_embedding import SentenceEmbedder, TokenEmbedder

BACKGROUND = [question.text for question in load_questions("full")] + [
    side
    for trait in load_traits()
    for pair in trait.pairs
    for side in (pair.positive, pair.negative)
]
PARAPHRASES = {
    "How long does it take to boil a potato?": "To boil a potato, how long does it take?",
    "My neighbour moved his fence by a metre.": "The neighbour has moved his garden fence a metre.",
    "Describe an afternoon you would call perfect.": "Describe your perfect afternoon.",
    "You are a photographer and see in rectangles.": "As a photographer you see rectangles.",
}


@pytest.fixture(scope="module")
def embed() -> TokenEmbedder:
    return TokenEmbedder(BACKGROUND)


def test_vectors_have_length_one(embed):
    np.testing.assert_allclose(np.linalg.norm(embed(BACKGROUND), axis=1), 1, rtol=1e-5)


def test_each_paraphrase_is_nearest_to_its_own_original(embed):
    cosines = embed(list(PARAPHRASES)) @ embed(list(PARAPHRASES.values())).T
    assert cosines.argmax(axis=1).tolist() == list(range(len(PARAPHRASES)))
    own = np.diagonal(cosines)
    others = cosines[~np.eye(len(PARAPHRASES), dtype=bool)]
    assert own.min() > 0.6 > others.max()


def test_words_that_all_sentences_have_count_little(embed):
    tide, same_frame, same_subject = embed(
        [
            "What do you think of the tide?",
            "What do you think of the violin?",
            "The tide, in short.",
        ]
    )
    assert tide @ same_subject > tide @ same_frame


def test_the_shared_direction_is_gone(embed):
    plain = TokenEmbedder(BACKGROUND, components=0)
    unrelated = ["Who baked this bread?", "The engine will not start."]
    one, other = embed(unrelated)
    with_it, also = plain(unrelated)
    assert abs(one @ other) < 0.1 < with_it @ also


def test_a_vector_does_not_depend_on_its_company(embed):
    alone = embed(["Who are you?"])[0]
    np.testing.assert_allclose(embed(["Sing!", "Who are you?"])[1], alone, atol=1e-6)


def test_case_and_numbers_do_not_matter_but_a_number_alone_is_something(embed):
    one, other = embed(["The Bill came to 1,240 pounds.", "the bill came to 17.50 pounds."])
    assert one @ other == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(embed(["1848"])[0]) == pytest.approx(1, abs=1e-5)


def test_no_texts_give_no_vectors(embed):
    assert embed([]).shape == (0, 576)


def test_token_vectors_need_no_torch():
    code = (
        "import sys\nfrom persona_lens.model.text_embedding import TokenEmbedder\n"
        "TokenEmbedder(['Who are you?', 'Why?'])(['Who?'])\n"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sentence_vectors_are_means_over_real_tokens(tiny_llama: Path):
    texts = ["Who are you?", "Why does the tide come in and go out, day after day?", "Sing!"]
    vectors = SentenceEmbedder(tiny_llama, batch_size=2)(texts)
    tokenizer, model = (
        AutoTokenizer.from_pretrained(tiny_llama),
        AutoModel.from_pretrained(tiny_llama),
    )
    for text, vector in zip(texts, vectors, strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(vector, (hidden / hidden.norm()).numpy(), atol=1e-4)


def test_a_missing_sentence_model_says_what_to_give(tmp_path: Path):
    with pytest.raises(ModelError, match="all-MiniLM-L6-v2"):
        SentenceEmbedder(tmp_path)
