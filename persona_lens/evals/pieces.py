"""Long evaluations in pieces that survive a kill: each is a Parquet file, made once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from persona_lens.arrays import plain
from persona_lens.files import whole_or_nothing


class Pieces:
    """A folder of finished pieces.

    Args:
        folder: Where they lie; None keeps nothing.
        conditions: What all of them depend on; pieces made under other conditions are not used.

    Examples:
        >>> import tempfile
        >>> pieces = Pieces(tempfile.mkdtemp(), {"model": "tiny"})
        >>> made = pieces.get("first", lambda: pd.DataFrame({"value": [1]}))
        >>> pieces.get("first", lambda: 1 / 0).equals(made)
        True
    """

    def __init__(self, folder: str | Path | None, conditions: Mapping[str, Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        content = json.dumps(plain(conditions), sort_keys=True, default=str)
        self._key = hashlib.sha256(content.encode()).hexdigest()[:10]

    def get(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The piece of that name, from the folder or made now."""
        if self._folder is None:
            return make()
        file = self._folder / f"{name}-{self._key}.parquet"
        if not file.is_file():
            made = make()
            with whole_or_nothing(file) as partial:
                made.to_parquet(partial)
        return pd.read_parquet(file)
