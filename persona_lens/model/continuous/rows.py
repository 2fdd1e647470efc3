"""`Row`: one reply on its way, and all that is its own: settings, draws, text, receipt, what was read of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from torch import Tensor

from persona_lens.interventions.receipt import Receipt
from persona_lens.model.continuous.drawing import Picked, Setting
from persona_lens.model.continuous.events import Projected, Token
from persona_lens.model.continuous.requests import Request, Ticket
from persona_lens.model.continuous.wording import Wording
from persona_lens.rollouts.reply import Finish


class NothingToDraw(Exception):
    """The logits of a row are no numbers; told to people in better words."""


@dataclass(eq=False)
class Row:
    """One reply.

    Attributes:
        ticket: Tells it apart.
        request: What was asked.
        receipt: What its plan did; None without a plan.
        wording: Its text.
        end_ids: Tokens that end it.
        reads: Whether its tokens are read, the last one included.
        ids: Tokens drawn so far.
        fed: How many of them were run.
        finish: Why it has ended; None while more is drawn.
        gone: Nothing more is to be done for it.
        trial: It is run by itself for a step, since a pass with others has failed.
        error: Why it cannot be gone on with; what has that is gone.
        log_probs: Of its tokens, if asked for.
        before: Projections of the tokens that were run, before the plan.
        after: Those behind it.
        sums: Of the residuals of these, behind the plan; None while there are none.
        raw_sums: Those before it.
    """

    ticket: Ticket
    request: Request
    receipt: Receipt | None
    wording: Wording
    end_ids: frozenset[int]
    reads: bool
    ids: list[int] = field(default_factory=list)
    fed: int = 0
    finish: Finish | None = None
    gone: bool = False
    trial: bool = False
    error: Exception | None = None
    log_probs: list[float] = field(default_factory=list)
    before: list[Float[np.ndarray, "layer direction"]] = field(default_factory=list)
    after: list[Float[np.ndarray, "layer direction"]] = field(default_factory=list)
    sums: Float[Tensor, "layer d_model"] | None = None
    raw_sums: Float[Tensor, "layer d_model"] | None = None

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.request.sampling.seed)
        self._chance: float | None = None
        self._counts: Counter[int] = Counter()

    @property
    def setting(self) -> Setting:
        """How its tokens are drawn."""
        sampling, told = self.request.sampling, self.request.top_log_probs
        return Setting(sampling.temperature, sampling.top_p, told)

    @property
    def text_ids(self) -> list[int]:
        """Prompt and reply, as far as they were run; of a row that has not begun, the prompt."""
        return [*map(int, self.request.prompt.ids), *self.ids[: self.fed]]

    @property
    def length(self) -> int:
        """How many tokens were run, those of the prompt included."""
        return len(self.request.prompt) + self.fed

    @property
    def has_history(self) -> bool:
        """Whether what its plan does to a token depends on those before it, in columns that must not change."""
        plan = self.request.plan
        return plan is not None and any(step.operation.history is not None for step in plan.steps)

    @property
    def over(self) -> bool:
        """Whether nothing more has to be run for it."""
        unread = self.reads and self.fed < len(self.ids)
        return self.gone or (self.finish is not None and not unread)

    def chance(self) -> float:
        """The next number of its own generator; the same until a token is taken, since a pass may fail."""
        if self._chance is None:
            greedy = self.request.sampling.temperature == 0
            self._chance = 0.0 if greedy else float(self._random.random())
        return self._chance

    def penalties(self) -> tuple[list[int], list[float]] | None:
        """Tokens whose logits are to be lowered, and by how much; None if there are none."""
        often, once = self.request.frequency_penalty, self.request.presence_penalty
        if not self._counts or not (often or once):
            return None
        return list(self._counts), [often * count + once for count in self._counts.values()]

    def fail(self, error: Exception) -> None:
        """Give it up."""
        self.error, self.gone = error, True

    def take(self, picked: Picked) -> list[Token]:
        """Go on by a token, or end with it; fail where there was nothing to draw from."""
        self._chance = None
        if not picked.sound:
            self.fail(NothingToDraw())
            return []
        if picked.id in self.end_ids:
            self.finish = "stop"
            return []
        self.ids.append(picked.id)
        self._counts[picked.id] += 1
        if picked.log_prob is not None:
            self.log_probs.append(picked.log_prob)
        try:
            text = self.wording.add(self.ids)
        except Exception as error:  # noqa: BLE001 - a tokenizer's trouble with one reply is that reply's
            self.fail(error)
            return []
        if self.wording.stopped_by is not None:
            self.finish = "stop"
        elif len(self.ids) >= self.request.sampling.max_new_tokens:
            self.finish = "length"
        index = len(self.ids) - 1
        return [Token(self.ticket, index, picked.id, text, picked.log_prob, picked.top)]

    def read(
        self,
        before: Float[np.ndarray, "layer direction"],
        after: Float[np.ndarray, "layer direction"],
    ) -> Projected:
        """Note what was read of the token that was run."""
        self.before.append(before)
        self.after.append(after)
        return Projected(self.ticket, len(self.after) - 1, before, after)


def add_up(
    held: Float[Tensor, "layer d_model"] | None, more: Float[Tensor, "layer d_model"]
) -> Float[Tensor, "layer d_model"]:
    """A sum gone on with."""
    return more if held is None else held + more


def mean_of(
    sums: Float[Tensor, "layer d_model"] | None, count: int, shape: tuple[int, int]
) -> Float[np.ndarray, "layer d_model"]:
    """The mean, on the host; NaN of nothing, as `generate` has it."""
    if sums is None or not count:
        return np.full(shape, np.nan, dtype=np.float32)
    return (sums / count).float().cpu().numpy()
