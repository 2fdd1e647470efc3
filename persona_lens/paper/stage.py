"""`Stage`: one part of a report, done once; what came of it stands in a file, so that a killed report goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from persona_lens.errors import RunError, first_line
from persona_lens.files import read_json, write_json
from persona_lens.paper.study import Study
from persona_lens.quantities import format_seconds

Status = Literal["done", "failed", "not possible"]


@dataclass(frozen=True)
class Stage:
    """One part of a report.

    Attributes:
        name: Its key, and that of its folder.
        title: In words.
        work: Does it and says in a line what came of it. Killed, the same call continues.
        refusal: Why it cannot be done for this study; None if it can.
        needs: Stages that must be done before.
    """

    name: str
    title: str
    work: Callable[[Study], str]
    refusal: Callable[[Study], str | None] = lambda study: None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of a stage.

    Attributes:
        status: "done", "failed" or "not possible".
        told: What came of it, or why nothing did.
        seconds: The call that finished it took; 0 if it was not begun.
    """

    status: Status
    told: str
    seconds: float = 0.0


class Journal:
    """What came of the stages so far, a file a stage.

    Args:
        folder: Of the report.

    Examples:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()))
        >>> journal.note("sweep", Outcome("done", "30 layers", 2.5))
        >>> journal.of("sweep").told, journal.of("drift")
        ('30 layers', None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stages"

    def note(self, name: str, outcome: Outcome) -> None:
        """Keep what came of a stage."""
        write_json(self._file(name), asdict(outcome))

    def of(self, name: str) -> Outcome | None:
        """What came of a stage; None if that is not known.

        Raises:
            RunError: The file is damaged.
        """
        try:
            return Outcome(**read_json(self._file(name), RunError))
        except FileNotFoundError:
            return None

    def done(self, name: str) -> bool:
        """Whether a stage is done."""
        found = self.of(name)
        return found is not None and found.status == "done"

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def work_off(
    stages: Sequence[Stage], study: Study, journal: Journal, console: Console
) -> Mapping[str, Outcome]:
    """Do the stages that are not done; one that fails leaves the others, and is tried again by the next call.

    Args:
        stages: In their order.
        study: What they are about.
        journal: What came of them before.
        console: Where to say what is going on.

    Returns:
        What came of each.
    """
    found = {}
    for number, stage in enumerate(stages, 1):
        outcome = _kept(stage, journal)
        if outcome is None:
            console.rule(f"{number} of {len(stages)}: {stage.title}", align="left")
            outcome = _worked(stage, study, journal)
            journal.note(stage.name, outcome)
            said = f"{outcome.status}: {outcome.told}"
        else:
            said = f"{number} of {len(stages)}: {stage.title}: done, kept"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        found[stage.name] = outcome
    return found


def _kept(stage: Stage, journal: Journal) -> Outcome | None:
    before = journal.of(stage.name)
    return before if before is not None and before.status == "done" else None


def _worked(stage: Stage, study: Study, journal: Journal) -> Outcome:
    lacking = [name for name in stage.needs if not journal.done(name)]
    if lacking:
        return Outcome("not possible", f"needs {', '.join(lacking)}, which could not be had")
    started = time.monotonic()
    try:
        reason = stage.refusal(study)
        if reason is not None:
            return Outcome("not possible", reason)
        told = stage.work(study)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other stages go on without this one
        return Outcome("failed", first_line(error), time.monotonic() - started)
    seconds = time.monotonic() - started
    return Outcome("done", f"{told} ({format_seconds(seconds)})", seconds)
