"""The figures of a judge audit show its numbers, and nothing lies over anything else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from judged_run import guessing, honest, judged_by, taken_in, write_run

from persona_lens.analysis.audit.agreement import agreement
from persona_lens.analysis.audit.auditing import Audit, audit_run
from persona_lens.analysis.audit.figures import judge_audit_figures
from persona_lens.analysis.audit.hand_agreement import hand_agreement
from persona_lens.analysis.audit.verdicts import verdict_frame
from persona_lens.judges.base import LABELS
from persona_lens.plots.judges import NAME_WIDTH
from persona_lens.plots.parts.text import text_width

LONG = "a-judge-with-a-name-that-goes-on-and-on-and-on"


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    run = write_run(tmp_path_factory.mktemp("figures") / "run", layers=(1, 4, 9))
    judged_by(run, "honest", honest)
    judged_by(run, LONG, guessing, seed=1)
    judged_by(run, "taken-in", taken_in)
    found = audit_run(run, min_count=4, n_resamples=40)
    frame = verdict_frame(run)
    sheet = frame[["name", "prompt_index", "question_id", "sample"]].assign(
        stratum="all", stratum_size=len(frame), label=np.resize(LABELS, len(frame))
    )
    return replace(found, hand=tuple(hand_agreement(sheet.head(60), frame, n_resamples=40)))


@pytest.fixture(scope="module")
def figures(audit: Audit) -> dict[str, Any]:
    return judge_audit_figures(audit)


def test_what_is_drawn(figures: dict[str, Any]) -> None:
    roles, effects = (
        [f"{name}-{n}" for n in numbers]
        for name, numbers in (("kappa-by-role", (1, 2, 3)), ("effect", (1, 2)))
    )
    assert list(figures) == ["confusion", *roles, *effects]


def test_matrices_hold_the_counts(audit: Audit, figures: dict[str, Any]) -> None:
    maps = figures["confusion"].data
    tables = [each.roles.confusion for each in audit.agreements if each.roles]
    tables += [each.confusion for each in audit.hand]
    assert len(maps) == len(tables) == 6
    for drawn, table in zip(maps, tables, strict=True):
        counts = table.to_numpy()
        np.testing.assert_allclose(drawn.z, counts / counts.sum(axis=1, keepdims=True))
        shown = [
            [int(cell.split("<br>")[0].replace(",", "")) for cell in row] for row in drawn.text
        ]
        np.testing.assert_array_equal(shown, counts.round())
        assert tuple(drawn.x) == tuple(drawn.y) == LABELS
    layout = figures["confusion"].layout
    assert layout.yaxis.autorange == "reversed"
    assert (layout.yaxis.title.text, layout.xaxis2.title.text) == (
        layout.xaxis4.title.text,
        "taken-in",
    )
    assert layout.yaxis4.title.text == "person"


def boxes(layout: Any) -> list[tuple[float, float, float, float]]:
    """Left, right, top, bottom of every panel in pixels."""
    width = layout.width - layout.margin.l - layout.margin.r
    height = layout.height - layout.margin.t - layout.margin.b
    found = []
    for name in layout:
        if name.startswith("xaxis"):
            x, y = layout[name].domain, layout[name.replace("x", "y", 1)].domain
            found.append((x[0] * width, x[1] * width, (1 - y[1]) * height, (1 - y[0]) * height))
    return found


@pytest.mark.parametrize(("name", "gap_x", "gap_y"), [("confusion", 90, 90), ("effect-1", 20, 30)])
def test_panels_and_their_heads_have_room(
    figures: dict[str, Any], name: str, gap_x: float, gap_y: float
) -> None:
    layout = figures[name].layout
    panels = boxes(layout)
    columns = sorted({(left, right) for left, right, _, _ in panels})
    rows = sorted({(round(top, 3), round(bottom, 3)) for _, _, top, bottom in panels})
    assert all(after[0] - before[1] >= gap_x for before, after in pairwise(columns))
    assert all(after[0] - before[1] >= gap_y for before, after in pairwise(rows))
    assert panels[-1][1] <= layout.width
    heads = [note for note in layout.annotations if note.name.startswith("head:")]
    pitch = columns[1][0] - columns[0][0]
    assert all(text_width(head.text.split("<span")[0], 13) < pitch for head in heads)


def test_long_names_are_cut(figures: dict[str, Any]) -> None:
    title = figures["confusion"].layout.yaxis.title.text
    assert title.endswith("…")
    assert LONG.startswith(title[:-1])
    assert text_width(title, 13) <= NAME_WIDTH
    assert text_width(figures["kappa-by-role-1"].layout.title.text, 20) < 900


def test_roles_stand_in_order_with_interval_and_null(audit: Audit, figures: dict[str, Any]) -> None:
    roles = audit.agreements[0].roles
    assert roles is not None
    rows = roles.by_role.sort_values("kappa", ascending=False)
    fig = figures["kappa-by-role-1"]
    null, line, dots = fig.data
    assert list(dots.customdata) == rows["name"].to_list()
    np.testing.assert_allclose(dots.x, rows["kappa"])
    np.testing.assert_allclose(dots.x + dots.error_x.array, rows["high"])
    np.testing.assert_allclose(dots.x - dots.error_x.arrayminus, rows["low"])
    start = np.asarray(null.base, dtype=float)
    np.testing.assert_allclose(start, rows["null_low"])
    np.testing.assert_allclose(start + null.x, rows["null_high"])
    assert line.x[0] == roles.kappa.value
    [band] = fig.layout.shapes
    assert (band.x0, band.x1) == (roles.kappa.low, roles.kappa.high)
    low, high = fig.layout.xaxis.range
    assert low < start.min()
    assert high > 1
    assert [tick.replace(" ", "_") for tick in fig.layout.yaxis.ticktext] == rows["name"].to_list()


def test_roles_without_kappa_are_counted_not_drawn(audit: Audit) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"kind": "role", "name": np.repeat(["x", "y", "z"], 30)})
    for judge in ("a", "b"):
        frame[f"label:{judge}"] = pd.Categorical.from_codes(rng.integers(0, 3, 90), LABELS)
    frame.loc[frame["name"] == "y", "label:a"] = "not"
    pair = agreement(frame, "a", "b", n_resamples=20)
    alone = replace(audit, judges=("a", "b"), agreements=(pair,), effect=None, hand=())
    found = judge_audit_figures(alone)
    assert list(found) == ["confusion", "kappa-by-role"]
    layout: Any = found["kappa-by-role"].layout
    assert set(layout.yaxis.ticktext) == {"x", "z"}
    caption = next(note.text for note in layout.annotations if note.name == "caption")
    assert "one label only: 1." in caption.replace("<br>", " ")


def test_curves_are_the_numbers_of_the_effect(audit: Audit, figures: dict[str, Any]) -> None:
    assert audit.effect is not None
    pairs = list(dict.fromkeys(zip(audit.effect["first"], audit.effect["second"], strict=True)))
    assert len(pairs) == 6
    by_panel = audit.effect.set_index(["first", "second", "what"]).sort_index()
    fig = figures["effect-2"]
    traces = {(trace.name, trace.yaxis): trace for trace in fig.data if trace.name != "band"}
    bands = [trace for trace in fig.data if trace.name == "band"]
    for down, what in enumerate(("axis", "pc1", "distances", "map")):
        for across, (first, second) in enumerate(pairs[3:]):
            own = by_panel.loc[(first, second, what)]
            place = down * 3 + across
            end = "y" if place == 0 else f"y{place + 1}"
            np.testing.assert_allclose(traces["judges", end].y, own["value"])
            np.testing.assert_allclose(traces["null", end].y, own["null"])
            np.testing.assert_array_equal(traces["judges", end].x, own["layer"])
            null, interval = (band for band in bands if band.yaxis == end)
            np.testing.assert_allclose(interval.y, [*own["high"], *own["low"][::-1]])
            np.testing.assert_allclose(null.y, [*own["null_high"], *own["null_low"][::-1]])
            axis = fig.layout[end.replace("y", "yaxis")]
            assert axis.range[0] < min(own["low"].min(), own["null_low"].min())
            hover = traces["judges", end].hovertext[1]
            assert hover.startswith(
                f"<b>layer 4</b><br>{own['value'].iloc[1]:.3f}".replace("-", "−")
            )


def test_pairs_without_a_space_are_left_out_and_counted(audit: Audit) -> None:
    assert audit.effect is not None
    effect = audit.effect.copy()
    lost = effect["second"].str.startswith("taken-in")
    effect.loc[lost, ["value", "low", "high", "null", "null_low", "null_high"]] = np.nan
    found = judge_audit_figures(replace(audit, effect=effect))
    caption = next(
        note.text for note in found["effect"].layout.annotations if note.name == "caption"
    )
    assert "fewer than three roles on an axis: 3." in caption.replace("<br>", " ")
    nothing = replace(audit, effect=effect.loc[lost], agreements=(), hand=())
    assert judge_audit_figures(nothing) == {}


def test_a_single_layer_is_visible(audit: Audit) -> None:
    assert audit.effect is not None
    one = replace(audit, effect=audit.effect.loc[audit.effect["layer"] == 4])
    fig = judge_audit_figures(one)["effect-1"]
    low, high = fig.layout.xaxis.range
    assert low < 4 < high
    assert all(np.ptp(trace.x) > 0 for trace in fig.data if trace.name in ("band", "null"))
    assert list(fig.layout.xaxis.tickvals) == [4]


def test_pages_are_written(audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persona_lens.plots.export.can_export_images", lambda: False)
    written = audit.save(tmp_path)
    assert sum(path.suffix == ".html" for path in written) == 6
