"""A fitted space as a folder: `vectors.*`, `space.safetensors` and `card.json`. No pickle.

Beside them may lie `separability/`, what was measured on single replies, and `replies.parquet`, some of those.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from persona_lens.frames import ResultKind
from persona_lens.space.calibration import HALVES, LEVELS, POPULATIONS, Calibration, Unit
from persona_lens.space.fitting import Fit
from persona_lens.space.shipped import SHIPPED
from persona_lens.spelling import did_you_mean
from persona_lens.statistics.pca import Scaler
from persona_lens.vectors.table import VectorTable

if TYPE_CHECKING:
    from persona_lens.separability import Separability

_KIND = ResultKind(
    "space",
    card="card.json",
    arrays="space.safetensors",
    version=2,
    remedy="upgrade persona-lens, or fit the run again",
)
SEPARABILITY = "separability"

_FIT_TENSORS = (
    "default",
    "role_mean",
    "components",
    "explained_variance_ratio",
    "projection_margins",
)
_AXIS = {True: "default - mean of roles", False: "as given (tensor axis)"}
_CALIBRATION_TENSORS = ("counts", "means", "deviations", "quantiles", "norms")

Calibrations = dict[Unit, Calibration | None]


def save_space(
    folder: Path,
    table: VectorTable,
    fit: Fit,
    calibrations: Calibrations,
    parameters: dict[str, Any],
    *,
    separability: Separability | None = None,
    compact: bool = False,
) -> Path:
    """Write everything; the card goes first and comes last, so that a folder with a card is whole."""
    _KIND.forget(folder)
    table.save(folder, compact=compact)
    if separability is not None:
        separability.save(folder / SEPARABILITY, compact=compact)
    tensors = {name: getattr(fit, name) for name in _FIT_TENSORS}
    tensors["scaler.mean"] = fit.scaler.mean
    if fit.scaler.scale is not None:
        tensors["scaler.scale"] = fit.scaler.scale
    if fit.given_axis is not None:
        tensors["axis"] = fit.given_axis
    for unit, calibration in calibrations.items():
        if calibration is not None:
            tensors |= {
                f"calibration.{unit}.{name}": getattr(calibration, name)
                for name in _CALIBRATION_TENSORS
            }
    if compact:
        tensors = {name: _compact(name, array) for name, array in tensors.items()}
    return _KIND.save(
        folder,
        {
            "persona_lens": importlib.metadata.version("persona-lens"),
            "parameters": parameters,
            "orientation": f"axis = {_AXIS[fit.given_axis is None]}; Assistant positive; "
            "components along the axis",
            "calibration": {
                "populations": POPULATIONS,
                "halves": HALVES,
                "percentiles": [LEVELS[0], LEVELS[-1]],
                "directions": {
                    unit: calibration.directions
                    for unit, calibration in calibrations.items()
                    if calibration is not None
                },
                **_sources(calibrations),
            },
            "vectors": dict(table.card),
            "counts": dict(
                zip(
                    map("-".join, zip(table.kinds, table.names, strict=True)),
                    table.counts.tolist(),
                    strict=True,
                )
            ),
            "stability": fit.stability.astype(object)
            .where(fit.stability.notna(), None)
            .to_dict("records"),
        },
        arrays=tensors,
    )


def _sources(calibrations: Calibrations) -> dict[str, Any]:
    """Whose calibrations these are, where they were not measured here."""
    named = {unit: known.source for unit, known in calibrations.items() if known and known.source}
    return {"sources": named} if named else {}


def _compact(name: str, array: np.ndarray) -> np.ndarray:
    """Unit components need no more than float16; the axis is a small difference of large numbers."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    return array.astype(np.float16 if name == "components" else np.float32)


def load_separability(folder: Path) -> Separability | None:
    """What was measured on single replies, if it lies beside the space."""
    inside = folder / SEPARABILITY
    if not inside.is_dir():
        return None
    from persona_lens.separability import Separability  # noqa: PLC0415

    return Separability.load(inside)


def load_space(folder: Path) -> tuple[VectorTable, Fit, Calibrations, dict[str, Any]]:
    """Read what `save_space` wrote.

    Raises:
        SpaceError: No space there, or one of a newer format.
    """
    kept = _KIND.load(
        folder,
        remedy=did_you_mean(
            folder.name,
            SHIPPED,
            f"make one with persona-lens fit; packaged: {', '.join(SHIPPED)}",
        ),
    )
    card, tensors = kept.card, kept.arrays
    parameters = card["parameters"]
    tensors["components"] = tensors["components"].astype(np.float32)
    fit = Fit(
        **{name: tensors[name] for name in _FIT_TENSORS},
        scaler=Scaler(parameters["scaling"], tensors["scaler.mean"], tensors.get("scaler.scale")),
        stability=pd.DataFrame(card["stability"]).astype(float).astype({"layer": int}),
        given_axis=tensors.get("axis"),
    )
    directions = card["calibration"]["directions"]
    calibrations: Calibrations = {"replies": None, "tokens": None}
    for unit in calibrations:
        if unit in directions:
            arrays = {name: tensors[f"calibration.{unit}.{name}"] for name in _CALIBRATION_TENSORS}
            calibrations[unit] = Calibration(
                directions=tuple(directions[unit]),
                source=card["calibration"].get("sources", {}).get(unit, ""),
                **arrays,
            )
    return VectorTable.load(folder), fit, calibrations, parameters
