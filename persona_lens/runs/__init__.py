"""Runs: a folder that holds a collection, the engine that fills it, and the vectors that come of it."""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.manifest import Manifest
from persona_lens.runs.vectors import reply_means, vector_table

if TYPE_CHECKING:
    from persona_lens.runs.collecting import collect_run

__all__ = ["Manifest", "RunFolder", "collect_run", "reply_means", "vector_table"]

__getattr__ = lazy_names(__name__, {"collect_run": "persona_lens.runs.collecting"})
