"""Wide tables of turns: what cannot be scored is left out and counted, what makes no sense is refused."""

import numpy as np
import pandas as pd
import pytest
from planted_talk import talk

from persona_lens.drift.forecast.splits import make_splits
from persona_lens.drift.forecast.turns import read_turns
from persona_lens.errors import SpaceError


def small(**columns):
    table = pd.DataFrame(
        {
            "conversation": list("aaabbb"),
            "turn": [0, 1, 2] * 2,
            "message": ["Hi.", "And?", "Go on.", "Hello.", "Why?", "How?"],
            "persona": list("pppqqq"),
            "axis": [1.0, 2.0, 4.0, 0.0, -1.0, 3.0],
        }
    )
    return table.assign(**columns)


def without(name):
    return small().drop(columns=name)


def test_the_last_place_is_that_of_the_turn_before_whatever_the_order_of_rows():
    order = [3, 1, 5, 0, 4, 2]
    turns = read_turns(small().iloc[order])
    assert turns.frame["message"].tolist() == ["And?", "How?", "Why?", "Go on."]
    assert turns.rows.tolist() == [1, 2, 4, 5]
    np.testing.assert_array_equal(turns.place[:, 0], [2, 3, -1, 4])
    np.testing.assert_array_equal(turns.previous[:, 0], [1, -1, 0, 2])
    assert turns.counts == {"first turn": 2}


def test_what_cannot_be_scored_is_left_out_and_counted():
    table = pd.concat([small(), small(conversation=list("cccddd"))], ignore_index=True)
    table.loc[1, "axis"] = np.nan  # a row, and the last place of the next one
    table.loc[5, "message"] = " \n"
    table = table.drop(index=7)
    turns = read_turns(table)
    assert turns.counts == {
        "an empty message": 1,
        "no projection on 'axis'": 1,
        "no known reply before it": 2,
        "first turn": 4,
    }
    assert turns.rows.tolist() == [4, 9, 10]
    assert "1 of 11 rows has an empty message: left out" in turns.notes
    assert any(
        note.startswith("2 of 11 rows have no known reply before it") for note in turns.notes
    )


def test_rows_without_a_projection_before_the_reply_are_left_out_unless_none_has_one():
    some = small(**{"before:axis": [0.0, np.nan, 1.0, 2.0, 3.0, 4.0]})
    turns = read_turns(some)
    assert turns.counts["no projection before the reply"] == 1
    assert turns.before.ravel().tolist() == [1.0, 3.0, 4.0]
    turns = read_turns(small(**{"before:axis": np.nan}))
    assert turns.before is None
    assert len(turns) == 4
    assert any("`before:` projections: not used" in note for note in turns.notes)


def test_conversations_of_one_turn_are_said():
    table = small()
    table.loc[6] = ["c", 0, "Alone.", "p", 9.0]
    turns = read_turns(table)
    assert "1 conversations of one turn have no change and are not scored" in turns.notes
    assert "c" not in set(turns.frame["conversation"])


def test_directions_are_the_numeric_columns_that_mean_nothing_else():
    table = small(pc1=range(6), label="x", flag=True, **{"before:pc1": 1.0})
    assert read_turns(table).directions == ("pc1",)  # which is known to be a projection
    assert read_turns(table.drop(columns="before:pc1")).directions == ("axis", "pc1")
    trace = small(since=0, tokens=range(9, 15), reply="Yes.", topic_id=range(6))
    assert read_turns(trace).directions == ("axis", "topic_id")
    assert read_turns(trace.assign(**{"before:axis": 0.5})).directions == ("axis",)
    assert read_turns(table, "pc1").directions == ("pc1",)
    assert read_turns(table, ["pc1", "axis", "pc1"]).directions == ("pc1", "axis")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (without("message"), "no column 'message'"),
        (without("conversation"), "no column 'conversation'"),
        (without("axis"), "no column of projections"),
        (small().iloc[:0], "no rows"),
        (pd.concat([small(), small()[["axis"]]], axis=1), "two columns 'axis'"),
        (small(message=[None, *"abcde"]), "'message' is empty in 1 of 6 rows, first in row 0"),
        (small(persona=["p", None, *"pqqq"]), "or leave the column out"),
        (small(message=[*"abcde", 7]), "something else than text"),
        (small(turn=[0.0, 1.0, 2.0] * 2), "does not count turns"),
        (small(turn=[-1, 0, 1] * 2), "does not count turns"),
        (small(turn=[0, 1, 1] * 2), "2 turns occur twice, first conversation 'a', turn 1"),
        (small(persona=list("pppqqr")), "conversation 'b' has 2 values of 'persona'"),
        (small(domain=list("cccddw")), "conversation 'b' has 2 values of 'domain'"),
        (small(persona=[{"name": "p"}] * 6), "'persona' holds dict, not names"),
        (small(axis=2.0), "'axis' has the same projection in every row"),
        (small(axis=np.nan), "'axis' is empty"),
        (small(axis=[1, 2, 3, 4, 5, np.inf]), "'axis' has infinite values"),
        (small(axis=[1, np.nan] * 3, message=["", "a"] * 3), "no row of the table can be scored"),
        (small(**{"before:axis": "x"}), "'before:axis' does not hold numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_tables_are_named_with_what_to_do(table, said):
    with pytest.raises(SpaceError) as caught:
        read_turns(table)
    assert said in str(caught.value)


def test_a_direction_that_is_not_there_gets_a_suggestion():
    with pytest.raises(SpaceError, match="did you mean axis"):
        read_turns(small(), ["axes"])
    with pytest.raises(SpaceError, match="no numeric column 'persona'"):
        read_turns(small(), ["persona"])


def test_one_persona_or_too_few_conversations_are_refused():
    with pytest.raises(SpaceError, match="all rows are of one persona"):
        make_splits(read_turns(small(persona="p")), 2, 0)
    with pytest.raises(SpaceError, match="fewer conversations than folds"):
        make_splits(read_turns(small()), 5, 0)
    with pytest.raises(SpaceError, match="outside of a fold there is one conversation only"):
        make_splits(read_turns(small()), 2, 0)


def test_fewer_personas_than_folds_are_said():
    table, _ = talk(personas=3)
    splits, notes = make_splits(read_turns(table), 5, 0)
    assert len(np.unique(splits[0].outer)) == 3
    assert "there are 3 values of 'persona': so many folds, not 5" in notes
    two, notes = make_splits(read_turns(talk(personas=2)[0]), 5, 0)
    assert any("penalties are chosen on folds of conversations" in note for note in notes)
    assert not np.array_equal(two[0].outer, two[0].inner)


def test_columns_that_are_missing_or_hold_one_value_are_said():
    table, _ = talk(personas=6, domains=["a"])
    splits, notes = make_splits(read_turns(table), 5, 0)
    assert len(splits) == 1
    assert "all rows are of one domain: none is held out" in notes
    assert "the table has no column 'simulator': none is held out" in notes
