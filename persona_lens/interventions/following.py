"""Which columns of its batch a pass runs, for plain hooks: told by the pass itself, or refused.

Hooks outlive the texts they act on: one list may see whole texts, prompts in chunks, cached and uncached
generations, drafts of several tokens and caches that were cut back, one after another or in turns.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from persona_lens.errors import InterventionError
from persona_lens.interventions.forward_pass import ForwardPass, Generation, calling_pass
from persona_lens.interventions.plan import Plan
from persona_lens.interventions.running import check_rows
from persona_lens.interventions.tokens import BatchTokens, Track

_BY_PROMPT = ("prompt", "generated", "last")
"""Choices of tokens that depend on where the prompt ends."""


class PassFollower:
    """Finds the track of each pass.

    Args:
        plan: What acts.
        tokens: The batch, if it is known beforehand.
        ids: Its ids, if they are known too, to tell another batch from it.
        sinks: Positions of attention sinks, where `tokens` is None.
    """

    def __init__(
        self,
        plan: Plan,
        tokens: BatchTokens | None,
        ids: Int[np.ndarray, "row column"] | None = None,
        *,
        sinks: Sequence[int] = (0,),
    ) -> None:
        self._plan = plan
        self._given = tokens
        self._ids = ids
        self._sinks = tuple(sinks)
        self._by_prompt = tokens is None and any(
            name in _BY_PROMPT for step in plan.steps for name in step.where.names
        )
        histories = (step.operation.history for step in plan.steps)
        self._history = next((history for history in histories if history is not None), None)
        self._key: object = None
        self._tokens: BatchTokens | None = None
        self._track: Track | None = None
        self._cached: dict[int, tuple[weakref.ref, Track]] = {}
        self._texts: deque[Int[Tensor, "row column"]] = deque(maxlen=4)

    def __call__(self, residual: Float[Tensor, "row column d_model"]) -> Track:
        """The track of the pass this residual stream belongs to, at the plan's first layer.

        Raises:
            InterventionError: The right tokens cannot be told.
        """
        found = calling_pass(residual, self._plan.layers[0])
        if found is None:  # no model runs: somebody calls the hooks
            return self._counted(*residual.shape[:2])
        before = self._before(found)
        start = self._start(found, before)
        if before is not None and start > before.stop:
            before = None  # these hooks were away for some passes
        self._check_history(found, start, before)
        tokens = self._describe(found, start, before)
        self._check_cached(tokens, start, before)
        track = before if start else None
        if track is None or track.tokens is not tokens:
            track = Track(tokens, None if track is None else track.memory)
        self._track = track
        track.place(start, found.columns)
        self._keep(found.cache, track)
        if start == 0 and found.ids is not None:
            self._texts.append(found.ids)
        return track

    def _before(self, found: ForwardPass) -> Track | None:
        """The track of the text in this cache; several may run in turns."""
        reference, track = self._cached.get(id(found.cache), (lambda: None, None))
        known = found.cache is not None and reference() is found.cache
        return track if known and track is not None and len(track.tokens) == found.rows else None

    def _keep(self, cache: object, track: Track) -> None:
        """Caches are known again by themselves, and not kept alive."""
        self._cached = {key: held for key, held in self._cached.items() if held[0]() is not None}
        if cache is not None and type(cache).__weakrefoffset__:
            self._cached[id(cache)] = (weakref.ref(cache), track)

    def _start(self, found: ForwardPass, before: Track | None) -> int:
        """Columns before the pass; a cache that does not count them is taken for one of the kind it belongs to."""
        if found.start is not None:
            return found.start
        prompt = None if found.generation is None else found.generation.width
        if found.columns > 1:
            if prompt in (None, found.columns):
                return 0
            raise _cannot_tell(
                "where in its text a pass of this model begins",
                "the whole prompt in one pass, since its cache does not count",
                "leave prefill_chunk_size and drafts out",
            )
        if before is not None:
            return before.stop
        return 0 if prompt is None else prompt - (prompt == 1)

    def _check_history(self, found: ForwardPass, start: int, before: Track | None) -> None:
        """Refuse what depends on earlier passes where these are not known."""
        history = self._history
        if history is None:
            return
        generation = found.generation
        if generation is not None and generation.reorders and found.cache is not None:
            raise _cannot_tell(
                f"{history.rows} while beams change places",
                "a generation without beams, or without a cache",
                f"leave num_beams out, or {history.remedy}",
            )
        if start and before is None:
            raise _cannot_tell(
                f"{history.whether} in what is in the cache",
                "a text that these hooks saw from its first token on, in the same cache and rows",
                f"run the whole text under the hooks, or {history.remedy}",
            )

    def _check_cached(self, tokens: BatchTokens, start: int, before: Track | None) -> None:
        """Refuse a prompt of which a part is cached that was run as another prompt, or as a reply."""
        if not start or before is None or tokens is before.tokens or not self._by_prompt:
            return
        for step in self._plan.steps:
            ran, wanted = (
                Track(batch).columns(step.where, 0, start) for batch in (before.tokens, tokens)
            )
            if not np.array_equal(ran, wanted):
                raise _cannot_tell(
                    f"what to do with cached tokens that were run otherwise (tokens {step.where})",
                    "a prompt whose cached part was chosen as it is chosen now",
                    "run the prompt without that cache, or the plan on all tokens",
                )

    def _describe(self, found: ForwardPass, start: int, before: Track | None) -> BatchTokens:
        """The batch; the same as before where it is the same."""
        if self._given is not None:
            return self._known(found, start, self._given)
        if found.generation is not None:
            return self._of_generation(found, found.generation)
        self._check_alone(found, start)
        if before is not None and found.columns == 1 and start >= before.tokens.width:
            return before.tokens
        # A single token after others was sampled; what several are, nobody asks here.
        known = start + (found.columns if start == 0 or found.columns > 1 else 0)
        return self._of_mask(found, None if found.mask is None else found.mask[:, :known], known)

    def _of_generation(self, found: ForwardPass, generation: Generation) -> BatchTokens:
        width, mask = generation.width, generation.mask
        if mask is None or tuple(mask.shape) != (found.rows, width):
            mask = None if found.mask is None else found.mask[:, :width]
        if mask is not None and mask.shape[1] < width:
            mask = None
        if mask is None and generation.mask is not None:
            raise _cannot_tell(
                "where the pads of these rows are",
                f"{len(generation.mask)} rows, as many as prompts",
                "generate from one prompt at a time",
            )
        return self._once(
            (width, found.rows, generation.copies, mask), lambda: self._of_mask(found, mask, width)
        )

    def _once(self, key: tuple[object, ...], describe: Callable[[], BatchTokens]) -> BatchTokens:
        """The description made for this key, if it was the last one made."""
        if self._tokens is None or not _same(key, self._key):
            self._key, self._tokens = key, describe()
        return self._tokens

    def _of_mask(self, found: ForwardPass, mask: Tensor | None, width: int) -> BatchTokens:
        present = np.ones((found.rows, width), dtype=bool)
        if mask is not None:
            present = mask.bool().cpu().numpy()
        tokens = BatchTokens.of_mask(present, sinks=self._sinks)
        return replace(tokens, rows=self._rows(found))

    def _rows(self, found: ForwardPass) -> Int[np.ndarray, " row"]:
        """Which row of the plan each row of the batch is."""
        rows, wanted = np.arange(found.rows), self._plan.rows
        copies = 1 if found.generation is None else found.generation.copies
        if wanted is not None and wanted * copies == found.rows:
            return rows // copies
        if found.generation is not None and found.generation.reorders:
            check_rows(self._plan, found.rows // copies)
        check_rows(self._plan, found.rows)
        return rows

    def _known(self, found: ForwardPass, start: int, given: BatchTokens) -> BatchTokens:
        """The batch that was described beforehand, once it is clear that this is the one."""
        generation = found.generation
        copies = 1 if generation is None else generation.copies
        whole = start + found.columns if generation is None else generation.width
        if len(given) * copies != found.rows:
            copies = 1
        if len(given) * copies != found.rows or (whole < given.width and start == 0):
            raise _another_batch(given, found.rows, whole)
        ids, present = self._ids, given.present
        columns = slice(start, min(start + found.columns, given.width))
        if ids is not None and found.ids is not None and start < given.width:
            fed = found.ids[:, : columns.stop - start].cpu().numpy()
            ours = np.repeat(ids[:, columns], copies, axis=0)
            if (fed != ours)[np.repeat(present[:, columns], copies, axis=0)].any():
                raise _another_batch(given, found.rows, whole, "other tokens")
        mask = found.mask if generation is None else generation.mask
        if mask is not None and len(mask) == found.rows:
            shown = mask[:, : given.width].bool().cpu().numpy()
            if (shown != np.repeat(present[:, : shown.shape[1]], copies, axis=0)).any():
                raise _another_batch(given, found.rows, whole, "pads elsewhere")
        return self._once(
            (copies,), lambda: replace(given.repeated(copies), rows=self._rows(found))
        )

    def _check_alone(self, found: ForwardPass, start: int) -> None:
        """Refuse passes outside of `generate` that may be read in two ways."""
        if found.masked and found.mask is None:
            raise _cannot_tell(
                "where pads are, by an attention mask of this form",
                f"[{found.rows}, {start + found.columns}], over all columns so far",
                "pass such a mask, or plan.hooks(mask=...)",
            )
        if _packed(found, start):
            raise _cannot_tell(
                "which tokens are which where several texts share a row",
                "positions that count up from the first token",
                "give each text a row of its own",
            )
        if not self._by_prompt:
            return
        if start and found.columns > 1:
            raise _cannot_tell(
                "whether several tokens after others belong to the prompt or to the reply",
                "one token at a time, or a prompt in one pass",
                "use generate, which says where its prompt ends, or plan.hooks(transcripts=...)",
            )
        if start == 0 and any(_extends(found.ids, text) for text in self._texts):
            raise _cannot_tell(
                "whether a text that goes on from the one before is a reply growing or another prompt",
                "another text",
                "for another prompt make new hooks; for a reply say where the prompt ends, by "
                "plan.hooks(mask=...) over it, or use generate",
            )

    def _counted(self, rows: int, columns: int) -> Track:
        """Without a model: a pass of one token goes on, a longer one begins anew."""
        held = self._track
        if held is not None and columns == 1 and rows == len(held.tokens):
            held.advance(1)
            return held
        check_rows(self._plan, rows)
        given = self._given
        if given is not None and (rows != len(given) or columns < given.width):
            raise _another_batch(given, rows, columns)
        if given is None:
            given = BatchTokens.of_mask(np.ones((rows, columns), dtype=bool), sinks=self._sinks)
        self._track = Track(given)
        self._track.place(0, columns)
        return self._track


def _same(one: object, other: object) -> bool:
    """Equal numbers, and the very same tensors."""
    if not isinstance(one, tuple) or not isinstance(other, tuple) or len(one) != len(other):
        return False
    return all(
        a is b if isinstance(a, Tensor) or isinstance(b, Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def _extends(ids: Int[Tensor, "row column"] | None, before: Int[Tensor, "row column"]) -> bool:
    if ids is None or len(ids) != len(before):
        return False
    length = before.shape[1]
    return ids.shape[1] > length and torch.equal(ids[:, :length].to(before.device), before)


def _packed(found: ForwardPass, start: int) -> bool:
    positions = found.positions
    if positions is None:
        return False
    wrong = positions.diff(dim=1) != 1
    if found.mask is not None:
        shown = found.mask[:, start:].bool().to(wrong.device)
        wrong &= shown[:, 1:] & shown[:, :-1]
    ahead = positions[:, 0] > start + 1  # some models count from 1
    return bool(wrong.any() or ahead.any())


def _cannot_tell(what: str, expected: str, remedy: str) -> InterventionError:
    return InterventionError(f"plain hooks cannot tell {what}", expected=expected, remedy=remedy)


def _another_batch(
    given: BatchTokens, rows: int, columns: int, what: str | None = None
) -> InterventionError:
    return InterventionError(
        "the batch is not the one the hooks were made for",
        expected=f"[{len(given)}, {given.width} or more]",
        given=what or [rows, columns],
        remedy="make hooks for it: plan.hooks(mask=...) or plan.hooks(transcripts=...)",
    )
