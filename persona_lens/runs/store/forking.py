"""A run folder belongs to one plan: adding to it is fine, changing it is refused, or done in a fork."""

from __future__ import annotations

import os
from contextlib import nullcontext, suppress
from pathlib import Path

from persona_lens.errors import RunError
from persona_lens.files import copy_file, make_folder, sync_folder
from persona_lens.runs.store.disk import full_disk_explained
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.manifest import Manifest


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
    old.manifest()  # whoever mistypes the folder to fork from should not start from nothing
    # What nobody can write to, nobody is writing to: the run of a colleague can be forked too.
    held = old.writing() if os.access(old.path, os.W_OK) else nullcontext()
    with held, new.writing(), full_disk_explained(new.path):
        folders = set()
        for file in _still_holding(old, manifest):
            target = new.path / file.relative_to(old.path)
            _take_over(file, target)
            folders.add(target.parent)
        for folder in folders:  # once the fork has a manifest, nothing is taken over any more
            sync_folder(folder)
    return new


def _still_holding(old: RunFolder, manifest: Manifest) -> list[Path]:
    """The files of `old` that `manifest` would name alike."""
    stems = set(manifest.stems.values())
    of_shards = [
        *old.path.glob("replies/*"),
        *old.path.glob(f"activations/{manifest.reader_key}/*"),
        *old.path.glob("labels/*/*"),
    ]
    of_judges = [*old.path.glob("labels/*/judge.json"), *old.path.glob("labels/*/calibration.json")]
    return [*(file for file in of_shards if file.stem in stems), *of_judges]


def _take_over(source: Path, target: Path) -> None:
    """A hard link where the file system has them: run files are replaced, never written into."""
    if target.exists():
        return
    make_folder(target.parent)
    with suppress(OSError):  # another file system, or one without links
        if source.suffix != ".jsonl":  # a journal is appended to
            os.link(source, target)
            return
    copy_file(source, target)
