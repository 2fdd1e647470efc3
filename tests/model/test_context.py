"""How many tokens a model takes, and what is refused because it has more, or does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer
from tiny_architectures import tiny_case
from transformers import (
    BloomConfig,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MptConfig,
    RwkvConfig,
)

from persona_lens import PersonaModel
from persona_lens.errors import ModelError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.model.context import context_limit
from persona_lens.transcripts import Transcript


def llama(**rope: Any) -> LlamaConfig:
    return LlamaConfig(max_position_embeddings=4096, rope_parameters={"rope_theta": 1e4, **rope})


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (GPT2Config(n_positions=1024), 1024),
        (llama(rope_type="default"), 4096),
        (llama(rope_type="linear", factor=4.0), 16384),
        (llama(rope_type="yarn", factor=2.0, original_max_position_embeddings=4096), 8192),
        (llama(rope_type="yarn", factor=4.0, original_max_position_embeddings=1024), 4096),
        (
            llama(
                rope_type="llama3",
                factor=8.0,
                original_max_position_embeddings=1024,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
            ),
            4096,
        ),
        (MistralConfig(sliding_window=128, max_position_embeddings=32768), 32768),
        (Gemma3TextConfig(max_position_embeddings=131072), 131072),
        (FalconConfig(alibi=False), 2048),
        (FalconConfig(alibi=True), None),
        (BloomConfig(seq_length=2048), None),
        (MptConfig(max_seq_len=2048), 2048),
        (MambaConfig(), None),
        (RwkvConfig(context_length=1024), None),
    ],
)
def test_the_limit_is_read_from_any_config(config: Any, limit: int | None) -> None:
    assert context_limit(config) == limit


def push() -> Plan:
    return Plan.of(Add(Direction("push", (1,), np.ones((1, 16))), lengths=1.0))


def said(model: PersonaModel, length: int) -> Transcript:
    prompt = model.encoder.prompt(model.encoder.messages("Hi"))
    return model.encoder.with_reply(prompt, np.full(length - len(prompt), 40))


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_longer_texts_are_refused_and_those_that_just_fit_are_read(architecture: str) -> None:
    model = PersonaModel.load(tiny_module(architecture), tokenizer=tiny_tokenizer())
    fits, longer = said(model, 512), said(model, 513)
    prompt = model.encoder.prompt(model.encoder.messages("Hi"))
    calls = [
        lambda text: model.pooled([text]),
        lambda text: model.projections([text], np.eye(1, 16)[None], layers=[0]),
        lambda text: model.kl(push(), [text]),
        lambda text: model.log_probs([prompt], [text.ids[len(prompt) :]]),
    ]
    for call in calls:
        with pytest.raises(ModelError, match=r"(?s)do not fit.*at most 512 tokens.*513"):
            call(longer)
        call(fits)
    with model.intervene(push()), pytest.raises(ModelError, match="do not fit"):
        model.log_probs([prompt], [longer.ids[len(prompt) :]])


def test_a_recurrent_model_reads_on() -> None:
    model = PersonaModel.load(tiny_case("mamba"), tokenizer=tiny_tokenizer())
    assert np.isfinite(model.pooled([said(model, 700)])).all()


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())


@pytest.mark.parametrize("layers", [[3], [-1], [0, 0], [], [1.5], ["one"], [True], 1, "all", None])
def test_layers_that_are_none_are_refused(model: PersonaModel, layers: Any) -> None:
    with pytest.raises(ModelError, match="layer"):
        model.projections([said(model, 40)], np.eye(1, 16)[None], layers=layers)
    if layers is not None:
        with pytest.raises(ModelError, match="layer"):
            model.pooled([said(model, 40)], layers=layers)


def test_layers_in_any_integers_are_read(model: PersonaModel) -> None:
    text = said(model, 40)
    expected = model.pooled([text])[:, [2, 0]]
    for layers in ((2, 0), np.array([2, 0]), torch.tensor([2, 0]), [np.int64(2), np.uint8(0)]):
        np.testing.assert_array_equal(model.pooled([text], layers=layers), expected)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "positions",
    [
        [np.ones(39, bool)],
        [np.array([1, 2])],
        [np.ones(40)],
        [np.ones((1, 40), bool)],
        [np.ones(40, bool)] * 2,
        [None],
        7,
    ],
)
def test_masks_that_do_not_fit_are_refused(model: PersonaModel, positions: Any) -> None:
    with pytest.raises(ModelError, match=r"mask|positions"):
        model.pooled([said(model, 40)], positions)
    with pytest.raises(ModelError, match=r"mask|positions"):
        model.projections([said(model, 40)], np.eye(1, 16)[None], layers=[0], positions=positions)


@pytest.mark.parametrize(
    "units", [np.eye(1, 16), np.eye(1, 8)[None], np.ones((2, 1, 16)), np.full((1, 1, 16), np.nan)]
)
def test_directions_that_do_not_fit_are_refused(model: PersonaModel, units: Any) -> None:
    with pytest.raises(ModelError, match="direction"):
        model.projections([said(model, 40)], units, layers=[0])


@pytest.mark.parametrize("replies", [[], [[999]], [[-1]], [[0.5]], ["Yes"], "Y", [7]])
def test_replies_that_are_no_ids_are_refused(model: PersonaModel, replies: Any) -> None:
    prompt = model.encoder.prompt(model.encoder.messages("Hi"))
    with pytest.raises(ModelError, match="repl"):
        model.log_probs([prompt], replies)
