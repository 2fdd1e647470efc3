"""Numbers in the wrong unit are refused before they do anything; right ones are taken as they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from persona_lens import PersonaSpace
from persona_lens.errors import InterventionError, PersonaLensError, SpaceError
from persona_lens.interventions import Add, Direction, Plan, Set
from persona_lens.space.calibration import Calibration, Part

WIDTH = 8


@pytest.fixture(scope="module")
def space() -> PersonaSpace:
    """Calibrated on made-up replies and tokens, whose residuals have a mean norm near 10."""
    rng = np.random.default_rng(0)
    roles = {f"role_{index}": rng.normal(size=(2, WIDTH)) for index in range(6)}
    made = PersonaSpace.from_vectors(roles, rng.normal(size=(2, WIDTH)) + 2, n_resamples=5).fit()
    vectors = rng.normal(size=(400, 2, WIDTH)) * 10 / np.sqrt(WIDTH)
    known = made.calibrated_directions()
    half = np.arange(400) % 2 == 1
    norms = np.linalg.norm(vectors, axis=-1)
    found = Calibration.of([Part("role", half, known.coordinates(vectors), norms)], known.names)
    made.calibration_ = made.token_calibration_ = found
    return made


def only(plan: Plan) -> Any:
    [step] = plan.steps
    return step.operation


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (lambda s: s.floor(percentile=0.75, layers=1), "75"),
        (lambda s: s.ceil(percentile=0.25, layers=1), "25"),
        (lambda s: s.floor(percentile=np.float32(0.5), layers=1), "50"),
        (lambda s: s.band(percentiles=(0.25, 0.755), layers=1), "25"),
        (lambda s: s.gate(s.add(strength=0.1), below=0.05), "5"),
        (lambda s: s.floor(of="tokens", percentile=0.999, layers=1), "99.9"),
    ],
)
def test_a_percentile_given_as_a_fraction_is_refused_with_the_percent(
    space: PersonaSpace, ask: Callable[[PersonaSpace], Any], meant: str
) -> None:
    with pytest.raises(SpaceError, match=rf"(?s)counts in percent.*did you mean {meant}\?"):
        ask(space)


@pytest.mark.parametrize("percentile", [-1, 100.5, float("nan"), float("inf"), "75", None, True])
def test_what_is_no_percentile_is_refused(space: PersonaSpace, percentile: Any) -> None:
    with pytest.raises(SpaceError, match=r"(?s)not a percentile.*0 to 100"):
        space.floor(percentile=percentile, layers=1)


@pytest.mark.parametrize("percentiles", [75, (25,), (10, 50, 90)])
def test_a_band_needs_two_percentiles(space: PersonaSpace, percentiles: Any) -> None:
    with pytest.raises(SpaceError, match="a band has two ends"):
        space.band(percentiles=percentiles, layers=1)


def test_percentiles_at_the_ends_are_those_of_the_replies(space: PersonaSpace) -> None:
    assert space.calibration_ is not None
    levels = space.calibration_.quantiles[
        1, 0, :, 0
    ]  # of roles, on the calibration half, along the axis
    for percentile, column in ((0, 0), (1, 1), (1.0, 1), (100, 100)):
        floor = only(space.floor(percentile=percentile, layers=[0, 1]))
        np.testing.assert_allclose(floor.thresholds, levels[:, column], rtol=1e-6)


@pytest.mark.parametrize("strength", [50, -50, 10.5, (0.1, 40.0)])
def test_a_push_of_many_residual_norms_is_refused(space: PersonaSpace, strength: Any) -> None:
    with pytest.raises(SpaceError, match=r'(?s)times the residual stream.*at most 10.*unit="raw"'):
        space.add("role_1", strength)


def test_the_remedy_names_the_fraction(space: PersonaSpace) -> None:
    with pytest.raises(SpaceError, match=r"50 % is 0\.5"):
        space.add("role_1", 50)


def test_a_push_of_a_few_norms_warns_and_is_made(space: PersonaSpace) -> None:
    with pytest.warns(UserWarning, match="3 times the residual stream"):
        plan = space.add("role_1", -3.0)
    assert only(plan).strength == -3.0


def test_usual_strengths_and_raw_ones_say_nothing(space: PersonaSpace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for strength in (0.2, 1.0, -2.0):
            assert only(space.add("role_1", strength)).strength == strength
        assert only(space.add("role_1", 500.0, unit="raw")).strength == 500.0
        assert only(space.add("role_1", 3.0, unit="spread")).strength == 3.0


def test_spreads_are_held_against_the_residual_too(space: PersonaSpace) -> None:
    direction = space.direction("role_1", layers=0)
    spread = np.std(space.table.values[1:, 0] @ direction.units[0], ddof=1)
    assert space.token_calibration_ is not None
    norm = space.token_calibration_.norms[3, 0]
    beyond = 10.5 * norm / spread
    with pytest.raises(SpaceError, match=r"10\.5 times the residual stream"):
        space.add(direction, beyond, unit="spread")


@pytest.mark.parametrize(
    "make",
    [
        lambda s, bad: s.add("role_1", bad),
        lambda s, bad: s.add("role_1", bad, unit="raw"),
        lambda s, bad: s.add("role_1", [0.1, bad]),
        lambda s, bad: s.add("role_1", 0.1) * bad,
        lambda s, bad: s.add("role_1", 0.1) * [0.1, bad],
        lambda s, bad: s.ablate("role_1") * bad,
        lambda s, bad: s.set("role_1", to=bad),
        lambda s, bad: s.rotate("role_1", degrees=bad),
        lambda s, bad: Plan.of(Add(s.direction(layers=0), lengths=bad)),
        lambda s, bad: Plan.of(Set(s.direction(layers=0), targets=bad)),
    ],
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e308])
def test_strengths_that_no_residual_can_bear_are_refused(
    space: PersonaSpace, make: Callable[[PersonaSpace, float], Plan], bad: float
) -> None:
    with pytest.raises(PersonaLensError):
        make(space, bad)


def test_a_length_and_a_strength_that_overflow_together_are_refused() -> None:
    along = Direction("ghost", (0,), np.ones((1, WIDTH)))
    assert only(Plan.of(Add(along, lengths=1e12))).lengths[0] == 1e12
    with pytest.raises(InterventionError, match=r"(?s)add would overflow.*below 1e"):
        Plan.of(Add(along, lengths=1e12)) * 1e10
