"""A space of too little data says so when it is fitted, in its repr and under its figures."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from persona_lens import PersonaSpace
from persona_lens.space.shortages import FEWEST_ROLES
from persona_lens.vectors.table import VectorTable


def table(
    n_roles: int = 20, *, replies: int = 30, noise: float = 0.0, folds: bool = True, traits: int = 0
) -> VectorTable:
    """Roles about a mean, a default away from it; four folds of the questions with noise of their own."""
    rng = np.random.default_rng(0)
    n = 1 + n_roles + traits
    values = rng.normal(size=(n, 3, 32))
    values[0] += 2
    each = values[:, None] + noise * rng.normal(size=(n, 4, 3, 32))
    return VectorTable(
        each.mean(axis=1).astype(np.float32),
        ("default", *(f"role_{i}" for i in range(n_roles)), *(f"trait_{i}" for i in range(traits))),
        ("default", *["role"] * n_roles, *["trait"] * traits),
        ("all",) * (1 + n_roles) + ("pos-neg",) * traits,
        np.full(n, replies),
        (0, 1, 2),
        folds=each.astype(np.float32) if folds else None,
        fold_counts=np.full((n, 4), max(1, replies // 4)) if folds else None,
    )


def fitted(vectors: VectorTable) -> tuple[PersonaSpace, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        space = PersonaSpace(vectors, n_resamples=5).fit(progress=False)
    return space, [str(each.message) for each in caught if "too little data" in str(each.message)]


@pytest.mark.parametrize(
    ("vectors", "problem", "remedy"),
    [
        (
            table(replies=3),
            "20 of 20 roles rest on fewer than 4 replies",
            "more questions or prompts",
        ),
        (table(replies=3), "the default rests on fewer than 4 replies", "default_samples"),
        (
            table(replies=2, traits=2),
            "2 of 2 traits rest on fewer than 4",
            "more questions or prompts",
        ),
        (table(noise=60.0), "halves of the questions have a cosine of", "default_reply_advice"),
        (
            table(12),
            "12 roles, with which no p of the default against them is below 0.077",
            "at least 19",
        ),
    ],
)
def test_too_little_is_said_wherever_the_space_is_seen(
    vectors: VectorTable, problem: str, remedy: str
) -> None:
    space, told = fitted(vectors)
    assert len(told) == 1
    assert problem in told[0]
    assert remedy in told[0]
    assert problem in repr(space)
    assert problem in space._repr_html_()
    figures: list[Any] = [
        space.map(1),
        space.map(1, dims=3),
        space.axis_plot(1),
        space.variance_plot(),
        space.layer_map(),
    ]
    for figure in figures:
        [caption] = [note for note in figure.layout.annotations if note.name == "caption"]
        text = caption.text.replace("<br>", " ")
        assert "Too little data" in text
        assert problem in text
        assert figure.layout.margin.b > 60


def test_enough_data_says_nothing() -> None:
    for vectors in (table(replies=4), table(FEWEST_ROLES), table(noise=0.5, traits=3)):
        space, told = fitted(vectors)
        assert not told
        assert space.shortages_ == ()
        assert repr(space).endswith("fitted)")
        figure: Any = space.map(1)
        assert not [note for note in figure.layout.annotations if "Too little" in note.text]


def test_what_is_not_known_is_not_complained_about() -> None:
    rng = np.random.default_rng(0)
    roles = {f"role_{index}": rng.normal(size=(2, 8)) for index in range(FEWEST_ROLES)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PersonaSpace.from_vectors(roles, np.ones((2, 8)), n_resamples=5).fit()


def test_with_too_few_roles_the_exchange_null_cannot_be_passed() -> None:
    """The ground of the limit: even an axis of the default alone reaches p = 1 / (n + 1) and not less."""
    for n_roles in (FEWEST_ROLES - 1, FEWEST_ROLES):
        rng = np.random.default_rng(1)
        roles = {f"role_{index}": rng.normal(size=(1, 64)) for index in range(n_roles)}
        far = np.full((1, 64), 50.0)
        lined = {name: value + far * rng.uniform(0, 0.2) for name, value in roles.items()}
        space = PersonaSpace.from_vectors(lined, far, n_resamples=200).fit()
        least = space.stability_["shuffled_p"].min()
        assert least == pytest.approx(1 / (n_roles + 1))
        assert (least <= 0.05) == (n_roles >= FEWEST_ROLES)


def test_the_packaged_space_has_enough() -> None:
    space = PersonaSpace.load("smollm2-135m-instruct")
    assert space.shortages_ == ()
    assert repr(space).endswith("fitted)")
