"""Log-probabilities of given replies under given prompts, with shared prompts computed once.

Many replies are scored under few prompts (every role's reply to a question under the same default prompt), so each
distinct prompt of a batch runs once and its keys and values are handed to all of its replies. Only reply positions
are unembedded, a slice of them at a time: the logits of a whole batch would be its largest tensor by far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from persona_lens.model.backends import Backend
from persona_lens.model.batching import Batches, Ids, left_padded, right_padded
from persona_lens.model.intervening import Around

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
        self._places: Int[Tensor, " kept"] | None = None
        self._n_rows = 0

    def __call__(
        self, input_ids: Int[Tensor, "batch position"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Note the token sampled last, and keep the scores the next one is sampled from."""
        if self._scores is not None:
            self._note(input_ids[:, -1])
        self._n_rows = self._n_rows or len(scores)
        self._scores = scores
        return scores

    def keep(self, places: Int[Tensor, " kept"]) -> None:
        """Go on with some of the rows; the last token of the others is not noted."""
        if self._scores is not None:
            self._scores = self._scores[places.to(self._scores.device)]
        self._places = places if self._places is None else self._places[places]

    def result(self, last: Int[Tensor, " batch"]) -> Float[np.ndarray, "batch token"]:
        """Log-probabilities of all sampled tokens, `last` those of the last step; NaN where a row had left."""
        self._note(last)
        return torch.stack(self._steps, dim=1).cpu().numpy()

    def _note(self, tokens: Int[Tensor, " batch"]) -> None:
        assert self._scores is not None
        scores = self._scores.float()
        chosen = scores.gather(1, tokens.to(scores.device)[:, None]).squeeze(1)
        noted = chosen - scores.logsumexp(dim=-1)
        if self._places is not None:
            whole = noted.new_full((self._n_rows,), torch.nan)
            noted = whole.index_copy(0, self._places.to(noted.device), noted)
        self._steps.append(noted)


@torch.no_grad()
def reply_log_probs(
    batches: Batches, prompts: Sequence[Ids], replies: Sequence[Ids]
) -> list[Float[np.ndarray, " token"]]:
    """Natural log-probability of each token of `replies[i]` after `prompts[i]`; empty for an empty reply.

    Args:
        batches: Say what runs them, and how many tokens are computed in a batch; hooks and taps on the model act
            here as they do on replies.
        prompts, replies: Token ids.
    """
    pairs = [
        (tuple(map(int, prompt)), tuple(map(int, reply)))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    found: dict[tuple[Row, Row], Float[np.ndarray, " token"]] = {}
    distinct = list(dict.fromkeys(pair for pair in pairs if pair[1]))
    for batch in _sharing_prompts(distinct, batches.token_budget):
        found.update(zip(batch, _score_batch(batches, batch), strict=True))
    empty = np.empty(0, dtype=np.float32)
    return [found.get(pair, empty) for pair in pairs]


def _sharing_prompts(
    pairs: Sequence[tuple[Row, Row]], budget: int
) -> Iterator[list[tuple[Row, Row]]]:
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


@torch.no_grad()
def transcript_log_probs(
    batches: Batches, rows: Sequence[Ids], starts: Sequence[int], around: Around
) -> list[Float[np.ndarray, " token"]]:
    """Natural log-probability of the tokens of each row from its start on; nothing is shared between rows.

    For interventions, which may treat the same prompt differently in every row.

    Args:
        batches: Run the rows.
        rows: Prompt and reply.
        starts: Where the reply begins.
        around: What to run each batch in.
    """
    found: dict[int, Float[np.ndarray, " token"]] = {}
    for batch in batches.of(rows):
        with around(batch.rows, batch.ids):
            states, _ = batches.backend.advance(batch.ids, batch.mask)
        first = torch.tensor([starts[row] for row in batch.rows], device=batches.device)
        columns = torch.arange(batch.ids.shape[1] - 1, device=batches.device)
        wanted = batch.mask[:, 1:] & (columns >= first[:, None] - 1)
        tokens = batch.ids[:, 1:][wanted]
        values = _token_log_probs(batches.backend, states[:, :-1][wanted], tokens)
        parts = values.cpu().split(wanted.sum(dim=1).tolist())
        found.update(zip(batch.rows, (part.numpy() for part in parts), strict=True))
    return [found[row] for row in range(len(rows))]


def _score_batch(
    batches: Batches, pairs: Sequence[tuple[Row, Row]]
) -> list[Float[np.ndarray, " token"]]:
    backend, pad_id, device = batches.backend, batches.pad_id, batches.device
    distinct = list(dict.fromkeys(prompt for prompt, _ in pairs))
    which = torch.tensor([distinct.index(prompt) for prompt, _ in pairs], device=device)
    ids, mask = left_padded(distinct, pad_id, device)
    states, past = backend.advance(ids, mask)
    past = backend.select_rows(past, which)
    mask = mask[which]
    # The last prompt position predicts the first reply token; the last reply token predicts nothing we want.
    reply_ids, reply_mask = right_padded([reply for _, reply in pairs], pad_id, device)
    states = states[which, -1:]
    if reply_ids.shape[1] > 1:
        whole = torch.cat([mask, reply_mask[:, :-1]], dim=1)
        after, _ = backend.advance(reply_ids[:, :-1], whole, past)
        states = torch.cat([states, after], dim=1)
    values = _token_log_probs(backend, states[reply_mask], reply_ids[reply_mask])
    lengths = reply_mask.sum(dim=1).tolist()
    return [part.numpy() for part in values.cpu().split(lengths)]


def _token_log_probs(
    backend: Backend,
    states: Float[Tensor, "token d_model"],
    tokens: Int[Tensor, " token"],
) -> Float[Tensor, " token"]:
    parts = [states.new_zeros(0, dtype=torch.float32)]
    for start in range(0, len(states), UNEMBEDDED_AT_A_TIME):
        stop = start + UNEMBEDDED_AT_A_TIME
        logits = backend.unembed(states[start:stop])
        chosen = logits.gather(1, tokens[start:stop, None].to(logits.device)).squeeze(1)
        parts.append((chosen - logits.logsumexp(dim=-1)).to(states.device))
    return torch.cat(parts)
