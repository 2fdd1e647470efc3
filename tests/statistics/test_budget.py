from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from persona_lens import VectorTable
from persona_lens.errors import SpaceError
from persona_lens.statistics import default_reply_advice

WIDTH, N_ROLES, LENGTHS = 50, 12, (6.0, 2.0, 0.0)


def made_table(
    rng: np.random.Generator,
    n_default: int,
    n_role: int = 40,
    *,
    question_spread: float = 0.0,
    folds: int = 8,
) -> VectorTable:
    """A table of replies whose axis has a known length at each of three layers; a default reply has spread 1."""
    axis = np.zeros((len(LENGTHS), WIDTH))
    axis[:, 0] = LENGTHS
    values, errors, of_folds = [], [], []
    for row in range(1 + N_ROLES):
        n = n_role if row else n_default
        replies = rng.normal(size=(n, len(LENGTHS), WIDTH)) + (0 if row else axis)
        moved = question_spread * rng.normal(size=(folds, len(LENGTHS), WIDTH))
        fold_of = np.arange(n) % folds
        replies += moved[fold_of]
        values.append(replies.mean(axis=0))
        errors.append(replies.var(axis=0, ddof=1).sum(axis=1) / n if n > 1 else np.full(3, np.inf))
        of_folds.append(
            [
                replies[fold_of == fold].mean(axis=0) if fold < n else np.full(axis.shape, np.nan)
                for fold in range(folds)
            ]
        )
    return VectorTable(
        np.stack(values).astype(np.float32),
        ("default", *(f"role_{i}" for i in range(N_ROLES))),
        ("default", *["role"] * N_ROLES),
        ("all",) * (1 + N_ROLES),
        np.array([n_default, *[n_role] * N_ROLES]),
        (4, 8, 12),
        squared_errors=np.stack(errors),
        folds=np.array(of_folds),
    )


@dataclass
class Holder:
    """Stands for a space."""

    table: VectorTable


def axes(table: VectorTable) -> np.ndarray:
    return table.values[0] - table.values[1:].mean(axis=0)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def test_the_foretold_cosine_of_halves_is_the_measured_one() -> None:
    rng = np.random.default_rng(0)
    foretold, measured, replicated, reliability = [], [], [], []
    for _ in range(60):
        advice = default_reply_advice(made_table(rng, 40, 40))
        foretold.append(advice["halves"])
        reliability.append(advice["reliability"])
        halves = [axes(made_table(rng, 20, 20)) for _ in range(2)]
        measured.append(cosines(*halves))
        whole = [axes(made_table(rng, 40, 40)) for _ in range(2)]
        replicated.append(cosines(*whole))
    for ours, theirs in ((foretold, measured), (reliability, replicated)):
        with_signal, without = np.split(np.mean(ours, axis=0) - np.mean(theirs, axis=0), [2])
        np.testing.assert_allclose(with_signal, 0.0, atol=0.03)
        assert (
            0 < without[0] < 0.1
        )  # of no axis at all it is not below zero, so a little above on average


def test_following_the_advice_reaches_the_target() -> None:
    rng = np.random.default_rng(1)
    advice = default_reply_advice(made_table(rng, 40, 400), target=0.9).set_index("layer").loc[8]
    assert 0.6 < advice["reliability"] < 0.85
    # signal² 4, spread 50 a reply, error of the roles 50 / 400 / 12: 50 / N = 4 / 9 - 0.01
    assert advice["needed"] == pytest.approx(115, rel=0.3)
    assert advice["more"] == advice["needed"] - 40
    assert advice["advice"].startswith(f"{advice['more']:.0f} more default replies")
    followed = [
        cosines(*(axes(made_table(rng, int(advice["needed"]), 400))[1] for _ in range(2)))
        for _ in range(20)
    ]
    assert np.mean(followed) == pytest.approx(0.9, abs=0.03)


def test_what_replies_cannot_mend_is_said() -> None:
    rng = np.random.default_rng(2)
    advice = default_reply_advice(made_table(rng, 400, 2), target=0.95).set_index("layer")
    # Twelve roles with two replies each: error 50 / 24 = 2.1, more than 4 * (1 / 0.95 - 1)
    assert np.isinf(advice.loc[8, "more"])
    assert "roles' own noise" in advice.loc[8, "advice"]
    assert advice.loc[4, "advice"].startswith("enough") or np.isinf(advice.loc[4, "needed"])
    silent = made_table(rng, 40)
    object.__setattr__(silent, "values", silent.values * 0)
    nothing = default_reply_advice(silent)
    assert nothing["more"].isna().all()
    assert nothing["advice"].str.contains("not longer than noise").all()
    plenty = default_reply_advice(made_table(rng, 400, 40)).iloc[0]
    assert plenty["more"] == 0
    assert plenty["advice"] == "enough default replies for reliability 0.9"


def test_folds_see_what_questions_do_and_independent_replies_do_not() -> None:
    rng = np.random.default_rng(3)
    alone = default_reply_advice(made_table(rng, 80)).iloc[0]
    assert alone["reliability_questions"] == pytest.approx(alone["reliability"], abs=0.05)
    assert alone["questions_low"] <= alone["reliability_questions"] <= alone["questions_high"]
    found, measured = [], []
    for _ in range(30):
        table = made_table(rng, 80, question_spread=1.0)
        found.append(default_reply_advice(table).iloc[0])
        other = made_table(rng, 80, question_spread=1.0)
        measured.append(cosines(axes(table)[0], axes(other)[0]))
    over = np.mean([row["reliability_questions"] for row in found])
    assert over == pytest.approx(np.mean(measured), abs=0.04)
    assert np.mean([row["reliability"] for row in found]) > over + 0.05
    assert "over new questions" in found[0]["advice"]
    more = [
        default_reply_advice(made_table(rng, 800, 400, question_spread=1.0, folds=80)).iloc[0]
        for _ in range(5)
    ]
    assert np.mean([row["reliability_questions"] for row in more]) > over + 0.05


def test_without_folds_and_with_single_replies() -> None:
    rng = np.random.default_rng(4)
    table = made_table(rng, 40, 40)
    errors = table.squared_errors
    assert errors is not None
    before = default_reply_advice(table)
    errors = errors.copy()
    errors[3] = np.inf  # a role with a single reply
    counts = table.counts.copy()
    counts[3] = 1
    changed = VectorTable(
        table.values, table.names, table.kinds, table.labels, counts, table.layers, errors
    )
    after = default_reply_advice(Holder(changed))
    assert after["reliability_questions"].isna().all()
    assert after["questions_low"].isna().all()
    assert (after["error_roles"] > before["error_roles"]).all()
    # 11 roles with 50 / 40 and one with 50, over 144
    np.testing.assert_allclose(after["error_roles"], np.sqrt((11 * 1.25 + 50) / 144), rtol=0.1)


def test_impossible_questions_are_refused() -> None:
    table = made_table(np.random.default_rng(5), 10)
    with pytest.raises(SpaceError, match="between 0 and 1"):
        default_reply_advice(table, target=1.0)
    with pytest.raises(SpaceError, match="default"):
        default_reply_advice(table.select(kind="role"))
    bare = VectorTable(
        table.values, table.names, table.kinds, table.labels, table.counts, table.layers
    )
    with pytest.raises(SpaceError, match="not known"):
        default_reply_advice(bare)
