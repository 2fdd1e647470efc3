"""The table of what the provider noted in a log."""

from __future__ import annotations

import numpy as np
import pytest
from inspect_ai import Epochs, Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
from inspect_ai.solver import Generate, TaskState, generate, solver

from persona_lens.errors import EvaluationError
from persona_lens.harnesses.inspect_provider import inspect_model
from persona_lens.harnesses.inspect_readings import COLUMNS, readings


@solver
def asking_again():
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state.messages.append(ChatMessageUser(content="And then?"))
        return await generate(state)

    return solve


def logged(model, tmp_path, **settings):
    task = Task(
        dataset=MemoryDataset([Sample(id="a", input="Hi"), Sample(id="b", input="Who?")]),
        solver=[generate(), asking_again()],
        epochs=Epochs(2),
        config=GenerateConfig(temperature=0.0, max_tokens=5, **settings),
    )
    return eval(task, model=model, display="none", log_dir=str(tmp_path))[0]


def test_one_row_for_each_turn_epoch_and_choice(tiny, push, tiny_space, tmp_path):
    log = logged(inspect_model(tiny, plan=push, space=tiny_space), tmp_path, num_choices=2)
    found = readings(log)
    assert tuple(found.columns) == COLUMNS
    assert len(found) == 2 * 2 * 2 * 2
    assert found.groupby(["sample", "epoch"])["turn"].apply(list).tolist() == [[0, 0, 1, 1]] * 4
    assert found["engaged"].between(0, 1, inclusive="right").all()
    assert found["z"].isna().all()
    first = log.samples[0]
    last = first.output.metadata["persona_lens"]["choices"][0]["projection"]["mean"]
    mine = found.query(
        "sample == @first.id and epoch == @first.epoch and turn == 1 and choice == 0"
    )
    assert mine["mean"].tolist() == [last]
    assert set(found["plan_digest"]) == {first.output.metadata["persona_lens"]["plan"]["digest"]}


def test_a_log_is_read_from_its_place_and_without_plan_and_space(tiny, tmp_path):
    log = logged(inspect_model(tiny), tmp_path)
    found = readings(log.location)
    assert found["plan"].tolist() == [""] * 8
    assert (found["engaged"] == 0).all()
    assert np.isnan(found["mean"]).all()
    assert found["tokens"].between(0, 5).all()


def test_a_log_without_readings_is_refused(tmp_path, tiny):
    with pytest.raises(EvaluationError, match=r"no reply of the log was read(?s:.*)mockllm"):
        readings(logged(get_model("mockllm/model"), tmp_path))
    log = logged(inspect_model(tiny), tmp_path)
    log.samples = None
    with pytest.raises(EvaluationError, match="no samples"):
        readings(log)
