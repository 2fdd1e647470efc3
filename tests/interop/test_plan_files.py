"""Plans in a file of any format, by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persona_lens.errors import InterventionError
from persona_lens.interop import read_plan, write_plan
from persona_lens.interop.plan_files import FORMATS
from persona_lens.interventions import Add, Direction, Floor, Plan

GHOST = Direction("ghost", (3, 4), np.eye(2, 8) * 5.0)
SUFFIXES = {"plan": "", "capping-config": ".pt", "control-vector": ".gguf"}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_and_read_back(form: str, tmp_path: Path) -> None:
    adds = form == "control-vector"
    operation = Add(GHOST, lengths=[2.0, 3.0]) if adds else Floor(GHOST, thresholds=[-1.0, 2.0])
    plan = Plan.of(operation).where("all", sinks=True)
    path = tmp_path / f"ghost{SUFFIXES.get(form, '.json')}"
    assert write_plan(plan, path, form) == path
    if form == "capping-config":
        with pytest.raises(InterventionError, match="known format"):
            read_plan(path)
        return
    [step] = read_plan(path).steps
    assert step.where.names == ("all",)
    assert step.where.sinks
    found = step.operation
    assert found.layers == (3, 4)
    assert found.direction.name == "ghost"
    if isinstance(found, Add):
        assert found.lengths.tolist() == [2.0, 3.0]
        return
    # Neuronpedia has ceilings alone: a floor is one at minus the threshold on minus the vector.
    sign = -1.0 if form == "neuronpedia" else 1.0
    np.testing.assert_allclose(getattr(found, "thresholds"), [sign * -1.0, sign * 2.0])  # noqa: B009
    np.testing.assert_allclose(found.direction.units, sign * GHOST.units)


def test_names_that_are_not_of_the_format_are_refused(tmp_path: Path) -> None:
    plan = Plan.of(Add(GHOST, lengths=1.0)).where("all", sinks=True)
    with pytest.raises(InterventionError, match="unknown format"):
        write_plan(plan, tmp_path / "x.json", "onnx")
    with pytest.raises(InterventionError, match=r"ends in \.json"):
        write_plan(plan, tmp_path / "x.pt", "interp-engine")
    with pytest.raises(InterventionError, match="no such file"):
        read_plan(tmp_path / "x.json")
    with pytest.raises(InterventionError, match="known format"):
        read_plan(tmp_path / "x.bin")
    other = tmp_path / "x.json"
    other.write_text("[1, 2]")
    with pytest.raises(InterventionError, match="no steering of vLLM"):
        read_plan(other)
