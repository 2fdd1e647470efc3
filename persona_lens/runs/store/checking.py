"""Whether a run still holds what was written into it: every file of its plan, read and held against its digest.

    report = check_run(RunFolder("runs/first"))
    print(report)                                          # what is there, missing, damaged, and not of the plan
    if not report.sound:
        check_run(RunFolder("runs/first"), repair=True)    # sets damaged files aside

Nothing is deleted and nothing is made up: what is damaged is renamed to `*.damaged`, and the command that made it,
given again, makes just that again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from persona_lens.files import copy_file, sync_folder
from persona_lens.progress import StageProgress
from persona_lens.rollouts.plan import Shard
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.journal import Journal
from persona_lens.runs.store.labels import CALIBRATION_FILE, CARD_FILE, Labels
from persona_lens.runs.store.locking import LOCK_FILES
from persona_lens.runs.store.open_run import OpenRun
from persona_lens.runs.store.report import Damage, Part, Report
from persona_lens.runs.store.tables import DamagedFile, read_array, read_table

_KEY = ("kind", "name", "prompt_index", "side", "question_id", "sample")
_FAILURES = "failures.jsonl"  # see persona_lens.runs.served.collecting.failure_journal
_MAX_THREADS = 4  # each holds the activations of one shard


def check_run(run: RunFolder, *, repair: bool = False, progress: bool = True) -> Report:
    """Read every file of a run's plan and hold it against its digest.

    A run that is being written can be checked, but not repaired.

    Args:
        run: The run.
        repair: Set aside what is damaged. Of a journal a copy is set aside, and the lines that are whole stay.
        progress: Show a progress bar on standard error.

    Raises:
        RunError: There is no run, it has another format, or, with `repair`, another process writes to it.

    Examples:
        >>> check_run(RunFolder("nowhere"))
        Traceback (most recent call last):
            ...
        persona_lens.errors.RunError: no run in nowhere
          expected a folder with manifest.json
          collect one: persona-lens collect --help
    """
    with run.writing() if repair else nullcontext():
        try:
            plan = _Plan(run.opened())
        except DamagedFile as error:
            looks, known = [_Look("manifest", "", error.path, wrong=error.what)], None
        else:
            looks, known = plan.looks(shown=progress), plan.files()
        report = _report(run.path, looks, known)
        if repair:
            damaged = tuple(map(_repaired, report.damaged))
            report = replace(report, damaged=damaged)
    return report


@dataclass(frozen=True)
class _Look:
    """What a look at one file has shown.

    `replies` is the digest of the replies the file is of.
    """

    part: str
    key: str
    path: Path
    wrong: str = ""
    lost: bool = True
    missing: bool = False
    replies: str | None = None
    records: int = 0


class _Plan:
    """The files a run has by its plan."""

    def __init__(self, run: OpenRun) -> None:
        self.run = run
        folders = sorted(path for path in run.path.glob("labels/*") if path.is_dir())
        self.judges = [Labels(run, folder.name) for folder in folders]

    def files(self) -> set[Path]:
        """All files that belong to the run, whether they are there or not."""
        known = {self.run.path / name for name in ("manifest.json", _FAILURES, *LOCK_FILES)}
        for labels in self.judges:
            known |= {labels.path / CARD_FILE, labels.path / CALIBRATION_FILE}
        for shard in self.run.shards:
            known.add(self.run.reply_file(shard))
            known.add(self.run.activation_file(shard))
            known.update(labels.file(shard) for labels in self.judges)
            known.update(journal.path for journal in self._journals(shard))
        return known

    def looks(self, *, shown: bool) -> list[_Look]:
        """Look at every file, at several at a time."""
        looks = []
        for labels in self.judges:
            card, calibration = labels.path / CARD_FILE, labels.path / CALIBRATION_FILE
            looks.append(_look("judges", labels.key, card, labels.card))
            if calibration.is_file():
                looks.append(_look("calibrations", labels.key, calibration, labels.calibration))
        shards = self.run.shards
        bar = StageProgress("Checking", len(shards), shown=shown, unit="shards")
        threads = ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1))
        try:
            with bar.running():
                found = bar.counted(threads.map(self._of_shard, shards))
                for shard, of_shard in zip(shards, found, strict=True):
                    # Between two looks, a writer at work may have replaced one of two files: look again.
                    torn = any(look.wrong for look in of_shard)
                    looks += self._of_shard(shard) if torn else of_shard
        finally:
            threads.shutdown(cancel_futures=True)
        return looks

    def _of_shard(self, shard: Shard) -> list[_Look]:
        file = self.run.reply_file(shard)
        replies = _look("replies", shard.key, file, partial(_read_table, file, shard, None))
        looks = [replies]
        if self.run.manifest.layers and self.run.manifest.reader:
            file = self.run.activation_file(shard)
            shape = self.run.activation_shape(shard)
            read = partial(_read_means, file, shape, replies.replies)
            looks.append(_look("activations", shard.key, file, read))
        for labels in self.judges if shard.kind != "default" else ():
            file = labels.file(shard)
            read = partial(_read_table, file, shard, replies.replies)
            looks.append(_look(f"labels {labels.key}", shard.key, file, read))
        looks += [_look_at_journal(j, shard.key) for j in self._journals(shard) if j.path.is_file()]
        return looks

    def _journals(self, shard: Shard) -> Iterator[Journal]:
        yield self.run.reply_journal(shard)
        for labels in self.judges:
            yield labels.journal(shard)


def _look(part: str, key: str, path: Path, read: Callable[[], Mapping[str, Any] | None]) -> _Look:
    try:
        metadata = read() or {}
    except FileNotFoundError:
        return _Look(part, key, path, missing=True)
    except DamagedFile as error:
        return _Look(part, key, path, wrong=error.what)
    except OSError as error:
        # Only what the disk itself cannot give back is lost; a lack of permission, for example, passes.
        return _Look(part, key, path, wrong=_refusal(error), lost=error.errno == errno.EIO)
    return _Look(part, key, path, replies=metadata.get("replies"))


def _look_at_journal(journal: Journal, key: str) -> _Look:
    try:
        whole, damaged = journal.count()
    except OSError as error:
        return _Look("journal", key, journal.path, wrong=_refusal(error), lost=False)
    wrong = f"{damaged:,} of its {whole + damaged:,} lines are damaged" if damaged else ""
    return _Look("journal", key, journal.path, wrong, records=whole)


def _refusal(error: OSError) -> str:
    return f"it cannot be read: {error.strerror or error}"


def _read_table(path: Path, shard: Shard, replies: str | None) -> Mapping[str, str]:
    """Replies or labels: undamaged, of this shard, and of these replies if they are known."""
    table, metadata = read_table(path)
    columns = [table.column(name).to_pylist() for name in _KEY]
    own = (shard.kind, shard.name, shard.prompt_index, shard.side)
    if list(zip(*columns, strict=True)) != [
        (*own, request.question_id, request.sample) for request in shard.requests
    ]:
        raise DamagedFile(path, "it holds another shard")
    _compare(path, metadata, replies)
    return metadata


def _read_means(path: Path, shape: tuple[int, ...], replies: str | None) -> Mapping[str, str]:
    """Activations: undamaged, of the right size, and of these replies if they are known."""
    means, metadata = read_array(path)
    if means.shape != shape:
        raise DamagedFile(path, f"its shape is {means.shape} and not {shape}")
    _compare(path, metadata, replies)
    return metadata


def _compare(path: Path, metadata: Mapping[str, str], replies: str | None) -> None:
    if replies is not None and metadata.get("replies") != replies:
        raise DamagedFile(path, "it is of other replies than those that are there")


def _report(run: Path, looks: Sequence[_Look], known: set[Path] | None) -> Report:
    by_part: dict[str, list[_Look]] = {}
    for look in looks:
        if look.part not in ("manifest", "journal"):
            by_part.setdefault(look.part, []).append(look)
    sizes = dict(sorted(_sizes(run)))
    others = () if known is None else tuple(path for path in sizes if path not in known)
    journals = [look for look in looks if look.part == "journal"]
    return Report(
        run=run,
        parts=tuple(
            Part(
                name,
                whole=sum(not look.wrong and not look.missing for look in part),
                missing=tuple(look.key for look in part if look.missing),
                damaged=tuple(look.key for look in part if look.wrong),
            )
            for name, part in by_part.items()
        ),
        damaged=tuple(Damage(look.path, look.wrong, look.lost) for look in looks if look.wrong),
        journals=len(journals),
        records=sum(look.records for look in journals),
        others=others,
        bytes_used=sum(sizes.values()),
        bytes_of_others=sum(sizes[path] for path in others),
    )


def _sizes(folder: Path) -> Iterator[tuple[Path, int]]:
    for place, _, names in os.walk(folder):
        for path in map(Path(place).joinpath, names):
            with suppress(FileNotFoundError):  # a writer at work has just removed it
                yield path, path.stat().st_size


def _repaired(damage: Damage) -> Damage:
    """Rename a file, or a copy of a journal, to a name that is free."""
    if not damage.lost:
        return damage
    path, number = damage.path, 1
    aside = path.with_name(f"{path.name}.damaged")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.{number}.damaged")
    if path.suffix == ".jsonl":
        copy_file(path, aside)
        Journal(path).rewrite()
    else:
        path.rename(aside)
        sync_folder(path.parent)
    return replace(damage, set_aside=aside)
