"""`steer`: one question, with and without an intervention."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persona_lens.cli.options import Device, Dtype, err, example, out, parse_layers
from persona_lens.errors import SpaceError

if TYPE_CHECKING:
    from persona_lens.interventions import Plan
    from persona_lens.space.persona_space import PersonaSpace

from persona_lens.paths import check_path

app = typer.Typer()


@app.command(
    epilog=example(
        'persona-lens steer demo/space "Who are you?" --add assistant=-0.2',
        'persona-lens steer demo/space "Who are you?" --system "You are a ghost." --floor 90 --layers 12-18',
        'persona-lens steer demo/space "Who are you?" --add pirate=0.1 --where generated --seed 3',
    )
)
def steer(
    folder: Annotated[
        Path, typer.Argument(metavar="SPACE", parser=check_path, help="A saved space.")
    ],
    question: Annotated[str, typer.Argument(help="What to ask.")],
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
            help="Add assistant, pc1, a role or a trait, as a fraction of the residual norm. Repeatable.",
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
            help="Such as 12-18; the middle one for --add, 0.7 to 0.9 of the depth for caps."
        ),
    ] = None,
    where: Annotated[
        str, typer.Option(help="all, prompt, generated, last, system, user or assistant.")
    ] = "all",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the reply.")] = 60,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Answer a question with and without an intervention, and say what it did."""
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.model.sampling import Sampling  # noqa: PLC0415
    from persona_lens.space.persona_space import PersonaSpace  # noqa: PLC0415

    space = PersonaSpace.load(folder)
    plan = _plan(space, add or [], floor, ceil, ablate or [], layers).where(where)
    with err.status("Loading the model"):
        loaded = PersonaModel.load(model or _model_of(space), device=device, dtype=dtype)  # pyright: ignore[reportArgumentType]
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    with err.status("Answering"):
        plain = loaded.chat(question, system=system, sampling=sampling)
        with loaded.intervene(plan) as receipt:
            steered = loaded.chat(question, system=system, sampling=sampling)
    out.print("[bold]Without[/bold]")
    out.print(plain.strip(), markup=False, highlight=False)
    out.print("\n[bold]With[/bold]")
    out.print(steered.strip(), markup=False, highlight=False)
    out.print("\n[bold]What was done[/bold]")
    out.print(str(receipt), markup=False, highlight=False)


def _model_of(space: PersonaSpace) -> str:
    name = space.table.card.get("reader", {}).get("model")
    if not name:
        raise SpaceError("the space does not know its model", remedy="give --model")
    return str(name)


def _plan(
    space: PersonaSpace,
    add: list[str],
    floor: float | None,
    ceil: float | None,
    ablate: list[str],
    layers: str | None,
) -> Plan:
    """The operations in the order they are declared above."""
    chosen: dict[str, Any] = {} if layers is None else {"layers": parse_layers(layers)}
    plans = [space.add(name, strength, **chosen) for name, strength in map(_parsed, add)]
    plans += [] if floor is None else [space.floor(percentile=floor, **chosen)]
    plans += [] if ceil is None else [space.ceil(percentile=ceil, **chosen)]
    plans += [space.ablate(name, **chosen) for name in ablate]
    if not plans:
        raise SpaceError(
            "nothing to do", expected="--add, --floor, --ceil or --ablate", remedy="see --help"
        )
    whole = plans[0]
    for plan in plans[1:]:
        whole = whole + plan
    return whole


def _parsed(text: str) -> tuple[str, float]:
    name, _, strength = text.partition("=")
    try:
        return name, float(strength)
    except ValueError:
        raise SpaceError(
            "cannot read --add", expected="NAME=STRENGTH, such as pirate=0.1", given=text
        ) from None
