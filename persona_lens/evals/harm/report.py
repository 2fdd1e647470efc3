"""What a harm evaluation comes to: the tables that are read, and the figure, from what `evaluate` returned.

for told in tables(result, model, space, layer=15):
    told.title, told.frame
figures(result)["harm"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from persona_lens.evals.evaluation import Evaluated
from persona_lens.evals.harm.harm_table import ALL, harm_table, persona_effect
from persona_lens.evals.harm.mixed_model import mixed_model
from persona_lens.evals.harm.projection_effect import harm_by_projection, projection_effect
from persona_lens.evals.harm.refusals import FEWEST, RefusalDirection, refusal_direction
from persona_lens.evals.harm.reply_outcomes import reply_outcomes
from persona_lens.evals.telling import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persona_lens.evals.items import Item
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

_RATE = {"rate": ("value", "low", "high"), "change": ("change", "change_low", "change_high")}
_BEYOND = {
    f"beyond equal {matched}": (
        f"beyond_{matched}",
        f"beyond_{matched}_low",
        f"beyond_{matched}_high",
    )
    for matched in ("norm", "engagement")
}
_MOST = 128
"""Prompts of a kind for the refusal direction."""

_TESTED = {"p": ("p",), "q": ("q",)}


def tables(
    result: Evaluated,
    items: Sequence[Item],
    model: PersonaModel,
    space: Space | None,
    layer: int,
) -> list[Told]:
    """The tables of a harm evaluation.

    Args:
        result: Of `harm`.
        items: That were asked, from which the refusal direction is made.
        model: Whose residuals it is made of.
        space: With whose axis it is compared, and on which replies were read; None leaves both out.
        layer: Where.

    Returns:
        `harm`: every measure (over-refusal of twins and what is nonsensical among them) by condition, with what
        controls do; `persona`: with a persona against without; with a space `refusal`: cos(axis, refusal), and
        `projection`: harm (or refusals, if no judge tells harm) along the axis, and `mixed`: the same with the
        persona as a random effect.
    """
    moved = {
        name: float(some["engaged"].mean()) for name, some in result.replies.groupby("condition")
    }
    table = harm_table(result.replies)
    found = [_harm(table.assign(moved=[moved[name] for name in table["condition"]]))]
    effect = persona_effect(result.replies)
    if len(effect):
        found.append(_persona(effect))
    if space is not None:
        overlap = direction_of(items, model, layer).overlap(space, layers=[layer])
        found.append(_refusal(overlap))
        if result.replies["projection"].notna().any():
            by = projection_effect(result.replies, outcome=_outcome(result.replies))
            found.append(_projection(by))
            found.append(_mixed(mixed_model(result.replies, outcome=_outcome(result.replies))))
    return found


def figures(result: Evaluated) -> dict[str, Any]:
    """Harm (or refusals) beside over-refusal, and along the projection where there is one."""
    from persona_lens.plots.harm import harm  # noqa: PLC0415 - plotly

    table, outcome = harm_table(result.replies), _outcome(result.replies)
    prompted = "persona" if "persona" in set(table["prompted"]) else "no persona"
    known = result.replies["projection"].notna().any()
    bins = harm_by_projection(result.replies, outcome=outcome) if known else None
    measure = "miss" if "miss" in set(table["measure"]) else "refusal"
    if measure not in set(table["measure"]):
        return {}
    return {"harm": harm(table, bins, measure=measure, prompted=prompted)}


def direction_of(items: Sequence[Item], model: PersonaModel, layer: int) -> RefusalDirection:
    """The refusal direction of the requests that were asked against their twins; packaged pairs if there are few.

    Args:
        items: Of `cross`; each request counts once, without a persona.
        model: Reads them.
        layer: Where.
    """
    asked: dict[bool, dict[str, None]] = {False: {}, True: {}}
    for item in items:
        asked[bool(item.about["benign"])][item.question] = None
    harmful, benign = (list(asked[kind])[:_MOST] for kind in (False, True))
    if min(len(harmful), len(benign)) >= FEWEST and not {*harmful} & {*benign}:
        return refusal_direction(model, harmful, benign, layer=layer)
    return refusal_direction(model, layer=layer)


def _outcome(replies: pd.DataFrame) -> str:
    told = reply_outcomes(replies)
    harmful = told.loc[~told["benign"].astype(bool)]
    return "harm" if harmful["harm"].notna().any() else "refusal"


def _harm(table: pd.DataFrame) -> Told:
    whole = table.loc[table["category"] == ALL]
    head = {"": ("measure",), "asked": ("prompted",), "condition": ("condition",)}
    beyond = {name: it for name, it in _BEYOND.items() if whole[it[0]].notna().any()}
    plans = {**_TESTED, "moved": ("moved",)} if whole["p"].notna().any() else {}
    rate = _RATE if plans else {"rate": _RATE["rate"]}
    return Told(
        "harm",
        "Harm, refusals and over-refusal, all categories together",
        _ordered(table),
        {**head, **rate, **plans, **beyond, "n": ("n",), "unjudged": ("unjudged",)},
        percent=(*_RATE, *_BEYOND, "moved"),
        note="nonsensical: incoherent; over-refusal: of benign twins; change: from no plan, paired by item",
        only={"category": ALL},
        whole=True,
    )


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Conditions of a measure below one another, all categories first."""
    return table.sort_values("category", key=lambda names: names != ALL, kind="stable")


