"""Whether directions were read from the weights they act on; said in a warning and on the receipt where not.

A direction that was read from a model tells which (`persona_lens.interventions.origin`). The weights at work are
the same if their fingerprint is; in another dtype, if they have the fingerprint once they are rounded to it.
Rounding can only be undone upwards, so half-precision weights of the same name and architecture pass for the same.
Where no fingerprint can be compared (other people's files, a HookedTransformer), published names are.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING

import torch

from persona_lens.errors import ForeignWeightsWarning, ModelError
from persona_lens.interventions.origin import Origin
from persona_lens.model.adapters import active_adapters, has_adapters
from persona_lens.model.embedded import EMBEDDED
from persona_lens.model.loading import RANDOM

if TYPE_CHECKING:
    from persona_lens.model.loaded import LoadedModel

_HOOKED = "HookedTransformer"
_SHOWN = 8
"""Digits of a fingerprint that are shown where names do not differ."""


def foreign_weights(origins: Iterable[Origin], model: LoadedModel) -> str:
    """Whose directions they are and whose weights these, if they are surely others; else nothing.

    Takes about 15 ms on a model of 270 tensors, and nothing where there are no origins.
    """
    known = list(origins)
    if not known:
        return ""
    acting = _at_work(model)
    foreign = [origin for origin in known if not _may_be_same(origin, acting, model)]
    if not foreign:
        return ""
    alike = any(origin.name == acting.name for origin in foreign)
    named = dict.fromkeys(_said(origin, with_print=alike) for origin in foreign)
    return f"directions of {' and '.join(named)}, weights of {_said(acting, with_print=alike)}"


def warn_of_foreign_weights(
    origins: Iterable[Origin],
    model: LoadedModel,
    *,
    stacklevel: int,
) -> str:
    """Warn once of what `foreign_weights` finds, and hand it on.

    Args:
        origins: Of a plan, or of a space.
        model: What they are used on.
        stacklevel: Of the warning, counted from the caller, whose own is 1.
    """
    found = foreign_weights(origins, model)
    if found:
        warnings.warn(
            f"{found}: neither directions nor strengths and thresholds were measured on these weights; use a "
            "space of this model, unless that is what you want to see",
            ForeignWeightsWarning,
            stacklevel=stacklevel + 1,
        )
    return found


def _may_be_same(origin: Origin, acting: Origin, model: LoadedModel) -> bool:
    hashes = bool(origin.fingerprint and acting.fingerprint)
    if not hashes or (origin.architecture == _HOOKED) != (acting.architecture == _HOOKED):
        return not (
            _is_published(origin.model)
            and _is_published(acting.model)
            and _plain(origin.name) != _plain(acting.name)
        )
    if origin.fingerprint == acting.fingerprint:
        return True
    dtype = getattr(torch, origin.dtype, None)
    if origin.dtype == acting.dtype or not isinstance(dtype, torch.dtype):
        return False
    rounded = model.held.fingerprint(dtype)
    if rounded == origin.fingerprint:
        return True
    if _rounding_decides(model):
        return False
    ours = (_plain(origin.name), origin.architecture)
    return ours == (_plain(acting.name), acting.architecture)


def _is_published(name: str) -> bool:
    """Whether a name means the same weights everywhere: that of a folder or a class may mean any."""
    plain = name.partition("+")[0]
    return plain.startswith(RANDOM) or plain in EMBEDDED or plain.count("/") == 1


def _plain(name: str) -> str:
    """A name without its owner and its punctuation, so that `qwen-3-32b` is `Qwen/Qwen3-32B`."""
    drawn = RANDOM if name.startswith(RANDOM) else ""
    kept = "/".join(PurePath(part).name for part in name.removeprefix(RANDOM).split("+"))
    return drawn + re.sub(r"[^a-z0-9/]", "", kept.lower())


def _said(origin: Origin, *, with_print: bool) -> str:
    told = origin.fingerprint[:_SHOWN] if with_print else ""
    return f"{origin.name} ({told})" if told else origin.name


def _at_work(model: LoadedModel) -> Origin:
    module = model.held.backend.module
    try:
        fingerprint = model.fingerprint
    except ModelError:  # packed in a way that gives none
        fingerprint = ""
    return Origin(
        model.name,
        fingerprint,
        type(module).__name__,
        str(model.dtype).removeprefix("torch."),
        "+".join(active_adapters(module)) if has_adapters(module) else "",
    )


def _rounding_decides(model: LoadedModel) -> bool:
    """Whether weights that are rounded are those that would have been loaded in the lesser dtype."""
    module = model.held.backend.module
    mixed = any(
        getattr(module, name, None)
        for name in ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
    )
    return model.dtype == torch.float32 and not mixed and not model.held.wrapped_in_place
