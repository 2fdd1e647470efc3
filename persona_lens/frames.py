"""A result as a folder: frames (Parquet), arrays (safetensors) and a card (JSON). No pickle.

    KIND = ResultKind("sweep", card="sweep.json", frames=("sweep", "units"))

    KIND.save(folder, card, frames={"sweep": frame, "units": units})
    card, frames, arrays = KIND.load(folder)

An old card goes first and the new one comes last, so that a folder with a card is whole and of one piece, whatever
killed the process that wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from persona_lens.errors import PersonaLensError, SpaceError
from persona_lens.files import read_json, read_tensors, whole_or_nothing, write_json, write_tensors


class Kept(NamedTuple):
    """What lay in a folder."""

    card: dict[str, Any]
    frames: dict[str, pd.DataFrame]
    arrays: dict[str, np.ndarray]


@dataclass(frozen=True)
class ResultKind:
    """How one kind of result lies in its folder.

    Attributes:
        name: What errors call it.
        card: File of the card.
        frames: Names of the frames; each is a file of that name.
        arrays: File of the arrays, if there are any.
        version: Number of the format, written on the card; a card without one is of the first.
        remedy: What to do about a folder of another version.
        error: What is raised.

    Examples:
        >>> import tempfile
        >>> kind = ResultKind("census", card="census.json", frames=("people",))
        >>> folder = kind.save(tempfile.mkdtemp(), {"year": 1801}, frames={"people": pd.DataFrame({"age": [3]})})
        >>> kept = kind.load(folder)
        >>> kept.card, kept.frames["people"]["age"].tolist()
        ({'year': 1801}, [3])
    """

    name: str
    card: str
    frames: tuple[str, ...] = ()
    arrays: str | None = None
    version: int = 1
    remedy: str = "upgrade persona-lens, or make it again"
    error: type[PersonaLensError] = SpaceError

    def save(
        self,
        folder: str | Path,
        card: Mapping[str, Any],
        *,
        frames: Mapping[str, pd.DataFrame] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> Path:
        """Write a result; the folder is made if it is not there."""
        folder = Path(folder)
        self.forget(folder)
        for name in self.frames:
            with whole_or_nothing(folder / f"{name}.parquet") as partial:
                (frames or {})[name].to_parquet(partial, index=False)
        if self.arrays is not None:
            write_tensors(folder / self.arrays, arrays or {})
        write_json(folder / self.card, {"format": self.version, **card})
        return folder

    def forget(self, folder: Path) -> None:
        """Remove the card, before anything beside it changes."""
        (folder / self.card).unlink(missing_ok=True)

    def load(self, folder: str | Path, *, remedy: str | None = None) -> Kept:
        """Read what `save` wrote.

        Args:
            folder: Where it was saved.
            remedy: What to do where there is none.

        Raises:
            PersonaLensError: As `error`: there is none, it is damaged, or of another version.
        """
        folder = Path(folder)
        try:
            card = dict(read_json(folder / self.card, self.error))
            self._check_version(card.pop("format", 1))
            arrays = {} if self.arrays is None else read_tensors(folder / self.arrays, self.error)
            frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in self.frames}
        except FileNotFoundError as problem:
            *files, last = self.files
            raise self.error(
                f"no {self.name} in {folder}",
                expected=f"{', '.join(files)} and {last}",
                remedy=remedy,
            ) from problem
        return Kept(card, frames, arrays)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files."""
        arrays = () if self.arrays is None else (self.arrays,)
        return (self.card, *arrays, *(f"{name}.parquet" for name in self.frames))

    def _check_version(self, version: int) -> None:
        if version != self.version:
            raise self.error(
                f"this {self.name} was saved by another version of Persona Lens",
                expected=f"format {self.version}",
                given=version,
                remedy=self.remedy,
            )
