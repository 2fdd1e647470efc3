"""Whole replies at once, where a model cannot be run pass by pass from outside: the draws are ours, the loop is
`Backend.generate`.

So a row draws, stops, is read and is booked as it is elsewhere, but its events come when the batch is done.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from persona_lens.model.batching import left_padded
from persona_lens.model.continuous.cohort import Setup, take_all
from persona_lens.model.continuous.drawing import Draws
from persona_lens.model.continuous.events import Event
from persona_lens.model.continuous.rows import Row
from persona_lens.model.sampling import LIKELIEST


def write_whole(setup: Setup, rows: Sequence[Row]) -> list[Event]:
    """Write the replies of some rows to their ends."""
    model = setup.model
    if any(row.request.plan for row in rows) or setup.along is not None:
        model.conduct.check_steps()
    ids, mask = left_padded([row.text_ids for row in rows], model.pad_id, model.device)
    picker = _Picker(setup, rows, ids.shape[1])
    longest = max(row.request.sampling.max_new_tokens for row in rows)
    options = {
        **LIKELIEST,
        "logits_processor": [picker],
        "max_new_tokens": longest + (setup.along is not None),
        "eos_token_id": sorted(model.end_ids),
        "pad_token_id": model.pad_id,
    }
    with picker.passes.attached():
        setup.backend.generate(ids, mask, **options)
    picker.passes.settle()
    return picker.events


class _Picker:
    """A logits processor that leaves nothing to choose: each row has its own token, or the end."""

    def __init__(self, setup: Setup, rows: Sequence[Row], width: int) -> None:
        self.passes = setup.passes(rows, width, start=0)
        self.events: list[Event] = []
        self._rows = list(rows)
        self._width = width
        self._draws: Draws | None = None
        self._end = min(setup.model.end_ids, default=setup.model.pad_id)

    def __call__(
        self, input_ids: Int[Tensor, "row column"], scores: Float[Tensor, "row vocab"]
    ) -> Float[Tensor, "row vocab"]:
        """Logits that are infinite for all tokens but one."""
        rows, prompt = self._rows, input_ids.shape[1] == self._width
        live = [not row.over for row in rows]
        read = self.passes.fed(live, self._width if prompt else 1)
        if not prompt:
            for place, row in enumerate(rows):
                if live[place]:
                    row.fed += 1
                    if read is not None:
                        self.events.append(row.read(read[0][place], read[1][place]))
        scores = scores.float()
        if self._draws is None:
            self._draws = Draws([row.setting for row in rows], scores.device)
        self.events += take_all(rows, scores, self._draws)
        chosen = [self._end if row.over else row.ids[-1] for row in rows]
        forced = torch.full_like(scores, -torch.inf)
        return forced.scatter(1, torch.tensor(chosen, device=scores.device).unsqueeze(1), 0.0)
