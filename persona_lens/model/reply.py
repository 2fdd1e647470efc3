"""One sampled reply, as the model room hands it out and as a run stores it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Reply:
    """One sampled reply.

    Attributes:
        ids: The sampled tokens, without the token that ended the reply.
        text: The same, decoded.
        ended: True if the model ended the reply, False if it was cut at `max_new_tokens`.
        mean: Mean residual over `ids` at each layer asked for; NaN if the reply is empty, None if not asked for.

    Examples:
        >>> Reply(ids=np.array([504, 260]), text="Hello", ended=True).mean is None
        True
    """

    ids: Int[np.ndarray, " token"]
    text: str
    ended: bool
    mean: Float[np.ndarray, "layer d_model"] | None = None
