"""Numbers that are none are told, with their layer, wherever they would pass for something else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.errors import ModelError, NotFiniteWarning, RunError
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.model.finiteness import FiniteWatch
from persona_lens.model.hardware import choose_dtype

MESSAGES = [{"role": "user", "content": "Who keeps the light?"}]
GREEDY = Sampling(temperature=0, max_new_tokens=4)


def broken_after(layer: int) -> PersonaModel:
    """One weight of a block is no number."""
    module = tiny_module("llama")
    with torch.no_grad():
        module.get_decoder().layers[layer].mlp.down_proj.weight[3, 4] = torch.nan
    return PersonaModel.load(module, tokenizer=tiny_tokenizer())


def told(what: str, layer: int):
    return pytest.warns(NotFiniteWarning, match=rf"^{what}.*not finite.*at layer {layer} on")


@pytest.mark.parametrize("layer", [0, 2])
def test_every_reading_says_where_it_breaks(layer: int) -> None:
    model = broken_after(layer)
    said = model.encoder.encode([*MESSAGES, {"role": "assistant", "content": "Ida."}])
    prompt = model.encoder.prompt(MESSAGES)
    with told("means of 1 of 1 texts", layer):
        model.pooled([said])
    with told("projections of 1 of 1 texts", layer):
        model.projections([said], np.ones((3, 1, 16)), layers=[0, 1, 2])
    with told("replies", layer):
        model.generate([prompt], GREEDY)
    with pytest.raises(ModelError, match=rf"no reply can be sampled.*at layer {layer} on"):
        model.generate([prompt], Sampling(max_new_tokens=4))


def test_only_layers_that_are_read_and_texts_that_have_tokens_count() -> None:
    model = broken_after(2)
    said = model.encoder.encode([*MESSAGES, {"role": "assistant", "content": "Ida."}])
    nothing = [np.zeros(len(said), dtype=bool)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(model.pooled([said], layers=[0, 1])).all()
        assert np.isnan(model.pooled([said], nothing)).all()


def test_a_push_beyond_the_dtype_is_told_and_a_lesser_one_is_not() -> None:
    model = PersonaModel.load(tiny_module("llama").half(), tokenizer=tiny_tokenizer())
    towards = Direction("light", (2,), np.ones((1, 16)))
    prompt = model.encoder.prompt(MESSAGES)
    with (
        model.intervene(Plan.of(Add(towards, lengths=5e5))),
        pytest.warns(NotFiniteWarning, match="replies: not finite.*in float16"),
    ):
        model.generate([prompt], GREEDY)
    with (
        model.intervene(Plan.of(Add(towards, lengths=5.0))),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", NotFiniteWarning)
        model.generate([prompt], GREEDY)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_one_value_is_enough(value: float) -> None:
    watch = FiniteWatch(3)
    assert list(watch.taps()) == [2]
    residual = torch.full((2, 4, 16), 6e4, dtype=torch.float16)  # sums of these are not finite
    watch.taps()[2](residual)
    assert not watch.broken
    residual[1, -1, 7] = value
    watch.taps()[2](residual)
    assert watch.broken


def test_a_run_ends_instead_of_taking_them_for_empty_replies(tmp_path) -> None:
    with pytest.raises(RunError, match=r"(?s)collected: .*not finite.*at layer 1 on"):
        PersonaSpace.collect(
            broken_after(1),
            run=tmp_path / "run",
            roles=["pirate", "ghost", "jester"],
            traits=[],
            questions=["q01"],
            prompts=1,
            sampling=GREEDY,
            progress=False,
        )


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps", "xpu"])
@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_never_float16(monkeypatch: pytest.MonkeyPatch, device: str, fast: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: fast)
    chosen = choose_dtype("auto", torch.device(device))
    assert chosen in (torch.bfloat16, torch.float32)
    assert torch.finfo(chosen).max > 1e38
