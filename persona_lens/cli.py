"""The `persona-lens` command: thin, one call of the library each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console

from persona_lens.errors import PersonaLensError, SpaceError

app = typer.Typer(
    name="persona-lens",
    help="Persona space of language models: collect role and trait vectors, fit the Assistant Axis, draw the map.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console()
err = Console(stderr=True)

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Embedded name, hub name, folder or .gguf file."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the fastest by default.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Entries = Annotated[
    str, typer.Option(help='"core", "none", names separated by commas, or a JSON file.')
]


@contextmanager
def _continued_later() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped. The same command continues where it was.")
        raise typer.Exit(130) from None


def _example(*lines: str) -> str:
    return "[bold]Example[/bold]\n\n" + "\n\n".join(f"  [cyan]{line}[/cyan]" for line in lines)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Declared for `--help`; `main` reads it at any place of the line, because errors are caught there."""


@app.command(epilog=_example("persona-lens demo", "persona-lens demo --out demo --layer 20"))
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    layer: Annotated[int, typer.Option(help="Block the map is drawn at.")] = 20,
) -> None:
    """From nothing to a persona map of the embedded model, offline, in some minutes."""
    from persona_lens.demo import run_demo  # noqa: PLC0415

    with _continued_later():
        run_demo(folder, layer=layer)


@app.command(
    epilog=_example(
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
    with _continued_later():
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


@app.command(epilog=_example("persona-lens fit runs/first --out spaces/first"))
def fit(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the space.")],
    scaling: Annotated[str, typer.Option(help="center (the paper), zscore or l2.")] = "center",
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
) -> None:
    """Fit the persona space of a run: axis, components, stability, at every layer."""
    from persona_lens.space.persona_space import PersonaSpace  # noqa: PLC0415

    with err.status("Fitting every layer"):
        space = PersonaSpace.from_run(run, scaling=scaling, seed=seed).fit()
        space.save(folder)
    out.print(space)
    err.print(f"Saved: {folder}. Next: [cyan]persona-lens map {folder} --out map.html[/cyan]")


@app.command(
    "map",
    epilog=_example(
        "persona-lens map spaces/first --layer 20 --out map.html",
        "persona-lens map spaces/first --figure ranking --out ranking.png",
    ),
)
def draw_map(
    folder: Annotated[Path, typer.Argument(metavar="SPACE", help="A saved space.")],
    target: Annotated[Path, typer.Option("--out", help="A .html, .png or .svg file.")],
    layer: Annotated[
        int | None, typer.Option(help="Block; two thirds up the model by default.")
    ] = None,
    figure: Annotated[str, typer.Option(help="map, ranking or variance.")] = "map",
    dims: Annotated[int, typer.Option(min=2, max=3, help="Of the map.")] = 2,
    traits: Annotated[bool, typer.Option(help="Draw traits as arrows.")] = True,
) -> None:
    """Draw the persona map, the ranking along the axis, or the variance by layer."""
    from persona_lens.plots import save_figure  # noqa: PLC0415
    from persona_lens.space.persona_space import PersonaSpace  # noqa: PLC0415

    space = PersonaSpace.load(folder)
    chosen = space.layers_[len(space.layers_) * 2 // 3] if layer is None else layer
    figures = {
        "map": lambda: space.map(chosen, dims=dims, traits=traits),
        "ranking": lambda: space.axis_plot(chosen),
        "variance": space.variance_plot,
    }
    if figure not in figures:
        raise SpaceError("no such figure", expected=", ".join(figures), given=figure)
    save_figure(figures[figure](), target)
    err.print(f"Saved: {target}")


@app.command(
    epilog=_example(
        "persona-lens info runs/first",
        "persona-lens info spaces/first",
        "persona-lens info gemma-3-270m",
    )
)
def info(
    what: Annotated[str, typer.Argument(help="A run folder, a space folder, or a model.")],
    device: Device = None,
    dtype: Dtype = "auto",
) -> None:
    """Tell what a run, a space or a model is."""
    from persona_lens import describe  # noqa: PLC0415

    path = Path(what)
    if (path / "manifest.json").is_file():
        out.print(describe.run(path))
    elif (path / "card.json").is_file():
        out.print(describe.space(path))
    else:
        out.print(describe.model(what, device=device, dtype=dtype))


@app.command(epilog=_example("persona-lens models"))
def models() -> None:
    """List the embedded models, and what is on this machine already."""
    from persona_lens import describe  # noqa: PLC0415

    out.print(describe.models())


def parse_entries(text: str) -> Any:
    """What `--roles` and the like mean for the catalogue.

    Examples:
        >>> parse_entries("core"), parse_entries("none"), parse_entries("pirate, ghost")
        ('core', None, ['pirate', 'ghost'])
    """
    if text == "none":
        return None
    if text == "core" or text.endswith(".json"):
        return text
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_layers(text: str) -> list[int]:
    """Layers from `10-20` (both ends) or `3,7,11`.

    Examples:
        >>> parse_layers("3,7-9")
        [3, 7, 8, 9]
    """
    layers: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            layers += range(int(first), int(last or first) + 1)
    except ValueError:
        raise SpaceError("cannot read the layers", expected="10-20 or 3,7,11", given=text) from None
    return layers


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
        if isinstance(error, ValidationError):
            known, first = True, error.errors()[0]
            message = (
                f"{'.'.join(map(str, first['loc']))}: {first['msg']}, given {first['input']!r}"
            )
        err.print(f"Error: {message}", style="red", markup=False, highlight=False)
        if not known and not debug:
            err.print("  persona-lens --debug ... shows where", markup=False)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
