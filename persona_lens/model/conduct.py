"""How a model takes our batches, measured on it: which shortcuts give what one plain forward pass a text gives.

Architectures differ in what they keep of a prompt (keys and values, recurrent states), in whether they honour a
mask, and in what they make of their states. No list of names knows the next of them, so each shortcut is tried on
two short texts when it is first wanted, once:

    conduct = Conduct(backend, texts, pad_id=0, device=device)
    conduct.check_logits()  # raises where `unembed` is not what the model does
    conduct.shares_prompts, conduct.pads_in_front

Where one does not hold, the work is done without it: one whole pass a text, or texts of one length at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend
from persona_lens.model.pooling import Ids, left_padded, right_padded
from persona_lens.model.scoring import TokenLogProbs, reply_log_probs

_NEW_TOKENS = 3


def rounding(dtype: torch.dtype) -> float:
    """Largest root mean square difference that two ways of computing the same numbers may have, of their spread.

    Examples:
        >>> rounding(torch.float32) < rounding(torch.bfloat16)
        True
    """
    return 1e-3 if dtype in (torch.float32, torch.float64) else 0.1


@dataclass(frozen=True, eq=False)
class Conduct:
    """Measurements on one model; each is made when it is first asked for, and kept.

    Attributes:
        backend: Runs the model.
        texts: Ids of two texts, the longer one first.
        pad_id: What pads are filled with.
        device: Where inputs go.
    """

    backend: Backend
    texts: tuple[Ids, Ids]
    pad_id: int
    device: torch.device

    def check_logits(self) -> None:
        """Refuse a model whose logits cannot be made from its states.

        Raises:
            ModelError: `unembed` gives other logits than a plain forward pass.
        """
        if self._logits_fault is not None:
            raise self._logits_fault

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether a prompt can run once and what the model kept of it be handed to several replies."""
        long, short = self.texts
        pairs = [(long, short), (short, long), (long, long), (short, short)]

        def scores() -> list[np.ndarray]:
            return reply_log_probs(
                self.backend,
                [prompt for prompt, _ in pairs],
                [reply for _, reply in pairs],
                pad_id=self.pad_id,
                device=self.device,
                token_budget=4 * sum(map(len, self.texts)),
            )

        return self._holds(scores, pairs)

    @cached_property
    def pads_in_front(self) -> bool:
        """Whether replies to prompts of several lengths can be sampled together."""
        replies: list[Ids] = [(), ()]

        def scores() -> list[np.ndarray]:
            ids, mask = left_padded(self.texts, self.pad_id, self.device)
            noted = TokenLogProbs()
            output = self.backend.generate(
                ids,
                mask,
                max_new_tokens=_NEW_TOKENS,
                eos_token_id=[],
                pad_token_id=self.pad_id,
                do_sample=False,
                logits_processor=[noted],
            )
            replies[:] = output[:, ids.shape[1] :].tolist()
            return list(noted.result(output[:, -1]))

        got = self._tried(scores)
        return got is not None and self._equal(got, list(zip(self.texts, replies, strict=True)))

    @cached_property
    def pads_behind(self) -> bool:
        """Whether texts of several lengths can be read together."""

        def scores() -> list[np.ndarray]:
            ids, mask = right_padded(self.texts, self.pad_id, self.device)
            states, _ = self.backend.advance(ids, mask)
            logits = self.backend.unembed(states[1, : len(self.texts[1]) - 1])
            return [_chosen(logits, self.texts[1][1:])]

        return self._holds(scores, [(self.texts[1][:1], self.texts[1][1:])])

    def _holds(
        self, scores: Callable[[], list[np.ndarray]], pairs: Sequence[tuple[Ids, Ids]]
    ) -> bool:
        got = self._tried(scores)
        return got is not None and self._equal(got, pairs)

    def _tried(self, scores: Callable[[], list[np.ndarray]]) -> list[np.ndarray] | None:
        try:
            with torch.no_grad():
                return scores()
        except Exception:  # noqa: BLE001 - what a model keeps of a text can lack anything a shortcut needs
            return None

    def _equal(self, got: list[np.ndarray], pairs: Sequence[tuple[Ids, Ids]]) -> bool:
        """Whether log-probabilities of replies are those of plain forward passes, but for rounding."""
        gaps, spreads = [], []
        for found, (prompt, reply) in zip(got, pairs, strict=True):
            logits = self._plain((*prompt, *reply))[len(prompt) - 1 : -1]
            if not logits.isfinite().all():
                return True  # nothing can be told from it; overflow is told where it is met
            gaps.append(found - _chosen(logits, reply))
            spreads.append(float(logits.std()))
        gap = float(np.sqrt(np.square(np.concatenate(gaps)).mean()))
        return gap <= self._rounding * max(spreads)

    @cached_property
    def _logits_fault(self) -> ModelError | None:
        long = self.texts[0]
        own = self._plain(long)
        try:
            ids, mask = right_padded([long], self.pad_id, self.device)
            made = self.backend.unembed(self.backend.advance(ids, mask)[0])[0].to(own.device)
        except Exception as error:  # noqa: BLE001 - the reason is handed on
            fault = _other_logits(f"{type(error).__name__}: {error}".splitlines()[0])
            fault.__cause__ = error
            return fault
        gap = float(_centred(made - own).norm() / _centred(own).norm())
        if gap > self._rounding:
            return _other_logits(f"logits that differ by {gap:.2g} of their spread")
        return None

    @torch.no_grad()
    def _plain(self, ids: Ids) -> Float[Tensor, "token vocab"]:
        return self.backend.logits(torch.tensor([list(map(int, ids))], device=self.device))[0]

    @property
    def _rounding(self) -> float:
        return rounding(self.backend.embedding.dtype)


def _chosen(logits: Float[Tensor, "token vocab"], tokens: Ids) -> Float[np.ndarray, " token"]:
    columns = torch.tensor(list(map(int, tokens)), device=logits.device)
    return logits.log_softmax(dim=-1).gather(1, columns[:, None])[:, 0].cpu().numpy()


def _centred(logits: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
    return logits - logits.mean(dim=-1, keepdim=True)


def _other_logits(given: str) -> ModelError:
    return ModelError(
        "log-probabilities would not be the model's own",
        expected="the logits of the model's own forward pass, made again from its last states",
        given=given,
        remedy="read and steer this model, but take log-probabilities from its own forward pass",
    )
