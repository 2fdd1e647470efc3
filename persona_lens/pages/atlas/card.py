"""Words of the atlas: what the space rests on, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from persona_lens.pages.shared.inline import listed
from persona_lens.space import Space
from persona_lens.space.layer import span

_UNKNOWN = "not known"
_KINDS = {"default": "default", "role": "role", "trait": "side of a trait"}

STABILITY = (
    ("cosine", "cos(PC1, axis)", ("cosine_low", "cosine_high")),
    ("shuffled_95", "null: a role as the default, 95 % below", None),
    ("random_95", "null: random direction, 95 % below", None),
    ("axis_questions", "axis, halves of {folds}", ("axis_questions_low", "axis_questions_high")),
    ("axis_roles", "axis, halves of roles", ("axis_roles_low", "axis_roles_high")),
    ("pc1_roles", "PC1, halves of roles", None),
)


def header(space: Space) -> dict[str, str]:
    """Model, hook point and counts, as the head of the page shows them."""
    table, card = space.table, space.table.card
    found = {
        "model": model_name(space),
        "hook point": str(card.get("hook_point", _UNKNOWN)).replace("{layer}", "*"),
        "layers": f"{span(space.layers_)} (blocks from 0), width {table.d_model}",
        "replies": _replies(space),
        "roles": f"{len({table.names[row] for row in table.indices(kind='role')}):,}",
        "traits": f"{len(table.trait_rows()):,}",
        "questions": str(card.get("questions", _UNKNOWN)),
        "system prompts": _prompts(space),
    }
    return {name: text for name, text in found.items() if text != _UNKNOWN}


def model_name(space: Space) -> str:
    """The model that read the replies."""
    return str(space.table.card.get("reader", {}).get("model", "an unnamed model"))


def facts(space: Space) -> dict[str, str]:
    """How the numbers came about, in words; what is not known is left out."""
    card = space.table.card
    reader, conditions = card.get("reader", {}), card.get("writer", {})
    found = {
        "Axis": "mean of the default replies minus mean of the role vectors, at each layer (paper section 3.1); "
        "positive towards the Assistant. Projections are on the unit axis, in the units of the residual stream.",
        "Components": f"principal components of the role vectors, scaling “{space.scaling}”, "
        "centred on their mean.",
        "Read by": _joined(
            reader, ("model", "revision", "architecture", "dtype", "fingerprint", "template_hash")
        ),
        "Written by": _writer(conditions),
        "Sampling": _joined(conditions.get("sampling") or {}),
        "Pooling": str(card.get("pooling", "")),
        "Judge": _judge(card),
        "Intervals": f"95 %, Student's t over folds of the {folded_by(space)}, the axis taken as given; that of "
        f"cos(PC1, axis) over roles, from {space.n_resamples} bootstrap samples on Fisher's z scale.",
        "Nulls": "cos(PC1, axis) when a role plays the default (up to "
        f"{space.n_resamples} such exchanges), and that of a random direction. An untrained model can have a high "
        "cosine too, so read it against its null.",
        "Versions": _joined(card.get("versions") or {}),
    }
    return {name: text for name, text in found.items() if text}


def folded_by(space: Space) -> str:
    """What the intervals of projections are over: questions or prompts."""
    return str(space.table.card.get("fold_by", "questions"))


def stability(space: Space) -> dict[str, Any]:
    """Columns of the table of stability, and the series that are drawn by layer."""
    frame = space.stability_
    ratios = space.explained_variance_ratio_
    return {
        "columns": [
            {
                "title": title.format(folds=folded_by(space)),
                "value": listed(frame[name].to_numpy()),
                "low": None if ends is None else listed(frame[ends[0]].to_numpy()),
                "high": None if ends is None else listed(frame[ends[1]].to_numpy()),
            }
            for name, title, ends in STABILITY
        ],
        "nullMean": listed(frame["shuffled_mean"].to_numpy()),
        "p": listed(frame["shuffled_p"].to_numpy()),
        "ratios": [listed(ratios[:, number]) for number in range(min(3, ratios.shape[1]))],
        "components70": [int(number) for number in space.n_components_70_],
    }


def below_minimum(space: Space) -> list[dict[str, Any]]:
    """Roles and traits that a judge left with too few replies, by kind and label."""
    found: dict[tuple[str, str], list[str]] = {}
    for entry in space.table.card.get("below_minimum") or ():
        named = f"{str(entry['name']).replace('_', ' ')} ({entry['count']})"
        found.setdefault((entry["kind"], entry["label"]), []).append(named)
    least = space.table.card.get("min_count")
    return [
        {"title": f"{len(names)} {kind}s with fewer than {least} replies “{label}”", "names": names}
        for (kind, label), names in found.items()
    ]


def _replies(space: Space) -> str:
    table = space.table
    rows = [
        *table.indices(kind="default"),
        *table.indices(kind="role"),
        *table.trait_rows(),
    ]
    total, default = int(table.counts[rows].sum()), int(table.counts[rows[:1]].sum())
    return f"{total:,}, of them {default:,} by default" if total else _UNKNOWN


def _prompts(space: Space) -> str:
    """System prompts a role, a trait and the default."""
    most = space.table.card.get("prompts", {})
    counted = [f"{most[kind]} a {word}" for kind, word in _KINDS.items() if kind in most]
    return ", ".join(counted).replace("a default", "by default") or _UNKNOWN


def _writer(conditions: Mapping[str, Any]) -> str:
    model = conditions.get("model") or conditions.get("server") or {}
    return _joined(model, ("model", "revision", "dtype", "fingerprint"))


def _judge(card: Mapping[str, Any]) -> str:
    judge = card.get("judge")
    if not judge:
        return str(card.get("labels", "none: every reply with text counts" if card else ""))
    parts = [str(judge.get("key") or judge.get("name")), str(judge.get("method") or "")]
    rates = judge.get("false_positive_rates") or {}
    parts += [f"false positives “{label}” at most {rate:.0%}" for label, rate in rates.items()]
    parts.append(f"at least {card.get('min_count')} replies a vector")
    return "; ".join(part for part in parts if part)


def _joined(values: Mapping[str, Any], names: tuple[str, ...] | None = None) -> str:
    chosen = names or tuple(values)
    return ", ".join(
        f"{name.replace('_', ' ')} {values[name]}"
        for name in chosen
        if values.get(name) is not None
    )
