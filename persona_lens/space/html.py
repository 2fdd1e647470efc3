"""How a space shows itself in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from persona_lens.space import Space

_SHOWN_LAYERS = 6


def space_html(space: Space) -> str:
    """A small table: what is in the space, and its main numbers at a few layers."""
    title = f"<strong>{escape(repr(space))}</strong>"
    model = space.table.card.get("reader", {}).get("model")
    source = f"<div>read with {escape(str(model))} at {escape(str(space.table.card.get('hook_point')))}</div>"
    heading = title + (source if model else "")
    if not hasattr(space, "axis_"):
        return f"<div>{heading}<div>Call <code>space.fit()</code> next.</div></div>"
    frame = space.stability_
    step = max(1, len(frame) // _SHOWN_LAYERS)
    chosen = range(step // 2, len(frame), step)
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td style='text-align:right'>{cell}</td>"
            for cell in (
                frame["layer"].iloc[place],
                f"{frame['cosine'].iloc[place]:.2f} "
                f"[{frame['cosine_low'].iloc[place]:.2f}, {frame['cosine_high'].iloc[place]:.2f}]",
                f"{frame['shuffled_95'].iloc[place]:.2f}",
                f"{frame['axis_questions'].iloc[place]:.2f}",
                f"{space.explained_variance_ratio_[place, 0]:.0%}",
                space.n_components_70_[place],
            )
        )
        + "</tr>"
        for place in chosen
    )
    columns = (
        "layer",
        "cos(PC1, axis)",
        "null 95 %",
        "axis, question halves",
        "PC1 variance",
        "PCs for 70 %",
    )
    head = "".join(f"<th style='text-align:right'>{column}</th>" for column in columns)
    return f"<div>{heading}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
