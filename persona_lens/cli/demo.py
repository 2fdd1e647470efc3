"""The main job in one call: from the embedded model to a persona map, offline, in some minutes on two cores.

The default Assistant gets many more replies than any role: its mean enters the axis with full weight, so its
noise is the bottleneck.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from persona_lens.analysis import group_order
from persona_lens.catalog import load_questions
from persona_lens.cli import describe
from persona_lens.cli.describe import layer_table
from persona_lens.errors import FigureError
from persona_lens.persona_space import PersonaSpace
from persona_lens.plots import can_export_images, save_figures
from persona_lens.rollouts.sampling import Sampling
from persona_lens.runs.planning import CollectionPlan
from persona_lens.statistics.pca import unit

MODEL = "smollm2-135m-instruct"
SHOWN_ROLES = 8


PLAN = CollectionPlan(
    questions=load_questions()[:8],
    prompts=2,
    default_samples=5,
    sampling=Sampling(max_new_tokens=40),
)
"""As much of the core set as gives a stable order in about five minutes on two cores that multiply bfloat16."""

QUICK = replace(
    PLAN,
    questions=load_questions()[:4],
    prompts=1,
    default_samples=4,
    sampling=Sampling(max_new_tokens=24),
)
"""All of the core set with a quarter of the replies, and those shorter, for machines without it."""
QUICK_MIN_COUNT = 2


def run_demo(
    folder: Path, *, layer: int = 20, plan: CollectionPlan = PLAN, min_count: int = 4
) -> PersonaSpace:
    """Collect, label, fit, draw and report into `folder`; a second run starts from what is there.

    Args:
        folder: Where everything goes.
        layer: Block the map is drawn at.
        plan: What is asked.
        min_count: Replies fully in role that a role needs for a vector.
    """
    from persona_lens.judges.likelihood_judge import LikelihoodJudge  # noqa: PLC0415
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.runs.collecting import collect_plan  # noqa: PLC0415
    from persona_lens.runs.judging import judge_run  # noqa: PLC0415

    console = Console()
    model = PersonaModel.load(MODEL)
    model.hook_name(layer)  # a layer that does not exist is found out now, not after the collection
    console.print(f"{model}")
    if plan is PLAN and str(model.dtype) == "torch.float32":
        console.print(
            "In float32 this takes about twice as long as in bfloat16, which this machine has no fast arithmetic "
            "for: about ten minutes on two cores. Stop it and add --quick for a quarter of the replies.",
            highlight=False,
        )
    run = collect_plan(model, folder / "run", plan)
    labels = judge_run(run, LikelihoodJudge(model))
    with console.status("Fitting every layer"):
        unlabelled = PersonaSpace.from_run(run.path).fit()
        space = PersonaSpace.from_run(run.path, judge=labels.key, min_count=min_count).fit()
    space.calibrate(model).save(folder / "space")
    with console.status("Drawing"):
        files = _draw(console, space, layer, folder)
    console.print(describe.labels(labels))
    _report(console, space, layer)
    _compare(console, space, unlabelled)
    console.print("\n[bold]Files[/bold]")
    for file in files:
        console.print(f"  {file}")
    if not can_export_images():
        console.print("  (no PNG: install Chromium or Chrome and run again)")
    console.print(
        f"  {folder / 'space'}  the fitted space\n  {folder / 'run'}  replies, labels and activations\n\n"
        "[bold]Next[/bold]\n"
        f'  persona-lens steer {folder / "space"} "Who are you?" --add assistant=-0.2 --seed 3\n'
        f"  persona-lens map {folder / 'space'} --layer {layer} --dims 3 --out map3d.html\n"
        f"  persona-lens info {folder / 'run'}\n"
        f"  persona-lens judge {folder / 'run'} --judge rules\n"
        f"  persona-lens judge-audit {folder / 'run'}\n"
        f'  python -c \'from persona_lens import PersonaSpace; print(PersonaSpace.load("{folder / "space"}")'
        f'.nearest("ghost", {layer}))\'',
        highlight=False,
    )
    return space


def _draw(console: Console, space: PersonaSpace, layer: int, folder: Path) -> list[Path]:
    figures = {
        "persona_map": space.map(layer),
        "axis_ranking": space.axis_plot(layer),
        "variance": space.variance_plot(),
    }
    try:
        return save_figures({folder / name: figure for name, figure in figures.items()})
    except (
        FigureError
    ) as error:  # a browser that does not start must not cost the finished collection
        console.print(f"No PNG: {error}", markup=False)
        return save_figures({folder / f"{name}.html": figure for name, figure in figures.items()})


def _compare(console: Console, space: PersonaSpace, unlabelled: PersonaSpace) -> None:
    """How far the labels have moved the axis."""
    cosines = (unit(space.axis_) * unit(unlabelled.axis_)).sum(axis=1)
    below = [entry for entry in space.table.card["below_minimum"] if entry["label"] == "fully"]
    console.print(
        f"\nThe axis of replies fully in role ({len(space.table.axis_rows())} roles with at least "
        f"{space.table.card['min_count']}) and that of all replies: cosine {cosines.min():.3f} to "
        f"{cosines.max():.3f} over the layers.",
        highlight=False,
    )
    if below:
        listed = ", ".join(f"{entry['name']} {entry['count']}" for entry in below)
        console.print(f"Too few replies fully in role for a vector: {listed}.", highlight=False)


def _report(console: Console, space: PersonaSpace, layer: int) -> None:
    ranking = space.ranking(layer)
    table = Table(
        title=f"The axis at layer {layer}: Assistant-like above, role-play below",
        title_justify="left",
    )
    for column in ("role", "group", "replies", "projection [95 %]", "z among roles"):
        table.add_column(column, justify="left" if column in ("role", "group") else "right")
    for place, row in ranking.iterrows():
        if place == SHOWN_ROLES and len(ranking) > 2 * SHOWN_ROLES:
            table.add_section()
        if SHOWN_ROLES <= int(str(place)) < len(ranking) - SHOWN_ROLES:
            continue
        table.add_row(
            str(row["name"]),
            str(row["group"]),
            str(row["replies"]),
            f"{row['projection']:.1f} [{row['low']:.1f}, {row['high']:.1f}]",
            f"{row['z_roles']:+.2f}",
        )
    default = space.table.indices(kind="default")[0]
    place = space.project("default", layer)
    margin = space.projection_margins_[default, space.layer_index(layer)]
    console.print(table)
    console.print(
        f"default Assistant: {place:.1f} [{place - margin:.1f}, {place + margin:.1f}], "
        f"{space.table.counts[default]} replies; mean of the roles: {ranking['projection'].mean():.1f}\n",
        markup=False,
        highlight=False,
    )
    console.print(layer_table(space))
    console.print(
        "\nOrder fantastical < human < assistant along the axis (Spearman, one-sided permutation test):"
    )
    layers = space.layers_
    for chosen in sorted(
        {layers[len(layers) // 2], layers[len(layers) * 5 // 6], layers[-1], layer}
    ):
        order = group_order(space, chosen)
        console.print(
            f"  layer {order.layer}: rho = {order.correlation:.2f}, p = {order.p_value:.4f}, "
            f"{order.n_roles} roles",
            highlight=False,
        )
