"""`steer`: one question, with and without an intervention."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.options import (
    Device,
    Dtype,
    TemplateVars,
    err,
    example,
    out,
    variables_of,
)
from persona_lens.cli.steering_plans import Steering
from persona_lens.errors import SpaceError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

app = typer.Typer()

FILES = "Files of others and of yours"


@app.command(
    epilog=example(
        'persona-lens steer demo/space "Who are you?" --add assistant=-0.2',
        'persona-lens steer demo/space "Who are you?" --system "You are a ghost." --floor 90 --layers 12-18',
        'persona-lens steer demo/space "Who are you?" --add pirate=0.1 --where generated --seed 3',
        'persona-lens steer demo/space "Who are you?" --add pirate=2 --unit spread',
        'persona-lens steer "Who are you?" --release vectors/qwen-3-32b --add assistant=-10 --unit raw --sinks',
        'persona-lens steer "Who are you?" --release vectors/qwen-3-32b --cap layers_46:54-p0.25',
        'persona-lens steer "Who are you?" --cap capping_config.pt --experiment layers_46:54-p0.25 '
        "-m Qwen/Qwen3-32B",
        'persona-lens steer "Who are you?" --plan plans/mine --model smollm2-135m-instruct',
    )
)
def steer(
    asked: Annotated[
        list[str],
        typer.Argument(
            metavar="[SPACE] QUESTION",
            help="A saved space, a packaged one or the folder of a release; and what to ask. --release, --cap and "
            "--plan need no space.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The space's own by default: a name, folder or .gguf file."
        ),
    ] = None,
    system: Annotated[str, typer.Option(help="System prompt.")] = "",
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STRENGTH",
            help="Add assistant, pc1, a role or a trait, in multiples of --unit. Repeatable.",
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Of --add: residual (the mean residual norm; the default), spread (of the roles) or raw (the "
            "vector as it is stored, as in the paper's code). Named, residual is measured on neutral texts where "
            "it is not known."
        ),
    ] = None,
    floor: Annotated[
        float | None, typer.Option(help="Keep the Assistant Axis at or above this percentile.")
    ] = None,
    ceil: Annotated[
        float | None, typer.Option(help="Keep the Assistant Axis at or below this percentile.")
    ] = None,
    ablate: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Project a direction out. Repeatable.")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            help="Such as 12-18, or paper; the middle one for --add, 0.7 to 0.9 of the depth for caps."
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="The paper's vectors: a folder, or OWNER/NAME/MODEL on the hub.",
            rich_help_panel=FILES,
        ),
    ] = None,
    cap: Annotated[
        str | None,
        typer.Option(
            metavar="EXPERIMENT|FILE",
            help="An experiment of --release, such as layers_46:54-p0.25, or a capping file.",
            rich_help_panel=FILES,
        ),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="Of the file in --cap.", rich_help_panel=FILES)
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            parser=check_path,
            help="A plan saved with plan.save(folder).",
            rich_help_panel=FILES,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            help="all, prompt, generated, last, system, user or assistant; all, and of --plan its own, by default."
        ),
    ] = None,
    sinks: Annotated[
        bool,
        typer.Option(
            "--sinks", help="Touch BOS and attention sinks too, as the paper's code does."
        ),
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the reply.")] = 60,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    device: Device = None,
    dtype: Dtype = "auto",
    template_var: TemplateVars = None,
) -> None:
    """Answer a question with and without an intervention, and say what it did."""
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    if len(asked) > 2:
        raise SpaceError(
            "more than a space and a question",
            given=" ".join(asked[2:]),
            remedy="quote the question",
        )
    steering = Steering(
        place=asked[0] if len(asked) == 2 else None,
        add=add or [],
        floor=floor,
        ceil=ceil,
        ablate=ablate or [],
        layers=layers,
        unit=unit,
        release=release,
        cap=cap,
        experiment=experiment,
        saved=plan,
        where=where,
        sinks=sinks,
    )
    question = asked[-1]

    @cache
    def load() -> PersonaModel:
        from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415

        with err.status("Loading the model"):
            return PersonaModel.load(
                model or steering.model_name(),
                device=device,
                dtype=dtype,  # pyright: ignore[reportArgumentType]
                template_kwargs=variables_of(template_var, steering.reader(), model),
            )

    whole = steering.plan(load)
    loaded = load()
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    with err.status("Answering"):
        plain = loaded.chat(question, system=system, sampling=sampling)
        with loaded.intervene(whole) as receipt:
            steered = loaded.chat(question, system=system, sampling=sampling)
    out.print("[bold]Without[/bold]")
    out.print(plain.strip(), markup=False, highlight=False)
    out.print("\n[bold]With[/bold]")
    out.print(steered.strip(), markup=False, highlight=False)
    out.print("\n[bold]What was done[/bold]")
    out.print(str(receipt), markup=False, highlight=False)
