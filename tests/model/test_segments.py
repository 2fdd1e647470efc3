"""Several stretches in one pass: equal to masks read one by one, under plans as well."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import ARCHITECTURES, shared_model

from persona_lens.errors import ModelError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.model.segments import read_segments

LAYERS = (0, 2)


def transcripts(model, texts=("Hello there.", "A longer text than the first.", "Hi")):
    return [model.encoder.encode([{"role": "user", "content": text}]) for text in texts]


def thirds(text) -> np.ndarray:
    """Three stretches, and what belongs to none at both ends."""
    numbers = np.repeat(np.arange(3), len(text) // 3)
    return np.concatenate([numbers, np.full(len(text) - len(numbers), -1)])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equals_masks_read_one_by_one(architecture):
    model = shared_model(architecture)
    texts = transcripts(model)
    segments = [thirds(text) for text in texts]
    read = read_segments(model, texts, segments, layers=LAYERS, token_budget=64)
    for number in range(3):
        masks = [own == number for own in segments]
        wanted = model.pooled(texts, masks, layers=LAYERS)
        found = np.stack([each.means[number] for each in read.after])
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_tokens_are_projected_and_average_to_the_mean():
    model = shared_model("llama")
    texts = transcripts(model)
    units = np.random.default_rng(0).normal(size=(2, 3, model.d_model)).astype(np.float32)
    read = read_segments(model, texts, [thirds(text) for text in texts], layers=LAYERS, units=units)
    for own in read.after:
        wanted = np.einsum("sld,lkd->slk", own.means, units)
        found = np.stack([tokens.mean(axis=0) for tokens in own.tokens])
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_stretch_without_tokens_is_nan():
    model = shared_model("llama")
    (text,) = transcripts(model, ["Hi"])
    numbers = np.full(len(text), -1)
    numbers[2] = 1
    (own,) = read_segments(model, [text], [numbers], layers=LAYERS).after
    assert np.isnan(own.means[0]).all()
    assert np.isfinite(own.means[1]).all()
    assert [len(tokens) for tokens in own.tokens] == [0, 1]


def test_both_sides_of_a_plan():
    model = shared_model("llama")
    texts = transcripts(model)
    segments = [np.zeros(len(text), dtype=int) for text in texts]
    step = np.random.default_rng(0).normal(size=(1, model.d_model))
    plan = Plan.of(Add(Direction("north", (2,), step), lengths=3.0)).where("all")
    without = read_segments(model, texts, segments, layers=[2])
    with model.intervene(plan):
        read = read_segments(model, texts, segments, layers=[2], before=True)
    unit = step[0] / np.linalg.norm(step)
    for plain, before, after in zip(without.after, read.before, read.after, strict=True):
        np.testing.assert_allclose(before.means, plain.means, rtol=1e-4, atol=1e-5)
        moved = (after.means - before.means)[0, 0]
        assert moved @ unit == pytest.approx(np.linalg.norm(moved), rel=1e-3)
        assert 0 < moved @ unit <= 3.0 + 1e-3


def test_nothing_to_read():
    model = shared_model("llama")
    read = read_segments(model, [], [], layers=LAYERS, before=True)
    assert (read.after, read.before) == ([], [])


def test_segments_of_another_length_are_refused():
    model = shared_model("llama")
    (text,) = transcripts(model, ["Hi"])
    with pytest.raises(ModelError, match="segments do not fit"):
        read_segments(model, [text], [np.zeros(3, dtype=int)], layers=LAYERS)
