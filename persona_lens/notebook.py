"""What an object shows of itself in a notebook: a title and a few facts, in colours of the page, light or dark.

def _repr_html_(self):
    return facts_html("Run runs/first", {"replies": "310 of 1,480"})
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_CELL = "text-align: left; vertical-align: top; border: none; background: none; color: inherit;"


def facts_html(title: str, facts: Mapping[str, object]) -> str:
    """A title with a table of names and facts; everything is escaped, and takes the colours of the page.

    Examples:
        >>> "&lt;b&gt;" in facts_html("<b>", {"layers": 30})
        True
    """
    rows = "".join(
        f'<tr style="background: none"><th style="{_CELL} font-weight: 600">{escape(name)}</th>'
        f'<td style="{_CELL} overflow-wrap: anywhere">{escape(str(fact))}</td></tr>'
        for name, fact in facts.items()
    )
    return (
        '<div style="font-size: 13px; max-width: 60em">'
        f'<strong style="unicode-bidi: isolate">{escape(title)}</strong>'
        '<table style="border: none; color: inherit; background: none; font-size: inherit">'
        f"<tbody>{rows}</tbody></table></div>"
    )
