"""Experiments: items x conditions x judges, cell by cell; neither a kill nor an error loses what is finished.

An item under a condition is answered once, and every judge says once what it thinks of the rows that came of it.

    >>> import tempfile
    >>> def answer(question, polite):  # a model by script
    ...     return pd.DataFrame({"text": [f"Certainly: {question}" if polite else question]})
    >>> experiment = Experiment(
    ...     "Asking",
    ...     items={"q1": "Who are you?", "q2": "Are you a ghost?"},
    ...     conditions={"plain": False, "polite": True},
    ...     answer=answer,
    ...     judges={"words": lambda rows: rows["text"].str.split().str.len()},
    ...     depends={"model": "scripted"},
    ...     out=tempfile.mkdtemp(),
    ... )
    >>> print(experiment.run(progress=False).to_string(index=False))  # kill it: the same call continues
    item condition judge  outcome                        text
      q1     plain words        3                Who are you?
      q2     plain words        4            Are you a ghost?
      q1    polite words        4     Certainly: Who are you?
      q2    polite words        5 Certainly: Are you a ghost?

A model is faster with many prompts at once: an item may be a batch of them, and a condition several strengths. The
rows then say in columns `item` and `condition` what they are. `persona_lens.evals.answering.Answerer` asks such
batches.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import pandas as pd

from persona_lens.arrays import plain
from persona_lens.files import whole_or_nothing
from persona_lens.progress import StageProgress

Item = TypeVar("Item")
Condition = TypeVar("Condition")


class Cell(NamedTuple):
    """Keys of one piece of work: an item under a condition is answered or, with a judge, its rows are judged."""

    item: str
    condition: str
    judge: str | None = None

    @property
    def answered(self) -> Cell:
        """The cell whose rows this one is about."""
        return self._replace(judge=None)

    def __str__(self) -> str:
        """
        >>> print(Cell("q1", "floor"), "|", Cell("q1", "floor", "rules"))
        q1, floor | q1, floor, rules
        """
        return ", ".join(key for key in self if key is not None)


@dataclass(frozen=True, eq=False)
class Experiment(Generic[Item, Condition]):
    """Items under conditions, as judges see them.

    Attributes:
        title: Of the progress bar.
        items: What is put to the model in one go, by key.
        conditions: What is done to the model meanwhile, by key.
        answer: Puts an item to the model under a condition and returns rows, at least one.
        judges: By key: from these rows, with their keys, to one outcome a row.
        depends: What else decides the rows, as plain data: the model's card, texts and numbers that no key tells.
            Cells finished under another title, other keys or other values are not used.
        out: Keeps finished cells there, a Parquet file each; they are held in memory by default.
        unit: What the progress bar counts.
        ahead: Answers many cells elsewhere, in any order, a cell with its rows or with what went wrong; those it
            leaves out are answered here.
    """

    title: str
    items: Mapping[str, Item]
    conditions: Mapping[str, Condition]
    answer: Callable[[Item, Condition], pd.DataFrame]
    judges: Mapping[str, Callable[[pd.DataFrame], Sequence[Any] | pd.Series]] = field(
        default_factory=dict
    )
    depends: Mapping[str, Any] = field(default_factory=dict)
    out: str | Path | None = None
    unit: str = "cells"
    ahead: Callable[[Sequence[Cell]], Iterable[tuple[Cell, pd.DataFrame | Exception]]] | None = None
    _held: dict[Cell, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def cells(self) -> list[Cell]:
        """All cells in the order they are worked on: condition by condition, judges behind what they judge."""
        return [
            Cell(item, condition, judge)
            for condition in self.conditions
            for item in self.items
            for judge in (None, *self.judges)
        ]

    def run(self, *, progress: bool = True) -> pd.DataFrame:
        """Work on the cells that are not finished, and return the `frame` of all.

        Args:
            progress: Show a progress bar.

        Raises:
            Exception: What the first failing cell raised, after all others are finished; the next call works on
                those that failed alone. Only trouble with the folder stops at once.
        """
        cells = self.cells()
        todo = [cell for cell in cells if not self._finished(cell)]
        failed: dict[Cell, Exception] = {}
        bar = StageProgress(self.title, len(cells), shown=progress, unit=self.unit)
        with bar.running(len(cells) - len(todo)):
            for cell, rows in self._found_ahead(todo):
                self._take(cell, rows, failed, bar)
                bar.advance(1)
            for cell in todo:
                if cell.answered in failed or self._finished(cell):
                    continue
                try:
                    rows = self._made(cell)
                except Exception as error:  # noqa: BLE001
                    rows = error
                self._take(cell, rows, failed, bar)
                bar.advance(1)
        for error in failed.values():
            raise error
        return self.frame()

    def _found_ahead(self, todo: Sequence[Cell]) -> Iterable[tuple[Cell, pd.DataFrame | Exception]]:
        answers = [cell for cell in todo if cell.judge is None]
        return self.ahead(answers) if self.ahead is not None and answers else ()

    def _take(
        self,
        cell: Cell,
        rows: pd.DataFrame | Exception,
        failed: dict[Cell, Exception],
        bar: StageProgress,
    ) -> None:
        """Keep what came of a cell, or note that it failed."""
        if isinstance(rows, Exception):
            failed[cell] = rows
            bar.console.print(f"{cell}: {rows}", markup=False, highlight=False)
        else:
            self._keep(cell, rows.reset_index(drop=True))

    def frame(self) -> pd.DataFrame:
        """One row for each row answered and each judge, of the cells that are finished.

        Columns: `item`, `condition`; `judge` and `outcome` if there are judges; what `answer` returned.
        """
        wanted = [cell for cell in self.cells() if (cell.judge is None) != bool(self.judges)]
        parts = [self._tidy(cell) for cell in wanted if self._finished(cell)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=Cell._fields)

    def _made(self, cell: Cell) -> pd.DataFrame:
        if cell.judge is None:
            return self.answer(self.items[cell.item], self.conditions[cell.condition])
        rows = self._tidy(cell.answered)
        return pd.DataFrame({"outcome": list(self.judges[cell.judge](rows))}, index=rows.index)

    def _tidy(self, cell: Cell) -> pd.DataFrame:
        rows = self._rows(cell.answered)
        keys = {
            name: rows.get(name, key) for name, key in cell._asdict().items() if key is not None
        }
        if cell.judge is not None:
            keys["outcome"] = self._rows(cell)["outcome"]
        return pd.DataFrame({**keys, **rows.drop(columns=[*keys], errors="ignore")})

    def _finished(self, cell: Cell) -> bool:
        return cell in self._held if self.out is None else self._file(cell).is_file()

    def _keep(self, cell: Cell, rows: pd.DataFrame) -> None:
        if self.out is None:
            self._held[cell] = rows
            return
        with whole_or_nothing(self._file(cell)) as partial:
            rows.to_parquet(partial)

    def _rows(self, cell: Cell) -> pd.DataFrame:
        return self._held[cell] if self.out is None else pd.read_parquet(self._file(cell))

    def _file(self, cell: Cell) -> Path:
        name = re.sub(r"[^\w.]+", "-", str(cell))[:100]
        key = hashlib.sha256(json.dumps([self._key, *cell]).encode()).hexdigest()[:10]
        return Path(self.out or "") / f"{name}-{key}.parquet"

    @cached_property
    def _key(self) -> str:
        content = json.dumps(plain([self.title, self.depends]), sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()
