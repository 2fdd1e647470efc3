"""Which layers: by index, by depth, or as the paper found best for a model it studied."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from persona_lens.errors import InterventionError
from persona_lens.interventions.blocks import block_number, nearest_blocks
from persona_lens.interventions.directions import spans
from persona_lens.spelling import did_you_mean

PAPER_LAYERS = {
    "qwen3-32b": (64, range(46, 54)),
    "llama-3.3-70b": (80, range(56, 72)),
}
"""Blocks and layers of the paper's capping (section 5), by a part of the model's name."""

PAPER_STEERED = {
    "gemma-2-27b": (46, range(22, 23)),
    "qwen3-32b": (64, range(32, 33)),
    "llama-3.3-70b": (80, range(40, 41)),
}
"""Blocks and the layer at which the paper adds and measures (section 3.2.1): of Gemma's 46 not the 23rd but 22."""

Purpose = Literal["cap", "steer"]
_PRESETS = {"cap": PAPER_LAYERS, "steer": PAPER_STEERED}

CAPPING_DEPTH = (0.7, 0.9)
"""Where the paper's best ranges lie: 0.72 to 0.83 of Qwen 3 32B, 0.70 to 0.89 of Llama 3.3 70B."""


def layers_at_depth(depth: tuple[float, float], n_layers: int) -> tuple[int, ...]:
    """Blocks whose index over the number of blocks lies within `depth`, the upper end excluded.

    Raises:
        InterventionError: Not a range within 0 and 1, or no block in it.

    Examples:
        >>> layers_at_depth((0.7, 0.9), 30)
        (21, 22, 23, 24, 25, 26)
    """
    try:
        low, high = map(float, depth)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0 <= low < high <= 1:
        percent = 1 < high <= 100 and 0 <= low < high
        raise InterventionError(
            "not a range of depths",
            expected="(low, high) with 0 <= low < high <= 1",
            given=repr(depth),
            remedy=f"did you mean ({low / 100:g}, {high / 100:g})?" if percent else None,
        )
    # Shifted by less than a block, so that 0.7 of 30 is 21 whatever binary fractions make of it.
    chosen = tuple(
        layer for layer in range(n_layers) if low - 1e-9 <= layer / n_layers < high - 1e-9
    )
    if not chosen:
        raise InterventionError(f"no block of {n_layers} lies at this depth", given=depth)
    return chosen


def paper_layers(model: str, n_layers: int, purpose: Purpose = "cap") -> tuple[int, ...] | None:
    """The layers the paper caps, or steers by adding, in this model; None if it did not.

    Examples:
        >>> paper_layers("Qwen/Qwen3-32B", 64)
        (46, 47, 48, 49, 50, 51, 52, 53)
        >>> paper_layers("google/gemma-2-27b-it", 46, "steer")
        (22,)
    """
    plain = model.lower().replace("_", "-").replace("qwen-3", "qwen3")
    for name, (blocks, layers) in _PRESETS[purpose].items():
        if name in plain and blocks == n_layers:
            return tuple(layers)
    return None


def choose_layers(
    layers: int | str | Iterable[int] | None,
    depth: tuple[float, float] | None,
    *,
    known: Sequence[int],
    n_layers: int,
    model: str,
    default: Sequence[int],
    purpose: Purpose = "cap",
) -> tuple[int, ...]:
    """The layers a user means.

    Args:
        layers: Indices (negative ones count from the last block), or "paper".
        depth: Instead, a range of depths.
        known: Layers vectors are known for.
        n_layers: Blocks of the model.
        model: Its name, for "paper".
        default: If neither is given.
        purpose: What "paper" is asked for: the layers it capped, or the one it steered at.

    Raises:
        InterventionError: Both given, no preset, or a layer without a vector.
    """
    if layers is not None and depth is not None:
        raise InterventionError("layers and depth exclude each other", remedy="give one of them")
    if depth is not None:
        chosen = layers_at_depth(depth, n_layers)
    elif layers is None:
        chosen = tuple(default)
    elif layers == "paper":
        preset = paper_layers(model, n_layers, purpose)
        if preset is None:
            raise InterventionError(
                f"the paper names no layers for {model!r}",
                expected=", ".join(_PRESETS[purpose]),
                remedy=f"depth={CAPPING_DEPTH} covers the paper's ranges in other models"
                if purpose == "cap"
                else "leave layers out for the middle one, as in the paper's models",
            )
        chosen = preset
    elif isinstance(layers, str):
        plain = layers.strip().lstrip("-").isdecimal()
        raise InterventionError(
            "unknown layers",
            expected='indices or "paper"',
            given=repr(layers),
            remedy=f"did you mean {layers.strip()}?" if plain else did_you_mean(layers, ["paper"]),
        )
    else:
        listed = [*map(block_number, layers if isinstance(layers, Iterable) else [layers])]
        chosen = tuple(layer + n_layers if layer < 0 else layer for layer in listed)
    missing = [layer for layer in chosen if layer not in known]
    if missing or not chosen:
        raise InterventionError(
            "no vector is known at these layers",
            expected=spans(known),
            given=spans(missing) or "none",
            remedy=nearest_blocks(missing[0], known) if missing else None,
        )
    return chosen
