"""Log-probabilities of given replies under given prompts, with shared prompts computed once.

Many replies are scored under few prompts (every role's reply to a question under the same default prompt), so each
distinct prompt of a batch runs once and its keys and values are handed to all of its replies. Only reply positions
are unembedded, a slice of them at a time: the logits of a whole batch would be its largest tensor by far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from persona_lens.model.pooling import Ids, left_padded, right_padded

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

UNEMBEDDED_AT_A_TIME = 512
"""Positions whose logits exist at the same time."""

_KEPT_PER_COMPUTED = 4

Row = tuple[int, ...]


class TokenLogProbs:
    """Logits processor that notes the log-probability of every sampled token and changes nothing.

    Must come before processors that warp the distribution. A step's token is known at the next step, so the last
    one is handed to `result`.
    """

    def __init__(self) -> None:
        self._scores: Float[Tensor, "batch vocab"] | None = None
        self._steps: list[Float[Tensor, " batch"]] = []

    def __call__(
        self, input_ids: Int[Tensor, "batch position"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Note the token sampled last, and keep the scores the next one is sampled from."""
        if self._scores is not None:
            self._note(input_ids[:, -1])
        self._scores = scores
        return scores

    def result(self, last: Int[Tensor, " batch"]) -> Float[np.ndarray, "batch token"]:
        """Log-probabilities of all sampled tokens, `last` being those of the last step."""
        self._note(last)
        return torch.stack(self._steps, dim=1).cpu().numpy()

    def _note(self, tokens: Int[Tensor, " batch"]) -> None:
        assert self._scores is not None
        scores = self._scores.float()
        chosen = scores.gather(1, tokens.to(scores.device)[:, None]).squeeze(1)
        self._steps.append(chosen - scores.logsumexp(dim=-1))


@torch.inference_mode()
def reply_log_probs(
    module: PreTrainedModel,
    prompts: Sequence[Ids],
    replies: Sequence[Ids],
    *,
    pad_id: int,
    device: torch.device,
    token_budget: int,
) -> list[Float[np.ndarray, " token"]]:
    """Natural log-probability of each token of `replies[i]` after `prompts[i]`; empty for an empty reply.

    Args:
        module: A causal language model of transformers.
        token_budget: Tokens computed in a batch.
    """
    pairs = [
        (tuple(map(int, prompt)), tuple(map(int, reply)))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    found: dict[tuple[Row, Row], Float[np.ndarray, " token"]] = {}
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[1]))
    for batch in _batches(distinct, token_budget):
        scores = _score_batch(module, batch, pad_id, device)
        found.update(zip(batch, scores, strict=True))
    empty = np.empty(0, dtype=np.float32)
    return [found.get(pair, empty) for pair in pairs]


def _batches(pairs: Sequence[tuple[Row, Row]], budget: int) -> Iterator[list[tuple[Row, Row]]]:
    """Batches with replies to the same prompt together, those with the longest prompts first.

    What is computed, each distinct prompt once and every reply, stays within `budget`, pads included; so does a
    quarter of what is kept, which has the prompt once for each reply.
    """
    batch: list[tuple[Row, Row]] = []
    prompts: set[Row] = set()
    width = length = 0
    for pair in sorted(pairs, key=lambda pair: (-len(pair[0]), pair[0], -len(pair[1]))):
        wider, longer = max(width, len(pair[0])), max(length, len(pair[1]))
        computed = len(prompts | {pair[0]}) * wider + (len(batch) + 1) * longer
        kept = (len(batch) + 1) * (wider + longer)
        if batch and (computed > budget or kept > _KEPT_PER_COMPUTED * budget):
            yield batch
            batch, prompts, wider, longer = [], set(), len(pair[0]), len(pair[1])
        batch.append(pair)
        prompts.add(pair[0])
        width, length = wider, longer
    if batch:
        yield batch


def _score_batch(
    module: PreTrainedModel, pairs: Sequence[tuple[Row, Row]], pad_id: int, device: torch.device
) -> list[Float[np.ndarray, " token"]]:
    decoder, unembed = module.get_decoder(), cast("nn.Module", module.get_output_embeddings())
    distinct = list(dict.fromkeys(prompt for prompt, _ in pairs))
    which = torch.tensor([distinct.index(prompt) for prompt, _ in pairs], device=device)
    ids, mask = left_padded(distinct, pad_id, device)
    first = decoder(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=_positions(mask),
        use_cache=True,
    )
    cache: Cache = first.past_key_values
    cache.reorder_cache(cast("torch.LongTensor", which))
    mask = mask[which]
    # The last prompt position predicts the first reply token; the last reply token predicts nothing we want.
    reply_ids, reply_mask = right_padded([reply for _, reply in pairs], pad_id, device)
    states = first.last_hidden_state[which, -1:]
    if reply_ids.shape[1] > 1:
        whole = torch.cat([mask, reply_mask[:, :-1]], dim=1)
        after = decoder(
            input_ids=reply_ids[:, :-1],
            attention_mask=whole.long(),
            position_ids=_positions(whole)[:, mask.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        )
        states = torch.cat([states, after.last_hidden_state], dim=1)
    values = _token_log_probs(module, unembed, states[reply_mask], reply_ids[reply_mask])
    lengths = reply_mask.sum(dim=1).tolist()
    return [part.numpy() for part in values.cpu().split(lengths)]


def _positions(mask: Bool[Tensor, "batch position"]) -> Int[Tensor, "batch position"]:
    return (mask.long().cumsum(-1) - 1).clamp(min=0)


def _token_log_probs(
    module: PreTrainedModel,
    unembed: nn.Module,
    states: Float[Tensor, "token d_model"],
    tokens: Int[Tensor, " token"],
) -> Float[Tensor, " token"]:
    softcap = getattr(module.config.get_text_config(), "final_logit_softcapping", None)
    parts = []
    for start in range(0, len(states), UNEMBEDDED_AT_A_TIME):
        stop = start + UNEMBEDDED_AT_A_TIME
        logits = unembed(states[start:stop]).float()
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        chosen = logits.gather(1, tokens[start:stop, None]).squeeze(1)
        parts.append(chosen - logits.logsumexp(dim=-1))
    return torch.cat(parts)
