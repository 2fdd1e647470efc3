"""The figures of a judge audit: how far judges agree, and what it does to the axis.

for name, fig in judge_audit_figures(audit_run(RunFolder("runs/first"))).items():
    save_figure(fig, f"audit/{name}.html")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from persona_lens.analysis.audit.verdicts import judge_titles
from persona_lens.plots.judge_effect import effect_figures
from persona_lens.plots.judge_roles import kappa_by_role
from persona_lens.plots.judges import ConfusionMatrix, clipped, confusion
from persona_lens.plots.parts.text import shown

if TYPE_CHECKING:
    from persona_lens.analysis.audit.auditing import Audit


def judge_audit_figures(audit: Audit) -> dict[str, go.Figure]:
    """The figures of an audit, by the names of their files.

    `confusion`: how many replies get which labels, a matrix for every two judges and, with a labelled sheet, for
    the person and each judge. `kappa-by-role`: kappa of each role with its 95 % interval and the range of its
    null, a figure for every two judges. `effect`: cosines of axes and first components, and likeness of maps,
    layer by layer, with intervals and nulls; three pairs a figure. Where there are several of a kind, their names
    are numbered. What there is nothing to show of is left out.

    Args:
        audit: Of `persona_lens.analysis.audit.auditing.audit_run`.
    """
    names = {key: clipped(name) for key, name in judge_titles(audit.judges).items()}
    source = f"<b>{shown(str(audit.card['model']))}</b>"
    matrices = _matrices(audit, names)
    roles = [
        kappa_by_role(
            pair.roles.by_role,
            pair.roles.kappa,
            counted=pair.roles.counted,
            judges=f"{names[pair.first]} and {names[pair.second]}",
            source=source,
        )
        for pair in audit.agreements
        if pair.roles is not None and pair.roles.by_role["kappa"].notna().any()
    ]
    effects = []
    if audit.effect is not None:
        hook_point = str(audit.card["hook_point"]).replace("{layer}", "*")
        effects = effect_figures(audit.effect, names, source=f"{source} · {hook_point}")
    return {
        **({"confusion": confusion(matrices, source=source)} if matrices else {}),
        **_numbered("kappa-by-role", roles),
        **_numbered("effect", effects),
    }


def _numbered(name: str, figures: Sequence[go.Figure]) -> dict[str, go.Figure]:
    if len(figures) == 1:
        return {name: figures[0]}
    return {f"{name}-{place}": fig for place, fig in enumerate(figures, start=1)}


def _matrices(audit: Audit, names: Mapping[str, str]) -> list[ConfusionMatrix]:
    found = []
    for pair in audit.agreements:
        if pair.roles is not None and pair.roles.count:
            sides = names[pair.first], names[pair.second]
            found.append(
                ConfusionMatrix(*sides, pair.roles.confusion, pair.roles.kappa, pair.roles.counted)
            )
    for hand in audit.hand:
        if hand.count:
            further = f"estimated from {hand.count:,}"
            found.append(
                ConfusionMatrix("person", names[hand.judge], hand.confusion, hand.kappa, further)
            )
    return found
