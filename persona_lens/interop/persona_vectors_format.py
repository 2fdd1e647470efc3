"""Vector files of the `persona_vectors` repository (Chen et al., arXiv 2507.21509).

A file is one tensor `[n_layers + 1, d_model]`: row 0 is the token embedding, row *k* + 1 the residual stream
after block *k*. Layers here are blocks, so a row is one more than the layer: what those scripts call layer 20 is
layer 19.

Those scripts take their rows from Hugging Face's `hidden_states`, whose last entry has already gone through the
final norm. The last row is read like the others, but it is not the residual stream that block writes; leave it
out where that matters: `direction.at(range(n_layers - 1))`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from persona_lens.errors import InterventionError
from persona_lens.interop.torch_files import as_array, read_torch, write_torch
from persona_lens.interventions import Direction

_MEANINGS = ("_response_avg_diff", "_prompt_avg_diff", "_prompt_last_diff")


def read_persona_vector(
    path: str | Path, name: str | None = None, n_layers: int | None = None
) -> Direction:
    """The direction in a file; positive is towards the trait, as in the file.

    Args:
        path: Such as `evil_response_avg_diff.pt`.
        name: What the vector points to; by default the file's name without what was averaged.
        n_layers: Blocks of the model; give it, so that a file with another count of rows is noticed.

    Returns:
        Every layer whose row is not zero.

    Raises:
        SpaceError: The file is missing, damaged, or holds no such tensor.
        InterventionError: The rows do not fit `n_layers`, or a row is not finite.

    Source: arXiv 2507.21509, released code.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "evil_response_avg_diff.pt"
        >>> evil = Direction("evil", (0, 1), np.array([[3.0, 4.0], [0.0, 2.0]]))
        >>> read_persona_vector(write_persona_vector(evil, file, n_layers=2), n_layers=2).name
        'evil'
    """
    path = Path(path)
    rows = as_array(read_torch(path), ndim=2, source=path, what="persona vector")
    if n_layers is not None and len(rows) == n_layers:
        raise InterventionError(
            f"{path.name} has a row a layer, and none for the embedding",
            expected=f"{n_layers + 1} rows: the embedding, then {n_layers} blocks",
            given=len(rows),
            remedy="if its row 0 is block 0, make the Direction yourself: "
            f"Direction(name, range({n_layers}), rows)",
        )
    if len(rows) < 2 or n_layers not in (None, len(rows) - 1):
        raise InterventionError(
            f"{path.name} does not belong to this model",
            expected=f"{'2 or more' if n_layers is None else n_layers + 1} rows: "
            "the embedding, then the blocks",
            given=len(rows),
        )
    if name is None:
        name = path.stem
        for meaning in _MEANINGS:
            name = name.removesuffix(meaning)
    known = [layer for layer, row in enumerate(rows[1:]) if row.any()]
    if not known:
        raise InterventionError(f"{path.name} holds only zeros", given=list(rows.shape))
    return Direction(name, tuple(known), rows[1:][known])


def write_persona_vector(direction: Direction, path: str | Path, n_layers: int) -> Path:
    """Write a direction as those scripts read it: float32, row *k* + 1 for layer *k*, row 0 zeros.

    Args:
        direction: Known at every layer; its vectors are written at the length they have.
        path: File to write.
        n_layers: Blocks of the model.

    Raises:
        InterventionError: A layer is not known; a row of zeros in its place would steer nothing, without a word.
    """
    missing = sorted(set(range(n_layers)) - set(direction.layers))
    beyond = sorted(set(direction.layers) - set(range(n_layers)))
    if missing or beyond:
        raise InterventionError(
            f"{direction.name!r} is not known at every layer, and at no other",
            expected=f"layers 0 to {n_layers - 1}",
            given=f"none for {missing}" if missing else f"layers {beyond} as well",
        )
    import torch  # noqa: PLC0415

    rows = np.zeros((n_layers + 1, direction.d_model), dtype=np.float32)
    rows[1:] = direction.at(range(n_layers)).values
    return write_torch(Path(path), torch.from_numpy(rows))
