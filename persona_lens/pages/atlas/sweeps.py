"""A layer sweep as the atlas draws it: one panel a metric, one line a kind, each with its null."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from persona_lens.errors import FigureError
from persona_lens.pages.shared.inline import listed
from persona_lens.plots.parts.metric_words import METRICS, words_for

COLUMNS = ("layer", "metric", "kind", "value", "low", "high", "null", "null_95", "n")


def sweep_panels(sweep: Any) -> list[dict[str, Any]]:
    """The panels of a sweep.

    Args:
        sweep: An object with a `.frame`, a frame, or a folder that a sweep was saved to; None for no panels. The
            frame has the columns layer, metric, kind, value, low, high, null, null_95 and n; a row for each null.

    Raises:
        FigureError: No such frame there.
    """
    if sweep is None:
        return []
    frame = _frame(sweep)
    panels = []
    for metric, rows in frame.groupby("metric", sort=False):
        lines = [
            _line(str(kind), of_kind.sort_values("layer"))
            for kind, of_kind in rows.groupby("kind", sort=False)
        ]
        words = words_for(str(metric), METRICS)
        panels.append(
            {"metric": str(metric), "title": words.title, "note": words.note, "lines": lines}
        )
    return panels


def _line(kind: str, rows: pd.DataFrame) -> dict[str, Any]:
    """One value a layer; a layer has as many rows as the metric has nulls."""
    once = rows.drop_duplicates("layer")
    counts = once["n"].dropna()
    return {
        "kind": kind,
        "layer": [int(layer) for layer in once["layer"]],
        **{name: listed(once[name].to_numpy(dtype=float)) for name in ("value", "low", "high")},
        "n": [int(counts.min()), int(counts.max())] if len(counts) else None,
        "nulls": [
            {
                "name": str(null),
                "layer": [int(layer) for layer in of_null["layer"]],
                "high": listed(of_null["null_95"].to_numpy(dtype=float)),
            }
            for null, of_null in rows.groupby("null", sort=False)
            if of_null["null_95"].notna().any()
        ],
    }


def _frame(sweep: Any) -> pd.DataFrame:
    if isinstance(sweep, (str, Path)):
        return _frame_in(Path(sweep))
    frame = getattr(sweep, "frame", sweep)
    if not isinstance(frame, pd.DataFrame) or not set(COLUMNS) <= set(frame.columns):
        given = sorted(map(str, frame.columns)) if isinstance(frame, pd.DataFrame) else repr(sweep)
        raise FigureError(
            "this is not a layer sweep",
            expected=f"a frame with {', '.join(COLUMNS)}",
            given=given,
            remedy="pass what space.sweep() returns",
        )
    return frame


def _frame_in(folder: Path) -> pd.DataFrame:
    for path in sorted(folder.glob("*.parquet")):
        frame = pd.read_parquet(path)
        if set(COLUMNS) <= set(frame.columns):
            return frame
    raise FigureError(
        f"no layer sweep in {folder}",
        expected="a folder that Sweep.save wrote",
        remedy="save one: space.sweep().save(folder)",
    )
