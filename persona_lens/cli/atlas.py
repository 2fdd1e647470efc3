"""`atlas`: a whole space as one web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_lens.cli.options import err, example
from persona_lens.paths import check_path, check_target

app = typer.Typer()


@app.command(
    epilog=example(
        "persona-lens atlas spaces/first --out atlas.html",
        'persona-lens atlas spaces/first --out atlas.html --sweep sweeps/first --title "Personas of my model"',
    )
)
def atlas(
    space: Annotated[
        str, typer.Argument(metavar="SPACE", help="A saved space, or the name of a packaged one.")
    ],
    target: Annotated[
        Path, typer.Option("--out", metavar="PATH", parser=check_target, help="A .html file.")
    ],
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
    from persona_lens.pages.atlas import atlas as write_atlas  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    with err.status("Opening the space") as status:
        opened = PersonaSpace.load(space)
        path = write_atlas(opened, target, sweep=sweep, title=title, status=status.update)
    err.print(f"Saved: {path} ({path.stat().st_size / 1e6:.1f} MB)")
