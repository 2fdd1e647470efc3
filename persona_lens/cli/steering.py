"""`steer`: one question, with and without an intervention."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import Loading, err, out
from persona_lens.cli.steering_plans import Steering, SteeringOptions
from persona_lens.errors import SpaceError

if TYPE_CHECKING:
    from persona_lens.model.persona_model import PersonaModel

app = typer.Typer()


@command(
    app,
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
def steer(
    *,
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
    steering: SteeringOptions,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of the reply.")] = 60,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 is greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    loading: Loading,
) -> None:
    """Answer a question with and without an intervention, and say what it did."""
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    if len(asked) > 2:
        raise SpaceError(
            "more than a space and a question",
            given=" ".join(asked[2:]),
            remedy="quote the question",
        )
    given = Steering(**vars(steering), place=asked[0] if len(asked) == 2 else None)
    question = asked[-1]

    @cache
    def load() -> PersonaModel:
        with err.status("Loading the model"):
            name = model or given.model_name()
            return loading.load(name, loading.variables(given.reader(), model))

    whole = given.plan(load)
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
