"""Plans on the weights their directions were read from are silent; on others they warn, once, and say so."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_folder, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.errors import ForeignWeightsWarning
from persona_lens.interventions import Ablate, Direction, Origin, Plan
from persona_lens.model.origins import foreign_weights


def plan_of(model: PersonaModel) -> Plan:
    origin = Origin.of_card(model.card())
    return Plan.of(Ablate(Direction("ghost", (1,), np.eye(1, 16), origin=origin)))


@pytest.mark.parametrize("read", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("acting", ["float32", "bfloat16", "float16"])
def test_the_same_weights_in_any_dtype_are_silent(tiny_llama: Path, read: str, acting: str) -> None:
    plan = plan_of(PersonaModel.load(tiny_llama, dtype=read))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ForeignWeightsWarning)
        with PersonaModel.load(tiny_llama, dtype=acting).intervene(plan) as receipt:
            pass
    assert receipt.caution == ""


def test_other_weights_of_the_same_name_are_told_by_fingerprint(tmp_path: Path) -> None:
    models = []
    for seed in (0, 1):
        folder = tiny_folder(tmp_path / str(seed) / "mine", "llama", seed=seed)
        models.append(PersonaModel.load(folder, dtype="float32"))
    half = PersonaModel.load(tmp_path / "0" / "mine", dtype="bfloat16")
    for read in (models[0], half):
        with (
            pytest.warns(ForeignWeightsWarning) as caught,
            models[1].intervene(plan_of(read) + plan_of(read)) as receipt,
        ):
            pass
        assert [each.filename for each in caught] == [__file__]
        hashes = [model.fingerprint[:8] for model in (read, models[1])]
        expected = f"directions of mine ({hashes[0]}), weights of mine ({hashes[1]})"
        assert receipt.caution == expected


def test_directions_made_by_hand_are_silent() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    plan = Plan.of(Ablate(Direction("ghost", (1,), np.eye(1, 16))))
    assert foreign_weights(plan.origins, model) == ""


@pytest.mark.parametrize(
    ("read", "acting", "told"),
    [
        ("Qwen/Qwen3-32B", "unsloth/qwen-3-32b", False),
        ("Qwen/Qwen3-32B", "Qwen/Qwen2.5-32B", True),
        ("Qwen/Qwen3-32B", "random:Qwen/Qwen3-32B:0", True),
        ("google/gemma-2-27b-it", "google/gemma-2-27b", True),
        ("outputs", "Qwen/Qwen3-32B", False),
        ("Qwen/Qwen3-32B", "checkpoint-500", False),
    ],
)
def test_without_fingerprints_published_names_are_compared(
    read: str, acting: str, told: bool
) -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    model.name = acting
    expected = f"directions of {read}, weights of {acting}" if told else ""
    assert foreign_weights([Origin(read)], model) == expected


@pytest.mark.embedded
def test_a_packaged_space_tells_trained_from_random_weights(smol: PersonaModel) -> None:
    plan = PersonaSpace.load("smollm2-135m-instruct").add("assistant", 0.1)
    assert foreign_weights(plan.origins, smol) == ""
    control = PersonaModel.load("random:smollm2-135m-instruct:0")
    expected = "directions of smollm2-135m-instruct, weights of random:smollm2-135m-instruct:0"
    with pytest.warns(ForeignWeightsWarning, match=expected), control.intervene(plan) as receipt:
        pass
    assert str(receipt).startswith(expected + "\n1. add 'assistant'")
