"""`-M` arguments: what they load and make, and what is wrong with them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from persona_lens.errors import EvaluationError, InterventionError, PersonaLensError, SpaceError
from persona_lens.harnesses.inspect_setup import layers_of, set_up
from persona_lens.interventions import Ablate, Direction, Plan

SPACE = "smollm2-135m-instruct"


def test_a_plan_by_its_folder_an_object_or_none(tiny, push, tmp_path):
    push.save(tmp_path / "plan")
    saved = set_up("x", {"persona_model": tiny, "plan": str(tmp_path / "plan")})
    assert repr(saved.plan) == repr(push)
    assert saved.plan_name == str(tmp_path / "plan")
    held = set_up("x", {"persona_model": tiny, "plan": push})
    assert held.digest() == saved.digest()
    bare = set_up("x", {"persona_model": tiny})
    assert (bare.plan, bare.plan_name, bare.space) == (None, "", None)
    assert bare.digest() != held.digest()


def test_parts_of_a_plan_are_those_of_the_space_in_order(smol):
    from persona_lens import PersonaSpace

    space = PersonaSpace.load(SPACE)
    given = {"persona_model": smol, "space": SPACE, "add": "pirate=0.1,ghost=-0.2", "floor": 75}
    made = set_up("x", {**given, "ablate": "dramatic", "layers": "14-16", "where": "generated"})
    layers = [14, 15, 16]
    expected = (
        space.add("pirate", 0.1, layers=layers)
        + space.add("ghost", -0.2, layers=layers)
        + space.floor(percentile=75, layers=layers)
        + space.ablate("dramatic", layers=layers)
    ).where("generated")
    assert repr(made.plan) == repr(expected)
    assert made.plan_name == "add pirate 0.1; add ghost -0.2; floor 75; ablate dramatic"
    assert (made.layer, made.scale_missing, made.caution) == (15, "", "")


def test_a_model_of_that_name_is_loaded_as_asked(tiny_llama):
    found = set_up(str(tiny_llama), {"device": "cpu", "dtype": "float64", "batch_size": 3})
    assert (str(found.model.dtype), found.batch_size) == ("torch.float64", 3)


def test_directions_of_other_weights_are_warned_of(smol):
    from persona_lens import PersonaModel

    other = PersonaModel.load("random:" + SPACE, device="cpu")
    with pytest.warns(UserWarning, match="directions of smollm2-135m-instruct"):
        found = set_up("x", {"persona_model": other, "space": SPACE})
    assert "directions of" in found.caution
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_up("x", {"persona_model": smol, "space": SPACE})


def test_a_space_without_a_scale_says_so(tiny, tiny_space):
    found = set_up("x", {"persona_model": tiny, "space": tiny_space})
    assert found.scale_missing


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"flor": 75}, r"unknown argument 'flor'(?s:.*)did you mean floor\?"),
        ({"plan": None}, "nothing is given as plan"),
        ({"space": "object: PersonaSpace"}, "nothing is given as space"),
        ({"floor": 75}, "floor cannot be made without a space"),
        ({"layers": "3"}, "layers would do nothing"),
        ({"plan": "p", "layers": "3"}, "layers would do nothing(?s:.*)a saved plan has its own"),
        ({"space": SPACE, "floor": "high"}, "cannot read floor(?s:.*)a percentile"),
        ({"space": SPACE, "add": "pirate"}, "cannot read add(?s:.*)NAME=STRENGTH"),
        ({"space": SPACE, "floor": 75, "layers": "up"}, "cannot read the layers"),
        ({"batch_size": 0}, "no batch can be made"),
        ({"plan": [1]}, "this is no plan"),
        ({"plan": "/nowhere/at/all"}, "no plan in"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_arguments_is_told_before_weights_are_loaded(given, told):
    with pytest.raises(PersonaLensError, match=told):
        set_up("/no/model/here", given)


def test_a_plan_that_does_not_fit_is_refused(tiny, push):
    narrow = Plan.of(Ablate(Direction("narrow", (1,), np.ones((1, 7)))))
    with pytest.raises(InterventionError, match="another width"):
        set_up("x", {"persona_model": tiny, "plan": narrow})
    with pytest.raises(EvaluationError, match="made for single rows"):
        set_up("x", {"persona_model": tiny, "plan": push * [1.0, 2.0]})
    with (
        pytest.warns(UserWarning, match="directions of"),
        pytest.raises(SpaceError, match="wrong width"),
    ):
        set_up("x", {"persona_model": tiny, "space": SPACE})


def test_layers_as_the_command_line_reads_them():
    assert layers_of("7") == layers_of(7) == [7]
    assert layers_of(["3", "5-6"]) == layers_of("3,5-6") == [3, 5, 6]
    for wrong in ("6-5", "-1", "x", "", []):
        with pytest.raises(SpaceError, match="cannot read the layers"):
            layers_of(wrong)


def test_the_folder_of_a_plan_may_be_a_path(tiny, push, tmp_path):
    folder: Path = push.save(tmp_path / "plan")
    assert set_up("x", {"persona_model": tiny, "plan": folder}).plan is not None
