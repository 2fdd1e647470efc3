"""`fit`, `map`, `info` and `models`: what a run has come to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    Loading,
    SpaceName,
    err,
    new_path,
    next_steps,
    out,
    run_argument,
)
from persona_lens.paths import check_path

app = typer.Typer()


@command(
    app,
    "persona-lens fit runs/first --out spaces/first",
    "persona-lens fit runs/first --judge likelihood --model smollm2-135m-instruct --out spaces/labelled",
)
def fit(
    *,
    run: Annotated[Path, run_argument("A finished run.")],
    folder: Annotated[Path, new_path("Folder for the space.", "--out")],
    judge: Annotated[
        str | None,
        typer.Option(help="Use this judge's labels, such as likelihood; all replies by default."),
    ] = None,
    min_count: Annotated[
        int, typer.Option(min=1, help="Replies a label needs for a vector of its own.")
    ] = 10,
    only_fully: Annotated[
        bool,
        typer.Option("--only-fully", help="PCA without the vectors of replies somewhat in role."),
    ] = False,
    scaling: Annotated[
        Literal["center", "zscore", "l2"], typer.Option(help="Before PCA; the paper centres.")
    ] = "center",
    seed: Annotated[int, typer.Option(min=0, help="Of the resamples.")] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The run's model: calibrates on single tokens too, which steering in units of the residual "
            "norm needs.",
        ),
    ] = None,
    loading: Loading,
) -> None:
    """Fit the persona space of a run: axis, components, stability, at every layer."""
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    with err.status("Fitting every layer"):
        space = PersonaSpace.from_run(
            run,
            judge=judge,
            min_count=min_count,
            only_fully=only_fully,
            scaling=scaling,
            seed=seed,
        ).fit()
    if model is not None:
        reader = space.table.card.get("reader", {})
        space.calibrate(loading.load(model, loading.variables(reader, model)))
    space.save(folder)
    out.print(space)
    next_steps(f"Saved: {folder}.", f"persona-lens map {folder} --out map.html")


@command(
    app,
    "persona-lens map spaces/first --layer 20 --out map.html",
    "persona-lens map spaces/first --figure ranking --out ranking.png",
    name="map",
)
def draw_map(
    folder: SpaceName,
    target: Annotated[Path, new_path("A .html, .png or .svg file.", "--out")],
    layer: Annotated[
        int | None, typer.Option(help="Block; the recommended one by default.")
    ] = None,
    figure: Annotated[
        Literal["map", "ranking", "variance", "layers"], typer.Option(help="What to draw.")
    ] = "map",
    dims: Annotated[int, typer.Option(min=2, max=3, help="Of the map.")] = 2,
    traits: Annotated[bool, typer.Option(help="Draw traits as arrows.")] = True,
) -> None:
    """Draw the persona map, the ranking along the axis, the variance by layer, or which layer to take and why."""
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.plots import figure_files, save_figure  # noqa: PLC0415

    figure_files(target)
    space = PersonaSpace.load(folder)
    if layer is None and figure in ("map", "ranking"):
        err.print(f"{space.recommend_layer()}", markup=False, highlight=False)
    figures = {
        "map": lambda: space.map(layer, dims=3 if dims == 3 else 2, traits=traits),
        "ranking": lambda: space.axis_plot(layer),
        "variance": space.variance_plot,
        "layers": space.layer_plot,
    }
    for written in save_figure(figures[figure](), target):
        err.print(f"Saved: {written}")


@command(
    app,
    "persona-lens info runs/first",
    "persona-lens info runs/first --check --repair",
    "persona-lens info spaces/first",
    "persona-lens info gemma-3-270m",
)
def info(
    *,
    what: Annotated[str, typer.Argument(help="A run folder, a space folder, or a model.")],
    check: Annotated[
        bool, typer.Option("--check", help="Of a run: read every file and name what is damaged.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside, to be made again.")
    ] = False,
    loading: Loading,
) -> None:
    """Tell what a run, a space or a model is; of a name that is both a packaged space and a model, both."""
    path = check_path(what)
    if check or repair:
        from persona_lens.runs.store.checking import check_run  # noqa: PLC0415
        from persona_lens.runs.store.folder import RunFolder  # noqa: PLC0415

        report = check_run(RunFolder(path), repair=repair)
        out.print(report)
        raise typer.Exit(0 if report.sound else 1)
    from persona_lens.cli import describe  # noqa: PLC0415
    from persona_lens.space.shipped import shipped_folder  # noqa: PLC0415

    if (path / "manifest.json").is_file():
        out.print(describe.run(path))
    elif (path / "card.json").is_file():
        out.print(describe.space(path))
    else:
        if shipped_folder(what) is not None:  # at once, and said even where the model cannot be had
            out.print(describe.space(Path(what)))
            out.print()
        out.print(describe.model(what, loading.load(what)))


@command(app, "persona-lens models")
def models() -> None:
    """List the embedded models, and what is on this machine already."""
    from persona_lens.cli import describe  # noqa: PLC0415

    out.print(describe.models())
