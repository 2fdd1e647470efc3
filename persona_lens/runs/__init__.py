"""Runs: a folder that holds a collection, the engine that fills it, and the vectors that come of it."""

from typing import TYPE_CHECKING

from persona_lens._lazy import lazy_names
from persona_lens.runs.collecting import collect_plan, collect_run
from persona_lens.runs.planning import CollectionPlan
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.manifest import Manifest
from persona_lens.runs.vectors import reply_means, vector_table

if TYPE_CHECKING:
    from persona_lens.runs.engines.opening import open_engine, open_server
    from persona_lens.runs.sizing import dry_run

__all__ = [
    "CollectionPlan",
    "Manifest",
    "RunFolder",
    "collect_plan",
    "collect_run",
    "dry_run",
    "open_engine",
    "open_server",
    "reply_means",
    "vector_table",
]

_OPENING = "persona_lens.runs.engines.opening"  # imports torch
_SIZING = "persona_lens.runs.sizing"
__getattr__ = lazy_names(
    __name__, {"dry_run": _SIZING, "open_engine": _OPENING, "open_server": _OPENING}
)
