"""Sampling settings as transformers takes them, a top-p filter that does not sort the vocabulary, and draws that
stay what they are when rows leave a batch.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import LogitsProcessor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


_CLOSE = 1e-5
"""Draws that are nearer to each other than this, relative to the first, are decided by the whole distribution."""

LIKELIEST: Mapping[str, Any] = {
    "do_sample": False,
    "temperature": None,
    "top_p": None,
    "top_k": None,
}
"""Options of transformers' `generate`: it takes the likeliest token, which `RowDraws` may have drawn."""


_NO_IDS = torch.empty(0, 0, dtype=torch.long)
"""The filter asks for ids as all processors do, and looks at none."""


class NucleusFilter(LogitsProcessor):
    """Temperature and top-p in one step, exact, at a fraction of the cost of a sort over the vocabulary.

    The nucleus (the smallest set of most likely tokens whose probability reaches `top_p`) nearly always lies
    within the few hundred most likely tokens, so those are tried first; only rows whose nucleus is larger are
    ranked in full. Sorting 49,152 logits a row takes 14 to 18 times as long (`benchmarks/README.md`).

    Args:
        temperature: Divides the logits; > 0.
        top_p: Probability mass to keep, in (0, 1].
        head: Number of most likely tokens tried first.
    """

    def __init__(self, temperature: float, top_p: float, head: int = 256) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.head = head

    def __call__(
        self, input_ids: Int[Tensor, "batch position"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Logits outside each row's nucleus become -inf."""
        scores = scores.float() / self.temperature
        if self.top_p >= 1:
            return scores
        normaliser = scores.logsumexp(dim=-1, keepdim=True)
        top, indices, wide = self._near(scores, normaliser)
        filtered = torch.full_like(scores, -torch.inf)
        filtered.scatter_(-1, indices, top)
        if bool(wide.any()):
            top, indices = scores[wide].sort(dim=-1, descending=True)
            kept = self._within(top, (top - normaliser[wide]).exp())
            filtered[wide] = torch.full_like(top, -torch.inf).scatter(-1, indices, kept)
        return filtered

    def near(
        self, scores: Float[Tensor, "batch vocab"]
    ) -> tuple[Float[Tensor, "batch head"], Int[Tensor, "batch head"], Bool[Tensor, " batch"]]:
        """Logits of the most likely tokens, -inf outside of the nucleus; which they are; whose nucleus is larger.

        Raises:
            RuntimeError: Logits that give no probabilities.
        """
        scores = scores.float() / self.temperature
        normaliser = scores.logsumexp(dim=-1, keepdim=True)
        if not bool(normaliser.isfinite().all()):
            raise RuntimeError("these logits give no probabilities")
        return self._near(scores, normaliser)

    def _near(
        self, scores: Float[Tensor, "batch vocab"], normaliser: Float[Tensor, "batch 1"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        top, indices = scores.topk(min(self.head, scores.shape[-1]), dim=-1)
        probabilities = (top - normaliser).exp()
        wide = probabilities.sum(dim=-1) < self.top_p
        return self._within(top, probabilities), indices, wide

    def _within(self, top: Tensor, probabilities: Tensor) -> Tensor:
        """Logits of the nucleus: those before which less than `top_p` has been collected."""
        before = probabilities.cumsum(dim=-1) - probabilities
        return torch.where(before < self.top_p, top, -torch.inf)


class RowDraws(LogitsProcessor):
    """Draws a token of each row, and leaves `generate` nothing to choose: all other logits become -inf.

    What a row draws is what `torch.multinomial` draws of the whole batch, also once other rows have left: random
    numbers go by, one for each row of the whole batch and token of the vocabulary. `multinomial` takes the token
    with the largest quotient of probability and waiting time, where waiting times are exponential. On a CPU these
    are the logarithms of uniform numbers, so that only those of the nucleus have to be made.

    Args:
        nucleus: Temperature and top-p.
        n_rows: Rows of the whole batch.
    """

    def __init__(self, nucleus: NucleusFilter, n_rows: int) -> None:
        self._nucleus = nucleus
        self._places = torch.arange(n_rows)
        self._n_rows = n_rows
        self._chances: Float[Tensor, "row vocab"] | None = None

    def keep(self, places: Int[Tensor, " kept"]) -> None:
        """Go on with some of the rows, in this order."""
        self._places = self._places[places.cpu()]

    def __call__(
        self, input_ids: Int[Tensor, "batch position"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Zero for the token that was drawn.

        Raises:
            RuntimeError: Logits that give no probabilities.
        """
        near = scores.device.type == "cpu" and self._nucleus.top_p < 1 and waits_are_logarithms()
        tokens = self._by_nucleus(scores) if near else self._by_all(scores)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens.unsqueeze(1), 0.0)

    def _by_all(self, scores: Float[Tensor, "batch vocab"]) -> Int[Tensor, " batch"]:
        probabilities = self._nucleus(_NO_IDS, scores).softmax(dim=-1)
        if len(probabilities) == self._n_rows:
            return torch.multinomial(probabilities, 1)[:, 0]
        whole = probabilities.new_zeros(self._n_rows, probabilities.shape[1])
        whole[:, 0] = 1.0  # of rows that have left
        places = self._places.to(whole.device)
        whole[places] = probabilities
        return torch.multinomial(whole, 1)[places, 0]

    def _by_nucleus(self, scores: Float[Tensor, "batch vocab"]) -> Int[Tensor, " batch"]:
        top, indices, unsure = self._nucleus.near(scores)
        if self._chances is None:
            self._chances = torch.empty(self._n_rows, scores.shape[1], dtype=torch.float64)
        chances = self._chances.uniform_()
        quotients = top.softmax(dim=-1) / _waits(chances[self._places.unsqueeze(1), indices])
        first, second = quotients.topk(2, dim=-1).values.unbind(dim=1)
        unsure = unsure | (
            second >= (1 - _CLOSE) * first
        )  # sums over more numbers are rounded otherwise
        tokens = indices.gather(1, quotients.argmax(dim=-1, keepdim=True))[:, 0]
        if bool(unsure.any()):
            probabilities = self._nucleus(_NO_IDS, scores[unsure]).softmax(dim=-1)
            waits = _waits(chances[self._places[unsure]])
            tokens[unsure] = (probabilities / waits).argmax(dim=-1)
        return tokens


def _waits(chances: Float[Tensor, "row token"]) -> Float[Tensor, "row token"]:
    return (-torch.log1p(-chances)).float()


@cache
def waits_are_logarithms() -> bool:
    """Whether `torch.multinomial` draws what `RowDraws` makes of uniform numbers, and as many of these.

    That is how torch is written for CPUs in general; where it has another generator at hand it is not.
    """
    one, two = (torch.Generator().manual_seed(0) for _ in range(2))
    probabilities = torch.linspace(0, 8, 4096).softmax(dim=0).expand(16, -1)
    drawn = torch.multinomial(probabilities, 1, generator=one)[:, 0]
    chances = torch.rand(probabilities.shape, dtype=torch.float64, generator=two)
    same = torch.equal(drawn, (probabilities / _waits(chances)).argmax(dim=-1))
    return same and torch.equal(one.get_state(), two.get_state())
