"""`atlas`: a whole space as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import SpaceName, err, new_path
from persona_lens.paths import check_path

app = typer.Typer()


@command(
    app,
    "persona-lens atlas spaces/first --out atlas.html",
    'persona-lens atlas spaces/first --out atlas.html --sweep sweeps/first --title "Personas of my model"',
)
def atlas(
    space: SpaceName,
    target: Annotated[Path, new_path("A .html file.", "--out")],
    sweep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", parser=check_path, help="A saved layer sweep, to be shown as well."
        ),
    ] = None,
    title: Annotated[
        str | None, typer.Option(help="Of the page; the model's name by default.")
    ] = None,
) -> None:
    """Write one page with everything in a space: map, ranking, heat maps, statistics by layer.

    It opens without a network; `atlas.html#layer=12&select=pirate` links to a layer and a role.
    """
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    with err.status("Opening the space") as status:
        opened = PersonaSpace.load(space)
        path = opened.atlas(target, sweep=sweep, title=title, status=status.update)
    err.print(f"Saved: {path} ({path.stat().st_size / 1e6:.1f} MB)")
