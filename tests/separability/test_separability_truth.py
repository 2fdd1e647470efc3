"""Known truths are found, and what was not planted is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_replies import made_replies
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score

from persona_lens.separability import METRICS, Replies, Separability, measure


def mean(found: Separability, metric: str, kind: str) -> np.ndarray:
    return np.nanmean(found.values(metric, kind), axis=0)


def null_means(found: Separability, metric: str, kind: str) -> np.ndarray:
    return np.nanmean(found.shuffled[metric, kind], axis=1)


def assert_chance(found: Separability) -> None:
    """The mean over units lies among what shuffled labels give, or next to it."""
    for metric in METRICS:
        for kind in found.names:
            null = null_means(found, metric, kind)
            away = np.abs(mean(found, metric, kind) - null.mean(axis=0)) / null.std(axis=0)
            assert away.max() < 4, (metric, kind, away)


def test_planted_roles_and_traits_are_told_apart() -> None:
    found = measure(made_replies(role_size=(30.0,), trait_gap=(30.0,), d_model=24))
    for kind in ("role", "trait"):
        assert mean(found, "identity", kind) > 0.99
        assert mean(found, "identity_top1", kind) > 0.95
        assert mean(found, "auc", kind) > 0.99
        assert mean(found, "auc_probe", kind) > 0.99
        assert mean(found, "silhouette", kind) > 0.5
        assert mean(found, "fisher", kind) > 3
        assert mean(found, "reliability", kind) > 0.98


@pytest.mark.parametrize("question_size", [0.0, 2.0])
def test_distance_and_area_are_those_planted(question_size: float) -> None:
    gap = 1.5
    replies = made_replies(
        n_roles=3,
        samples=10,
        d_model=6,
        role_size=(gap,),
        trait_gap=(gap,),
        question_size=question_size,
    )
    found = measure(replies, n_shuffles=2, n_random=2)
    for kind in ("role", "trait"):
        assert mean(found, "d_prime", kind) == pytest.approx(gap, rel=0.08)
        assert mean(found, "auc", kind) == pytest.approx(norm.cdf(gap / np.sqrt(2)), abs=0.02)
        if not question_size:  # else the probe keeps away from what questions change
            area = norm.cdf(gap / np.sqrt(2))
            assert mean(found, "auc_probe", kind) == pytest.approx(area, abs=0.02)


def test_distance_does_not_depend_on_replies_in_a_cell() -> None:
    """One reply a cell leaves the gaps over questions alone to tell the variance."""
    few = made_replies(n_traits=40, n_prompts=5, n_questions=6, d_model=2, trait_gap=(3.0,))
    many = made_replies(
        n_traits=40, n_prompts=5, n_questions=6, d_model=2, trait_gap=(3.0,), samples=6
    )
    for replies in (few, many):
        found = measure(replies, n_shuffles=0, n_random=0)
        assert mean(found, "d_prime", "trait") == pytest.approx(3.0, rel=0.08)


def test_reliability_is_that_of_means_of_so_many_replies() -> None:
    size, d_model = 3.0, 40
    found = measure(made_replies(n_roles=60, role_size=(size,), d_model=d_model), n_shuffles=1)
    noise = d_model / (2 * 3)  # two prompts and three questions in each half
    expected = size**2 / (size**2 + noise)
    assert mean(found, "reliability", "role") == pytest.approx(expected, abs=0.05)


def test_fisher_is_free_of_the_variance_of_means() -> None:
    few, many = (
        made_replies(n_roles=40, role_size=(3.0,), d_model=12, n_questions=4, samples=samples)
        for samples in (1, 12)
    )
    found = [mean(measure(r, n_shuffles=0), "fisher", "role").item() for r in (few, many)]
    assert found[0] == pytest.approx(found[1], rel=0.15)
    roles = many.kind == "role"
    values = many.values[roles, 0] / np.linalg.norm(many.values[roles, 0], axis=1, keepdims=True)
    names = np.unique(many.unit[roles])
    means = np.array([values[many.unit[roles] == name].mean(axis=0) for name in names])
    within = np.mean([values[many.unit[roles] == name].var(axis=0).sum() for name in names])
    between = ((means - means.mean(axis=0)) ** 2).sum(axis=1).mean()
    assert found[1] == pytest.approx(between / within, rel=0.1)


@pytest.mark.parametrize("question_size", [0.0, 3.0])
def test_noise_is_chance(question_size: float) -> None:
    replies = made_replies(n_roles=20, n_traits=20, question_size=question_size, samples=2)
    found = measure(replies, n_shuffles=40)
    assert_chance(found)
    for metric in ("identity", "auc", "auc_probe", "fisher", "reliability"):
        for kind in found.names:
            null = null_means(found, metric, kind).mean()
            assert null == pytest.approx(found.chance[metric], abs=0.06), (metric, kind)


def test_prompts_that_all_differ_are_chance() -> None:
    """Every system prompt has its own vector, and no unit has one."""
    found = measure(made_replies(n_roles=20, n_traits=40, prompt_size=3.0), n_shuffles=40)
    assert_chance(found)
    assert mean(found, "identity", "role") == pytest.approx(0.5, abs=0.05)
    assert mean(found, "auc", "trait") == pytest.approx(0.5, abs=0.15)


def with_signal(replies: Replies, rows: np.ndarray) -> Replies:
    """A strong vector of its unit and side in some replies."""
    rng = np.random.default_rng(1)
    values = replies.values.copy()
    owner = np.char.add(np.char.add(replies.kind, replies.unit), replies.side)
    for name in np.unique(owner):
        values[(owner == name) & rows] += rng.normal(size=values.shape[2]) * 4
    return replace(replies, values=values)


@pytest.mark.parametrize("only", ["question", "prompt"])
def test_what_is_only_in_one_question_or_prompt_does_not_leak(only: str) -> None:
    replies = made_replies(n_roles=20, n_traits=20, n_prompts=4, n_questions=4, samples=2)
    rows = getattr(replies, only) == 1
    planted = with_signal(replies, rows)
    found = measure(planted, n_shuffles=10)
    for kind in ("role", "trait"):
        assert mean(found, "identity", kind) == pytest.approx(0.5, abs=0.04)
        assert mean(found, "reliability", kind) == pytest.approx(0.0, abs=0.08)
        assert mean(found, "fisher", kind) == pytest.approx(0.0, abs=0.04)
    # It is there to be found: folds of replies at random find it.
    mine = (planted.kind == "role") & rows
    naive = cross_val_score(
        LinearDiscriminantAnalysis(), planted.values[mine, 0], planted.unit[mine], cv=4
    )
    assert naive.mean() > 0.5


def test_emergence_shows_where_it_was_planted() -> None:
    replies = made_replies(
        n_roles=20,
        n_traits=20,
        n_prompts=5,
        role_size=(0, 0, 0, 6, 6),
        trait_gap=(0, 6, 6, 6, 6),
        prompt_size=0.5,
    )
    found = measure(replies)
    for metric in ("identity", "auc", "auc_probe", "d_prime", "reliability", "fisher"):
        for kind, start in (("role", 3), ("trait", 1)):
            curve, null = mean(found, metric, kind), null_means(found, metric, kind)
            # A shuffle may leave the prompts of a role and of the default where they are.
            assert (curve > np.quantile(null, 0.9, axis=0))[start:].all(), (metric, kind)
            assert curve[start:].min() > curve[:start].max(), (metric, kind)


def test_shuffles_keep_to_chance_where_all_is_told_apart() -> None:
    found = measure(
        made_replies(n_roles=20, n_traits=20, n_prompts=5, role_size=(9.0,), trait_gap=(9.0,))
    )
    for kind in ("role", "trait"):
        for metric, tolerance in (
            ("identity", 0.02),
            ("auc", 0.15),
            ("auc_probe", 0.15),
            ("reliability", 0.08),
            ("fisher", 0.03),
        ):
            null = null_means(found, metric, kind)
            assert null.mean() == pytest.approx(found.chance[metric], abs=tolerance), (metric, kind)
        assert null_means(found, "identity_top1", kind).mean() < 0.1
        assert null_means(found, "identity", kind).std() > 0


def test_random_directions_lie_on_both_sides_of_chance() -> None:
    found = measure(made_replies(n_roles=1, n_traits=8, trait_gap=(4.0,)), n_random=50)
    areas = found.random["auc", "trait"]
    assert areas.mean() == pytest.approx(0.5, abs=0.05)
    assert areas.min() < 0.3
    assert areas.max() > 0.7
    assert set(found.random) == {(m, k) for m in ("auc", "d_prime") for k in ("role", "trait")}
