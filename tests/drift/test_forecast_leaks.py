"""Ways in which held-out text regressions go wrong, each tried on purpose.

What is held out must not reach what forecasts it: by the penalty, by the vocabulary, by means and scales, by
messages that recur, or by a null that is too small.
"""

import numpy as np
import pandas as pd
import pytest
from planted_talk import talk
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneGroupOut

from persona_lens.drift.forecast.predictors import PREDICTORS, Inputs
from persona_lens.drift.forecast.ridge import compact, fitted, held_out
from persona_lens.drift.forecast.scoring import Scorer
from persona_lens.drift.forecast.shuffling import Shuffler
from persona_lens.drift.forecast.splits import make_splits, shared_messages
from persona_lens.drift.forecast.turns import read_turns
from persona_lens.drift.forecast.words import count_words, words_held_out

ALPHAS = (0.01, 0.1, 1.0, 10.0, 100.0, 1e4)


def inputs(table, vectors):
    turns = read_turns(table)
    return Inputs(turns, vectors[turns.rows], ALPHAS)


@pytest.fixture(scope="module")
def held():
    table, vectors = talk(personas=8, domains=["a", "b"], simulators=["s", "t"], memory=0.5)
    table["before:axis"] = table["axis"] + 1.0
    seen = inputs(table, vectors)
    splits, _ = make_splits(seen.turns, 4, 0)
    return table, vectors, seen, splits


@pytest.mark.parametrize("name", [name for name in PREDICTORS if name != "last"])
def test_what_was_there_does_not_reach_its_own_forecast(held, name):
    """Replies of a fold are moved and spread out: forecasts of that fold stay, those of others do not."""
    _, _, seen, splits = held
    for split in splits:
        here = split.outer == 0
        before = seen.held_out(name, split).predicted
        other = Inputs(seen.turns, seen.embeddings, ALPHAS)
        other.__dict__["targets"] = np.where(here[:, None], 50 - 9 * seen.targets, seen.targets)
        after = other.held_out(name, split).predicted
        np.testing.assert_allclose(after[here], before[here], atol=1e-8)
        if name != "domain_mean" or split.name != "domain":
            assert not np.allclose(after[~here], before[~here])


@pytest.mark.parametrize("name", ["message", "message+previous", "words", "before", "length"])
def test_what_is_said_elsewhere_in_a_fold_does_not_reach_a_forecast(held, name):
    """Scales, means and vocabularies are learned outside of the fold: other rows of it may say anything."""
    table, vectors, seen, splits = held
    here = np.flatnonzero(splits[0].outer == 0)
    kept, changed = here[0], here[1:]
    before = seen.held_out(name, splits[0]).predicted[kept]
    frame = table.copy()
    rows = seen.turns.rows[changed]
    frame.loc[rows, "message"] = "entirely unheard of " * 9
    frame.loc[rows, "before:axis"] = 1e6
    moved = vectors.copy()
    moved[rows] = np.eye(vectors.shape[1])[0]
    after = inputs(frame, moved).held_out(name, splits[0]).predicted[kept]
    # A leak would move it by thousands; beside numbers of a million, sums are rounded to some 1e-6.
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_a_vocabulary_knows_the_words_of_other_folds_only():
    messages = np.array(["red red", "red blue", "blue blue", "blue red"] * 5, dtype=object)
    messages[-4:] = "secret"
    folds = np.repeat(np.arange(5), 4)
    targets = np.tile([[2.0], [1.0], [0.0], [1.0]], (5, 1))
    targets[-4:] = 99.0
    found = words_held_out(count_words(messages), targets, folds, folds, ALPHAS)
    assert found[-4:].max() < 3
    np.testing.assert_allclose(found[-4:], found[-1:].repeat(4, axis=0))


def test_penalties_and_forecasts_are_those_of_scikit_learn_on_grouped_inner_folds():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 20))
    y = x[:, :2] + rng.normal(scale=[0.5, 5.0], size=(90, 2))
    folds = np.arange(90) % 5
    found = held_out(x, y, folds, folds, ALPHAS, scaled=np.zeros(20, bool), calibrating=True)
    for fold in range(5):
        train = folds != fold
        inner = list(LeaveOneGroupOut().split(x[train], y[train], folds[train]))
        for target in range(2):
            model = RidgeCV(ALPHAS, cv=inner, scoring="neg_mean_squared_error")
            model.fit(x[train], y[train, target])
            assert model.alpha_ == pytest.approx(found.alphas[fold, target])
            np.testing.assert_allclose(
                model.predict(x[~train]), found.predicted[~train, target], atol=1e-8
            )
        rows, forecasts = found.inner[fold]
        assert sorted(rows) == sorted(np.flatnonzero(train))
        assert np.isfinite(forecasts).all()
    assert (found.alphas[:, 0] < found.alphas[:, 1]).all()


