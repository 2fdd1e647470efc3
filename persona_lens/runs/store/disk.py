"""Room on the disk: enough before a run starts, and a clear word when it runs out all the same."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from persona_lens.errors import RunError
from persona_lens.quantities import format_bytes

# safetensors and pyarrow report what the system says in words of their own; error 112 is that of Windows.
_FULL = ("No space left on device", "Disk quota exceeded", "(os error 112)")


def check_room(path: Path, wanted_bytes: int) -> None:
    """Refuse to start what will not fit.

    Raises:
        RunError: Less than `wanted_bytes` are free.
    """
    free = shutil.disk_usage(path).free
    if wanted_bytes > free:
        raise RunError(
            f"the disk under {path} is too small",
            expected=f"{format_bytes(wanted_bytes)} free",
            given=format_bytes(free),
            remedy="choose another folder, fewer replies or fewer layers",
        )


@contextmanager
def full_disk_explained(path: Path) -> Iterator[None]:
    """Turn a full disk into an error that says what is kept and how to go on.

    Raises:
        RunError: The disk under `path` became full.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise RunError(
            f"the disk under {path} is full",
            given=f"{format_bytes(shutil.disk_usage(path).free)} free",
            remedy="everything finished is kept: make room and run the same command again",
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full.

    Examples:
        >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device")), is_disk_full(ValueError("no"))
        (True, False)
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _FULL)
