"""`AtWork`: all rows that have begun, in as few cohorts as the model and the plans allow.

A pass that fails is tried again for each of its rows alone: whatever the reason was, the row that causes it fails
with it, and the others go on from the text they have, which is run again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from persona_lens.model.conduct import Conduct
from persona_lens.model.continuous.cohort import Cohort, Setup
from persona_lens.model.continuous.events import Event
from persona_lens.model.continuous.requests import Along
from persona_lens.model.continuous.rows import Row
from persona_lens.model.continuous.ways import Way, way_of
from persona_lens.model.continuous.whole import write_whole

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel


class AtWork:
    """Rows that have begun.

    Args:
        model: Answers.
        along: What is read.
    """

    def __init__(self, model: PersonaModel, along: Along | None) -> None:
        self._model = model
        self._along = along
        self._cohorts: list[Cohort] = []
        self._way: tuple[Conduct, bool, Way] | None = None

    @property
    def writing(self) -> bool:
        """Whether there are replies to go on with."""
        return any(not cohort.unread for cohort in self._cohorts)

    @property
    def reading(self) -> bool:
        """Whether there are prompts of which a part is still to be read."""
        return any(cohort.unread for cohort in self._cohorts)

    @property
    def way(self) -> Way:
        """What the model allows, measured anew where another module runs, or hooks have come or gone."""
        with self._model.held.lock, torch.no_grad():
            conduct, hooked = self._model.conduct, self._model.has_hooks
            if self._way is None or self._way[0] is not conduct or self._way[1] != hooked:
                self._way = conduct, hooked, way_of(self._model)
            return self._way[2]

    @property
    def at_a_time(self) -> int:
        """How many may begin together: where whole replies are written one by one, none waits for another's."""
        return sys.maxsize if self.way.steps or self.way.pads else 1

    def begin(self, rows: Sequence[Row]) -> list[Event]:
        """Read the prompts of rows, and draw their first tokens."""
        way, setup = self.way, Setup(self._model, self._model.held.backend, self._along)
        if not way.steps:
            return _written(setup, list(rows))
        joining = [row for row in rows if way.joins and not row.has_history]
        others = [row for row in rows if row not in joining]
        groups = [(joining, True)] if joining else []
        if others:
            groups += [(others, False)] if way.pads else [([row], False) for row in others]
        events: list[Event] = []
        for group, joins in groups:
            events += self._read(setup, group, joins=joins)
        return events

    def go_on(self) -> list[Event]:
        """One token more of every reply."""
        events = self._join()
        for cohort in tuple(self._cohorts):
            if not cohort.unread:
                events += self._tried(cohort, cohort.step)
        return events

    def read_on(self) -> list[Event]:
        """A piece more of the prompt that has waited for longest."""
        cohort = next(cohort for cohort in self._cohorts if cohort.unread)
        return self._tried(cohort, cohort.read)

    def _tried(self, cohort: Cohort, work: Callable[[], list[Event]]) -> list[Event]:
        """Do a pass of a cohort; where it fails, its rows go on by themselves."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            self._cohorts.remove(cohort)
            rows = cohort.live
            if len(rows) > 1:
                return self._again((cohort,), rows)
            for row in rows:
                row.fail(error)
            return []

    def settle(self) -> None:
        """Give every row what is its own."""
        for cohort in self._cohorts:
            cohort.settle()

    def leave(self) -> None:
        """Give back what was kept of cohorts that are over."""
        self._cohorts = [cohort for cohort in self._cohorts if cohort.live]

    def clear(self) -> None:
        """Give everything back."""
        self._cohorts.clear()

    def _read(self, setup: Setup, rows: list[Row], *, joins: bool) -> list[Event]:
        """Read texts; where that fails for some together, each by itself."""
        try:
            cohort = Cohort(setup, rows, joins=joins)
            events = cohort.read()
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            if len(rows) == 1:
                rows[0].fail(error)
                return []
            return [event for row in rows for event in self._read(setup, [row], joins=joins)]
        self._cohorts.append(cohort)
        return events

    def _join(self) -> list[Event]:
        """Put those who have come under those who run."""
        first: Cohort | None = None
        for cohort in tuple(self._cohorts):
            if cohort.unread or not cohort.joins or any(row.trial for row in cohort.live):
                continue
            if first is None:
                first = cohort
                continue
            rows = [*first.live, *cohort.live]
            try:
                first.take_in(cohort)
                self._cohorts.remove(cohort)
            except Exception:  # noqa: BLE001 - most likely memory has run out, and one by one they may fit
                self._cohorts.remove(cohort)
                self._cohorts.remove(first)
                return self._again((first, cohort), rows)
        return []

    def _again(self, cohorts: Sequence[Cohort], rows: Sequence[Row]) -> list[Event]:
        """Read again what rows were told and have said, each by itself, and on trial for a step."""
        try:
            for cohort in cohorts:
                cohort.settle()
        except Exception as error:  # noqa: BLE001 - nobody knows any more what is whose
            for row in rows:
                row.fail(error)
            return []
        events: list[Event] = []
        for row in rows:
            row.trial = True
            events += self._read(cohorts[0].setup, [row], joins=cohorts[0].joins)
        return events


def _written(setup: Setup, rows: list[Row]) -> list[Event]:
    """Write whole replies; where not even the prompts can be read together, each by itself."""
    try:
        return write_whole(setup, rows)
    except Exception as error:  # noqa: BLE001 - it goes to whoever asked
        if len(rows) == 1 or any(row.ids or row.finish for row in rows):
            for row in rows:
                row.fail(error)
            return []
    return [event for row in rows for event in _written(setup, [row])]
