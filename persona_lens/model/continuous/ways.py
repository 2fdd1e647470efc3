"""How a model lets rows run together, measured on it: nothing of what follows is taken for granted.

Rows can go under others where a model keeps keys and values of every token, or of a sliding window, and where a
row with pads in front says what it says alone. Where it does not, cohorts run beside each other; and where the
passes of `Backend.advance` are not those of the model, whole replies are written by `Backend.generate`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.model.batching import left_padded
from persona_lens.model.conduct import Conduct, rounding
from persona_lens.model.continuous.keys import can_join, keep_rows, put_under
from persona_lens.model.memory import attends_to_all, is_stretched_later

if TYPE_CHECKING:
    from persona_lens.model.loaded import LoadedModel

_FED = 3
"""Tokens of each text that are run one by one."""


@dataclass(frozen=True)
class Way:
    """What a model allows.

    Attributes:
        joins: Rows may go under others, and leave.
        steps: Replies can be written pass by pass.
        pads: Rows of different lengths may run together.
        why: What is in the way of the first two; empty if nothing is.
    """

    joins: bool
    steps: bool
    pads: bool
    why: str = ""


def way_of(model: LoadedModel) -> Way:
    """Measure a model; takes a few passes over short texts."""
    conduct = model.conduct
    if model.has_hooks:
        why = "hooks of yours act on the model"
        return Way(joins=False, steps=False, pads=conduct.pads_in_front, why=why)
    config = getattr(conduct.backend.module, "config", None)
    text = None if config is None else config.get_text_config()
    pads = conduct.pads_in_front and text is not None and _counts_from_the_end(text)
    if not _holds(conduct, lambda: _alone(conduct)):
        why = "what this model keeps of a text cannot be gone on with token by token from outside"
        return Way(joins=False, steps=False, pads=pads, why=why)
    if not pads or not _holds(conduct, lambda: _padded(conduct)):
        why = "a row of this model depends on those it runs with"
        return Way(joins=False, steps=True, pads=False, why=why)
    if not _sees_what_it_keeps(text, conduct) or not _holds(conduct, lambda: _joined(conduct)):
        why = "what this model keeps of a row cannot be put beside what it keeps of another"
        return Way(joins=False, steps=True, pads=True, why=why)
    return Way(joins=True, steps=True, pads=True)


def _counts_from_the_end(config: Any) -> bool:
    """Whether nothing depends on how many pads are in front, or on the longest row; short texts do not show it."""
    chunked = "chunked_attention" in (getattr(config, "layer_types", None) or ())
    return not (
        chunked or getattr(config, "attention_chunk_size", None) or is_stretched_later(config)
    )


def _sees_what_it_keeps(config: Any, conduct: Conduct) -> bool:
    """Whether a token attends to all before it, or to a window that is kept as such."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if attends_to_all(config):
        return True
    ids, mask = left_padded([conduct.texts[1]], conduct.pad_id, conduct.device)
    past = conduct.backend.advance(ids, mask)[1]
    slides = can_join(past) and any(layer.is_sliding for layer in past.layers)
    return slides and kinds <= {"full_attention", "sliding_attention"}


Logits = Float[Tensor, "token vocab"]


def _holds(conduct: Conduct, work: Callable[[], list[tuple[Logits, Logits]]]) -> bool:
    """Whether logits are those of plain passes over the whole texts, but for rounding."""
    try:
        with torch.no_grad():
            pairs = work()
    except Exception:  # noqa: BLE001 - what a model keeps of a text can lack anything this needs
        return False
    allowed = rounding(conduct.backend.embedding.dtype)
    for got, own in pairs:
        if got.shape != own.shape:
            return False
        gap, spread = (_centred(part).norm() for part in (got - own, own))
        if not own.isfinite().all():
            return True  # nothing can be told from it; overflow is told where it is met
        if not gap <= allowed * spread:
            return False
    return True


def _centred(logits: Logits) -> Logits:
    return logits - logits.mean(dim=-1, keepdim=True)


