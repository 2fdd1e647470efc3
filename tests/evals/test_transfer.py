"""An axis of a tune on its base model: used in the base model's own norms if it fits, refused if not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tiny import tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.errors import EvaluationError, ForeignWeightsWarning
from persona_lens.evals.transfer import axis_agreement, transferred
from persona_lens.model.siblings import weight_similarity
from persona_lens.space.budget import neutral_norms

pytestmark = pytest.mark.usefixtures("short_neutral_texts")


def load(
    seed: int = 0, noise: float = 0.0, name: str = "tiny-8m", architecture: str = "llama"
) -> PersonaModel:
    torch.manual_seed(seed)
    module = tiny_module(architecture, seed=seed)
    if noise:
        with torch.no_grad():
            for weight in module.parameters():
                weight.add_(noise * weight.std(unbiased=False) * torch.randn_like(weight))
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    model.name = name
    return model


def space_of(
    model: PersonaModel | None, seed: int = 0, n_layers: int = 3, width: int = 16
) -> PersonaSpace:
    rng = np.random.default_rng(seed)
    roles = {f"role_{i}": rng.normal(size=(n_layers, width)) for i in range(20)}
    space = PersonaSpace.from_vectors(roles, default=np.full((n_layers, width), 2.0))
    if model is not None:
        space.table.card["reader"] = model.card()
    return space.fit()


@pytest.fixture(scope="module")
def base() -> PersonaModel:
    return load(name="acme/tiny-8m")


@pytest.fixture(scope="module")
def tune() -> PersonaModel:
    return load(noise=0.1, name="acme/tiny-8m-instruct")


def verdicts(transfer) -> dict[str, str]:
    return dict(zip(transfer.checks["check"], transfer.checks["verdict"], strict=True))


def test_a_siblings_axis_is_checked_and_pushed_in_norms_of_the_base_model(base, tune):
    space = space_of(tune)
    found = transferred(space, base, sibling=tune, layers=1)
    assert verdicts(found) == {
        "width": "same",
        "number of blocks": "same",
        "architecture": "same",
        "name without tune": "same",
        "weights": "differs",
        "likeness of weights": "same",
    }
    assert not found.own
    conditions = found.conditions((-0.1, 0.1), controls=2)
    assert [each.name for each in conditions][:2] == ["assistant -0.1", "assistant +0.1"]
    assert [each.control_of for each in conditions[2:]] == ["assistant"] * 4
    norms = neutral_norms(base, (1,))
    for each in conditions:
        operation = each.plan.steps[0].operation
        assert operation.layers == (1,)
        np.testing.assert_allclose(operation.lengths, norms)
    prompt = base.encoder.prompt([{"role": "user", "content": "Hi"}])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ForeignWeightsWarning)
        with base.intervene(conditions[1].plan) as receipt:
            base.generate([prompt])
    assert receipt.frame()["mean_change"].iloc[0] == pytest.approx(0.1, rel=0.6)


def test_without_origin_or_sibling_it_says_what_is_not_known(base):
    found = transferred(space_of(None), base)
    assert verdicts(found)["architecture"] == "not known"
    assert verdicts(found)["likeness of weights"] == "not known"
    assert "number of blocks: not known" in found.report()


def test_an_axis_that_the_base_model_read_itself_is_not_transferred(base):
    found = transferred(space_of(base), base)
    assert found.own
    assert found.report().startswith("the base model read this axis itself")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (lambda base: space_of(None, width=8), "another width"),
        (lambda base: space_of(None, n_layers=5), "another number of blocks"),
        (lambda base: space_of(load(architecture="qwen3")), "another architecture"),
    ],
)
def test_what_cannot_fit_is_refused(base, space, said):
    with pytest.raises(EvaluationError, match=said):
        transferred(space(base), base)


def test_strangers_of_the_same_shape_and_name_are_refused_by_their_weights(base):
    stranger = load(seed=7, name="acme/tiny-8m-instruct")
    with pytest.raises(EvaluationError, match="another likeness of weights"):
        transferred(space_of(stranger), base, sibling=stranger)


def test_siblings_are_told_from_strangers_by_their_weights(base, tune):
    alike, apart = weight_similarity(tune, base), weight_similarity(load(seed=7), base)
    assert alike.cosine > 0.95
    assert apart.cosine < 0.5
    assert alike.related
    assert not apart.related
    assert weight_similarity(base, base).low == pytest.approx(1.0)


def test_axes_of_two_readers_agree_or_not_against_a_null():
    space = space_of(None)
    shifted = space_of(None, seed=0)
    same = axis_agreement(space, shifted)
    assert same["value"].tolist() == pytest.approx([1.0] * 3)
    assert (same["p"] < 0.05).all()
    assert same["layer_a"].tolist() == [0, 1, 2]
    rng = np.random.default_rng(9)
    roles = {f"role_{i}": rng.normal(size=(3, 16)) for i in range(20)}
    default = rng.normal(size=(3, 16))
    other = PersonaSpace.from_vectors(roles, default=default).fit()
    assert (axis_agreement(space, other)["value"].abs() < 0.8).all()
