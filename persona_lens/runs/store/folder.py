"""The run folder: what a collection has asked, heard, read and judged, and nothing else.

    run/
      manifest.json                                 plan, model, sampling, versions
      replies/role-pirate-p0-1f3a9c0d2e4b.parquet   one file a shard, named by its content hash
      activations/<reader>/role-pirate-p0-1f3a9c0d2e4b.safetensors
      labels/<judge>/role-pirate-p0-1f3a9c0d2e4b.parquet

A shard is done when its files are there. Files appear whole or not at all, carry a digest of what they hold, and
say of which replies they are: a killed run is simply continued, and a damaged file is never taken for a good one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from persona_lens.errors import RunError
from persona_lens.files import remove_partials
from persona_lens.notebook import facts_html
from persona_lens.runs.store.locking import held_for_writing
from persona_lens.runs.store.manifest import Manifest, read_manifest
from persona_lens.runs.store.open_run import OpenRun
from persona_lens.runs.store.tables import write_record

if TYPE_CHECKING:
    import datasets


class RunFolder:
    """One run folder, whether or not there is a run in it yet."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for writing. The operating system lets go of the lock when the process ends, however.

        Raises:
            RunError: Another process is writing to it, or the folder cannot be written to.
        """
        with held_for_writing(self.path):
            inside = chain(*map(self.path.glob, ("replies", "activations/*", "labels/*")))
            for folder in (self.path, *filter(Path.is_dir, inside)):
                remove_partials(folder)
            yield

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            RunError: There is none, it cannot be read, or it has another format.
        """
        try:
            return read_manifest(self.path / "manifest.json")
        except FileNotFoundError as error:
            raise RunError(
                f"no run in {self.path}",
                expected="a folder with manifest.json",
                remedy="collect one: persona-lens collect --help",
            ) from error

    def has_manifest(self) -> bool:
        """Whether anything has been collected here."""
        return (self.path / "manifest.json").is_file()

    def opened(self) -> OpenRun:
        """The run that is here, by the manifest as it is now.

        Raises:
            RunError: As `manifest`.
        """
        return OpenRun(self.path, self.manifest())

    def started(self, manifest: Manifest) -> OpenRun:
        """Write the manifest, and open the run it makes of the folder."""
        write_record(self.path / "manifest.json", manifest.packed())
        return OpenRun(self.path, manifest)

    def replies(self) -> datasets.Dataset:
        """All replies of the plan that are there, as a `datasets.Dataset`."""
        return self.opened().dataset()

    def __repr__(self) -> str:
        told = (f"{name} {fact}" for name, fact in self._told().items())
        return f"RunFolder({str(self.path)!r}, {'; '.join(told)})"

    def _repr_html_(self) -> str:
        return facts_html(f"Run {self.path}", self._told())

    def _told(self) -> dict[str, str]:
        """What is here, by files alone, so that it is told at once however large the run is."""
        if not self.has_manifest():
            return {"plan": "nothing collected yet"}
        try:
            manifest = self.manifest()
        except RunError as error:
            return {"plan": f"cannot be read: {str(error).splitlines()[0]}"}
        kinds = {(shard.kind, shard.name) for shard in manifest.shards}
        counts = Counter(kind for kind, _ in kinds)
        writer = manifest.conditions.get("model") or manifest.conditions.get("server") or {}
        with_replies = sum(1 for _ in self.path.glob("replies/*.parquet"))
        told = {
            "written by": f"{writer.get('model', 'unknown')}",
            "plan": ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())),
            "replied": f"{with_replies:,} of {len(manifest.shards):,} shards",
        }
        if manifest.reader:
            reader, layers = manifest.reader.get("model", "unknown"), len(manifest.layers)
            told["read by"] = f"{reader} at {layers} layers"
        return told
