"""The folder of a simulation: what decides it, and its batches as far as they have been had.

    sims/plain/
      simulation.json                 model, sampling, plan, users: all that decides the replies
      batches/0000/batch.json ...     conversations, ids and means of the first batch
      conversations.jsonl             all conversations, once the last batch is there

A batch is done when its card is there. A killed simulation is simply continued; the batch that was under way is
had again, with the same replies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persona_lens.arrays import plain
from persona_lens.conversations import write_conversations
from persona_lens.drift.simulation.simulated import BATCH, Batch, Simulated
from persona_lens.errors import RunError
from persona_lens.files import remove_partials
from persona_lens.runs.store.differences import brief, leaves
from persona_lens.runs.store.disk import full_disk_explained
from persona_lens.runs.store.locking import held_for_writing
from persona_lens.runs.store.tables import read_record, write_record

FORMAT = 1
_SHOWN = 6


class SimulationFolder:
    """A folder, whether or not there is a simulation in it yet.

    Args:
        path: Of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def _record(self) -> Path:
        return self.path / "simulation.json"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing.

        Raises:
            RunError: Another process is writing to it, it cannot be written to, or its disk is full.
        """
        with held_for_writing(self.path), full_disk_explained(self.path):
            for folder in (self.path, *(self.path / "batches").glob("*")):
                remove_partials(folder)
            yield

    def conditions(self) -> dict[str, Any]:
        """What decided the replies.

        Raises:
            RunError: There is no simulation here, or one of another version.
        """
        try:
            record = read_record(self._record)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RunError(
                f"no simulation in {self.path}",
                expected="a folder with simulation.json",
                remedy="make one: persona-lens simulate --help",
            ) from error
        if record.get("format") != FORMAT:
            raise RunError(
                "this simulation is of another version of Persona Lens",
                expected=f"format {FORMAT}",
                given=record.get("format"),
                remedy="simulate into a new folder",
            )
        return record["conditions"]

    def start(self, conditions: Mapping[str, Any]) -> None:
        """Bind the folder to what decides the replies, or see that it is bound to the same.

        Raises:
            RunError: The simulation here had other inputs.
        """
        wanted = json.loads(json.dumps(plain(conditions)))  # as it is read back
        if not self._record.exists():
            write_record(self._record, {"format": FORMAT, "conditions": wanted})
            return
        found = self.conditions()
        changed = [
            f"{name}: {brief(old)} here, {brief(new)} asked for"
            for name, old, new in leaves(found, wanted)
        ]
        if list(found["users"]) != list(wanted["users"]) and not changed:
            changed = ["the order of the users, and so the batches they are in"]
        if changed:
            more = len(changed) - _SHOWN
            shown = "; ".join(changed[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            raise RunError(
                f"the simulation in {self.path} had other inputs",
                given=shown,
                remedy="choose another folder, or ask for the same",
            )

    def has(self, number: int) -> bool:
        """Whether a batch is done."""
        return (self._batch(number) / BATCH.card).is_file()

    def keep(self, batch: Batch, number: int) -> None:
        """Write a batch."""
        batch.save(self._batch(number))

    def simulated(self) -> Simulated:
        """What is there.

        Raises:
            RunError: No batch has been had yet, or a file is damaged.
        """
        conditions = self.conditions()
        folders = sorted((self.path / "batches").glob("*/" + BATCH.card))
        if not folders:
            raise RunError(
                f"no batch of the simulation in {self.path} is finished",
                remedy="give the command that began it again: it continues",
            )
        return Simulated.of([_loaded(card.parent) for card in folders], conditions)

    def finish(self) -> Simulated:
        """All batches are there: write the conversations beside them."""
        simulated = self.simulated()
        if simulated.conversations:
            write_conversations(self.path / "conversations.jsonl", simulated.conversations)
        return simulated

    def _batch(self, number: int) -> Path:
        return self.path / "batches" / f"{number:04}"


def _loaded(folder: Path) -> Batch:
    try:
        return Batch.load(folder)
    except (RunError, OSError, ValueError, LookupError) as error:
        raise RunError(
            f"{folder} is damaged",
            given=str(error).splitlines()[0],
            remedy="remove it and give the same command again: the batch is had again, with the same replies",
        ) from error
