"""The neutral exchanges: as many and as long as promised, plain, and unlike the catalogue."""

from __future__ import annotations

import dataclasses
import re

import pytest

from persona_lens.catalog import load_questions, load_traits
from persona_lens.catalog.doubles import TOKEN_LIMITS
from persona_lens.catalog.neutral import load_neutral
from persona_lens.catalog.similarity import search_words, words

SELF = re.compile(r"\b(I|me|my|mine|myself|we|us|our|ours|AI|assistant)\b", re.IGNORECASE)
MARKUP = re.compile(r"[\n*#`_|]|  ")


def test_there_are_32_and_no_two_alike():
    exchanges = load_neutral()
    assert len(exchanges) == 32
    assert len({each.question for each in exchanges}) == 32
    assert len({each.answer for each in exchanges}) == 32


def test_answers_have_60_to_90_words():
    for exchange in load_neutral():
        assert 60 <= len(exchange.answer.split()) <= 90, exchange.question


def test_answers_are_plain_prose_in_ascii():
    for exchange in load_neutral():
        assert (exchange.question + exchange.answer).isascii(), exchange.question
        assert not MARKUP.search(exchange.answer), exchange.question
        assert exchange.answer.endswith("."), exchange.question


def test_nobody_speaks_of_themselves():
    for exchange in load_neutral():
        assert "as an ai" not in exchange.answer.lower(), exchange.question
        assert not SELF.search(exchange.answer), exchange.question


def test_no_question_is_like_one_of_the_catalogue():
    asked = [question.text for question in load_questions("full")]
    asked += [text for trait in load_traits("full") for text in trait.questions]
    own = [each.question for each in load_neutral()]
    assert not {tuple(words(text)) for text in own} & {tuple(words(text)) for text in asked}
    # The questions of the catalogue share one owner and are exempt among themselves.
    texts = own + asked
    owners = [min(index, len(own)) for index in range(len(texts))]
    found = search_words(texts, owners, TOKEN_LIMITS.words["question"], exempt=owners)
    assert not [(texts[pair.first], texts[pair.second]) for pair in found.pairs]


def test_an_exchange_cannot_be_changed():
    exchange = load_neutral()[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        exchange.answer = "Soak them."  # pyright: ignore[reportAttributeAccessIssue]
