"""Figures as files: a self-contained web page, or a picture.

Pictures need a browser that is already there; nothing is ever downloaded. Ask `can_export_images()` first where a
picture is welcome but not necessary.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import kaleido
import plotly.graph_objects as go
from choreographer.browsers import Chromium
from kaleido.errors import BrowserClosedError, BrowserFailedError, ChromeNotFoundError

from persona_lens.errors import FigureError
from persona_lens.files import whole_or_nothing
from persona_lens.paths import check_target

SCALE = 2
PAGE, PICTURES = ".html", (".png", ".svg")
CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False}
"""Of plotly's bar: nothing in a saved page uploads what it shows."""
SIZE = (700, 450)  # plotly's own, for figures that do not say

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0; background: #fff; }}
.figure {{ width: 100%; height: 100vh; min-width: {width}px; min-height: {height}px; transform-origin: 0 0; }}
</style>
<script>
// A figure is laid out in pixels: a narrow window shows all of it, smaller.
function fit() {{
  const share = Math.min(1, document.documentElement.clientWidth / {width});
  const figure = document.querySelector(".figure");
  figure.style.transform = share < 1 ? `scale(${{share}})` : "";
  document.body.style.height = share < 1 ? `${{figure.offsetHeight * share}}px` : "";
  document.body.style.overflow = share < 1 ? "hidden auto" : "";
}}
window.addEventListener("resize", fit);
window.addEventListener("DOMContentLoaded", fit);
</script>
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

    Examples:
        >>> import tempfile
        >>> page = Path(tempfile.mkdtemp()) / "figure.html"
        >>> [written.name for written in save_figure(go.Figure(), page)]
        ['figure.html']
    """
    return save_figures({path: fig})


def save_figures(figures: Mapping[str | Path, go.Figure]) -> list[Path]:
    """Write several figures, each as `save_figure` does; all pictures share one start of the browser.

    Raises:
        FigureError: As for `save_figure`; no picture is written then.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> len(save_figures({folder / "a.html": go.Figure(), folder / "b.html": go.Figure()}))
        2
    """
    targets = {target: fig for path, fig in figures.items() for target in figure_files(path)}
    pictures = {path: fig for path, fig in targets.items() if path.suffix.lower() in PICTURES}
    for path, fig in targets.items():
        if path not in pictures:
            with whole_or_nothing(path) as partial:
                partial.write_bytes(_page(fig))
    if pictures:
        _draw(pictures)
    return list(targets)


def figure_files(path: str | Path) -> list[Path]:
    """The files `save_figure` writes for a path; asks before a figure is made whether they can be.

    Raises:
        FigureError: Another ending, or a picture without a browser to draw it.
        PathError: Nothing can be written there.

    Examples:
        >>> [file.name for file in figure_files("map.html")]
        ['map.html']
    """
    target = check_target(path)
    if not target.suffix:
        endings = (PAGE, ".png") if can_export_images() else (PAGE,)
        return [target.with_suffix(ending) for ending in endings]
    ending = target.suffix.lower()
    if ending not in (PAGE, *PICTURES):
        raise FigureError(
            "figures are not written in this format",
            expected=", ".join((PAGE, *PICTURES)),
            given=target.suffix,
            remedy="for a PDF, print the .html or convert the .svg",
        )
    if ending in PICTURES and not can_export_images():
        raise _no_browser()
    return [target]


def can_export_images() -> bool:
    """Whether a browser is found that can draw pictures.

    Examples:
        >>> isinstance(can_export_images(), bool)
        True
    """
    browser = Chromium.find_browser(skip_local=False)
    return browser is not None and Path(browser).is_file()


def _page(fig: go.Figure) -> bytes:
    """A page that needs nothing else; the figure fills the window, but is not smaller than it was laid out for."""
    layout: Any = fig.layout
    title = " ".join(re.sub(r"<[^>]*>", " ", layout.title.text or "Figure").split())
    fluid = go.Figure(fig).update_layout(width=None, height=None, autosize=True)
    figure = fluid.to_html(
        full_html=False,
        include_plotlyjs=True,
        auto_play=False,  # a page with a slider waits for the reader
        default_width="100%",
        default_height="100%",
        config=CONFIG,
    )
    width, height = layout.width or SIZE[0], layout.height or SIZE[1]
    return _PAGE.format(
        title=html.escape(html.unescape(title)), width=width, height=height, figure=figure
    ).encode()


def _draw(pictures: Mapping[Path, go.Figure]) -> None:
    if not can_export_images():
        raise _no_browser()
    with ExitStack() as stack:
        jobs = []
        for path, fig in pictures.items():
            layout: Any = fig.layout
            options = {"format": path.suffix[1:].lower(), "scale": SCALE}
            options |= {"width": layout.width or SIZE[0], "height": layout.height or SIZE[1]}
            partial = stack.enter_context(whole_or_nothing(path))
            jobs.append({"fig": fig.to_dict(), "path": partial, "opts": options})
        try:
            # MathJax would come from the network, and no figure needs it.
            kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False}, cancel_on_error=True)
        except ChromeNotFoundError as error:
            raise _no_browser() from error
        except (BrowserFailedError, BrowserClosedError) as error:
            raise FigureError(
                "the browser that draws pictures did not start or stopped",
                remedy="try it by hand, point BROWSER_PATH at another one, or save as .html",
            ) from error


def _no_browser() -> FigureError:
    return FigureError(
        "pictures are drawn by a browser, and none is found",
        expected="Chromium or Google Chrome",
        remedy="install it (Debian, Ubuntu: apt-get install chromium; else Google Chrome), set the environment "
        "variable BROWSER_PATH to it, or save as .html",
    )
