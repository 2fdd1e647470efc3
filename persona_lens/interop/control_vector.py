"""GGUF control vectors, the format of llama.cpp (`--control-vector`) and of repeng.

A file holds float32 tensors `direction.N` of width `d_model`. Which block is N? llama.cpp puts `direction.N`
into slot N and adds slot `il` to the output of block `il`, counted from 0, after its last residual addition.
repeng adds `directions[N]` to the output of `layers[N]`. So `direction.N` is our layer N,
`blocks.N.hook_resid_post`; "numbered from 1" only means that llama.cpp has no slot for block 0 and refuses a
file with `direction.0`.

Measured on SmolLM2-135M with llama.cpp of October 2026: a random `direction.N` moves its logits as `Add` at
block N does (correlation 0.998 or more at N = 1, 10, 20, 29; 0.89 or less at the blocks beside).

What the format does not say:

* It is added to **every** token, BOS and attention sinks too, in the prompt as in the reply. A plan leaves those
  two alone unless it says `.where("all", sinks=True)`. On SmolLM2-135M with one random direction the two differ by
  13 % of the effect on the logits at block 10, and not at all from block 20.
* `llama-cvector-generator` measures at the output of block N - 1 what it calls `direction.N`. Here a vector
  belongs to the block it is added to.
* repeng takes the last layer from `hidden_states[-1]`, after the final norm.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from persona_lens.contents import check_content
from persona_lens.errors import InterventionError
from persona_lens.files import whole_or_nothing
from persona_lens.interventions import Add, Direction, Plan, Step

if TYPE_CHECKING:
    from gguf import GGUFReader

_ARCHITECTURE = "controlvector"
_PREFIX = "direction."


def write_control_vector(
    what: Plan | Direction, path: str | Path, *, model_hint: str = "unknown"
) -> Path:
    """Write what is added at each block; the file is read back and compared before it appears.

    Args:
        what: A plan that only adds, on every token: its vectors times lengths and strengths, summed a layer. Or a
            direction: its vectors at the length they have, to be scaled by `--control-vector-scaled FILE:SCALE`.
        path: File to write.
        model_hint: Architecture, such as "llama" or "qwen3"; repeng compares it, llama.cpp does not.

    Raises:
        InterventionError: The plan does what the format cannot say (caps, ablations, gates, some tokens only,
            strengths by row), acts on block 0, or does nothing.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "ghost.gguf"
        >>> ghost = Direction("ghost", (3, 4), np.array([[3.0, 4.0], [0.0, 2.0]]))
        >>> plan = Plan.of(Add(ghost, lengths=10.0, strength=0.5))
        >>> read_control_vector(write_control_vector(plan, file, model_hint="llama")).values
        array([[3., 4.], [0., 5.]], dtype=float32)
    """
    path = Path(path)
    if isinstance(what, Direction):
        added = dict(zip(what.layers, what.values, strict=True))
    else:
        added = _sum_of_steps(what)
    added = {layer: vector for layer, vector in sorted(added.items()) if vector.any()}
    if 0 in added:
        raise InterventionError(
            "a control vector cannot act on block 0",
            expected="layers from 1: llama.cpp has no slot for block 0",
            given=f"layers {list(added)}",
            remedy="leave it out: .at(layers=...)",
        )
    if not added:
        raise InterventionError("there is nothing to add", given=what)
    with whole_or_nothing(path) as partial:
        _write(partial, added, model_hint)
        found = _tensors(partial)
        same = found.keys() == added.keys() and all(
            np.array_equal(found[layer], vector) for layer, vector in added.items()
        )
        if not same:
            raise InterventionError(
                f"{path.name} does not read back as it was written",
                given=path,
                remedy="check the disk and the version of the gguf package",
            )
    return path


def read_control_vector(path: str | Path, *, name: str | None = None) -> Direction:
    """The vectors in a file, each at the block it is added to; adding them as they are is strength 1.

    Args:
        path: A `.gguf` file of llama.cpp, repeng or `write_control_vector`.
        name: What the vectors point to; the file's name by default.

    Raises:
        InterventionError: No such file, a damaged one, or one without directions, or with directions that do not
            fit together.
    """
    path = Path(path)
    found = {layer: vector for layer, vector in _tensors(path).items() if vector.any()}
    layers = sorted(found)
    widths = {vector.shape for vector in found.values()}
    if len(widths) != 1 or len(next(iter(widths))) != 1:
        raise InterventionError(
            f"{path.name} is no control vector",
            expected="tensors direction.1, direction.2, ... of one width, not all zero",
            given=f"shapes {sorted(widths)}" if widths else "none",
        )
    return Direction(name or path.stem, tuple(layers), np.stack([found[layer] for layer in layers]))


def _sum_of_steps(plan: Plan) -> dict[int, Float[np.ndarray, " d_model"]]:
    widths = {step.operation.direction.d_model for step in plan.steps}
    if len(widths) > 1:
        raise InterventionError("steps belong to models of different width", given=sorted(widths))
    total: dict[int, np.ndarray] = {}
    for step in plan.steps:
        operation, strength = _expressible(step)
        units = operation.direction.units
        for place, layer in enumerate(operation.layers):
            push = strength * operation.lengths[place] * units[place]
            total[layer] = total.get(layer, np.zeros_like(push)) + push
    return {layer: vector.astype(np.float32) for layer, vector in total.items()}


def _expressible(step: Step) -> tuple[Add, float]:
    operation, where = step.operation, step.where
    if not isinstance(operation, Add):
        given = f"{operation.name}, which depends on the token it changes"
    elif where.masks is not None or where.names != ("all",):
        given = f"tokens {where}"
    elif isinstance(operation.strength, tuple):
        given = "strengths by row"
    else:
        return operation, operation.strength
    raise InterventionError(
        "a control vector cannot say what this plan does",
        expected='additions on every token, at one strength: plan.where("all")',
        given=given,
        remedy="save it with plan.save(folder)",
    )


def _write(path: Path, added: dict[int, Float[np.ndarray, " d_model"]], model_hint: str) -> None:
    import gguf  # noqa: PLC0415

    writer = gguf.GGUFWriter(path, _ARCHITECTURE)
    try:
        writer.add_string(f"{_ARCHITECTURE}.model_hint", model_hint)
        writer.add_uint32(f"{_ARCHITECTURE}.layer_count", len(added))
        for layer, vector in added.items():
            writer.add_tensor(f"{_PREFIX}{layer}", vector)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _tensors(path: Path) -> dict[int, np.ndarray]:
    """Tensors of a file by the number in their name, copied out of it."""
    import gguf  # noqa: PLC0415

    if not path.is_file():
        raise InterventionError("no such file", given=path)
    check_content(path, InterventionError)
    try:
        reader: GGUFReader = gguf.GGUFReader(path)
        named = [tensor for tensor in reader.tensors if tensor.name.startswith(_PREFIX)]
        numbers = [int(tensor.name.removeprefix(_PREFIX)) for tensor in named]
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise InterventionError(
            f"{path.name} is damaged or no GGUF control vector: {error}",
            expected="tensors direction.1, direction.2, ...",
            given=path,
        ) from error
    floats = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
    packed = [tensor.name for tensor in named if tensor.tensor_type not in floats]
    if packed:
        raise InterventionError(
            f"{path.name} holds packed tensors", expected="float32", given=", ".join(packed[:3])
        )
    return {
        number: np.array(tensor.data, dtype=np.float32)
        for number, tensor in zip(numbers, named, strict=True)
    }
