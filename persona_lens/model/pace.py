"""How fast replies come here: as measured when some were collected, else what matrix products alone would take.

Every collection of some length leaves its pace in the cache, by model, dtype and device, for the next plan.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from persona_lens.files import whole_or_nothing
from persona_lens.model.cache import cache_root

if TYPE_CHECKING:
    from persona_lens.model.shape import ModelShape

_FILE = "paces.json"
_SHORTEST = 10.0
"""Seconds of collecting below which a pace says little."""
_SECONDS_OF_PRODUCTS = 0.2


@dataclass(frozen=True)
class Pace:
    """Seconds a sampled token takes, reading included, and how that is known.

    Attributes:
        seconds_per_token: Of all sampled tokens of a batch, so that it falls with the batch.
        known_by: In words.
        rough: True where nothing was ever collected, and it may well take twice as long.

    Examples:
        >>> Pace(0.01, "collecting 80 replies here on 2026-11-29").seconds(4000)
        40.0
    """

    seconds_per_token: float
    known_by: str
    rough: bool = False

    def seconds(self, tokens: float) -> float:
        """For so many sampled tokens."""
        return tokens * self.seconds_per_token


def pace_key(model: str, dtype: torch.dtype, device: torch.device) -> str:
    """What a pace is kept under.

    Examples:
        >>> pace_key("smollm2-135m-instruct", torch.float32, torch.device("cpu"))
        'smollm2-135m-instruct float32 cpu'
    """
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{model} {str(dtype).removeprefix('torch.')} {place}"


def keep_pace(
    key: str, *, replies: int, tokens: int, seconds: float, cache_dir: str | Path | None = None
) -> None:
    """Remember how long a collection took; one of a few seconds is not remembered.

    Args:
        key: As `pace_key` says.
        replies: Sampled in that time.
        tokens: Of these.
        seconds: That it took, reading included.
        cache_dir: Where to keep it; the cache by default.
    """
    if seconds < _SHORTEST or tokens < 1:
        return
    file = cache_root(cache_dir) / _FILE
    found: dict[str, float | str] = {"seconds_per_token": seconds / tokens}
    found["known_by"] = f"collecting {replies:,} replies here on {time.strftime('%Y-%m-%d')}"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_or_nothing(file) as partial:
            partial.write_text(json.dumps({**_kept(file), key: found}, indent=1), "utf-8")
    except OSError:
        return  # a cache that cannot be written to costs a finished collection nothing


def kept_pace(key: str, *, cache_dir: str | Path | None = None) -> Pace | None:
    """What is remembered; None for nothing.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> keep_pace("small float32 cpu", replies=80, tokens=2000, seconds=20.0, cache_dir=folder)
        >>> kept_pace("small float32 cpu", cache_dir=folder).seconds(100)
        1.0
    """
    found = _kept(cache_root(cache_dir) / _FILE).get(key)
    try:
        return None if found is None else Pace(**{name: found[name] for name in _STORED})
    except (KeyError, TypeError):
        return None


_STORED = tuple(name for name in asdict(Pace(0.0, "")) if name != "rough")


def _kept(file: Path) -> dict[str, dict]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def pace_of_products(
    shape: ModelShape,
    *,
    dtype: torch.dtype,
    device: torch.device,
    rows: int,
    prompt_tokens: float,
    new_tokens: int,
) -> Pace:
    """Roughly the time for a sampled token, from matrix products of the model's width timed here and now.

    A token costs two operations a parameter; of the prompt all tokens are run once, of the reply each. Attention,
    caches and Python come on top.

    Args:
        shape: Of the model.
        dtype: It is to compute in.
        device: Likewise.
        rows: Replies sampled at a time.
        prompt_tokens: Of a prompt, on average.
        new_tokens: Of a reply, at most.
    """
    rate = {many: _rate(shape.d_model, many, dtype, device) for many in {rows, 512}}
    operations = 2.0 * shape.parameters
    prompt = operations * prompt_tokens / rate[512]
    return Pace(
        prompt / new_tokens + operations / rate[rows],
        "matrix products of its width, timed just now; attention and caches come on top",
        rough=True,
    )


def _rate(width: int, rows: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second."""
    left = torch.ones(rows, width, dtype=dtype, device=device)
    right = torch.ones(width, 4 * width, dtype=dtype, device=device)

    def product() -> None:
        (left @ right)[0, 0].item()  # which waits for a device that computes by itself

    product()
    began, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - began) < _SECONDS_OF_PRODUCTS:
        product()
        done += 1
    return done * 2.0 * rows * width * 4 * width / taken
