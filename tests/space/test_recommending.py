"""The recommended layer: found where it was planted; nothing claimed where nothing is."""

from __future__ import annotations

import numpy as np
import pytest

from persona_lens import PersonaSpace
from persona_lens.errors import SpaceError
from persona_lens.space.recommending import chosen_layer


def made(
    pull: tuple[float, ...], seed: int = 0, n_roles: int = 40, d_model: int = 12
) -> PersonaSpace:
    """The default lies `pull[layer]` off roles that are noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n_roles + 1, len(pull), d_model))
    off = np.zeros(d_model)
    off[0] = 1.0
    default = noise[0] * 0.1 + np.array(pull)[:, None] * off
    roles = {f"role_{place}": row for place, row in enumerate(noise[1:])}
    return PersonaSpace.from_vectors(roles, default=default, n_resamples=20).fit()


def test_the_layer_at_which_the_default_stands_apart_is_found() -> None:
    advice = made((0.0, 3.0, 12.0, 3.0, 0.0, 0.0)).recommend_layer()
    assert advice.layer == 2
    assert "separation" in advice.reasons[0]
    assert "the best" in advice.reasons[0]


def test_the_last_tenth_of_the_depth_is_no_candidate() -> None:
    advice = made((*[3.0] * 4, 8.0, *[3.0] * 4, 30.0)).recommend_layer()
    assert advice.layer == 4
    last = advice.frame[advice.frame["layer"] == 9]
    assert last["standing"].isna().all()
    assert not last["near_best"].any()


def test_without_anything_beyond_its_null_that_is_what_is_said() -> None:
    advice = made((0.0,) * 6).recommend_layer()
    assert advice.layer == 4
    assert advice.as_good == ()
    assert "no measure beats its null" in advice.reasons[-1]
    assert "no better than others" in str(advice)


def test_a_layer_that_is_given_is_taken_and_nothing_is_said() -> None:
    space = made((0.0, 3.0, 12.0, 3.0, 0.0, 0.0))
    assert chosen_layer(space, 5) == (5, "")
    layer, said = chosen_layer(space, None)
    assert layer == 2
    assert "recommend" in said


def test_a_space_that_is_not_fitted_has_no_advice() -> None:
    with pytest.raises(SpaceError, match="not fitted"):
        PersonaSpace(made((1.0, 2.0)).table).recommend_layer()


def test_every_value_of_the_packaged_space_has_an_interval_and_a_null() -> None:
    advice = PersonaSpace.load("smollm2-135m-instruct").recommend_layer()
    frame = advice.frame
    assert set(frame["measure"]) == {"stability", "separation", "held out"}
    assert frame[["value", "low", "high", "chance", "null_95"]].notna().all(axis=None)
    assert (frame["low"] <= frame["value"]).all()
    assert (frame["value"] <= frame["high"]).all()
    assert advice.layer in advice.as_good
    # The default lies no further off than a role in its place would: that measure has no say.
    assert frame.loc[frame["measure"] == "separation", "standing"].isna().all()
