"""A fitted forecaster as a folder: frames, arrays and a card; no pickle."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from persona_lens.drift.forecast.embedded import FittedEmbedder, Source
from persona_lens.drift.forecast.forecaster import Forecaster
from persona_lens.drift.forecast.ridge import Linear
from persona_lens.embedding import MINILM
from persona_lens.frames import ResultKind

_KIND = ResultKind(
    "forecast",
    card="forecast.json",
    frames=("scores", "gains", "question", "coverage", "rows"),
    arrays="forecast.safetensors",
    remedy="upgrade persona-lens, or fit it again",
)
_PARAMETERS = (
    "alphas",
    "folds",
    "permutations",
    "draws",
    "resampled",
    "confidence",
    "seed",
    "progress",
)
_Kind = TypeVar("_Kind", bound=Forecaster)


def save(forecaster: Forecaster, folder: str | Path) -> Path:
    """Write a fitted forecaster."""
    question = forecaster.question_
    rows = forecaster.rows_
    named = rows.assign(**{name: rows[name].astype(str) for name in _groups(rows)})
    arrays = {
        "embeddings": forecaster._embeddings,
        "observed": forecaster.observed_,
        "means": forecaster._means,
    }
    made = forecaster.embedder_
    if made.probe is not None:
        arrays["probe"] = made.probe
    arrays |= {f"held_out/{name}": values for name, values in forecaster.held_out_.items()}
    arrays |= {f"width/{name}": values for name, values in forecaster.widths_.items()}
    for name, model in forecaster.models_.items():
        arrays |= {f"model/{name}/{part}": value for part, value in model._asdict().items()}
    parameters = {name: getattr(forecaster, name) for name in _PARAMETERS}
    card = {
        "parameters": parameters | {"alphas": [float(alpha) for alpha in forecaster.alphas]},
        "directions": forecaster.directions_,
        "targets": forecaster.targets_,
        "embedder": {"name": made.name, "fingerprint": made.fingerprint},
        "notes": forecaster.notes_,
        "counts": forecaster.counts_,
        "asked": question is not None,
    }
    frames = {
        "scores": forecaster.scores_,
        "gains": forecaster.gains_,
        "question": pd.DataFrame() if question is None else question,
        "coverage": forecaster.coverage_,
        "rows": named,
    }
    return _KIND.save(
        folder,
        card,
        frames=frames,
        arrays={name: np.ascontiguousarray(values) for name, values in arrays.items()},
    )


def load(
    kind: type[_Kind],
    folder: str | Path,
    embedder: Source,
) -> _Kind:
    """Read a forecaster, with the embedder it was fitted with or none."""
    card, frames, arrays = _KIND.load(folder, remedy="give the folder that save() was given")
    parameters = card["parameters"] | {"alphas": tuple(card["parameters"]["alphas"])}
    kept = card["embedder"]
    source = MINILM if embedder is None and kept["name"] == MINILM else embedder
    forecaster = kind(source, **parameters)
    forecaster.embedder_ = FittedEmbedder.remembered(kept, arrays.get("probe"), source)
    forecaster.scores_, forecaster.gains_ = frames["scores"], frames["gains"]
    forecaster.question_ = frames["question"] if card["asked"] else None
    forecaster.coverage_, forecaster.rows_ = frames["coverage"], frames["rows"]
    forecaster.notes_, forecaster.counts_ = tuple(card["notes"]), dict(card["counts"])
    forecaster.directions_, forecaster.targets_ = tuple(card["directions"]), tuple(card["targets"])
    forecaster._embeddings, forecaster._means = arrays["embeddings"], arrays["means"]
    forecaster.observed_ = arrays["observed"]
    forecaster.held_out_ = _under("held_out/", arrays)
    forecaster.widths_ = _under("width/", arrays)
    forecaster.models_ = {
        name: Linear(*(arrays[f"model/{name}/{part}"] for part in Linear._fields))
        for name in dict.fromkeys(
            key.split("/")[1] for key in sorted(arrays) if key.startswith("model/")
        )
    }
    return forecaster


def _under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }


def _groups(rows: pd.DataFrame) -> list[str]:
    """Columns that name somebody: text, whatever they were, so that mixed ones can be written."""
    return [name for name in rows if name not in ("row", "turn", "message")]
