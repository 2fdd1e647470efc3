"""How a model takes our batches, measured on it: which shortcuts give what one plain forward pass a text gives.

Architectures differ in what they keep of a prompt (keys and values, recurrent states), in whether they honour a
mask, and in what they make of their states. No list of names knows the next of them, so each shortcut is tried on
two short texts when it is first wanted, once:

    conduct = Conduct(backend, texts, pad_id=0, device=device)
    conduct.check_logits()  # raises where `unembed` is not what the model does
    conduct.shares_prompts, conduct.pads_in_front

Where one does not hold, the work is done without it: one whole pass a text, or one prompt at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from persona_lens.errors import ModelError
from persona_lens.model.backends import Backend
from persona_lens.model.batching import Batches, Ids, left_padded, right_padded
from persona_lens.model.memory import (
    Marks,
    Memory,
    attends_to_all,
    is_stretched_later,
    keeps_all,
)
from persona_lens.model.scoring import TokenLogProbs, reply_log_probs
from persona_lens.model.sinks import PROBES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Result = TypeVar("Result")

_NEW_TOKENS = 3


def rounding(dtype: torch.dtype) -> float:
    """Largest root mean square difference that two ways of computing the same numbers may have, of their spread.

    Examples:
        >>> rounding(torch.float32) < rounding(torch.bfloat16)
        True
    """
    return 1e-3 if dtype in (torch.float32, torch.float64) else 0.1


def causal_tolerance(module: nn.Module, dtype: torch.dtype) -> float:
    """How far a token's residual may seem to depend on later tokens, as a fraction of the residual.

    Activations that are quantised for a whole text at a time depend a little on all of it.
    """
    parts = module.modules()
    quantised = any(type(part).__module__.startswith("torch.ao.") for part in parts)
    return 0.3 if quantised else 10 * rounding(dtype)


def probe_texts(
    tokenizer: PreTrainedTokenizerBase, context: int | None
) -> tuple[list[int], list[int]]:
    """Ids of two short texts, the longer one first; ordinary text, since special tokens can ask for images."""
    long, short, _ = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in PROBES)
    room = context or 64
    return list(long)[: min(24, room // 2)], list(short)[: min(9, room // 4)]


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
        if not self.logits_are_own:
            raise ModelError(
                "log-probabilities and KL would not be the model's own",
                expected="the logits of its own forward pass, made again from its last states",
                given=f"logits that differ by {self.logits_gap:.2g} of their spread",
                remedy="read and steer this model, but take log-probabilities from its own forward pass",
            )

    @property
    def logits_are_own(self) -> bool:
        """Whether `unembed` gives the logits of a plain forward pass; also where those are not finite."""
        return not self.logits_gap > self._rounding

    @cached_property
    def logits_gap(self) -> float:
        """Root mean square difference of the logits we make and the model's own, of their spread.

        Infinite where none can be made.
        """
        own = self._plain(self.texts[0])
        made = self._tried(self._logits)
        if made is None or made.shape != own.shape:
            return float("inf")
        return float(_centred(made.to(own.device) - own).norm() / _centred(own).norm())

    def _logits(self) -> Float[Tensor, "token vocab"]:
        ids, mask = right_padded(self.texts[:1], self.pad_id, self.device)
        return self.backend.unembed(self.backend.advance(ids, mask)[0])[0]

    def check_steps(self) -> None:
        """Refuse to steer replies of a model that is fed the whole text at every step.

        Raises:
            ModelError: It keeps nothing of what it has read.
        """
        if not self.feeds_once:
            raise ModelError(
                "plans do not act on the replies of this model",
                expected="a model that keeps what it has read, and is fed each token once",
                given="one that is fed the whole text for every token",
                remedy="act on finished texts: pooled, projections, log_probs and kl",
            )

    @cached_property
    def feeds_once(self) -> bool:
        """Whether generation feeds each token once, as with a KV cache."""
        fed: list[int] = []
        with self.backend.before_forward(lambda ids: fed.append(ids.shape[1])):
            self._greedy([self.texts[1]])
        return fed[1:] == [1] * len(fed[1:])

    def _greedy(self, prompts: Sequence[Ids]) -> tuple[list[Ids], list[np.ndarray]]:
        """A few tokens after each prompt, and their log-probabilities as they were sampled."""
        ids, mask = left_padded(prompts, self.pad_id, self.device)
        noted, options = self._noted()
        output = self.backend.generate(ids, mask, **options)
        return output[:, ids.shape[1] :].tolist(), list(noted.result(output[:, -1]))

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether a prompt can run once and what the model kept of it be handed to several replies."""
        long, short = self.texts
        pairs = [(long, short), (short, long), (long, long), (short, short)]

        def scores() -> list[np.ndarray]:
            budget = 4 * sum(map(len, self.texts))
            batches = Batches(self.backend, self.pad_id, self.device, budget)
            prompts, replies = zip(*pairs, strict=True)
            return reply_log_probs(batches, prompts, replies)

        return self._holds(scores, pairs)

    @cached_property
    def pads_in_front(self) -> bool:
        """Whether replies to several prompts can be sampled together."""
        got = self._tried(lambda: self._greedy(self.texts))
        if got is None:
            return False
        replies, scores = got
        return self._equal(scores, list(zip(self.texts, replies, strict=True)))

    @cached_property
    def keeps_conversations(self) -> bool:
        """Whether what is kept of a conversation serves its next turn, in a batch whose rows have holes."""
        config = getattr(self.backend.module, "config", None)
        if config is None or not attends_to_all(config.get_text_config()):
            return False
        got = self._tried(self._next_turns)
        return got is not None and self._equal(*got)

    @cached_property
    def lets_rows_leave(self) -> bool:
        """Whether a row goes on as it would once those it ran with have left the batch.

        Not where generation runs a step before it is known to be needed, and not where positions depend on the
        longest row.
        """
        config = getattr(self.backend.module, "config", None)
        if config is None or is_stretched_later(config.get_text_config()):
            return False
        if self.device.type == "mps":
            return False
        got = self._tried(self._left_alone)
        return got is not None and self._equal(*got)

    def _left_alone(self) -> tuple[list[np.ndarray], list[tuple[Ids, Ids]]]:
        """Log-probabilities of a reply to the shorter text, while the longer one leaves.

        Raises:
            ValueError: The model was fed more than what is new.
        """
        ids, mask = left_padded(self.texts, self.pad_id, self.device)
        noted, options = self._noted()
        both, past = self.backend.generate_on(ids, mask, **options)
        beside = noted.result(both[:, -1])[1]
        new = torch.ones_like(both[1:, ids.shape[1] :], dtype=torch.bool)
        past = self.backend.select_rows(past, torch.tensor([1], device=self.device))
        fed: list[int] = []
        with self.backend.before_forward(lambda ids: fed.append(ids.shape[1])):
            noted, options = self._noted()
            whole = torch.cat([mask[1:], new], dim=1)
            row, _ = self.backend.generate_on(both[1:], whole, past, **options)
        if set(fed) != {1}:
            raise ValueError("what was kept of the row was not used")
        alone = noted.result(row[:, -1])[0]
        reply = row[0, ids.shape[1] :].tolist()
        return [np.concatenate([beside, alone])], [(self.texts[1], reply)]

    def _next_turns(self) -> tuple[list[np.ndarray], list[tuple[Ids, Ids]]]:
        """Log-probabilities of the second turn of two conversations, and what they are of.

        Raises:
            ValueError: The model was fed more than what is new, or has kept something else than keys and values.
        """
        long, short = self.texts
        memory, texts = Memory(), [list(long), list(short)]
        scores: list[np.ndarray] = []
        replies: list[list[int]] = [[], []]
        for parts in ((short[:3], long[:7]), ((), ())):
            laid = memory.lay_out(
                texts,
                _unmarked(texts),
                self.backend,
                (),
                pad_id=self.pad_id,
                device=self.device,
            )
            fed: list[int] = []
            with self.backend.before_forward(lambda ids, fed=fed: fed.append(ids.shape[1])):
                noted, options = self._noted()
                output, past = self.backend.generate_on(
                    laid.ids, laid.mask, memory.take(), **options
                )
            if fed[0] != laid.width - laid.start or not keeps_all(past):
                raise ValueError("nothing of the first turn was used")
            replies = output[:, laid.width :].tolist()
            scores = list(noted.result(output[:, -1]))
            if not parts[0]:
                break
            said = [
                [*text, *reply[:n]] for text, reply, n in zip(texts, replies, (1, 2), strict=True)
            ]
            memory.hold(past, laid, self.backend, said, _unmarked(said))
            texts = [[*text, *part] for text, part in zip(said, parts, strict=True)]
        return scores, list(zip(texts, replies, strict=True))

    def _noted(self) -> tuple[TokenLogProbs, dict[str, Any]]:
        """Options of a greedy generation of a few tokens, and what notes their log-probabilities."""
        noted = TokenLogProbs()
        return noted, {
            "max_new_tokens": _NEW_TOKENS,
            "eos_token_id": [],
            "pad_token_id": self.pad_id,
            "do_sample": False,
            "logits_processor": [noted],
        }

    def _holds(
        self, scores: Callable[[], list[np.ndarray]], pairs: Sequence[tuple[Ids, Ids]]
    ) -> bool:
        got = self._tried(scores)
        return got is not None and self._equal(got, pairs)

    def _tried(self, work: Callable[[], Result]) -> Result | None:
        try:
            with torch.no_grad():
                return work()
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

    @torch.no_grad()
    def _plain(self, ids: Ids) -> Float[Tensor, "token vocab"]:
        return self.backend.logits(torch.tensor([list(map(int, ids))], device=self.device))[0]

    @property
    def _rounding(self) -> float:
        return rounding(self.backend.embedding.dtype)


def _unmarked(texts: Sequence[Ids]) -> list[Marks]:
    """No plan does anything to them."""
    return [np.zeros((len(text), 0), dtype=bool) for text in texts]


def _chosen(logits: Float[Tensor, "token vocab"], tokens: Ids) -> Float[np.ndarray, " token"]:
    columns = torch.tensor(list(map(int, tokens)), device=logits.device)
    return logits.log_softmax(dim=-1).gather(1, columns[:, None])[:, 0].cpu().numpy()


def _centred(logits: Float[Tensor, "token vocab"]) -> Float[Tensor, "token vocab"]:
    return logits - logits.mean(dim=-1, keepdim=True)
