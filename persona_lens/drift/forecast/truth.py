"""What was forecast of each reply, held out, beside where it came to be: rows for a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from persona_lens.drift.forecast.checks import check_known

if TYPE_CHECKING:
    from persona_lens.drift.forecast.forecaster import Forecaster


def truth_beside(
    forecaster: Forecaster, direction: str | None = None, predictor: str = "message"
) -> pd.DataFrame:
    """The scored rows of a fitted forecaster, with forecast and truth of the next reply.

    Args:
        forecaster: Fitted.
        direction: Which; the first by default.
        predictor: Of `Forecaster.held_out_`.

    Returns:
        Columns of `Forecaster.rows_`, `truth` and `forecast`.

    Raises:
        SpaceError: No such direction or predictor.

    Examples:
        >>> from persona_lens.drift.forecast import Forecaster
        >>> rng = np.random.default_rng(0)
        >>> table = pd.DataFrame({"conversation": np.repeat(np.arange(20), 4), "turn": np.tile(np.arange(4), 20),
        ...     "persona": np.repeat(np.arange(10), 8), "message": [f"message {i}" for i in range(80)]})
        >>> vectors = rng.normal(size=(80, 4))
        >>> table["axis"] = vectors[:, 0]
        >>> fitted = Forecaster(None, permutations=2, draws=20, progress=False).fit(table, embeddings=vectors)
        >>> len(truth_beside(fitted)) == len(fitted.rows_)
        True
    """
    direction = check_known(direction, forecaster.directions_, "direction")
    name = check_known(predictor, tuple(forecaster.held_out_), "predictor")
    place = forecaster.directions_.index(direction)
    return forecaster.rows_.assign(
        truth=np.asarray(forecaster.observed_)[:, place],
        forecast=np.asarray(forecaster.held_out_[name])[:, place],
    )
