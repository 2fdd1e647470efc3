"""A receipt in a notebook: what each operation did, layer by layer, and which tokens it changed by how much.

Colours are laid over whatever the notebook has, so light and dark ones both work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from persona_lens.interventions.directions import percent, spans
from persona_lens.interventions.touched import TouchedTokens
from persona_lens.transcripts.pieces import Piece, pieces, visible

if TYPE_CHECKING:
    from persona_lens.interventions.plan import Step
    from persona_lens.interventions.receipt import Receipt

MAX_ROWS = 20
MAX_TOKENS = 2000
"""Tokens shown of a row: its last ones, where the reply is."""

_HUE = "234, 88, 12"
_FAINT, _FULL = 0.1, 0.62
_STYLE = (
    """<style>
.pl-receipt {font-size: 13px; line-height: 1.45; max-width: 72em}
.pl-receipt table {border-collapse: collapse; margin: .4em 0; color: inherit; background: none; border: none;
  font-size: inherit}
.pl-receipt th, .pl-receipt td {text-align: left; vertical-align: top; padding: .3em .8em .3em 0;
  border: none; border-bottom: 1px solid rgba(128, 128, 128, .3); background: none; color: inherit}
.pl-receipt th {font-weight: 600; white-space: nowrap}
.pl-receipt .pl-number {text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap}
.pl-receipt .pl-name {white-space: nowrap; max-width: 22em; overflow: hidden; text-overflow: ellipsis}
.pl-receipt .pl-muted {opacity: .65}
.pl-receipt .pl-bar {display: inline-block; width: 4.5em; height: .6em; margin-right: .5em;
  background: rgba(128, 128, 128, .22)}
.pl-receipt .pl-bar > span {display: block; height: 100%; background: rgba(HUE, .8)}
.pl-receipt summary {cursor: pointer; margin: .3em 0}
.pl-receipt .pl-legend {display: inline-block; width: 9em; height: .8em; margin: 0 .5em; vertical-align: -1px;
  background: linear-gradient(to right, rgba(HUE, FAINT), rgba(HUE, FULL))}
.pl-receipt .pl-row {font-family: ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; line-height: 1.7; margin: .2em 0 .9em; padding-left: .8em;
  border-left: 2px solid rgba(128, 128, 128, .3)}
