"""Who is held out together: people who simulate users, whole domains, whole simulators; never single rows.

Rows of one persona share topic, voice and place; a fold that takes some of them and leaves others has seen the
answers. Every split has an inner one, on which penalties are chosen.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from persona_lens.drift.forecast.turns import Turns
from persona_lens.errors import SpaceError


class Split(NamedTuple):
    """Folds of the rows.

    Attributes:
        name: What is held out: "persona", "conversation", "domain" or "simulator".
        outer: Fold of each row.
        inner: Fold within the others, on which penalties are chosen.
        n_groups: How many personas, conversations, domains or simulators.
    """

    name: str
    outer: Int[np.ndarray, " row"]
    inner: Int[np.ndarray, " row"]
    n_groups: int


def make_splits(turns: Turns, folds: int, seed: int) -> tuple[list[Split], list[str]]:
    """The main split, by persona, and those by domain and simulator where there are two or more.

    Returns:
        The splits, the main one first, and what has to be said about them.

    Raises:
        SpaceError: There are fewer than two personas (or conversations, where the table has no personas), or fewer
            conversations than folds.
    """
    notes: list[str] = []
    main = "persona" if "persona" in turns.frame else "conversation"
    if main == "conversation":
        notes.append(
            "the table has no column 'persona': folds hold out conversations, so that a simulated user may be on "
            "both sides, which flatters every forecast"
        )
    groups, conversations = turns.codes(main), turns.codes("conversation")
    n_groups, n_conversations = int(groups.max()) + 1, int(conversations.max()) + 1
    if n_groups < 2:
        raise SpaceError(
            f"all rows are of one {main}: none can be held out",
            expected=f"at least two values of {main!r}",
            given=n_groups,
            remedy="trace conversations of more simulated users"
            + (", or leave the column out to hold out conversations" if main == "persona" else ""),
        )
    if n_conversations < folds:
        raise SpaceError(
            f"there are fewer conversations than folds of {main}",
            expected=f"at least {folds} conversations that can be scored",
            given=n_conversations,
            remedy="trace more conversations, or ask for fewer folds",
        )
    if n_groups < folds:
        notes.append(f"there are {n_groups} values of {main!r}: so many folds, not {folds}")
    domains = turns.codes("domain") if "domain" in turns.frame else np.zeros(len(turns), int)
    outer = _folds(groups, domains, min(folds, n_groups), seed)
    by_conversation = _folds(conversations, domains, min(max(folds, 2), n_conversations), seed)
    inner = _inner(outer, (outer, by_conversation))
    if inner is by_conversation:
        notes.append(
            f"with {n_groups} values of {main!r} penalties are chosen on folds of conversations"
        )
    splits = [Split(main, outer, inner, n_groups)]
    for name in ("domain", "simulator"):
        if name not in turns.frame:
            notes.append(f"the table has no column {name!r}: none is held out")
            continue
        codes = turns.codes(name)
        count = int(codes.max()) + 1
        if count < 2:
            notes.append(f"all rows are of one {name}: none is held out")
            continue
        splits.append(Split(name, codes, _inner(codes, (codes, outer, by_conversation)), count))
        if main == "persona":
            pairs = turns.frame[["persona", name]].drop_duplicates()
            crossing = int(
                (np.unique(pd.factorize(pairs["persona"])[0], return_counts=True)[1] > 1).sum()
            )
            if crossing:
                notes.append(
                    f"{crossing} of {n_groups} personas occur under more than one {name}: a {name} held out "
                    "shares them with those that are not"
                )
    shared = shared_messages(turns.frame["message"], outer)
    if shared:
        notes.append(
            f"{shared} of {len(turns)} messages stand word for word in another fold too: with users that follow a "
            "script, held out is not unseen"
        )
    return splits, notes


def shared_messages(messages: pd.Series, folds: Int[np.ndarray, " row"]) -> int:
    """How many messages occur, case and blanks aside, in another fold as well.

    Examples:
        >>> shared_messages(pd.Series(["Go on.", "go  on.", "Why?"]), np.array([0, 1, 1]))
        2
    """
    plain = [re.sub(r"\s+", " ", message).strip().casefold() for message in messages]
    folds_of: dict[str, set[int]] = {}
    for message, fold in zip(plain, folds.tolist(), strict=True):
        folds_of.setdefault(message, set()).add(fold)
    return sum(len(folds_of[message]) > 1 for message in plain)


def _folds(groups: np.ndarray, domains: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Folds of whole groups, each with its share of every domain as far as that goes."""
    empty = np.zeros((len(groups), 1))
    _, sizes = np.unique(domains, return_counts=True)
    strata = domains if sizes.max() >= count else np.zeros_like(domains)
    stratified = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    folds = np.full(len(groups), -1)
    try:
        for fold, (_, test) in enumerate(stratified.split(empty, strata, groups)):
            folds[test] = fold
    except ValueError:  # more folds than rows of any domain
        folds[:] = -1
    if len(np.unique(folds[folds >= 0])) < count or (folds < 0).any():
        for fold, (_, test) in enumerate(GroupKFold(count).split(empty, groups=groups)):
            folds[test] = fold
    return folds


def _inner(outer: np.ndarray, candidates: tuple[np.ndarray, ...]) -> np.ndarray:
    """The first that has two folds or more outside of every outer fold."""
    for inner in candidates:
        if all(len(np.unique(inner[outer != fold])) > 1 for fold in np.unique(outer)):
            return inner
    raise SpaceError(
        "outside of a fold there is one conversation only: no penalty can be chosen",
        expected="at least two conversations outside of every fold",
        remedy="trace more conversations",
    )
