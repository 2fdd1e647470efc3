"""What figures of tidy frames share: columns that must be there, intervals in bars and words, log axes for KL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from persona_lens.errors import FigureError
from persona_lens.plots.parts.subjects import number

TINY_KL = 1e-6  # nats a token: below, rounding in float32 decides
GREY = "#7d8590"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PLAIN_FROM, PLAIN_TO = 1e-4, 1e4


def check_columns(frame: pd.DataFrame, columns: Iterable[str], *, what: str) -> None:
    """Refuse a frame that lacks columns or rows.

    Args:
        frame: To be drawn.
        columns: It must have.
        what: To call it in the error.

    Raises:
        FigureError: Columns are missing, or there is no row.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise FigureError(
            f"{what}: columns are missing",
            expected=", ".join(columns),
            given="no " + ", ".join(missing),
            remedy="name the columns as the docstring of the figure does",
        )
    if frame.empty:
        raise FigureError(f"{what}: there is nothing to draw", expected="rows", given="none")


def bars(rows: pd.DataFrame, value: str, low: str, high: str, **look: Any) -> dict[str, Any]:
    """Error bars of a trace; where an end is not known there is none.

    Args:
        rows: Of the trace.
        value, low, high: Columns.
        look: Further options of plotly.
    """
    return {
        "type": "data",
        "array": (rows[high] - rows[value]).clip(lower=0).to_numpy(),
        "arrayminus": (rows[value] - rows[low]).clip(lower=0).to_numpy(),
        "width": 0,
        "thickness": 1.2,
        **look,
    }


def with_interval(value: float, low: float, high: float, form: str) -> str:
    """A value and, if known, its interval.

    Examples:
        >>> with_interval(0.5, 0.4, 0.6, ".0%"), with_interval(-1.0, np.nan, np.nan, ".1f")
        ('50% (40% to 60%)', '−1.0')
    """
    text = number(value, form)
    if np.isfinite(low) and np.isfinite(high):
        text += f" ({number(low, form)} to {number(high, form)})"
    return text


def counts(n: pd.Series) -> str:
    """How many values points rest on, in words.

    Examples:
        >>> counts(pd.Series([48, 48])), counts(pd.Series([1000, 48, np.nan])), counts(pd.Series([np.nan]))
        ('n = 48', 'n = 48 to 1,000', 'n not known')
    """
    known = n.dropna()
    if known.empty:
        return "n not known"
    least, most = int(known.min()), int(known.max())
    return f"n = {least:,}" if least == most else f"n = {least:,} to {most:,}"


def colours(frame: pd.DataFrame) -> dict[str, str]:
    """The colour of each direction, in order of appearance; controls are grey.

    Examples:
        >>> colours(pd.DataFrame({"direction": ["axis", "random 1"], "control": [False, True]}))
        {'axis': '#0072B2', 'random 1': '#7d8590'}
    """
    own = list(dict.fromkeys(frame.loc[~frame["control"].astype(bool), "direction"]))
    found = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(own)}
    return {name: found.get(name, GREY) for name in dict.fromkeys(frame["direction"])}


def key(name: str, *, mode: str = "markers", **look: Any) -> go.Scatter:
    """A legend entry without data; `legendgroup` makes it a switch for traces of that group."""
    return go.Scatter(x=[None], y=[None], name=name, mode=mode, hoverinfo="skip", **look)


def random_directions(n: int, alike: str = "norm") -> str:
    """What to call the controls, and what they have in common with what they control.

    Examples:
        >>> random_directions(1), random_directions(3, "percentile")
        ('random direction, same norm', '3 random directions, same percentile')
    """
    return f"random direction, same {alike}" if n == 1 else f"{n} random directions, same {alike}"


def log_range(values: Iterable[float], room: float = 0.04) -> tuple[float, float]:
    """Range of a log axis around all positive values, as powers of ten: a decade at least.

    Examples:
        >>> log_range([0.01, 1.0, float("nan"), 0.0], room=0.0)
        (-2.0, 0.0)
    """
    known = np.array(list(values), dtype=float)
    known = np.log10(known[np.isfinite(known) & (known > 0)])
    low, high = (float(known.min()), float(known.max())) if len(known) else (-1.0, 0.0)
    spare = max(0.0, 1.0 - (high - low)) / 2
    low, high = low - spare, high + spare
    return low - room * (high - low), high + room * (high - low)


def log_ticks(low: float, high: float) -> Mapping[float, str]:
    """Ticks between two powers of ten: every decade, or 1, 2 and 5 of each where there are fewer than two.

    Examples:
        >>> dict(log_ticks(-2.1, 0.1))
        {0.01: '0.01', 0.1: '0.1', 1.0: '1'}
        >>> list(log_ticks(-6.1, -5.2).values())
        ['10<sup>−6</sup>', '2·10<sup>−6</sup>', '5·10<sup>−6</sup>']
    """
    factors = (1,) if high - low > 2 else (1, 2, 5)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    return {
        float(f"{factor}e{power}"): _power(factor, power)
        for power in powers
        for factor in factors
        if low <= power + np.log10(factor) <= high
    }


def _power(factor: int, power: int) -> str:
    value = float(f"{factor}e{power}")
    if PLAIN_FROM <= value <= PLAIN_TO:
        return f"{value:,.15f}".rstrip("0").rstrip(".")
    return ("" if factor == 1 else f"{factor}·") + f"10<sup>{number(power, 'd')}</sup>"


def clipped(values: pd.Series) -> Float[np.ndarray, " row"]:
    """KL as a log axis can show it: at least `TINY_KL`; unknown values stay unknown.

    Examples:
        >>> clipped(pd.Series([0.0, 0.5, np.nan]))
        array([1.e-06, 5.e-01,     nan])
    """
    return values.clip(lower=TINY_KL).to_numpy(dtype=float)
