"""Control vectors in GGUF files: numbered by block, sums of additions, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from persona_lens.errors import InterventionError
from persona_lens.interop import control_vector, read_control_vector, write_control_vector
from persona_lens.interventions import Ablate, Add, Direction, Floor, Gate, Plan

D_MODEL = 8


def drawn(name: str, layers: tuple[int, ...], seed: int = 0) -> Direction:
    values = np.random.default_rng(seed).normal(size=(len(layers), D_MODEL))
    return Direction(name, layers, 5 * values)


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def foreign(path: Path, content: dict[str, np.ndarray]) -> Path:
    """A file as repeng writes it."""
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_uint32("controlvector.layer_count", len(content))
    for name, values in content.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_holds_what_the_plan_adds_at_each_block(tmp_path: Path) -> None:
    ghost, pirate = drawn("ghost", (1, 3)), drawn("pirate", (3, 4), seed=1)
    plan = Plan.of(Add(ghost, lengths=[2.0, 3.0], strength=0.5)) + -2.0 * Plan.of(
        Add(pirate, lengths=1.5)
    )
    path = write_control_vector(plan, tmp_path / "mixed.gguf", model_hint="llama")

    written = tensors(path)
    assert list(written) == ["direction.1", "direction.3", "direction.4"]
    residual = torch.randn(2, 5, D_MODEL, generator=torch.Generator().manual_seed(0))
    for name, hook in plan.where("all", sinks=True).hooks():
        layer = int(name.split(".")[1])
        added = torch.from_numpy(written[f"direction.{layer}"])
        torch.testing.assert_close(hook(residual.clone(), hook=None), residual + added)
    assert all(values.dtype == np.float32 and values.ndim == 1 for values in written.values())


def test_metadata_is_what_repeng_looks_for(tmp_path: Path) -> None:
    path = write_control_vector(drawn("ghost", (2, 5)), tmp_path / "g.gguf", model_hint="qwen3")
    fields = gguf.GGUFReader(path).fields
    assert fields["general.architecture"].contents() == "controlvector"
    assert fields["controlvector.model_hint"].contents() == "qwen3"
    assert fields["controlvector.layer_count"].contents() == 2


def test_a_direction_is_written_at_its_own_length_and_read_back(tmp_path: Path) -> None:
    ghost = drawn("ghost", (5, 2))
    again = read_control_vector(write_control_vector(ghost, tmp_path / "ghost.gguf"))
    assert (again.name, again.layers) == ("ghost", (2, 5))
    np.testing.assert_array_equal(again.values, ghost.values[::-1])
    assert read_control_vector(tmp_path / "ghost.gguf", name="spirit").name == "spirit"


def test_files_of_others_are_read_by_block(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, D_MODEL)).astype(np.float32)
    path = foreign(
        tmp_path / "happy.gguf",
        {
            "direction.10": values[0],
            "direction.2": values[1].astype(np.float16),
            "direction.3": np.zeros(D_MODEL, dtype=np.float32),
        },
    )
    happy = read_control_vector(path)
    assert happy.layers == (2, 10)
    np.testing.assert_array_equal(happy.values[1], values[0])
    np.testing.assert_allclose(happy.values[0], values[1], rtol=1e-3)


@pytest.mark.parametrize(
    "what", [drawn("ghost", (0, 1)), Plan.of(Add(drawn("g", (0,)), lengths=1))]
)
def test_block_0_is_refused(tmp_path: Path, what: Plan | Direction) -> None:
    with pytest.raises(InterventionError, match=r"(?s)block 0.*llama\.cpp has no slot"):
        write_control_vector(what, tmp_path / "x.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "given"),
    [
        (lambda plan, ghost: plan + Plan.of(Floor(ghost, thresholds=1.0)), "floor, which depends"),
        (lambda plan, ghost: Plan.of(Ablate(ghost)), "ablate, which depends"),
        (
            lambda plan, ghost: Plan.of(
                Gate(ghost, thresholds=0.0, operation=Add(ghost, lengths=1.0))
            ),
            "gate, which depends",
        ),
        (lambda plan, ghost: plan.where("generated"), "tokens generated"),
        (lambda plan, ghost: plan.where([np.ones(3, dtype=bool)]), "tokens 1 mask"),
        (lambda plan, ghost: plan * [1.0, 2.0], "strengths by row"),
        (lambda plan, ghost: plan + -1.0 * plan, "nothing to add"),
        (lambda plan, ghost: Plan(()), "nothing to add"),
        (
            lambda plan, ghost: (
                plan + Plan.of(Add(Direction("w", (1,), np.ones((1, 3))), lengths=1))
            ),
            "different width",
        ),
    ],
)
def test_what_the_format_cannot_say_is_refused(
    tmp_path: Path, change: Callable[[Plan, Direction], Plan], given: str
) -> None:
    ghost = drawn("ghost", (1, 2))
    plan = change(Plan.of(Add(ghost, lengths=1.0)), ghost)
    with pytest.raises(InterventionError, match=f"(?s){given}"):
        write_control_vector(plan, tmp_path / "x.gguf")
    assert not list(tmp_path.iterdir())


def test_a_file_that_reads_back_differently_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faithful = control_vector._write

    def careless(path: Path, added: dict[int, np.ndarray], model_hint: str) -> None:
        faithful(path, {layer: vector * 1.001 for layer, vector in added.items()}, model_hint)

    monkeypatch.setattr(control_vector, "_write", careless)
    with pytest.raises(InterventionError, match="does not read back as it was written"):
        write_control_vector(drawn("ghost", (1, 2)), tmp_path / "x.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"blk.0.weight": np.ones(4, np.float32)}, "(?s)no control vector.*given none"),
        ({"direction.1": np.zeros(4, np.float32)}, "(?s)no control vector.*given none"),
        (
            {"direction.1": np.ones(4, np.float32), "direction.2": np.ones(5, np.float32)},
            r"(?s)of one width.*\(4,\), \(5,\)",
        ),
        ({"direction.1": np.ones((2, 4), np.float32)}, r"(?s)no control vector.*\(2, 4\)"),
        ({"direction.first": np.ones(4, np.float32)}, "damaged or no GGUF control vector"),
        ({"direction.1": np.ones(4, np.int32)}, "packed tensors"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, content: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(InterventionError, match=message):
        read_control_vector(foreign(tmp_path / "x.gguf", content))


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InterventionError, match="no such file"):
        read_control_vector(tmp_path / "x.gguf")
    whole = write_control_vector(drawn("ghost", (1, 2)), tmp_path / "whole.gguf").read_bytes()
    for number, content in enumerate((b"", b"not a GGUF file at all", whole[:60], whole[:-20])):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(content)
        with pytest.raises(InterventionError, match=r"damaged or no GGUF control vector|is empty"):
            read_control_vector(path)
