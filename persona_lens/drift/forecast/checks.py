"""What a forecaster is given, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.embedding.embedder import unit_rows
from persona_lens.errors import SpaceError
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from persona_lens.drift.forecast.forecaster import Forecaster


def check_parameters(forecaster: Forecaster) -> tuple[float, ...]:
    """The penalties in order, if all parameters make sense.

    Raises:
        SpaceError: One does not.
    """
    alphas = np.unique(np.asarray(forecaster.alphas, dtype=float).ravel())
    wrong = None
    if not len(alphas) or not np.isfinite(alphas).all() or alphas[0] <= 0:
        wrong = ("alphas", "finite penalties above 0", forecaster.alphas)
    elif forecaster.folds < 2:
        wrong = ("folds", "2 or more", forecaster.folds)
    elif forecaster.permutations < 0:
        wrong = ("permutations", "0 or more", forecaster.permutations)
    elif forecaster.draws < 2:
        wrong = ("draws", "2 or more, 1,000 is usual", forecaster.draws)
    elif forecaster.resampled not in ("persona", "conversation"):
        wrong = ("resampled", "'persona' or 'conversation'", forecaster.resampled)
    elif not 0 < forecaster.confidence < 1:
        wrong = ("confidence", "between 0 and 1", forecaster.confidence)
    if wrong:
        name, expected, given = wrong
        raise SpaceError(f"{name} cannot be used", expected=expected, given=given)
    return tuple(float(alpha) for alpha in alphas)


def check_known(name: str | None, known: Sequence[str], what: str) -> str:
    """The name, the first there is for None.

    Raises:
        SpaceError: There is no such.
    """
    if name is None:
        return known[0]
    if name not in known:
        raise SpaceError(
            f"no {what} {name!r} was forecast",
            expected=", ".join(known),
            remedy=did_you_mean(name, known),
        )
    return name


def given_vectors(embeddings: object, count: int | None) -> Float[np.ndarray, "row dim"]:
    """Embeddings as unit rows.

    Raises:
        SpaceError: They are not one vector a row.
        ModelError: Some have no direction.
    """
    vectors = np.asarray(embeddings, dtype=float)
    if vectors.ndim != 2 or not vectors.size or (count is not None and len(vectors) != count):
        raise SpaceError(
            "embeddings are not one vector a row",
            expected=f"shape ({'messages' if count is None else count}, dimensions)",
            given=vectors.shape,
            remedy="embed the column 'message', in the order of the table",
        )
    return unit_rows(vectors)


def given_places(
    previous: pd.DataFrame | Mapping[str, Any], directions: Sequence[str], count: int
) -> Float[np.ndarray, "message direction"]:
    """Where the last replies were.

    Raises:
        SpaceError: A direction is missing, they are too few or too many, or not finite.
    """
    missing = [name for name in directions if name not in previous]
    if missing:
        raise SpaceError(
            f"previous positions on {', '.join(map(repr, missing))} are missing",
            expected=", ".join(directions),
            remedy="give the position of the last reply along every direction fitted on",
        )
    columns = [np.atleast_1d(np.asarray(previous[name], dtype=float)) for name in directions]
    if any(len(column) not in (1, count) for column in columns):
        raise SpaceError(
            "there are not as many previous positions as messages",
            expected=f"1 or {count} a direction",
            given=sorted({len(column) for column in columns}),
        )
    found = np.stack([np.broadcast_to(column, (count,)) for column in columns], axis=1)
    if not np.isfinite(found).all():
        raise SpaceError(
            "a previous position is not finite",
            remedy="leave previous out for first turns: the message alone forecasts then",
        )
    return found
