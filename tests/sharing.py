"""What is dear to make and the same for all is made once for all processes of a test run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock


@contextmanager
def made_once(factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all processes of a test run share, while one has it: the first fills it, others find it so."""
    alone = "PYTEST_XDIST_WORKER" not in os.environ
    folder = (factory.getbasetemp() if alone else factory.getbasetemp().parent) / f"once-{name}"
    with FileLock(folder.with_suffix(".lock")):
        yield folder
