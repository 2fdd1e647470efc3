"""Replies to read: a few of every role, trait side and the default, from the run or kept with the space."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from persona_lens.errors import PersonaLensError
from persona_lens.judges.base import LABELS
from persona_lens.pages.atlas.units import Units
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.store.labels import Labels
from persona_lens.space import Space

MOST = 4
LONGEST = 700
COLUMNS = ("kind", "name", "side", "system", "question", "reply", "label", "averaged")


def reply_samples(units: Units) -> dict[str, Any]:
    """What the page shows of replies, by the place of a unit; prompts and questions are in it once.

    Returns:
        `texts`: system prompts and questions. `of`: by place, replies as [side, place of the system prompt, place
        of the question, reply, label, whether the unit's vector is a mean over it]. `why`: why there are none.
    """
    frame = _frame(units.space)
    if frame is None:
        return {
            "texts": [],
            "of": {},
            "why": "No replies are at hand: put the run of this space beside it and make the page again.",
        }
    texts: dict[str, int] = {}
    places: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(units.rows):
        table = units.space.table
        name = "" if table.kinds[row] == "default" else table.names[row]
        places.setdefault((table.kinds[row], name), []).append(place)
    found: dict[int, list[list[Any]]] = {}
    for row in frame.to_dict("records"):
        key = (row["kind"], "" if row["kind"] == "default" else row["name"])
        entry = [
            row["side"],
            *(
                texts.setdefault(str(row[column] or ""), len(texts))
                for column in ("system", "question")
            ),
            _cut(row["reply"]),
            row["label"] if isinstance(row["label"], str) else "",
            bool(row["averaged"]),
        ]
        for place in places.get(key, ()):
            judged = units.space.table.labels[units.rows[place]]
            averaged = entry[-1] and (judged not in LABELS or judged == entry[-2])
            found.setdefault(place, []).append([*entry[:-1], averaged])
    return {
        "texts": list(texts),
        "of": {place: _spread(entries) for place, entries in found.items()},
        "why": "None of its replies was kept with this space.",
    }


def _cut(text: Any) -> str:
    text = str(text)
    return text if len(text) <= LONGEST else text[:LONGEST].rstrip() + " …"


def _spread(entries: list[list[Any]]) -> list[list[Any]]:
    """At most `MOST`, evenly taken; of a trait as many of either side."""
    sides = {entry[0] for entry in entries}
    kept = []
    for side in sorted(sides, reverse=True):
        own = [entry for entry in entries if entry[0] == side]
        room = max(1, MOST // len(sides))
        step = max(1, len(own) // room)
        kept += own[::step][:room]
    return kept


def _frame(space: Space) -> pd.DataFrame | None:
    """Replies of the run if it is at hand, else those kept beside the space."""
    if space.run is not None:
        try:
            return pd.DataFrame(
                _rows(space.calibrated_run(), space.table.card), columns=list(COLUMNS)
            )
        except PersonaLensError:
            return None
    try:
        return space.sample_replies(further=True)
    except PersonaLensError:
        return None


def _rows(run: RunFolder, card: Mapping[str, Any]) -> Iterable[list[Any]]:
    """Of every shard a reply or two, its questions taken in turn."""
    opened = run.opened()
    labels = Labels.find(opened, card["judge"]["key"]) if card.get("judge") else None
    for number, shard in enumerate(opened.shards):
        if not opened.has_replies(shard):
            continue
        replies = opened.read_replies(shard)
        verdicts = labels.read(shard) if labels is not None and labels.has(shard) else None
        for turn in range(min(2, len(replies))):
            place = (number + turn * max(1, len(replies) // 2)) % len(replies)
            label = verdicts[place].label if verdicts is not None else None
            yield [
                shard.kind,
                shard.name,
                shard.side,
                shard.system,
                shard.requests[place].question,
                replies[place].text,
                label,
                True,
            ]
