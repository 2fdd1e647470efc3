"""Figures as files: a self-contained web page, or a picture.

Pictures need a browser that is already there; nothing is ever downloaded. Ask `can_export_images()` first where a
picture is welcome but not necessary.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path

import kaleido
import plotly.graph_objects as go
from choreographer.browsers import Chromium
from kaleido.errors import ChromeNotFoundError

from persona_lens.errors import FigureError
from persona_lens.files import whole_or_nothing

SCALE = 2
PICTURES = (".png", ".svg")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; background: #fff; }}
.figure {{ width: 100vw; height: 100vh; min-width: {width}px; min-height: {height}px; }}
</style>
</head>
<body>
<div class="figure">{figure}</div>
</body>
</html>
"""


def save_figure(fig: go.Figure, path: str | Path) -> list[Path]:
    """Write a figure to `path`, whole or not at all.

    Args:
        fig: Any plotly figure.
        path: Ends in `.html` (opens without a network, fills the window), `.png` (twice the figure's size in
            pixels) or `.svg`. Without an ending, the page is written, and the PNG beside it if a browser is found.

    Returns:
        The files written.

    Raises:
        FigureError: Another ending, or a picture without a browser to draw it.

    Example:
        >>> import tempfile
        >>> page = Path(tempfile.mkdtemp()) / "figure.html"
        >>> [written.name for written in save_figure(go.Figure(), page)]
        ['figure.html']
    """
    path = Path(path)
    if not path.suffix:
        endings = (".html", ".png") if can_export_images() else (".html",)
        return [written for ending in endings for written in save_figure(fig, f"{path}{ending}")]
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise FigureError(
            "figures are not written in this format",
            expected=", ".join(_WRITERS),
            given=path.suffix,
            remedy="for a PDF, print the .html or convert the .svg",
        )
    content = writer(fig)
    with whole_or_nothing(path) as partial:
        partial.write_bytes(content)
    return [path]


def can_export_images() -> bool:
    """Whether a browser is found that can draw pictures.

    >>> isinstance(can_export_images(), bool)
    True
    """
    browser = Chromium.find_browser(skip_local=False)
    return browser is not None and Path(browser).is_file()


def _page(fig: go.Figure) -> bytes:
    """A page that needs nothing else. The figure fills the window, but is never smaller than it was laid out for."""
    width, height = fig.layout.width or 700, fig.layout.height or 450
    title = re.sub(r"<[^>]*>", " ", fig.layout.title.text or "") or "Figure"
    fluid = go.Figure(fig)
    fluid.update_layout(width=None, height=None, autosize=True)
    figure = fluid.to_html(
        full_html=False,
        include_plotlyjs=True,
        default_width="100%",
        default_height="100%",
        config={"responsive": True, "displaylogo": False},
    )
    page = _PAGE.format(
        title=html.escape(html.unescape(title)), width=width, height=height, figure=figure
    )
    return page.encode()


def _picture(fig: go.Figure, form: str) -> bytes:
    if not can_export_images():
        raise _no_browser()
    options = {
        "format": form,
        "scale": SCALE,
        "width": fig.layout.width,
        "height": fig.layout.height,
    }
    try:
        # MathJax would come from the network, and no figure needs it.
        return kaleido.calc_fig_sync(fig.to_dict(), opts=options, kopts={"mathjax": False})
    except ChromeNotFoundError as error:
        raise _no_browser() from error


def _no_browser() -> FigureError:
    return FigureError(
        "pictures are drawn by a browser, and none is found",
        expected="Chromium or Google Chrome",
        remedy="install it (Debian, Ubuntu: apt-get install chromium; else Google Chrome), set the environment "
        "variable BROWSER_PATH to it, or save as .html",
    )


_WRITERS: dict[str, Callable[[go.Figure], bytes]] = {
    ".html": _page,
    ".png": lambda fig: _picture(fig, "png"),
    ".svg": lambda fig: _picture(fig, "svg"),
}
