"""What people see when they press Tab: every argument by name, as of the function behind, and passed on."""

from __future__ import annotations

import importlib
import inspect
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from persona_lens import PersonaSpace
from persona_lens.analysis.comparison.result import Comparison
from persona_lens.analysis.composition.reconstruction import Reconstruction
from persona_lens.analysis.sweep.result import Sweep
from persona_lens.drift.monitor import Monitor, space_monitor

METHODS = {
    "map": ("persona_lens.plots", "persona_map"),
    "axis_plot": ("persona_lens.plots", "axis_ranking"),
    "variance_plot": ("persona_lens.plots", "variance"),
    "layer_map": ("persona_lens.plots", "layer_map"),
    "atlas": ("persona_lens.pages.atlas", "atlas"),
    "chat": ("persona_lens.server.notebook", "live_chat"),
    "measure_separability": ("persona_lens.separability", "measure_run"),
    "sweep": ("persona_lens.analysis.sweep", "sweep"),
    "explain": ("persona_lens.analysis.composition", "explain"),
    "reconstruct": ("persona_lens.analysis.composition", "reconstruct"),
    "trace": ("persona_lens.drift", "trace"),
    "paper": ("persona_lens.paper.reporting", "paper_report"),
    "monitor": ("persona_lens.drift.monitor", "space_monitor"),
    "save_pretrained": ("persona_lens.interop", "save_pretrained"),
    "push_to_hub": ("persona_lens.interop", "push_to_hub"),
    "collect": ("persona_lens.runs.collecting", "collect_run"),
}
"""Methods of `PersonaSpace`, and the functions that do their work."""

OWN = {"collect": {"run", "judge", "min_count"}}
"""Arguments of a method that its function has not."""


def options(function: Any) -> dict[str, Any]:
    """Names and defaults of what is given by name alone."""
    parameters = inspect.signature(function).parameters.values()
    assert not any(each.kind is each.VAR_KEYWORD for each in parameters), function
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_names_every_argument_of_its_function(method: str) -> None:
    module, name = METHODS[method]
    shown = options(getattr(PersonaSpace, method))
    own = OWN.get(method, set())
    assert {key: shown[key] for key in shown if key not in own} == options(
        getattr(importlib.import_module(module), name)
    )


@pytest.mark.parametrize("method", METHODS)
def test_every_argument_is_passed_on(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name = METHODS[method]
    working = Mock()
    monkeypatch.setattr(importlib.import_module(module), name, working)
    vectors = np.random.default_rng(0).normal(size=(4, 2, 8))
    space = PersonaSpace.from_vectors({f"r{i}": v for i, v in enumerate(vectors)}, vectors[0])
    monkeypatch.setattr(PersonaSpace, "calibrated_run", lambda self: "run")
    monkeypatch.setattr(PersonaSpace, "_check_fitted", lambda self: None)
    monkeypatch.setattr(PersonaSpace, "from_run", lambda *args, **given: None)
    monkeypatch.setattr(space, "layers_", (0, 1), raising=False)
    function = getattr(space, method)
    given = {key: object() for key in options(function) if key not in OWN.get(method, set())}
    needed = [
        Mock(name=each.name)
        for each in inspect.signature(function).parameters.values()
        if each.kind is each.POSITIONAL_OR_KEYWORD
    ]
    also: dict[str, Any] = {"run": "folder"} if method == "collect" else {}
    function(*needed, **given, **also)
    assert working.call_args.kwargs == given


def test_a_monitor_is_calibrated_with_what_is_asked() -> None:
    of_space, of_monitor = options(space_monitor), options(Monitor.calibrate)
    asked = {"false_alarms", "horizon", "high", "reference", "seed"}
    assert asked <= set(of_space)
    assert all(of_space[name] == of_monitor[name] for name in asked)


@pytest.mark.parametrize(
    ("result", "drawn"),
    [
        (Sweep.plot, "layer_sweep"),
        (Reconstruction.plot, "reconstruction_curves"),
        (Comparison.plot, "comparison_panels"),
        (Comparison.scatter, "comparison_scatter"),
    ],
)
def test_results_name_every_argument_of_their_figures(result: Any, drawn: str) -> None:
    wanted = options(getattr(importlib.import_module("persona_lens.plots"), drawn))
    shown = options(result)
    # What the result knows by itself is None until it is replaced.
    known = {"source", "names", "correlation"}
    assert set(wanted) <= set(shown)
    assert all(shown[name] == wanted[name] for name in set(wanted) - known)


def test_a_sweep_is_drawn_beside_its_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    working = Mock()
    plots = importlib.import_module("persona_lens.plots.layer_sweep")
    monkeypatch.setattr(plots, "layer_sweep", working)
    frame, other = pd.DataFrame({"layer": [0]}), pd.DataFrame({"layer": [1]})
    found = Sweep(frame=frame, units=frame, card={"model": "small"})
    found.plot(controls={"random": Sweep(frame=other, units=other, card={})}, title="Mine")
    assert working.call_args.args == (frame,)
    asked = working.call_args.kwargs
    assert asked["controls"] == {"random": other}
    assert (asked["title"], asked["source"], asked["metrics"]) == ("Mine", "small", None)
