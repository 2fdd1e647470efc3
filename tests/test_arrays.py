"""Numbers of every kind people hold, in one form; and what is no array of numbers, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from persona_lens.arrays import as_floats, layers_of, plain, without_gaps
from persona_lens.errors import SpaceError

ROWS = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, -5.0]])  # exact in every dtype below
TENSOR = torch.from_numpy(ROWS)

HELD: dict[str, Callable[[], Any]] = {
    "float32": lambda: ROWS.astype(np.float32),
    "float16": lambda: ROWS.astype(np.float16),
    "lists": ROWS.tolist,
    "objects": lambda: ROWS.astype(object),
    "data frame": lambda: pd.DataFrame(ROWS),
    "list of series": lambda: [pd.Series(row) for row in ROWS],
    "bfloat16": TENSOR.bfloat16,
    "half": TENSOR.half,
    "float8": lambda: TENSOR.to(torch.float8_e5m2),
    "double": lambda: TENSOR,
    "with a gradient": lambda: TENSOR.clone().requires_grad_(),
    "parameter": lambda: torch.nn.Parameter(TENSOR.bfloat16()),
    "part of a graph": lambda: TENSOR.clone().requires_grad_() * 1.0,
    "not contiguous": lambda: TENSOR.T.contiguous().T,
    "conjugate view": lambda: torch.complex(-TENSOR, -TENSOR).conj().imag,
    "sparse": TENSOR.to_sparse,
    "list of tensors": lambda: [TENSOR[0].bfloat16(), TENSOR[1].clone().requires_grad_()],
    "list of lists of tensors": lambda: [list(row) for row in TENSOR.bfloat16()],
    "by layer": lambda: {np.int64(7): TENSOR[1].bfloat16(), 3: ROWS[0]},
    "by layer, as JSON has it": lambda: {"7": ROWS[1].tolist(), "3": ROWS[0].tolist()},
}


@pytest.mark.parametrize("name", HELD)
def test_the_numbers_are_those_that_were_held(name: str) -> None:
    for dtype in (np.float32, np.float64):
        found = as_floats(HELD[name](), dtype=dtype)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, ROWS)


def test_tensors_made_in_inference_mode() -> None:
    with torch.inference_mode():
        held = TENSOR.bfloat16() * 2
    np.testing.assert_array_equal(as_floats(held), 2 * ROWS)


def test_numbers_without_dimensions() -> None:
    held = (2, 2.0, np.float32(2), torch.tensor(2.0, dtype=torch.bfloat16, requires_grad=True))
    assert [as_floats(each).tolist() for each in held] == [2.0] * 4


def test_what_is_given_is_copied() -> None:
    array, tensor = ROWS.astype(np.float32), TENSOR.float().clone()
    copies = [as_floats(array), as_floats(tensor)]
    array[:], tensor[:] = 0.0, 0.0
    for copy in copies:
        np.testing.assert_array_equal(copy, ROWS)


def test_precision_is_kept_where_it_is_asked_for() -> None:
    dtypes = [
        as_floats(held, dtype=None).dtype
        for held in (ROWS, ROWS.astype(np.float32), TENSOR.bfloat16(), [[1, 2]])
    ]
    assert dtypes == [np.float64, np.float32, np.float32, np.float64]


def test_gaps_stay_gaps() -> None:
    masked = np.ma.array([1.0, 2.0], mask=[False, True])
    series = pd.Series([1, None], dtype="Int64")
    for held in (masked, series, [1.0, None]):
        if isinstance(held, list):  # None in a list is no number
            with pytest.raises(SpaceError):
                as_floats(held, error=SpaceError)
        else:
            np.testing.assert_array_equal(as_floats(held), [1.0, np.nan])


def test_layers_of_a_mapping() -> None:
    held = {4: [4.0], np.int64(2): [2.0], 3: [3.0]}
    assert layers_of(held) == (2, 3, 4)
    assert layers_of([[1.0]]) is None
    assert as_floats(held, layers=np.array([4, 2])).tolist() == [[4.0], [2.0]]
    with pytest.raises(SpaceError, match=r"(?s)not given at every layer.*none at 5"):
        as_floats(held, error=SpaceError, layers=[2, 5])
    with pytest.raises(SpaceError, match=r"(?s)other than layers.*'pirate'"):
        as_floats({"pirate": [1.0]}, error=SpaceError)


@pytest.mark.parametrize(
    "held",
    [
        "text",
        None,
        True,
        ["a", "b"],
        np.array([1j]),
        torch.complex(TENSOR, TENSOR),
        TENSOR > 0,
        TENSOR.to("meta"),
        [[1.0, 2.0], [3.0]],
        [TENSOR[0], TENSOR[0, :2]],
        10**400,
        pd.Series(pd.to_datetime(["2026-01-01"])),
        pytest.param(object(), id="object"),
    ],
    ids=repr,
)
def test_what_is_no_array_of_numbers(held: Any) -> None:
    with pytest.raises(SpaceError, match="the axis are no array of numbers"):
        as_floats(held, "the axis", error=SpaceError)


def test_json_takes_what_comes_from_numpy_and_torch() -> None:
    content = {
        np.int64(3): np.float32(0.5),
        "flag": np.bool_(True),
        "array": np.arange(3),
        "tensor": torch.ones(2, dtype=torch.bfloat16, requires_grad=True),
        "nested": [(np.int8(1), {"deep": np.float64(2.0)})],
        "text": np.str_("a"),
        "same": [None, "b", 1, 2.5],
    }
    assert json.loads(json.dumps(plain(content))) == {
        "3": 0.5,
        "flag": True,
        "array": [0, 1, 2],
        "tensor": [1.0, 1.0],
        "nested": [[1, {"deep": 2.0}]],
        "text": "a",
        "same": [None, "b", 1, 2.5],
    }


def test_empty_cells_of_a_frame_are_said_to_be_none() -> None:
    row = pd.DataFrame({"group": ["a", None], "age": [3.0, np.nan]}).iloc[1].to_dict()
    assert without_gaps({**row, "all": [np.inf, 1.0]}) == {
        "group": None,
        "age": None,
        "all": [None, 1.0],
    }
