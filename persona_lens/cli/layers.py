"""`sweep`, `reconstruct` and `compare`: a space layer by layer, and beside another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    Layers,
    Quiet,
    SpaceName,
    err,
    new_path,
    next_steps,
    out,
    parse_layers,
    parse_names,
)
from persona_lens.errors import SpaceError

app = typer.Typer()

MOST_DRAWS = 100_000

Folder = Annotated[Path, new_path("Folder for tables and figures.", "--out")]
DrawSeed = Annotated[int, typer.Option(min=0, help="Of the draws.")]


@command(
    app,
    "persona-lens sweep smollm2-135m-instruct --out sweeps/smollm2",
    'persona-lens sweep spaces/first --out sweeps/first --control "random weights=spaces/random"',
)
def sweep(
    space: SpaceName,
    folder: Folder,
    metrics: Annotated[
        str | None, typer.Option(help="Names separated by commas; all by default.")
    ] = None,
    layers: Layers = None,
    control: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SPACE", help="Another space, drawn beside; may be repeated."),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, max=MOST_DRAWS, help="Behind each interval.")] = 200,
    seed: DrawSeed = 0,
    quiet: Quiet = False,
) -> None:
    """Measure every layer: how well roles and traits are told apart, with intervals and nulls."""
    from persona_lens.analysis.sweep import Sweep  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.plots import save_figure  # noqa: PLC0415
    from persona_lens.space.storage import SEPARABILITY  # noqa: PLC0415

    def swept(opened: PersonaSpace) -> Sweep:
        return opened.sweep(
            metrics=parse_names(metrics),
            layers=parse_layers(layers),
            n_draws=draws,
            seed=seed,
            progress=not quiet,
        )

    named = [_named(entry) for entry in control or ()]
    others = dict(named)
    if len(others) < len(named):
        raise SpaceError("two controls have one name", remedy="write --control NAME=SPACE")
    opened = PersonaSpace.load(space)
    controls = {name: PersonaSpace.load(source) for name, source in others.items()}
    kept = opened.separability_
    found = swept(opened)
    if kept is None and opened.separability_ is not None:
        # Beside the space, so that it is not measured again.
        opened.separability_.save(Path(space) / SEPARABILITY)
    found.save(folder)
    save_figure(
        found.plot(controls={name: swept(control) for name, control in controls.items()}),
        folder / "sweep.html",
    )
    for why in sorted(set(found.card["left_out"].values())):
        without = [name for name, reason in found.card["left_out"].items() if reason == why]
        err.print(f"Left out, {why}: {', '.join(without)}.", markup=False, highlight=False)
    if found.separability is not None and "identity" in set(found.frame["metric"]):
        out.print(found.emergence_by_kind().to_string(index=False))
    next_steps(f"Saved: {folder}.", f"persona-lens atlas {space} --sweep {folder} --out atlas.html")


@command(app, "persona-lens reconstruct smollm2-135m-instruct --out rebuilt --layers 10,20")
def reconstruct(
    space: SpaceName,
    folder: Folder,
    layers: Layers = None,
    most: Annotated[int, typer.Option("--k", min=1, max=1000, help="Traits at most.")] = 20,
    method: Annotated[
        Literal["omp", "nnls", "lasso"], typer.Option(help="How traits are chosen.")
    ] = "omp",
    seed: Annotated[int, typer.Option(min=0, help="Of the controls.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Rebuild every role from few traits, held out, beside random directions and components."""
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.plots import save_figure  # noqa: PLC0415

    found = PersonaSpace.load(space).reconstruct(
        layers=parse_layers(layers),
        ks=range(1, most + 1),
        methods=(method,),
        seed=seed,
        progress=not quiet,
    )
    found.save(folder)
    save_figure(found.plot(method=method), folder / "reconstruction.html")
    err.print(f"Saved: {folder}")


@command(app, "persona-lens compare spaces/first spaces/second --out compared")
def compare(
    first: SpaceName,
    second: Annotated[str, typer.Argument(metavar="SPACE", help="Another one.")],
    folder: Folder,
    draws: Annotated[
        int, typer.Option(min=2, max=MOST_DRAWS, help="Behind each interval and null.")
    ] = 200,
    seed: DrawSeed = 0,
    quiet: Quiet = False,
) -> None:
    """Compare how two models (judges, question sets) arrange the same roles and traits."""
    from persona_lens.analysis.comparison import compare as compare_spaces  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.plots import save_figures  # noqa: PLC0415

    found = compare_spaces(
        PersonaSpace.load(first),
        PersonaSpace.load(second),
        n_draws=draws,
        n_permutations=draws,
        seed=seed,
        progress=not quiet,
    )
    found.save(folder)
    save_figures({folder / "comparison.html": found.plot(), folder / "roles.html": found.scatter()})
    out.print(found)
    err.print(f"Saved: {folder}")


def _named(entry: str) -> tuple[str, str]:
    """Name and source of a control.

    Examples:
        >>> _named("random weights=spaces/random"), _named("spaces/base")
        (('random weights', 'spaces/random'), ('base', 'spaces/base'))
    """
    if Path(entry).is_dir():
        return Path(entry).name, entry
    name, equals, source = entry.partition("=")
    return (name, source) if equals else (Path(entry).name, entry)
