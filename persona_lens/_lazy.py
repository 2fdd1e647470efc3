"""Names that load their module on first use, so that `import persona_lens` does not import torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module-level `__getattr__` for `package` that finds each name in its home module.

    Examples:
        >>> lookup = lazy_names("json", {"JSONDecoder": "json.decoder"})
        >>> lookup("JSONDecoder").__name__
        'JSONDecoder'
    """

    def lookup(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return lookup
