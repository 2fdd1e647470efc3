"""`plan`: an intervention as a file, for later or for somebody else's engine."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import Loading, err, new_path, out
from persona_lens.cli.steering_plans import Steering, SteeringOptions

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

app = typer.Typer()


@command(
    app,
    "persona-lens plan demo/space --floor 75 --out plans/floor",
    "persona-lens plan demo/space --floor 75 --where generated --to vllm-steering --out cap.json",
    "persona-lens plan --release vectors/qwen-3-32b --cap layers_46:54-p0.25 --sinks --to interp-engine "
    "--out cap.json",
    "persona-lens plan demo/space --add pirate=0.1 --to control-vector --out pirate.gguf",
)
def plan(
    *,
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="[SPACE]",
            help="A saved space, a packaged one or the folder of a release; none for --release, --cap and --plan.",
        ),
    ] = None,
    steering: SteeringOptions,
    to: Annotated[
        str,
        typer.Option(
            help="plan (a folder), interp-engine, vllm-steering, neuronpedia, capping-config or control-vector."
        ),
    ] = "plan",
    output: Annotated[Path, new_path("Folder or file to write.", "--out", "-o")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The space's own by default; loaded only for --unit residual."
        ),
    ] = None,
    loading: Loading,
) -> None:
    """Write an intervention to a file, for later or for another engine; what its format cannot say is refused."""
    from persona_lens.interop.plan_files import write_plan  # noqa: PLC0415

    given = Steering(**vars(steering), place=place)

    @cache
    def load() -> PersonaModel:
        with err.status("Loading the model"):
            name = model or given.model_name()
            return loading.load(name, loading.variables(given.reader(), model))

    whole = given.plan(load)
    written = write_plan(whole, output, to)
    out.print(f"Wrote {written}", markup=False, highlight=False)
    out.print(str(whole), markup=False, highlight=False)
