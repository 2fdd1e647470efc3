"""Some of the items of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from persona_lens.errors import EvaluationError
from persona_lens.evals.items import Item


def first_of(items: Sequence[Item], first: int | None) -> list[Item]:
    """The first items; all by default.

    Raises:
        EvaluationError: Fewer than one, or more than there are.
    """
    if first is not None and not 1 <= first <= len(items):
        raise EvaluationError("no such number of items", expected=f"1 to {len(items)}", given=first)
    return list(items[:first])


def with_kinds(
    items: Sequence[Item], kinds: Iterable[str] | None, known: Iterable[str]
) -> list[Item]:
    """Items of which one kind at least is wanted; all by default.

    Raises:
        EvaluationError: There is no such kind.
    """
    if kinds is None:
        return list(items)
    wanted, all_kinds = set(kinds), set(known)
    if not wanted or wanted - all_kinds:
        raise EvaluationError(
            "no such kind of item",
            expected=f"some of {', '.join(known)}",
            given=", ".join(sorted(wanted - all_kinds)) or "none",
        )
    return [item for item in items if wanted & set(item.about["variety"].split(" + "))]
