"""A run folder belongs to one plan: adding to it is fine, changing it is refused, or done in a fork."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from persona_lens.errors import RunError
from persona_lens.runs.folder import RunFolder
from persona_lens.runs.manifest import Manifest


def claim(folder: RunFolder, manifest: Manifest, *, fork: Path | None) -> RunFolder:
    """The folder to collect `manifest` into: `folder` itself, or the fork of it.

    A new folder and a plan that only adds shards are fine as they are. Whatever else differs would mix replies
    of two settings in one run, so it needs a fork: a new folder that starts with every file of the old one
    which still holds.

    Raises:
        RunError: The settings differ and there is no fork, or the fork is in use for something else.
    """
    if fork is not None:
        return _fork(folder, manifest, RunFolder(fork))
    if folder.has_manifest():
        changed = folder.manifest().differences(manifest)
        if changed:
            raise RunError(
                f"the run in {folder.path} was started with other settings",
                given="\n    " + "\n    ".join(changed),
                remedy="give the settings it was started with, choose another folder, or keep what still holds: "
                "--fork NEW_FOLDER (fork=... in Python)",
            )
    return folder


def _fork(old: RunFolder, manifest: Manifest, new: RunFolder) -> RunFolder:
    if new.has_manifest():  # the fork was made before and is to be continued
        return claim(new, manifest, fork=None)
    if new.path.resolve() == old.path.resolve():
        raise RunError(
            "a fork needs a folder of its own",
            given=new.path,
            remedy="choose another name for the fork",
        )
    stems = set(manifest.stems.values())
    with old.writing(), new.writing():
        for file in sorted(old.path.glob("*/**/*")):
            of_judge = file.name in ("judge.json", "calibration.json")
            if file.is_file() and (file.stem in stems or of_judge):
                _take_over(file, new.path / file.relative_to(old.path))
    return new


def _take_over(source: Path, target: Path) -> None:
    """A hard link where the file system has them: run files are replaced, never written into."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".jsonl":  # but a journal is appended to
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
