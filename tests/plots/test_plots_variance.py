"""Curves over layers show the space's numbers, with names that do not collide."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from persona_lens.errors import FigureError
from persona_lens.persona_space import PersonaSpace
from persona_lens.plots import variance


def curves(fig: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in fig.data}


def test_curves_are_the_numbers_of_the_space(space: PersonaSpace) -> None:
    found, frame = curves(variance(space)), space.stability_
    ratios = space.explained_variance_ratio_
    expected = {
        "PC1": ratios[:, 0],
        "PC1 to PC3": ratios[:, :3].sum(axis=1),
        "components": space.n_components_70_,
        "cos(PC1, axis)": frame["cosine"],
        "null, mean": frame["shuffled_mean"],
        "null, 95 % below": frame["shuffled_95"],
        "random direction, 95 % below": frame["random_95"],
        "halves of the roles": frame["axis_roles"],
        "halves of the questions": frame["axis_questions"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].y, values)
        np.testing.assert_array_equal(found[name].x, space.layers_)


def test_bands_are_the_intervals(space: PersonaSpace) -> None:
    found, frame = curves(variance(space)), space.stability_
    n_layers = len(frame)
    for name, column in (
        ("cos(PC1, axis)", "cosine"),
        ("halves of the questions", "axis_questions"),
    ):
        band = found[f"{name}, band"]
        np.testing.assert_allclose(band.y[:n_layers], frame[f"{column}_high"])
        np.testing.assert_allclose(band.y[n_layers:], frame[f"{column}_low"][::-1])


def test_every_curve_is_named_at_its_end_without_collision(space: PersonaSpace) -> None:
    fig: Any = variance(space)
    layout = fig.layout
    plot = layout.height - layout.margin.t - layout.margin.b
    places: dict[str, list[float]] = {}
    for note in layout.annotations:
        if (note.name or "").startswith("curve:"):
            axis = layout[note.yref.replace("y", "yaxis")]
            height = (axis.domain[1] - axis.domain[0]) * plot
            low, high = axis.range
            places.setdefault(note.yref, []).append(
                (note.y - low) / (high - low) * height + note.yshift
            )
    assert sum(map(len, places.values())) == 9
    for heights in places.values():
        assert (np.diff(np.sort(heights)) >= 14).all()


def test_panels_do_not_overlap(space: PersonaSpace) -> None:
    layout: Any = variance(space).layout
    domains = [layout[name].domain for name in ("yaxis", "yaxis2", "yaxis3", "yaxis4")]
    assert all(above[0] > below[1] for above, below in pairwise(domains))
    assert domains[-1][0] == pytest.approx(0.0)


def test_unknown_halves_of_questions_are_left_out_and_said_so() -> None:
    rng = np.random.default_rng(0)
    roles = {f"r{i}": rng.normal(size=(1, 6)) for i in range(5)}
    fig: Any = variance(PersonaSpace.from_vectors(roles, np.ones((1, 6))).fit())
    assert "halves of the questions" not in curves(fig)
    assert any("questions: not known" in note.text for note in fig.layout.annotations)


def test_hover_gives_layer_value_and_interval(space: PersonaSpace) -> None:
    row = space.stability_.iloc[1]
    assert curves(variance(space))["cos(PC1, axis)"].hovertext[1] == (
        f"<b>layer 1</b><br>cos(PC1, axis): {row.cosine:.2f} ({row.cosine_low:.2f} to {row.cosine_high:.2f})"
    )


def test_unfitted_space(space: PersonaSpace) -> None:
    with pytest.raises(FigureError, match="fit"):
        variance(PersonaSpace(space.table))
