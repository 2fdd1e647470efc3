"""`verify`: does everything hold on this model?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import LargeLoading, Model, Quiet, err, out, parse_names

if TYPE_CHECKING:
    from persona_lens.verify import Check

app = typer.Typer()


@command(
    app,
    "persona-lens verify --model smollm2-135m-instruct",
    "persona-lens verify --model google/gemma-2-2b-it --dtype bfloat16",
    "persona-lens verify --model gemma-3-270m --only bridge,cache",
)
def verify(
    *,
    model: Model,
    only: Annotated[
        str | None, typer.Option(help="Names of some checks, separated by commas.")
    ] = None,
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Check a model: residuals, tokens, padding, caching, interventions.

    Ends with status 1 if a check fails.
    """
    from persona_lens.verify import verify as run_checks  # noqa: PLC0415

    variables = loading.variables()
    with err.status("Loading the model") as status:
        if quiet:
            status.stop()
        loaded = loading.load(model, variables)

        def show(check: Check) -> None:
            status.update(f"Checking: {check.title}")

        report = run_checks(loaded, only=parse_names(only), on_check=show)
    out.print(report)
    if not report.passed:
        raise typer.Exit(1)
