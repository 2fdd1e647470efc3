"""Behaviours x personas: what is asked, as items of an evaluation.

    items = cross(read_behaviours("harmful.csv", benign="benign.csv"), ["pirate", "oracle"], each=1)
    counted(items)              # how many items, behaviours and personas, of what

Every behaviour is also asked without a persona, which is what the persona is measured against.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from persona_lens.catalog import CatalogSpec, Role, load_roles
from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.behaviours import Behaviour
from persona_lens.evals.items import Item

WITH, WITHOUT = "persona", "no persona"


def cross(
    behaviours: Iterable[Behaviour],
    personas: CatalogSpec | None = None,
    *,
    each: int | None = None,
    prompts: int | None = 1,
    seed: int = 0,
    without: bool = True,
) -> tuple[Item, ...]:
    """Put behaviours to personas.

    Args:
        behaviours: What is asked.
        personas: Roles of the catalogue, or your own, as for `load_roles`. None where behaviours bring system
            prompts of their own.
        each: Personas for each behaviour, drawn so that all are used equally often; all by default. A benign
            twin gets those of its harmful behaviour.
        prompts: System prompts of each role that may be drawn; None for all.
        seed: Of the draw.
        without: Ask each behaviour without a persona, too.

    Returns:
        Items, in the order of the behaviours. `about` has `behaviour`, `category`, `benign`, `persona` (empty
        without one), `prompted` ("persona" or "no persona") and `source`. Items of one behaviour and its twin are
        one cluster; where behaviours bring their prompts, those of one prompt are.

    Raises:
        EvaluationError: There are no behaviours, no personas, or some behaviours bring prompts and some do not.

    Examples:
        >>> cranes = [Behaviour(f"crane {n}", "Fold it.", category="paper") for n in range(4)]
        >>> items = cross(cranes, ["pirate", "oracle"], each=1)
        >>> counted(items)[["prompted", "items", "personas"]].to_dict("records")
        [{'prompted': 'no persona', 'items': 4, 'personas': 0}, {'prompted': 'persona', 'items': 4, 'personas': 2}]
    """
    behaviours = list(behaviours)
    own = {bool(behaviour.system) for behaviour in behaviours}
    if own == {True} and personas is None:
        cells = {each.id: [(_own_name(each), 0, each.system)] for each in behaviours}
    elif own == {False} and personas is not None:
        cells = _dealt(behaviours, load_roles(personas), each, prompts, seed)
    else:
        given = "behaviours with prompts of their own" if True in own else "behaviours without one"
        raise EvaluationError(
            "behaviours cannot be put to personas",
            expected="personas, or behaviours that all bring a system prompt, and not both",
            given=(given if own else "no behaviours")
            + (" and personas" if personas is not None else " and no personas"),
            remedy='give personas=["pirate", ...], or leave them out where the table has system prompts',
        )
    items = []
    for behaviour in behaviours:
        found = cells[behaviour.id]
        cluster = f"prompt {_digest(behaviour.system)}" if behaviour.system else behaviour.group
        if without:
            items.append(_item(behaviour, "", "", "", cluster))
        items += [
            _item(behaviour, name, f"/p{index}", text, cluster) for name, index, text in found
        ]
    return tuple(items)


def counted(items: Sequence[Item]) -> pd.DataFrame:
    """How many there are: `prompted`, `benign`, `category`, `items`, `behaviours`, `personas`."""
    frame = pd.DataFrame([dict(item.about) for item in items])
    grouped = frame.groupby(["prompted", "benign", "category"])
    return grouped.agg(
        items=("behaviour", "size"),
        behaviours=("behaviour", "nunique"),
        personas=("persona", lambda names: names[names != ""].nunique()),
    ).reset_index()


def _item(behaviour: Behaviour, name: str, which: str, system: str, cluster: str) -> Item:
    return Item.asked(
        f"{behaviour.id} | {name}{which}" if name else f"{behaviour.id} | {WITHOUT}",
        behaviour.asked,
        system=system,
        cluster=cluster,
        about={
            "behaviour": behaviour.id,
            "category": behaviour.category,
            "benign": behaviour.benign,
            "persona": name,
            "prompted": WITH if name else WITHOUT,
            "source": behaviour.source,
        },
    )


def _dealt(
    behaviours: Sequence[Behaviour],
    roles: Sequence[Role],
    each: int | None,
    prompts: int | None,
    seed: int,
) -> dict[str, list[tuple[str, int, str]]]:
    """Personas of each behaviour: those used least so far, in random order among equals."""
    if each is not None and not 1 <= each <= len(roles):
        raise EvaluationError(
            "so many personas cannot be dealt to a behaviour",
            expected=f"1 to {len(roles)}",
            given=each,
            remedy="give more personas, or a smaller each",
        )
    rng = np.random.default_rng(seed)
    used = np.zeros(len(roles))
    groups: dict[str, list[tuple[str, int, str]]] = {}
    for behaviour in behaviours:
        if behaviour.group in groups:
            continue
        hand = np.lexsort((rng.random(len(roles)), used))[:each]
        used[hand] += 1
        cells = []
        for role in (roles[place] for place in sorted(hand)):
            texts = role.prompts[:prompts]
            chosen = range(len(texts)) if each is None else [int(rng.integers(len(texts)))]
            cells += [(role.name, index, texts[index]) for index in chosen]
        groups[behaviour.group] = cells
    return {behaviour.id: groups[behaviour.group] for behaviour in behaviours}


def _own_name(behaviour: Behaviour) -> str:
    return behaviour.persona or f"prompt {_digest(behaviour.system)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
