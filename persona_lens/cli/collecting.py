"""`demo`, `collect` and `gate`: replies and their mean residuals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_lens.cli.options import (
    Device,
    Dtype,
    Entries,
    Model,
    continued_later,
    err,
    example,
    parse_entries,
    parse_layers,
)

app = typer.Typer()


@app.command(epilog=example("persona-lens demo", "persona-lens demo --out demo --layer 20"))
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    layer: Annotated[int, typer.Option(help="Block the map is drawn at.")] = 20,
) -> None:
    """From nothing to a persona map of the embedded model, offline, in some minutes."""
    from persona_lens.demo import run_demo  # noqa: PLC0415

    with continued_later():
        run_demo(folder, layer=layer)


@app.command(
    epilog=example(
        "persona-lens collect --model smollm2-135m-instruct --run runs/first",
        "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --roles pirate,ghost,tutor "
        "--device-map auto",
        "persona-lens collect -m smollm2-135m-instruct --run runs/mine --roles my_role.json",
    )
)
def collect(
    run: Annotated[Path, typer.Option(help="Run folder, new or to be continued.")],
    model: Model = "smollm2-135m-instruct",
    roles: Entries = "core",
    traits: Entries = "core",
    questions: Entries = "core",
    prompts: Annotated[
        int | None,
        typer.Option(min=1, help="System prompts of each role and trait; all by default."),
    ] = None,
    default_samples: Annotated[
        int, typer.Option(min=1, help="Default-Assistant replies to each question and prompt.")
    ] = 4,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 decodes greedily.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 0.9,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    layers: Annotated[
        str | None, typer.Option(help="Such as 10-20 or 3,7,11; all by default.")
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(help="Another model to read the replies with, such as the base model."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Replies sampled at a time.")] = 64,
    device: Device = None,
    device_map: Annotated[
        str | None, typer.Option(help="Spread a large model over devices, such as auto.")
    ] = None,
    dtype: Dtype = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let hub repositories run their code.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Have a model play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same command continues.
    """
    chosen_layers = None if layers is None else parse_layers(layers)
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.model.sampling import Sampling  # noqa: PLC0415
    from persona_lens.runs.collecting import collect_run  # noqa: PLC0415

    def load(name: str) -> PersonaModel:
        return PersonaModel.load(
            name,
            device=device,
            device_map=device_map,
            dtype=dtype,  # pyright: ignore[reportArgumentType]
            trust_remote_code=trust_remote_code,
        )

    writer = load(model)
    err.print(f"{writer}")
    with continued_later():
        folder = collect_run(
            writer,
            run,
            roles=parse_entries(roles),
            traits=parse_entries(traits),
            questions=parse_entries(questions),
            prompts=prompts,
            default_samples=default_samples,
            sampling=Sampling(
                temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
            ),
            layers=chosen_layers,
            reader=None if reader is None else load(reader),
            batch_size=batch_size,
            progress=not quiet,
        )
    err.print(f"Done: {folder.path}. Next: [cyan]persona-lens fit {folder.path} --out SPACE[/cyan]")
