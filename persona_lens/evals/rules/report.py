"""What an evaluation of rules comes to: the tables that are read, and the figure.

for told in tables(result, evaluation.items, model, space, layer=15):
    told.title, told.frame
figures(result)["rules"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persona_lens.evals.evaluation import Evaluated
from persona_lens.evals.rules.effects import against_controls, broken_shares, persona_effect
from persona_lens.evals.rules.slopes import rule_slopes
from persona_lens.evals.telling import Told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persona_lens.evals.items import Item
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.space import Space

_TESTED = {"p": ("p",), "q": ("q",)}


def tables(
    result: Evaluated,
    items: Sequence[Item],
    model: PersonaModel,
    space: Space | None,
    layer: int,
) -> list[Told]:
    """The tables of an evaluation of rules; all that they need is in the result.

    Returns:
        `persona`: the persona against its twin under each condition; `kinds`: the same for each kind of rule; with
        controls `controls`: what plans do beyond them; with projections `projection`: the mixed model.
    """
    found = [_persona(result), _kinds(result)]
    matched = set(result.replies["matched"]) & {"engagement", "norm"}
    found += [_controls(result, each) for each in sorted(matched)]
    if result.replies["projection"].notna().any():
        found.append(_projection(result))
    return found


def figures(result: Evaluated) -> dict[str, Any]:
    """Rules broken by kind."""
    from persona_lens.plots.rules import rules  # noqa: PLC0415 - plotly

    return {"rules": rules(broken_shares(result.replies))}


_EFFECT = {
    "persona": ("persona",),
    "twin": ("neutral",),
    "difference": ("effect", "low", "high"),
    **_TESTED,
    "pairs": ("pairs",),
}
_SHARES = ("persona", "twin", "difference")


def _persona(result: Evaluated) -> Told:
    return Told(
        "persona",
        "Rules broken under the persona and by its neutral twin, paired by rule",
        persona_effect(result.replies),
        {"condition": ("condition",), **_EFFECT},
        percent=_SHARES,
    )


def _kinds(result: Evaluated) -> Told:
    table = persona_effect(result.replies, by_kind=True)
    table = table.sort_values("q", kind="stable").assign(found=table["q"] < 0.05)
    found = int(table["found"].sum())
    return Told(
        "kinds",
        f"The same for each kind of rule: {found} of {len(table)} with q < 0.05",
        table,
        {"": ("rule",), "condition": ("condition",), **_EFFECT},
        percent=_SHARES,
        note="only those are shown; all are in the file" if found < len(table) else "",
        only={"found": True},
    )


def _controls(result: Evaluated, matched: str) -> Told:
    return Told(
        f"controls-{matched}",
        f"What plans change about rules broken under the persona, beside controls of equal {matched}",
        against_controls(result.replies, matched),
        {
            "condition": ("condition",),
            "change": ("change",),
            "of controls": ("control_change",),
            "difference": ("difference", "low", "high"),
            **_TESTED,
            "moved": ("engaged",),
            "by controls": ("control_engaged",),
            "pairs": ("pairs",),
            "controls": ("controls",),
        },
        percent=("change", "of controls", "difference", "moved", "by controls"),
    )


def _projection(result: Evaluated) -> Told:
    return Told(
        "projection",
        "Rules broken against the reply's place on the axis: log-odds for one SD toward the Assistant",
        rule_slopes(result.replies),
        {
            "condition": ("condition",),
            "slope": ("slope", "low", "high"),
            "null": ("null_low", "null_high"),
            "p": ("p",),
            "spread of rules": ("role_sd",),
            "n": ("n",),
            "rules": ("roles",),
        },
        note="logistic, with a random effect of each rule and its persona; null: projections dealt out within it",
    )
