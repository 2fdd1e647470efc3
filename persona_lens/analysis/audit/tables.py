"""A judge audit in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from persona_lens.analysis.audit.agreement import Agreement, RoleAgreement
from persona_lens.analysis.audit.hand_agreement import HandAgreement

_EFFECTS: Mapping[str, str] = {
    "axis": "axes, cosine",
    "pc1": "PC1, |cosine|",
    "distances": "distances of roles",
    "map": "on PC1 and PC2",
}
_VALUE, _NULL = "value [95 %]", "null, 95 %"
_LEAST = 3


def agreement_tables(found: Agreement, names: Mapping[str, str]) -> list[RenderableType]:
    """How far two judges agree; what they drop; how their labels meet; where they agree least."""
    first, second = names[found.first], names[found.second]
    table = _table(f"{first} and {second}", "", _VALUE, _NULL, "replies", "of")
    for row in found.frame().to_dict("records"):
        of = "traits" if row["what"].startswith("trait") else "roles"
        table.add_row(row["what"], *_cells(row), f"{row['count']:,}", f"{row['groups']} {of}")
    if found.roles is None:
        return [table]
    for row in found.roles.dropped.to_dict("records"):
        if row["by_other"] == "any" or row["dropped"]:
            other = second if row["judge"] == found.first else first
            where = "" if row["by_other"] == "any" else f" where {other} has {row['by_other']!r}"
            cells = _cells({**row, "value": row["share"]})
            table.add_row(
                f"no label by {names[row['judge']]}{where}", *cells, f"{row['replies']:,}"
            )
    labels = _table("Role replies by label", f"{first} \\ {second}", *found.roles.confusion.columns)
    for label, row in found.roles.confusion.iterrows():
        labels.add_row(str(label), *(f"{int(count):,}" for count in row))
    return [table, labels, Text(_least(found.roles), style="dim"), Text()]


def hand_tables(hand: Sequence[HandAgreement], names: Mapping[str, str]) -> list[RenderableType]:
    """How far each judge agrees with a person."""
    tables: list[RenderableType] = []
    for found in hand:
        table = _table(f"{names[found.judge]} and a person", "", _VALUE, _NULL)
        for row in found.frame().to_dict("records"):
            table.add_row(row["what"], *_cells(row))
        caption = (
            f"{found.count} replies of {found.n_groups} roles, weighted to all replies of the run: worth "
            f"{found.effective_count:.0f} drawn at random. The person left {found.unlabelled} without a label."
        )
        if found.covered < 1:
            caption += (
                f" Only {found.covered:.0%} of all replies are of a kind that has been labelled."
            )
        table.caption = caption
        tables += [table, Text()]
    return tables


def effect_tables(effect: pd.DataFrame, names: Mapping[str, str]) -> list[RenderableType]:
    """What the choice of judge changes, at one layer, two thirds up."""
    layers = sorted(effect["layer"].unique())
    layer = layers[len(layers) * 2 // 3]
    here = effect.loc[effect["layer"] == layer]
    pairs = list(dict.fromkeys(zip(here["first"], here["second"], strict=True)))
    table = _table(
        f"What the choice of judge changes, at layer {layer}", "", _VALUE, _NULL, "roles"
    )
    for pair in pairs:
        table.add_row(Text(" and ".join(names.get(key, key) for key in pair), style="bold"))
        rows = here.loc[(here["first"] == pair[0]) & (here["second"] == pair[1])]
        for row in rows.to_dict("records"):
            roles = f"{row['roles_first']}, {row['roles_second']}; {row['roles_both']}"
            table.add_row(f"  {_EFFECTS[row['what']]}", *_cells(row, 3), roles)
    table.caption = (
        "Null: as many replies of each role, chosen at random. Below it, a judge takes other replies and not only "
        "fewer. Roles: those on either axis, and those that both have."
    )
    return [table]


def _least(roles: RoleAgreement) -> str:
    known = roles.by_role.dropna(subset=["kappa"])
    least = known.nsmallest(_LEAST, "kappa").to_dict("records")
    named = ", ".join(f"{row['name']} {row['kappa']:.2f}" for row in least)
    without = len(roles.by_role) - len(known)
    return " ".join(
        [f"Least kappa: {named}."] * bool(least)
        + [
            f"No kappa for {without} of {len(roles.by_role)} roles: a judge gives them one label only."
        ]
        * bool(without)
    )


def _cells(row: Mapping[Any, Any], digits: int = 2) -> tuple[str, str]:
    """Value with interval, and range of the null; empty where they are not known."""
    value, low, high = (f"{row[name]:.{digits}f}" for name in ("value", "low", "high"))
    null = [f"{row.get(name, np.nan):.{digits}f}" for name in ("null_low", "null_high")]
    shown = f"{value} [{low}, {high}]" if low != "nan" else value
    return shown.replace("nan", "-"), "" if "nan" in null else " to ".join(null)


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in columns:
        table.add_column(column)
    return table
