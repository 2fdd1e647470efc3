"""Every tensor of a GGUF file is used by the converted model, or the file is refused with its name.

Transformers drops tensors it has no place for without a word, and the model then computes something
else. Two kinds can be put to use here: the rotary factors of Llama 3 (`rope_freqs.weight`), which go
into the config, and an output matrix of the file's own where transformers ties it to the embedding.
All others are refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_lens.errors import ModelError

if TYPE_CHECKING:
    from gguf import ReaderTensor
    from transformers import PreTrainedModel

ROPE_FACTORS = "rope_freqs.weight"
OUTPUT, EMBEDDING = "output.weight", "token_embd.weight"
_SHOWN = 8
# What Llama 3.1 to 3.3 state beside the factor, which the file holds only as its effect.
_LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@contextmanager
def replaced(module: Any, name: str, value: object) -> Iterator[None]:
    """Give a name of somebody else's module another value for a while."""
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def recorded_places() -> Iterator[dict[str, str]]:
    """Give the parameter that transformers fills from each GGUF name; empty where it needs no such table.

    Newer loaders of transformers report tensors without a place themselves.
    """
    places: dict[str, str] = {}
    try:
        import transformers.modeling_gguf_pytorch_utils as legacy  # noqa: PLC0415
    except ImportError:  # on its way out of transformers
        yield places
        return
    original = legacy.get_gguf_hf_weights_map

    def recording(*args: Any, **kwargs: Any) -> dict[str, str]:
        found = original(*args, **kwargs)
        places.clear()  # it calls itself for submodules; the last to return is the whole model
        places.update(found)
        return found

    with replaced(legacy, "get_gguf_hf_weights_map", recording):
        yield places


def use_all_tensors(
    model: PreTrainedModel,
    tensors: Sequence[ReaderTensor],
    places: Mapping[str, str],
    unexpected: Sequence[str],
    file: str,
) -> None:
    """Put tensors to use that transformers left over, in `model` and its config, or refuse the file.

    Args:
        model: The model as transformers filled it.
        tensors: All tensors of the file.
        places: What `recorded_places` gave.
        unexpected: Names without a place, as transformers reports them.
        file: The file's name.

    Raises:
        ModelError: Tensors that the model has no place for, or two for one place.
    """
    named = {tensor.name: tensor for tensor in tensors}
    _refuse_halves(named, places, file)
    left = {str(name) for name in unexpected}
    if places:
        left |= {name for name in named if _place(name, places) is None}
    if ROPE_FACTORS in left and _rotate_by(model, _values(named[ROPE_FACTORS])):
        left.remove(ROPE_FACTORS)
    if left:
        raise ModelError(
            f"{file} holds tensors that {type(model).__name__} has no place for",
            expected="every tensor of the file in use: without them the model computes something else",
            given=_listed(sorted(left)),
            remedy="use the model's original safetensors folder instead, or a newer transformers",
        )
    if OUTPUT in named:
        _use_own_output(model, named)


def _place(name: str, places: Mapping[str, str]) -> str | None:
    # Experts packed in one parameter have no `.weight` in transformers.
    return places.get(name, places.get(name.removesuffix(".weight")))


def _refuse_halves(named: Mapping[str, Any], places: Mapping[str, str], file: str) -> None:
    """Refuse two tensors for one parameter, of which one would win, and experts that come half."""
    sharing = defaultdict(list)
    for name in named:
        place = _place(name, places)
        if place is not None:
            sharing[place].append(name)
    for place, names in sharing.items():
        experts = [name for name in names if "_exps." in name]
        halves = {half for half in ("gate", "up") if any(f"ffn_{half}_exps." in n for n in experts)}
        if len(halves) == 1 and place.endswith("gate_up_proj"):
            raise ModelError(
                f"{file} holds half of {place}",
                expected="both ffn_gate_exps and ffn_up_exps",
                given=_listed(names),
                remedy="use the model's safetensors folder instead",
            )
        if len(names) > max(1, len(experts)):
            raise ModelError(
                f"{file} holds several tensors for {place}, of which transformers takes one",
                expected="one tensor for each parameter",
                given=_listed(names),
                remedy="use the model's original safetensors folder instead",
            )


def _rotate_by(model: PreTrainedModel, factors: np.ndarray) -> bool:
    """Have the config divide the rotary frequencies by `factors`; False if no scaling known here does so."""
    if np.all(factors == 1):
        return True
    rotaries: list[Any] = [part for part in model.modules() if hasattr(part, "inv_freq")]
    stated = getattr(model.config, "rope_parameters", None)
    if len(rotaries) != 1 or not isinstance(stated, dict) or "rope_theta" not in stated:
        return False
    plain = rotaries[0].inv_freq.float().cpu().numpy()
    if stated.get("rope_type", "default") != "default" or factors.shape != plain.shape:
        return False
    scaled: Any = deepcopy(model.config)
    scaled.rope_parameters = {**stated, **_LLAMA3, "factor": float(factors.max())}
    # The model's own class says what the config comes to, so nothing rests on a formula of ours.
    given = type(rotaries[0])(config=scaled).inv_freq.float().cpu().numpy()
    if not np.allclose(given * factors, plain, rtol=1e-4, atol=0):
        return False
    model.config.rope_parameters = scaled.rope_parameters
    return True


def _use_own_output(model: PreTrainedModel, named: Mapping[str, ReaderTensor]) -> None:
    """Untie the output matrix where the file's own differs from the embedding's."""
    import torch  # noqa: PLC0415  late, so that listing models needs no torch

    head: Any = model.get_output_embeddings()
    embedding: Any = model.get_input_embeddings()
    if head is None or head.weight is not embedding.weight:
        return
    own = torch.from_numpy(_values(named[OUTPUT]).copy())
    if torch.equal(own, torch.from_numpy(_values(named[EMBEDDING]).copy())):
        return
    head.weight = torch.nn.Parameter(own.to(head.weight.dtype), requires_grad=False)
    model.config.tie_word_embeddings = False


def _values(tensor: ReaderTensor) -> np.ndarray:
    from gguf.quants import dequantize  # noqa: PLC0415

    return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