def _own(conduct: Conduct, which: int, first: int, count: int) -> Logits:
    """Logits after some tokens of a text, by one plain pass."""
    ids = torch.tensor([list(map(int, conduct.texts[which]))], device=conduct.device)
    return conduct.backend.logits(ids)[0, first : first + count].cpu()


def _step(conduct: Conduct, fed: list[int], mask: Tensor, past: Any) -> tuple[Tensor, Tensor, Any]:
    ids = torch.tensor(fed, device=conduct.device).unsqueeze(1)
    mask = torch.cat([mask, torch.ones_like(ids, dtype=torch.bool)], dim=1)
    states, past = conduct.backend.advance(ids, mask, past)
    return conduct.backend.unembed(states)[:, -1].cpu(), mask, past


def _run(
    conduct: Conduct, which: list[int], *, pieces: bool = False
) -> tuple[list[list[Tensor]], Tensor, Any, list[list[int]]]:
    """Texts run together up to their last tokens, maybe in two pieces: the logits, and what is needed to go on."""
    texts = [list(map(int, conduct.texts[each])) for each in which]
    ids, mask = left_padded([text[:-_FED] for text in texts], conduct.pad_id, conduct.device)
    cut = ids.shape[1] // 2 if pieces else 0
    past = conduct.backend.advance(ids[:, :cut], mask[:, :cut])[1] if pieces else None
    states, past = conduct.backend.advance(ids[:, cut:], mask, past)
    if past is None:
        raise ValueError("nothing is kept of a text")
    logits = conduct.backend.unembed(states[:, -1:])[:, 0].cpu()
    return [[row] for row in logits], mask, past, [text[-_FED:] for text in texts]


def _pairs(
    conduct: Conduct, which: list[int], found: list[list[Tensor]]
) -> list[tuple[Logits, Logits]]:
    return [
        (
            torch.stack(rows),
            _own(conduct, each, len(conduct.texts[each]) - _FED - 1, len(rows)),
        )
        for each, rows in zip(which, found, strict=True)
    ]


def _together(conduct: Conduct, which: list[int]) -> list[tuple[Logits, Logits]]:
    found, mask, past, rest = _run(conduct, which)
    for step in range(_FED):
        logits, mask, past = _step(conduct, [tokens[step] for tokens in rest], mask, past)
        for rows, row in zip(found, logits, strict=True):
            rows.append(row)
    return _pairs(conduct, which, found)


def _alone(conduct: Conduct) -> list[tuple[Logits, Logits]]:
    return _together(conduct, [0])


def _padded(conduct: Conduct) -> list[tuple[Logits, Logits]]:
    return _together(conduct, [0, 1])


def _joined(conduct: Conduct) -> list[tuple[Logits, Logits]]:
    """The long text is read in pieces and runs, the short one goes under it, and the long one leaves."""
    found, mask, past, rest = _run(conduct, [0], pieces=True)
    logits, mask, past = _step(conduct, [rest[0][0]], mask, past)
    found[0].append(logits[0])
    theirs, their_mask, other, their_rest = _run(conduct, [1])
    if not (can_join(past) and can_join(other)):
        raise ValueError("something else than keys and values is kept")
    put_under(past, other, mask.shape[1])
    wide = torch.zeros_like(mask)
    wide[:, mask.shape[1] - their_mask.shape[1] :] = their_mask
    both = torch.cat([mask, wide])
    logits, both, past = _step(conduct, [rest[0][1], their_rest[0][0]], both, past)
    found[0].append(logits[0])
    theirs[0].append(logits[1])
    width = their_mask.shape[1] + 1
    keep_rows(past, [1], width)
    alone = both[1:, -width:]
    for token in their_rest[0][1:]:
        logits, alone, past = _step(conduct, [token], alone, past)
        theirs[0].append(logits[0])
    return _pairs(conduct, [0, 1], [found[0], theirs[0]])
