"""`verify`: does everything hold on this model?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.options import (
    Device,
    DeviceMap,
    Dtype,
    Model,
    Quiet,
    TemplateVars,
    TrustRemoteCode,
    err,
    example,
    out,
    parse_template_vars,
)

if TYPE_CHECKING:
    from persona_lens.verify import Check

app = typer.Typer()


@app.command(
    epilog=example(
        "persona-lens verify --model smollm2-135m-instruct",
        "persona-lens verify --model google/gemma-2-2b-it --dtype bfloat16",
        "persona-lens verify --model gemma-3-270m --only bridge,cache",
    )
)
def verify(
    model: Model,
    only: Annotated[
        str | None, typer.Option(help="Names of some checks, separated by commas.")
    ] = None,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = "auto",
    template_var: TemplateVars = None,
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
) -> None:
    """Check a model: residuals, tokens, padding, caching, interventions.

    Ends with status 1 if a check fails.
    """
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.verify import verify as run_checks  # noqa: PLC0415

    variables = parse_template_vars(template_var)
    names = None if only is None else [name.strip() for name in only.split(",")]
    with err.status("Loading the model") as status:
        if quiet:
            status.stop()
        loaded = PersonaModel.load(
            model,
            device=device,
            device_map=device_map,
            dtype=dtype,  # pyright: ignore[reportArgumentType]
            template_kwargs=variables,
            trust_remote_code=trust_remote_code,
        )

        def show(check: Check) -> None:
            status.update(f"Checking: {check.title}")

        report = run_checks(loaded, only=names, on_check=show)
    out.print(report)
    if not report.passed:
        raise typer.Exit(1)
