"""`Receipt`: what an intervention did, operation by operation and layer by layer.

Did anything happen? How many tokens were touched, how many were changed, and by how much? Counts are kept on the
device and read once, when the receipt is first looked at.

    with model.intervene(plan) as receipt:
        model.chat("Who are you?")
    print(receipt)
    receipt.frame()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from persona_lens.interventions.directions import percent, spans
from persona_lens.interventions.pages import FIELDS, Page
from persona_lens.interventions.plan import Plan
from persona_lens.interventions.touched import Note, TouchedTokens

_FOLD_AFTER = 128
_FOLD_TOKENS = 2048
_PAGE = 2048
_COLUMNS = (
    *("seen", "broken", "changed", "change_sum", "change_max", "before_sum", "after_sum"),
    *("after_min", "after_max"),
)
_FRAME = [
    *("step", "operation", "direction", "layer", "seen", "not_finite", "changed", "share"),
    *("mean_change", "max_change", "before", "after", "lowest", "highest"),
]


class Receipt:
    """What a plan did since it was applied.

    Args:
        plan: The plan.
        detail: Keep the change of every token, for `tokens()` and the HTML view; costs a number a token, step and
            layer.
        decode: Ids to text, for the HTML view; a tokenizer's `decode`.
        caution: Whose directions acted on whose weights, where these differ; shown before anything else.

    Examples:
        >>> from persona_lens import PersonaModel
        >>> from persona_lens.interventions import Direction, Floor
        >>> model = PersonaModel.load("smollm2-135m-instruct")
        >>> plan = Plan.of(Floor(Direction("ghost", (12,), np.ones((1, 576))), thresholds=-1e6))
        >>> said = model.encoder.encode([{"role": "user", "content": "Hi"},
        ...                              {"role": "assistant", "content": "Hello."}])
        >>> with model.intervene(plan) as receipt:
        ...     _ = model.pooled([said])
        >>> print(receipt)
        1. floor 'ghost'; at layers 12; tokens all; at -1e+06
           never engaged: none of 34 tokens was changed
    """

    def __init__(
        self,
        plan: Plan,
        *,
        detail: bool = False,
        decode: Callable[[list[int]], str] | None = None,
        caution: str = "",
    ) -> None:
        self.plan = plan
        self.caution = caution
        self.detail = detail
        self.decode = decode
        self.places = [
            (number, layer)
            for number, step in enumerate(plan.steps)
            for layer in step.operation.layers
        ]
        self._notes: dict[tuple[int, int], list[Note]] = {}
        self._pages: dict[tuple[int, int], Page] = {}
        self._paper: Float[Tensor, "place number"] | None = None
        self._folded: dict[tuple[int, int], list[Float[Tensor, " column"]]] = {}
        self._totals: dict[tuple[int, int], dict[str, float]] = {}
        self._calls: list[dict[int, TouchedTokens]] = []
        self._call: object = None

    # While it runs ----------------------------------------------------------------------------------

    def note(self, number: int, layer: int, note: Note) -> None:
        """Keep what one pass did; folded into sums every so often, and those read less often still."""
        place = (number, layer)
        notes = self._notes.setdefault(place, [])
        if note.before.device.type == "cpu" and note.before.numel() <= _PAGE:
            self._write(place, note)
            return
        notes.append(note)
        if len(notes) >= _FOLD_AFTER or note.before.numel() >= _FOLD_TOKENS:
            self._fold(place)

    def _write(self, place: tuple[int, int], note: Note) -> None:
        page = self._pages.get(place)
        if page is None or not page.takes(note):
            page = self._turned(place, note)
        page.write(note)

    def _turned(self, place: tuple[int, int], note: Note) -> Page:
        """A page with room for this kind of note; what was on the one before is summed up."""
        self._fold(place)
        page, dtype = self._pages.get(place), note.before.dtype
        if page is None or not page.takes(note):
            if self._paper is None or self._paper.dtype != dtype:
                with torch.inference_mode(False):  # it may be written to in another mode
                    self._paper = torch.empty((len(self.places), FIELDS * _PAGE), dtype=dtype)
            page = Page(note, self._paper[self.places.index(place)])
            self._pages[place] = page
        return page

    def take(self, rows: Sequence[TouchedTokens], call: object = None) -> None:
        """A batch is done: keep its rows. Another call begins another group, as does a row that is there already.

        Args:
            rows: Of the batch.
            call: What all batches of one call have in common, compared by identity.
        """
        held = self._calls[-1] if self._calls and call is self._call else None
        if held is None or any(touched.row in held for touched in rows):
            self._calls.append({})
        self._call = call
        self._calls[-1].update((touched.row, touched) for touched in rows)

    def _fold(self, place: tuple[int, int]) -> None:
        page, notes = self._pages.get(place), self._notes.get(place, [])
        if page is not None and not page.empty:
            notes = [*notes, page.note()]
        if notes:
            self._folded.setdefault(place, []).append(_sums(notes))
            self._notes[place] = []
            if page is not None:
                page.clear()
            if len(self._folded[place]) >= _FOLD_AFTER:
                self._read(place)

    def _read(self, place: tuple[int, int]) -> dict[str, float]:
        folded, self._folded[place] = self._folded.get(place, []), []
        if folded:
            self._totals[place] = _combined(folded, self._totals.get(place))
        return self._totals.get(place, dict.fromkeys(_COLUMNS, 0.0))

    # Afterwards -------------------------------------------------------------------------------------

    def frame(self) -> pd.DataFrame:
        """One row for each operation and layer.

        May be looked at while the plan still acts.

        Columns: `step` (from 1), `operation`, `direction`, `layer`; `seen`, tokens the plan chose; `not_finite`,
        those of them that are infinite or no number there, before or after; of the others, `changed`, those that
        moved, and their `share`; `mean_change` and `max_change` of those that moved, as a fraction of
        the residual norm; `before` and `after`, mean projections of the tokens seen; `lowest` and `highest`
        projection afterwards.
        """
        rows = []
        for place in self.places:
            self._fold(place)
            number, layer = place
            operation = self.plan.steps[number].operation
            found = self._read(place)
            seen, changed = int(found["seen"]), int(found["changed"])
            sound = seen - int(found["broken"])
            rows.append(
                {
                    "step": number + 1,
                    "operation": operation.name,
                    "direction": operation.direction.name,
                    "layer": layer,
                    "seen": seen,
                    "not_finite": seen - sound,
                    "changed": changed,
                    "share": changed / sound if sound else np.nan,
                    "mean_change": found["change_sum"] / changed if changed else 0.0,
                    "max_change": found["change_max"] if changed else 0.0,
                    "before": found["before_sum"] / sound if sound else np.nan,
                    "after": found["after_sum"] / sound if sound else np.nan,
                    "lowest": found["after_min"] if sound else np.nan,
                    "highest": found["after_max"] if sound else np.nan,
                }
            )
        return pd.DataFrame(rows, columns=_FRAME)

    def tokens(self) -> list[TouchedTokens]:
        """Every row that ran, token by token: call by call, each in the order of its rows.

        Empty without `detail`.
        """
        return [call[row] for call in self._calls for row in sorted(call)]

    def __str__(self) -> str:
        frame = self.frame()
        lines = [self.caution] if self.caution else []
        for number, step in enumerate(self.plan.steps, 1):
            lines += [f"{number}. {step}", f"   {self.sentence(number, frame)}"]
        return "\n".join(lines)

    def sentence(self, number: int, frame: pd.DataFrame) -> str:
        """What a step did, given `frame()`; steps count from 1."""
        if not self._notes:
            return "nothing ran under it yet"
        return _sentence(frame.loc[frame["step"] == number])

    def __repr__(self) -> str:
        return f"Receipt of {self.plan!r}"

    def _repr_html_(self) -> str:
        from persona_lens.interventions.html import receipt_html  # noqa: PLC0415

        return receipt_html(self)


def _sentence(rows: pd.DataFrame) -> str:
    seen = int(rows["seen"].max())
    if not seen:
        return "no token was chosen"
    broken = _broken(rows)
    sound = rows.loc[rows["not_finite"] < rows["seen"]]
    if sound.empty:
        return broken
    return "; ".join(part for part in (broken, _done(sound)) if part)


def _broken(rows: pd.DataFrame) -> str:
    """Where the residual stream was no number, which is neither a change nor none."""
    layers = sorted(rows.loc[rows["not_finite"] > 0, "layer"])
    if not layers:
        return ""
    later = sorted(layer for layer in rows["layer"] if layer >= layers[0])
    where = f"{layers[0]} on" if layers == later and len(layers) > 1 else spans(layers)
    tokens = f"{int(rows['not_finite'].max()):,} of {int(rows['seen'].max()):,} tokens"
    word = "layer" if len(layers) == 1 or where.endswith(" on") else "layers"
    return f"not finite (infinite or no number) at {word} {where}: {tokens}"


def _done(rows: pd.DataFrame) -> str:
    """What was done to tokens that are numbers."""
    seen = int((rows["seen"] - rows["not_finite"]).max())
    changed = int(rows["changed"].sum())
    if not changed:
        return f"never engaged: none of {seen:,} tokens was changed"
    engaged = rows[rows["changed"] > 0]
    mean = float((engaged["mean_change"] * engaged["changed"]).sum() / changed)
    share = percent(changed, int((rows["seen"] - rows["not_finite"]).sum()))
    idle = sorted(rows.loc[rows["changed"] == 0, "layer"])
    return (
        f"changed {share} of {seen:,} tokens"
        + (" and layers" if len(rows) > 1 else "")
        + f" by {mean:.1%} of the residual norm on average, {engaged['max_change'].max():.1%} at most; "
        f"mean projection {rows['before'].mean():.3g} before, {rows['after'].mean():.3g} after"
        + (f"; never engaged at layers {spans(idle)}" if idle else "")
    )


def _sums(notes: Sequence[Note]) -> Float[Tensor, " column"]:
    note = Note.together(notes)
    before, chosen, finite = note.before, note.seen(), note.finite()
    change, after = note.effect()
    seen = chosen & finite
    moved = seen & (change > 0)
    zero, infinite = torch.zeros_like(change), torch.full_like(change, torch.inf)
    parts = (
        chosen.sum().to(change),
        (chosen & ~finite).sum().to(change),
        moved.sum().to(change),
        torch.where(moved, change, zero).sum(),
        torch.where(moved, change, zero).max(),
        torch.where(seen, before, zero).sum(),
        torch.where(seen, after, zero).sum(),
        torch.where(seen, after, infinite).min(),
        torch.where(seen, after, -infinite).max(),
    )
    return torch.stack(parts)


def _combined(
    folded: Sequence[Float[Tensor, " column"]], before: dict[str, float] | None
) -> dict[str, float]:
    values = torch.stack(list(folded)).cpu().double().numpy()
    if before is not None:
        values = np.vstack([values, list(before.values())])
    reduce = {"max": np.max, "min": np.min}
    return {
        name: float(reduce.get(name.rpartition("_")[2], np.sum)(values[:, column]))
        for column, name in enumerate(_COLUMNS)
    }
