"""Does position depend on the last message, or on where the model was? What either adds to the other, in words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

LEVEL = 0.05


class Answer(NamedTuple):
    """What is found for one direction.

    Attributes:
        direction: Which.
        verdict: "the message", "where it was", "both" or "neither".
        message_given_previous: Partial R² of the message, held out: the share of the errors made from the last
            position alone that vanish once the message is known.
        previous_given_message: The same of the last position, of errors made from the message alone.
        sentence: All of it in words, with intervals, chance and counts.
    """

    direction: str
    verdict: str
    message_given_previous: float
    previous_given_message: float
    sentence: str


def answer_of(table: pd.DataFrame, direction: str) -> Answer:
    """The answer for one direction.

    Args:
        table: As `Forecaster.question_`.
        direction: One of its directions.
    """
    rows = table[table["direction"] == direction].set_index("of")
    message, previous = rows.loc["message"], rows.loc["previous"]
    adds = {"the message": _adds(message), "where it was": _adds(previous)}
    named = [name for name, found in adds.items() if found]
    verdict = named[0] if len(named) == 1 else ("both" if named else "neither")
    conclusions = {
        "the message": "position follows the last message, and where the model was shows nothing beside it",
        "where it was": "position follows where the model was, and the last message shows nothing beside it",
        "both": "position follows both, "
        + ("the message" if message["partial_r2"] >= previous["partial_r2"] else "where it was")
        + " more",
        "neither": "neither can be shown to forecast position beside the other",
    }
    sentence = (
        f"{direction}: {conclusions[verdict]}. Of what the last position leaves open the message forecasts "
        f"{_told(message)}; of what the message leaves open the last position forecasts {_told(previous)}. "
        f"Held out by {_plural(message)}: {message['n_rows']:,} replies of {message['n_conversations']:,} "
        "conversations. This is forecast, not cause: messages answer the reply before them."
    )
    return Answer(
        direction, verdict, float(message["partial_r2"]), float(previous["partial_r2"]), sentence
    )


def doubts(scores: pd.DataFrame, direction: str, target: str) -> tuple[str, ...]:
    """That messages which are not shown to forecast anything explain nothing; no word where they are.

    Args:
        scores: As `Forecaster.scores_`.
        direction: One of its directions.
        target: One of its targets.
    """
    keys = (scores["direction"] == direction) & (scores["target"] == target)
    row = scores.loc[keys & (scores["predictor"] == "message")].iloc[0]
    if _adds(row):
        return ()
    chance = "no null drawn" if np.isnan(row["q"]) else f"q {row['q']:.3f}"
    return (
        f"that messages forecast {direction} ({target}) is not shown to be more than chance (held-out R² "
        f"{row['r2']:.3f}, 95 % interval {row['low']:.3f} to {row['high']:.3f}, {chance}): take these pulls for "
        "nothing",
    )


def _adds(row: pd.Series) -> bool:
    """More than nothing by its interval and, where there is a null, more than chance."""
    return bool(row["low"] > 0 and (np.isnan(row["q"]) or row["q"] <= LEVEL))


def _told(row: pd.Series) -> str:
    chance = (
        "no null was drawn"
        if np.isnan(row["q"])
        else f"chance up to {row['null_95']:.1%}, q {row['q']:.3f}"
    )
    return (
        f"{row['partial_r2']:.1%} (95 % interval {row['low']:.1%} to {row['high']:.1%}; {chance})"
    )


def _plural(row: pd.Series) -> str:
    return f"{row['split']}, {row['n_groups']:,} of them"