def _persona(effect: pd.DataFrame) -> Told:
    return Told(
        "persona",
        "What a persona does, paired by request",
        effect,
        {
            "": ("measure",),
            "condition": ("condition",),
            "persona": ("value",),
            "none": ("without",),
            "change": _RATE["change"],
            **_TESTED,
            "n": ("n",),
        },
        percent=("persona", "none", "change"),
        only={"category": ALL},
    )


def _refusal(overlap: pd.DataFrame) -> Told:
    packaged = bool(overlap["packaged"].iloc[0])
    made_of = "packaged harmless pairs" if packaged else "your requests and their twins"
    return Told(
        "refusal",
        "cos(axis, refusal direction): what a change in harm may come of without any persona",
        overlap,
        {
            "layer": ("layer",),
            "cosine": ("cosine", "low", "high"),
            "shuffled prompts": ("null_low", "null_high"),
            "p": ("p",),
            "random directions": ("random_low", "random_high"),
            "tells prompts apart": ("separation",),
            "n": ("n",),
        },
        note=f"made of {made_of}; positive: toward the Assistant is toward refusing; 0.5 tells nothing apart",
    )


def _projection(by: pd.DataFrame) -> Told:
    outcome = by["outcome"].iloc[0]
    return Told(
        "projection",
        f"Correlation of {outcome} with the reply's place on the axis (positive: toward the Assistant)",
        by,
        {
            "condition": ("condition",),
            "r": ("r", "low", "high"),
            "null": ("null_low", "null_high"),
            "p": ("p",),
            "within personas": ("within", "within_low", "within_high"),
            "its null": ("within_null_low", "within_null_high"),
            "its p": ("within_p",),
            "n": ("n",),
            "personas": ("personas",),
        },
        note="without a persona is one persona; intervals resample personas, and are empty for fewer than three",
    )


def _mixed(slopes: pd.DataFrame) -> Told:
    return Told(
        "mixed",
        f"The same with the persona as a random effect: log-odds of {slopes['outcome'].iloc[0]} for one SD",
        slopes,
        {
            "condition": ("condition",),
            "slope": ("slope", "low", "high"),
            "null": ("null_low", "null_high"),
            "p": ("p",),
            "spread of personas": ("role_sd",),
            "n": ("n",),
            "personas": ("roles",),
        },
        note="null: projections dealt out within each persona",
    )
