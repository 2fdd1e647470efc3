"""What the paper's pipeline leaves on the way, `responses/`, `activations/` and `scores/`, as replies and a space.

    space = read_pipeline("outputs/qwen-3-32b").fit()
    read_responses("outputs/qwen-3-32b")            # every reply with its score

    responses/<role>.jsonl    {"system_prompt", "prompt_index", "question_index", "question", "conversation",
                               "label"}
    activations/<role>.pt     {"pos_p0_q0": Tensor[n_layers, d_model], ...}
    scores/<role>.json        {"pos_p0_q0": 0..3, ...}

The role `default` is the default Assistant: all of its replies count, whatever their scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.errors import SpaceError
from persona_lens.interop.torch_files import as_array, read_torch
from persona_lens.persona_space import PersonaSpace
from persona_lens.vectors.table import VectorTable

MIN_COUNT = 50
"""Replies a label needs for a vector; of the released pipeline. The paper's text says 10."""
_LABELS = {3: "fully", 2: "somewhat"}


def read_pipeline(folder: str | Path, *, min_count: int = MIN_COUNT) -> PersonaSpace:
    """The space of the activations and scores in a folder, not yet fitted.

    A role has a vector of the replies scored 3 (fully) and one of those scored 2 (somewhat), where there are
    enough. The axis is made of the first, PCA of both.

    Args:
        folder: With `activations/` and `scores/`.
        min_count: Replies a label needs.

    Raises:
        SpaceError: No such folders, a damaged file, no default, or no role with enough replies fully in role.
    """
    folder = Path(folder).expanduser()
    rows: list[tuple[str, str, str, int, np.ndarray]] = []
    below: list[dict[str, object]] = []
    for file in _files(folder / "activations", "*.pt"):
        means = _activations(file)
        if file.stem == "default":
            rows.append(("default", "default", "all", len(means), _mean(list(means.values()))))
            continue
        scores = _scores(folder / "scores" / f"{file.stem}.json")
        for score, label in _LABELS.items():
            chosen = [mean for key, mean in means.items() if scores.get(key) == score]
            if len(chosen) >= min_count:
                rows.append(("role", file.stem, label, len(chosen), _mean(chosen)))
            else:
                below.append(
                    {"kind": "role", "name": file.stem, "label": label, "count": len(chosen)}
                )
    kinds = [kind for kind, *_ in rows]
    if "default" not in kinds or "fully" not in [row[2] for row in rows]:
        raise SpaceError(
            f"no space can be made of {folder}",
            expected=f"activations/default.pt, and roles with {min_count} replies scored 3",
            given=f"{kinds.count('role')} vectors of roles",
            remedy="lower min_count, or score more replies",
        )
    shapes = {row[4].shape for row in rows}
    if len(shapes) > 1:
        raise SpaceError("activations differ in shape", given=sorted(shapes))
    values = np.stack([row[4] for row in rows])
    return PersonaSpace(
        VectorTable(
            values=values,
            names=tuple(row[1] for row in rows),
            kinds=tuple(kinds),
            labels=tuple(row[2] for row in rows),
            counts=np.array([row[3] for row in rows]),
            layers=tuple(range(values.shape[1])),
            card={
                "source": folder.name,
                "reader": {"model": folder.name, "n_layers": values.shape[1]},
                "hook_point": "blocks.{layer}.hook_resid_post",
                "pooling": "mean over reply tokens, as in the paper's pipeline",
                "min_count": min_count,
                "below_minimum": below,
            },
        )
    )


def read_responses(folder: str | Path) -> pd.DataFrame:
    """Every reply of the pipeline, with its score where it has one.

    Returns:
        Columns `name`, `prompt_index`, `question_index`, `side`, `system`, `question`, `reply`, `score` (or NaN).

    Raises:
        SpaceError: No replies there, or a line that is none.
    """
    folder = Path(folder).expanduser()
    rows = []
    for file in _files(folder / "responses", "*.jsonl"):
        scores = _scores(folder / "scores" / f"{file.stem}.json", needed=False)
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                entry = json.loads(line)
                key = f"{entry['label']}_p{entry['prompt_index']}_q{entry['question_index']}"
                rows.append(
                    {
                        "name": file.stem,
                        "prompt_index": entry["prompt_index"],
                        "question_index": entry["question_index"],
                        "side": entry["label"],
                        "system": entry["system_prompt"],
                        "question": entry["question"],
                        "reply": entry["conversation"][-1]["content"],
                        "score": scores.get(key, np.nan),
                    }
                )
            except (ValueError, LookupError, TypeError) as error:
                raise SpaceError(f"{file.name}, line {number} is no reply: {error}") from error
    return pd.DataFrame(rows)


def _files(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise SpaceError(f"nothing to read in {folder}", expected=pattern)
    return files


def _activations(file: Path) -> dict[str, Float[np.ndarray, "layer d_model"]]:
    content = read_torch(file)
    if not isinstance(content, Mapping) or not content:
        raise SpaceError(f"{file.name} holds no replies", expected='{"pos_p0_q0": tensor, ...}')
    return {str(key): as_array(value, ndim=2, source=file) for key, value in content.items()}


def _scores(file: Path, *, needed: bool = True) -> dict[str, int]:
    if not file.is_file() and not needed:
        return {}
    try:
        content = json.loads(file.read_text("utf-8"))
        return {str(key): int(value) for key, value in content.items()}
    except FileNotFoundError as error:
        raise SpaceError("a role has no scores", expected=file) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise SpaceError(f"{file.name} holds no scores: {error}") from error


def _mean(vectors: list[np.ndarray]) -> Float[np.ndarray, "layer d_model"]:
    return np.asarray(np.mean(vectors, axis=0, dtype=np.float64), dtype=np.float32)