.pl-receipt .pl-row span {unicode-bidi: isolate}
.pl-receipt .pl-hot {box-shadow: inset -1px 0 rgba(128, 128, 128, .3)}
.pl-receipt .pl-idle {border-bottom: 1px dotted rgba(128, 128, 128, .7)}
.pl-receipt .pl-broken {text-decoration: underline wavy; text-decoration-color: rgba(220, 38, 38, .9)}
.pl-receipt .pl-mark {opacity: .55; font-size: .85em}
</style>""".replace("HUE", _HUE)
    .replace("FAINT", str(_FAINT))
    .replace("FULL", str(_FULL))
)


def receipt_html(receipt: Receipt) -> str:
    """The receipt as HTML; all that comes from the model or the user is escaped.

    Examples:
        >>> from persona_lens.interventions import Ablate, Direction, Plan, Receipt
        >>> page = receipt_html(Receipt(Plan.of(Ablate(Direction("<b>", (3,), np.eye(1, 8))))))
        >>> "&lt;b&gt;" in page, "nothing ran under it yet" in page
        (True, True)
    """
    frame = receipt.frame()
    return "\n".join(
        [
            '<div class="pl-receipt">',
            _STYLE,
            *_caution(receipt),
            _summary(receipt, frame),
            _layers(frame),
            _tokens(receipt),
            "</div>",
        ]
    )


def _caution(receipt: Receipt) -> list[str]:
    return [f"<div><b>{escape(receipt.caution)}</b></div>"] if receipt.caution else []


def _summary(receipt: Receipt, frame: pd.DataFrame) -> str:
    rows = []
    for number, step in enumerate(receipt.plan.steps, 1):
        own = frame.loc[frame["step"] == number]
        rows.append(
            [
                _cell(str(number), "pl-number"),
                _cell(_named(step)),
                _cell(escape(spans(step.operation.layers))),
                _cell(escape(str(step.where))),
                _cell(
                    _share(int(own["changed"].sum()), int((own["seen"] - own["not_finite"]).sum())),
                    "pl-name",
                ),
                _cell(escape(receipt.sentence(number, frame))),
            ]
        )
    return _table(["", "operation", "layers", "tokens", "changed", "what it did"], rows)


def _named(step: Step) -> str:
    operation = step.operation
    by_row = isinstance(operation.strength, tuple)
    notes = (operation.details(), "strength by row" if by_row else operation.strength_text())
    setting = "; ".join(note for note in notes if note)
    return (
        f"<b>{escape(operation.name)}</b> {escape(operation.direction.name)}"
        f'<br><span class="pl-muted">{escape(setting)}</span>'
    )


def _share(changed: int, seen: int) -> str:
    if not seen:
        return "–"
    width = f"{changed / seen:.1%}"
    return f'<span class="pl-bar"><span style="width: {width}"></span></span>{escape(percent(changed, seen))}'


def _layers(frame: pd.DataFrame) -> str:
    head = ["step", "operation", "layer", "tokens", "not finite", "changed", "mean change"]
    head += ["largest change"]
    head += ["projection before", "after", "lowest after", "highest after"]
    rows = [
        [
            _cell(f"{row['step']}", "pl-number"),
            _cell(escape(f"{row['operation']} {row['direction']}"), "pl-name"),
            _cell(f"{row['layer']}", "pl-number"),
            _cell(f"{row['seen']:,}", "pl-number"),
            _cell(f"{row['not_finite']:,}", "pl-number"),
            _cell(_share(row["changed"], row["seen"] - row["not_finite"]), "pl-name"),
            *(_cell(f"{row[name]:.1%}", "pl-number") for name in ("mean_change", "max_change")),
            *(
                _cell("–" if np.isnan(row[name]) else f"{row[name]:.4g}", "pl-number")
                for name in ("before", "after", "lowest", "highest")
            ),
        ]
        for row in frame.to_dict("records")
    ]
    return f"<details><summary>Layer by layer</summary>{_table(head, rows)}</details>"


def _cell(content: str, kind: str = "") -> str:
    return f'<td class="{kind}">{content}</td>' if kind else f"<td>{content}</td>"


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>\n{body}\n</tbody></table>"


# Tokens ------------------------------------------------------------------------------------------


def _tokens(receipt: Receipt) -> str:
    touched = receipt.tokens()
    if not touched:
        return ""
    shown = touched[:MAX_ROWS]
    top = _top(shown)
    parts = [_legend(shown, top)]
    call, last = 1, -1
    several = any(after.row <= row.row for row, after in pairwise(touched))
    for tokens in shown:
        call += tokens.row <= last
        last = tokens.row
        name = f"call {call}, row {tokens.row}" if several else f"row {tokens.row}"
        parts.append(f'<div class="pl-muted">{name}</div>{_row(receipt, tokens, top)}')
    if len(touched) > MAX_ROWS:
        parts.append(f'<div class="pl-muted">and {len(touched) - MAX_ROWS:,} more</div>')
    return f"<details open><summary>Token by token</summary>{''.join(parts)}</details>"


def _top(rows: Sequence[TouchedTokens]) -> float:
    """The change that gets the full colour: few tokens are changed more, so that one does not pale all others."""
    changes = np.concatenate([_largest(row.change) for row in rows])
    changes = changes[np.isfinite(changes) & (changes > 0)]
    return float(np.quantile(changes, 0.98)) if len(changes) else 0.0


def _largest(change: Float[np.ndarray, "place token"]) -> Float[np.ndarray, " token"]:
    """Over steps and layers; NaN where a token was not to be touched, infinite where it is no number."""
    filled = np.where(np.isnan(change), -np.inf, change).max(axis=0, initial=-np.inf)
    return np.where(np.isneginf(filled), np.nan, filled)


def _legend(rows: Sequence[TouchedTokens], top: float) -> str:
    changes = np.concatenate([_largest(row.change) for row in rows])
    broken = (
        '<div><span class="pl-muted"><span class="pl-broken">wavy</span>: not finite</span></div>'
        if np.isposinf(changes).any()
        else ""
    )
    if not top:
        return broken or '<div class="pl-muted">no token was changed</div>'
    largest = float(np.max(changes[np.isfinite(changes)], initial=0.0))
    more = f" or more (at most {largest:.1%})" if largest > 1.005 * top else ""
    return (
        '<div><span class="pl-muted">largest change at any layer, of the residual norm: 0%</span>'
        f'<span class="pl-legend"></span><span class="pl-muted">{top:.1%}{more}</span><br>'
        '<span class="pl-muted"><span class="pl-idle">dotted</span>: chosen and left as it was</span></div>'
        f"{broken}"
    )


def _row(receipt: Receipt, tokens: TouchedTokens, top: float) -> str:
    cut = max(0, len(tokens.ids) - MAX_TOKENS)
    before = f'<span class="pl-mark">… {cut:,} tokens before this … </span>' if cut else ""
    ids, change = tokens.ids[cut:].tolist(), tokens.change[:, cut:]
    shown = [
        _piece(receipt, piece, ids, change[:, piece.start : piece.stop], top)
        for piece in pieces(ids, receipt.decode)
    ]
    return f'<div class="pl-row">{before}{"".join(shown)}</div>'


def _piece(
    receipt: Receipt,
    piece: Piece,
    ids: Sequence[int],
    change: Float[np.ndarray, "place token"],
    top: float,
) -> str:
    own = ids[piece.start : piece.stop]
    text = "".join(f"⟨{token}⟩" for token in own) if piece.text is None else visible(piece.text)
    kinds = ["pl-mark"] if piece.special else []
    largest, style = _largest(change), ""
    if not np.isnan(largest).all():
        strongest = float(np.nanmax(largest))
        if np.isinf(strongest):
            kinds.append("pl-broken")
        elif strongest > 0:
            kinds.append("pl-hot")
            alpha = _FAINT + (_FULL - _FAINT) * min(1.0, strongest / top)
            style = f' style="background: rgba({_HUE}, {alpha:.2f})"'
        else:
            kinds.append("pl-idle")
    kind = f' class="{" ".join(kinds)}"' if kinds else ""
    title = escape(_tooltip(receipt, own, change)).replace("\n", "&#10;")
    return f'<span{kind}{style} title="{title}">{escape(text)}</span>'


def _tooltip(receipt: Receipt, ids: Sequence[int], change: Float[np.ndarray, "place token"]) -> str:
    lines = [f"token {', '.join(map(str, ids))}"]
    for number, step in enumerate(receipt.plan.steps):
        places = [index for index, place in enumerate(receipt.places) if place[0] == number]
        by_layer = _largest(change[places].T)
        if np.isnan(by_layer).all():
            continue
        strongest = int(np.nanargmax(by_layer))
        change_text = (
            "not finite" if np.isinf(by_layer[strongest]) else f"{by_layer[strongest]:.1%}"
        )
        said = f"{step.operation.name} {step.operation.direction.name}: {change_text}"
        if by_layer[strongest] > 0 and len(places) > 1:
            said += f" at layer {receipt.places[places[strongest]][1]}"
        lines.append(said)
    return "\n".join(lines) if len(lines) > 1 else f"{lines[0]}\nnot chosen"
