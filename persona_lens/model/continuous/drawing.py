"""The next token of every row of a batch, each by its own settings and its own seed, for one look at the device.

    draws = Draws(settings, device)      # one of each row
    picked = draws(logits, chances)      # chances: a number in [0, 1) of each row, from its own generator

A draw is where a row's chance falls among the tokens of its nucleus, the likeliest first. So it depends on nothing
but the row's logits and the chance. The nucleus nearly always lies within the few hundred likeliest tokens, which
are tried first (as in `model.sampling`); rows whose nucleus is larger are ranked in full, and those that keep all
tokens are not ranked at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_HEAD = 256


@dataclass(frozen=True)
class Setting:
    """How the tokens of a row are drawn; 0 for the temperature takes the likeliest.

    Attributes:
        temperature: As in `Sampling`.
        top_p: As in `Sampling`.
        top_log_probs: As in `Request`.
    """

    temperature: float
    top_p: float = 1.0
    top_log_probs: int | None = None


@dataclass(frozen=True)
class Picked:
    """What was drawn for a row.

    Attributes:
        id: The token.
        sound: Whether there was something to draw from: logits that are numbers.
        log_prob: As in `Token`.
        top: As in `Token`.
    """

    id: int
    sound: bool
    log_prob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Draws:
    """Draws for the same rows, step by step.

    Args:
        settings: Of each row.
        device: Where logits are.
    """

    def __init__(self, settings: Sequence[Setting], device: torch.device) -> None:
        def places(chosen: Sequence[bool]) -> Int[Tensor, " chosen"]:
            return torch.tensor([i for i, one in enumerate(chosen) if one], device=device).long()

        self._settings = tuple(settings)
        drawn = [one.temperature > 0 for one in settings]
        narrow = [one.top_p < 1 for one in settings]
        self._narrow = places([a and b for a, b in zip(drawn, narrow, strict=True)])
        self._open = places([a and not b for a, b in zip(drawn, narrow, strict=True)])
        told = [one.top_log_probs is not None for one in settings]
        self._told = places(told)
        self._told_rows = [row for row, wanted in enumerate(told) if wanted]
        self._most = max((one.top_log_probs or 0 for one in settings), default=0)
        self._temperature = torch.tensor(
            [one.temperature or 1.0 for one in settings], device=device
        ).unsqueeze(1)
        self._top_p = torch.tensor([one.top_p for one in settings], device=device).unsqueeze(1)

    def __call__(
        self,
        logits: Float[Tensor, "row vocab"],
        chances: Sequence[float],
        penalties: Mapping[int, tuple[Sequence[int], Sequence[float]]] | None = None,
    ) -> list[Picked]:
        """A token of each row.

        Args:
            logits: In float32.
            chances: Of each row, a number in [0, 1); greedy rows do not look at it.
            penalties: By row, tokens and what is taken off their logits.
        """
        scores = _penalised(logits, penalties or {})
        likeliest = scores.max(dim=1)
        ids, sound = likeliest.indices, likeliest.values.isfinite()
        chance = torch.tensor(chances, dtype=torch.float64).to(logits.device).unsqueeze(1)
        wide = torch.zeros_like(sound)
        if len(self._open):
            rows = self._open
            ids = ids.index_copy(0, rows, _anywhere(self._scaled(scores, rows), chance[rows]))
        if len(self._narrow):
            rows = self._narrow
            drawn, beyond = _in_head(
                self._scaled(scores, rows), chance[rows], self._top_p[rows], _HEAD
            )
            ids, wide = ids.index_copy(0, rows, drawn), wide.index_copy(0, rows, beyond)
        seen = torch.stack([ids, sound.long(), wide.long()]).cpu()
        if bool(seen[2].any()):
            rows = seen[2].nonzero()[:, 0].to(logits.device)
            scaled = self._scaled(scores, rows)
            drawn, _ = _in_head(scaled, chance[rows], self._top_p[rows], scaled.shape[1])
            ids = ids.index_copy(0, rows, drawn)
            seen[0] = ids.cpu()
        told = self._tell(logits, ids)
        return [
            Picked(int(token), bool(whole), *told.get(row, (None, ())))
            for row, (token, whole) in enumerate(zip(seen[0], seen[1], strict=True))
        ]

    def _scaled(self, scores: Tensor, rows: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
        if len(rows) == len(scores):  # all of them, in order: nothing to pick out
            return scores / self._temperature
        return scores[rows] / self._temperature[rows]

    def _tell(
        self, logits: Float[Tensor, "row vocab"], ids: Int[Tensor, " row"]
    ) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
        """Log-probabilities of the rows that ask for them: of the token, and of the likeliest."""
        if not self._told_rows:
            return {}
        wanted = logits[self._told].log_softmax(dim=1)
        own = wanted.gather(1, ids[self._told].unsqueeze(1))[:, 0].tolist()
        values, tokens = (part.tolist() for part in wanted.topk(self._most, dim=1))
        told = {}
        for place, row in enumerate(self._told_rows):
            count = self._settings[row].top_log_probs or 0
            pairs = zip(tokens[place][:count], values[place][:count], strict=True)
            told[row] = own[place], tuple(pairs)
        return told


def _penalised(
    logits: Float[Tensor, "row vocab"],
    penalties: Mapping[int, tuple[Sequence[int], Sequence[float]]],
) -> Float[Tensor, "row vocab"]:
    if not penalties:
        return logits
    scores = logits.clone()
    for row, (tokens, less) in penalties.items():
        scores[row, torch.tensor(tokens, device=logits.device)] -= torch.tensor(
            less, device=logits.device
        )
    return scores


def _anywhere(
    scores: Float[Tensor, "row vocab"], chance: Float[Tensor, "row 1"]
) -> Int[Tensor, " row"]:
    """Where a chance falls among all tokens, in the order of the vocabulary."""
    cumulated = scores.softmax(dim=1).double().cumsum(dim=1)
    place = torch.searchsorted(cumulated, chance * cumulated[:, -1:], right=True)[:, 0]
    return place.clamp(max=scores.shape[1] - 1)


def _in_head(
    scores: Float[Tensor, "row vocab"],
    chance: Float[Tensor, "row 1"],
    top_p: Float[Tensor, "row 1"],
    head: int,
) -> tuple[Int[Tensor, " row"], Bool[Tensor, " row"]]:
    """Where a chance falls in the nucleus, and of which rows the nucleus is larger than the `head` likeliest."""
    normaliser = scores.logsumexp(dim=1, keepdim=True)
    top, tokens = scores.topk(min(head, scores.shape[1]), dim=1)
    probabilities = (top - normaliser).exp().double()
    cumulated = probabilities.cumsum(dim=1)
    kept = cumulated - probabilities < top_p
    mass = (probabilities * kept).sum(dim=1, keepdim=True)
    place = (cumulated <= chance * mass).sum(dim=1, keepdim=True)
    place = place.minimum(kept.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    return tokens.gather(1, place)[:, 0], cumulated[:, -1] < top_p[:, 0]
