"""Seconds and bytes as a person says them."""

from __future__ import annotations


def format_seconds(seconds: float) -> str:
    """Seconds as a person says them.

    Examples:
        >>> format_seconds(42), format_seconds(300), format_seconds(9000)
        ('42 s', '5 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_bytes(count: float) -> str:
    """Bytes in decimal units.

    Examples:
        >>> format_bytes(84_000_000)
        '84 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
