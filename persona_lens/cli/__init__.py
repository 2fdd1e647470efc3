"""The `persona-lens` command: thin, one call of the library each."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer
from pydantic import ValidationError

import persona_lens
from persona_lens.cli import (
    atlas,
    catalog,
    chatting,
    collecting,
    evaluating,
    forecasting,
    judging,
    layers,
    monitoring,
    papering,
    planning,
    serving,
    simulating,
    spaces,
    steering,
    tracing,
    verifying,
)
from persona_lens.cli.options import err, out
from persona_lens.errors import PersonaLensError

app = typer.Typer(
    name="persona-lens",
    help="Persona space of language models: collect role and trait vectors, fit the Assistant Axis, draw the map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for part in (
    collecting,
    judging,
    spaces,
    layers,
    atlas,
    steering,
    planning,
    simulating,
    tracing,
    forecasting,
    monitoring,
    serving,
    chatting,
    evaluating,
    papering,
    verifying,
):
    app.add_typer(part.app)
app.add_typer(catalog.app, name="catalog")


def _tell_version(asked: bool) -> None:
    if asked:
        out.print(f"persona-lens {persona_lens.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_tell_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Declared for `--help`; `main` reads it at any place of the line, because errors are caught there."""


def main() -> None:
    """Run the command line; errors are one to three lines, `--debug` shows the traceback."""
    debug = "--debug" in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
    except Exception as error:  # noqa: BLE001 - the last line of defence: nobody should meet a traceback
        if debug:
            traceback.print_exc()
        known = isinstance(error, PersonaLensError)
        message = str(error) if known else f"{type(error).__name__}: {error}".splitlines()[0]
        if isinstance(error, OSError) and error.strerror:
            known, named = True, "" if error.filename is None else f": {str(error.filename)[:80]}"
            message = f"{error.strerror}{named}"
        if isinstance(error, ValidationError):
            known, first = True, error.errors()[0]
            message = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            if not error.title.startswith("Endpoint"):  # a key may stand where its name belongs
                message += f", given {first['input']!r}"
        err.print(f"Error: {message}", style="red", markup=False, highlight=False)
        if not known and not debug:
            err.print("  persona-lens --debug ... shows where", markup=False)
        raise SystemExit(1) from None
