"""Which reply is tested in which split: prompt folds crossed with question folds, on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from persona_lens.errors import RunError
from persona_lens.separability.replies import DEFAULT, Replies

MAX_QUESTION_FOLDS = 6
MAX_PROMPT_FOLDS = 5


@dataclass(frozen=True, eq=False)
class Cells:
    """Where the replies of one side of every unit lie.

    Attributes:
        rows: Positions of replies, by prompt fold, question fold and unit; -1 where there are fewer.
    """

    rows: Int[np.ndarray, "prompt_fold question_fold unit slot"]

    @classmethod
    def of(
        cls,
        chosen: Int[np.ndarray, " reply"],
        places: tuple[np.ndarray, np.ndarray, np.ndarray],
        shape: tuple[int, int, int],
    ) -> Cells:
        """Lay replies `chosen` out by their places (prompt fold, question fold, unit)."""
        cell = np.ravel_multi_index(places, shape)
        order = np.argsort(cell, kind="stable")
        counts = np.bincount(cell, minlength=int(np.prod(shape)))
        slots = np.arange(len(cell)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = np.full((len(counts), max(1, int(counts.max()))), -1)
        rows[cell[order], slots] = chosen[order]
        return cls(rows.reshape(*shape, -1))

    @property
    def known(self) -> Bool[np.ndarray, "prompt_fold question_fold unit slot"]:
        """Where there is a reply."""
        return self.rows >= 0

    @property
    def counts(self) -> Int[np.ndarray, "prompt_fold question_fold unit"]:
        """Replies in each cell."""
        return self.known.sum(axis=-1)

    def gather(
        self, values: Float[np.ndarray, "reply d_model"]
    ) -> Float[np.ndarray, "prompt_fold question_fold unit slot d_model"]:
        """The replies on the grid, zero where there is none."""
        found = values[np.maximum(self.rows, 0)]
        found[~self.known] = 0.0
        return found


@dataclass(frozen=True, eq=False)
class Design:
    """The grid of one kind.

    Attributes:
        kind: `role` or `trait`.
        names: Of the units.
        plus: Replies of the roles, or of the positive sides.
        minus: What they are told from: the default as a single unit, or the negative sides; None if unknown.
        notes: What could not be held out, and is therefore not measured.
    """

    kind: str
    names: tuple[str, ...]
    plus: Cells
    minus: Cells | None
    notes: tuple[str, ...] = ()

    @property
    def n_prompt_folds(self) -> int:
        """Folds of the system prompts."""
        return self.plus.rows.shape[0]

    @property
    def n_question_folds(self) -> int:
        """Folds of the questions."""
        return self.plus.rows.shape[1]

    @property
    def counts(self) -> Int[np.ndarray, " unit"]:
        """Replies behind each unit, of traits on both sides."""
        counts = self.plus.counts.sum(axis=(0, 1))
        if self.kind == "trait" and self.minus is not None:
            counts = counts + self.minus.counts.sum(axis=(0, 1))
        return counts


def designs(replies: Replies) -> list[Design]:
    """The grid of each kind that has replies.

    Questions are dealt round robin into at most 6 folds, prompts into at most 5, in the order of their numbers.

    Raises:
        RunError: No roles or traits, or nothing to hold out: one question, or one prompt of everything in a
            kind. Without a second prompt nothing tells a persona from the words of its prompt.
    """
    questions, question_rank = np.unique(replies.question, return_inverse=True)
    n_question_folds = min(MAX_QUESTION_FOLDS, len(questions))
    if n_question_folds < 2:
        raise RunError(
            "separability needs questions to hold out",
            expected="at least 2",
            given=len(questions),
            remedy="collect more questions",
        )
    found = [
        _design(replies, kind, question_rank % n_question_folds, n_question_folds)
        for kind in ("role", "trait")
        if (replies.kind == kind).any()
    ]
    if not found:
        raise RunError("separability needs replies of roles or traits", given="neither")
    return found


def _design(
    replies: Replies, kind: str, question_fold: Int[np.ndarray, " reply"], n_question_folds: int
) -> Design:
    """The grid of one kind."""
    of_kind = replies.kind == kind
    plus = np.flatnonzero(of_kind & (replies.side != "negative"))
    opposite = (
        of_kind & (replies.side == "negative") if kind == "trait" else replies.kind == DEFAULT
    )
    minus = np.flatnonzero(opposite)
    n_prompts = len(np.unique(replies.prompt[of_kind]))
    if n_prompts < 2:
        raise RunError(
            f"separability of {kind}s needs system prompts to hold out",
            expected="at least 2 of each",
            given=n_prompts,
            remedy="collect with prompts=2 or more",
        )
    n_opposite = len(np.unique(replies.prompt[minus]))
    notes: tuple[str, ...] = ()
    if n_opposite < 2:
        what = "default" if kind == "role" else "negative side of the traits"
        notes = (f"the {what} has {n_opposite} system prompt(s), none to hold out",)
    n_prompt_folds = min(MAX_PROMPT_FOLDS, n_prompts, n_prompts if notes else n_opposite)
    shape = (n_prompt_folds, n_question_folds)
    names = tuple(dict.fromkeys(replies.unit[of_kind].tolist()))
    index = {name: number for number, name in enumerate(names)}

    def cells(chosen: Int[np.ndarray, " reply"], owner: Bool[np.ndarray, " reply"]) -> Cells:
        # By rank, not number: numbers with gaps would leave folds empty. Both sides of a pair share it.
        numbers = np.unique(replies.prompt[owner])
        prompt = np.searchsorted(numbers, replies.prompt[chosen]) % n_prompt_folds
        units = np.array([index.get(name, 0) for name in replies.unit[chosen].tolist()], dtype=int)
        n_units = len(names) if owner is of_kind else 1
        return Cells.of(chosen, (prompt, question_fold[chosen], units), (*shape, n_units))

    return Design(
        kind=kind,
        names=names,
        plus=cells(plus, of_kind),
        minus=None if notes else cells(minus, of_kind if kind == "trait" else opposite),
        notes=notes,
    )