def test_fewer_rows_than_features_change_nothing_but_the_time():
    rng = np.random.default_rng(0)
    x, y, folds = rng.normal(size=(30, 80)), rng.normal(size=(30, 2)), np.arange(30) % 5
    few = compact(x)
    assert few.rows.shape == (30, 30)
    wide = fitted(x, y, folds, ALPHAS, scaled=np.zeros(80, bool))
    folded = fitted(few.rows, y, folds, ALPHAS, scaled=np.zeros(30, bool))
    np.testing.assert_allclose(few.unfolded(folded)(x), wide(x), atol=1e-8)
    asked = rng.normal(size=(3, 80))
    np.testing.assert_allclose(few.unfolded(folded)(asked), wide(asked), atol=1e-8)


def test_folds_hold_whole_personas_and_every_domain():
    table, _ = talk(personas=20, domains=["a", "b", "c", "d"], simulators=["s", "t"])
    turns = read_turns(table)
    splits, _ = make_splits(turns, 5, 0)
    folds = pd.Series(splits[0].outer)
    assert (folds.groupby(turns.frame["persona"]).nunique() == 1).all()
    assert (turns.frame["domain"].groupby(folds).nunique() == 4).all()
    assert [split.name for split in splits] == ["persona", "domain", "simulator"]
    for split in splits:
        for fold in np.unique(split.outer):
            assert len(np.unique(split.inner[split.outer != fold])) > 1


def test_messages_that_recur_across_folds_are_counted():
    table, _ = talk(personas=6)
    table.loc[table["turn"] == 2, "message"] = "Go on."
    turns = read_turns(table)
    splits, notes = make_splits(turns, 5, 0)
    expected = int((turns.frame["message"] == "Go on.").sum())
    assert shared_messages(turns.frame["message"], splits[0].outer) == expected
    assert any(f"{expected} of {len(turns)} messages stand word for word" in note for note in notes)


def test_personas_that_cross_domains_are_said():
    table, _ = talk(personas=6)
    table["domain"] = ["a" if name.endswith("0") else "b" for name in table["conversation"]]
    _, notes = make_splits(read_turns(table), 5, 0)
    assert any("6 of 6 personas occur under more than one domain" in note for note in notes)


def test_the_null_hands_over_whole_conversations_in_order_and_within_their_domain():
    table, _ = talk(personas=8, conversations=2, turns=5, domains=["a", "b"])
    turns = read_turns(table)
    shuffler = Shuffler(turns, 0)
    frame, given = turns.frame, shuffler.draw()
    taken = frame.iloc[given].reset_index(drop=True)
    assert (taken["domain"] == frame["domain"]).all()
    assert (taken["turn"] == frame["turn"]).all()
    assert (taken["conversation"].groupby(frame["conversation"]).nunique() == 1).all()
    assert shuffler.unit == "conversation"  # 4! twice is too few arrangements
    assert not np.array_equal(given, shuffler.draw())


def test_with_many_personas_all_of_one_go_to_another():
    table, _ = talk(personas=12, conversations=2)
    turns = read_turns(table)
    shuffler = Shuffler(turns, 0)
    taken = turns.frame.iloc[shuffler.draw()].reset_index(drop=True)
    assert shuffler.unit == "persona"
    assert (taken["persona"].groupby(turns.frame["persona"]).nunique() == 1).all()


def test_rows_shuffled_one_by_one_would_make_chance_look_smaller():
    """Voices and places of personas have nothing to do with each other, and yet scores vary more than rows say."""
    spread = {"whole": [], "rows": []}
    for seed in range(6):
        table, vectors = talk(
            personas=8, message=0, noise=0.3, persona_place=2, persona_voice=2, seed=seed
        )
        seen = inputs(table, vectors)
        splits, _ = make_splits(seen.turns, 4, 0)
        scorer = Scorer(seen.targets, seen.turns.codes("conversation"))
        shuffler, rng = Shuffler(seen.turns, seed), np.random.default_rng(seed)
        draws = {
            "whole": [shuffler.draw() for _ in range(15)],
            "rows": [rng.permutation(len(seen.turns)) for _ in range(15)],
        }
        for kind, orders in draws.items():
            forecasts = [seen.held_out("message", splits[0], messages=order) for order in orders]
            spread[kind].append(np.std([scorer.r2(held.predicted)[0] for held in forecasts]))
    assert np.mean(spread["whole"]) > 2 * np.mean(spread["rows"])


def test_a_score_of_all_folds_is_no_mean_of_scores():
    """Folds whose replies hardly vary would give anything on their own."""
    y = np.array([[0.0], [0.001], [5.0], [9.0]])
    forecast = np.array([[0.5], [0.5], [5.0], [9.0]])
    scorer = Scorer(y, np.arange(4))
    expected = 1 - (0.25 + 0.499**2) / ((y - y.mean()) ** 2).sum()
    assert scorer.r2(forecast)[0] == pytest.approx(expected)
    draws = scorer.r2_draws(forecast)
    assert np.nanmax(draws) <= 1
