"""`paper`: the paper's experiments on a model, and a report beside what was published."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.eval_options import Judged, Served, numbers
from persona_lens.cli.options import (
    LargeLoading,
    Model,
    Quiet,
    Working,
    continued_later,
    err,
    new_path,
    out,
)
from persona_lens.errors import EvaluationError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.paper.planning import ReportPlan
    from persona_lens.space import Space

app = typer.Typer()

of_plan = partial(typer.Option, rich_help_panel="Plan")
OWN = "none"


@command(
    app,
    "persona-lens paper --model smollm2-135m-instruct --out paper/ --dry-run",
    "persona-lens paper --model smollm2-135m-instruct --out paper/",
    "persona-lens paper -m Qwen/Qwen3-8B --preset hours --out paper/qwen3-8b --base Qwen/Qwen3-8B-Base "
    "--dtype bfloat16",
    "persona-lens paper -m meta-llama/Llama-3.3-70B-Instruct --preset paper --out paper/llama --dry-run --gpus 8 "
    "--gpu-price 2.5 --judge-model gpt-4.1-mini --judge-price 0.4,1.6",
    "persona-lens paper -m Qwen/Qwen3-32B --preset paper --out paper/qwen --base-url http://localhost:8000/v1 "
    "--engine ray --workers 8 --gpus-per-worker 1 --dtype bfloat16",
)
def paper(
    *,
    model: Model = "smollm2-135m-instruct",
    folder: Annotated[Path, new_path("Everything goes here; report.html is the page.", "--out")],
    preset: Annotated[
        Literal["minutes", "hours", "paper"],
        typer.Option(help="How much is asked: minutes, hours (8B, one GPU) or paper (27B to 70B)."),
    ] = "minutes",
    space: Annotated[
        str | None,
        typer.Option(
            help="A saved or packaged space of the model; then no roles and traits are collected. For minutes the "
            "packaged one, if there is one of this model; none collects a new one."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="Its base model, for the comparison with it and for completions."),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SPACE", help="The space of another model. Repeatable."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=check_path,
            help="Harmful requests, as for eval harm; house rules stand in for them without.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, of_plan("--dry-run", help="Only say replies, time, disk and cost of every stage.")
    ] = False,
    tokens_per_second: Annotated[
        float | None,
        of_plan(help="As you know it, of all workers together; measured or derived by default."),
    ] = None,
    gpus: Annotated[int, of_plan(min=0, help="That work at once, for time and cost.")] = 0,
    gpu_price: Annotated[float | None, of_plan(min=0, help="Dollars an hour of one.")] = None,
    judge_price: Annotated[
        str | None,
        of_plan(
            metavar="IN,OUT", help="Dollars a million tokens of the judge's prompts and answers."
        ),
    ] = None,
    judged: Judged,
    served: Served,
    working: Working,
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Do the paper's experiments on a model, and write a report beside the published numbers.

    A plan comes first. Killed at any point, the same command continues; a stage that fails leaves the others.
    """
    from persona_lens.paper.planning import (  # noqa: PLC0415
        derived_pace,
        given_pace,
        known_pace,
        planned,
    )
    from persona_lens.paper.presets import PRESETS  # noqa: PLC0415
    from persona_lens.paper.reporting import paper_report  # noqa: PLC0415

    chosen = PRESETS[preset]
    given = _given(space, model, preset)
    others = dict(_other(each) for each in other or ())
    judge, prices = judged.endpoint(), _prices(judge_price)
    loaded = None
    if not dry_run or (preset == "minutes" and tokens_per_second is None):
        loaded = loading.load(model)
    shape = chosen.reference
    if loaded is not None:
        shape = (loaded.n_layers, loaded.d_model, chosen.reference[2])
    else:
        err.print(f"Reckoned for {shape[0]} layers of width {shape[1]:,}.", highlight=False)
    if tokens_per_second is not None:
        pace = given_pace(tokens_per_second, chosen.reply)
    elif loaded is not None:
        pace = known_pace(loaded, chosen, folder)
    else:
        pace = derived_pace(shape[2], gpus=gpus or 1, reply=chosen.reply)
    plan: ReportPlan = planned(
        chosen,
        shape=shape,
        pace=pace,
        given=given is not None,
        base=base is not None,
        others=bool(others),
        items=items is not None,
        judged=judge is not None,
        gpus=gpus or (0 if loaded is not None else 1),
        gpu_price=gpu_price,
        judge_price=prices,
    )
    (out if dry_run else err).print(str(plan), markup=False, highlight=False, soft_wrap=True)
    if dry_run or loaded is None:
        return
    spec = loading.spec(model)
    with continued_later(), working.beside(spec) as engine:
        report = paper_report(
            loaded,
            folder,
            preset=chosen,
            space=given,
            base=None if base is None else loading.load(base, {}),
            others=others,
            items=items,
            judge=judge,
            engine=engine,
            served=served.open(model, spec),
            progress=not quiet,
        )
    for verdict, count in report.findings["verdict"].value_counts().items():
        out.print(f"{count} {verdict}", highlight=False)
    err.print(f"Written: {report.page}.", soft_wrap=True)
    if report.failed:
        err.print(
            f"Failed: {', '.join(report.failed)}. The same command tries them again.",
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _given(name: str | None, model: str, preset: str) -> Space | None:
    """The space that was named, or the packaged one of the model."""
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.space.shipped import SHIPPED  # noqa: PLC0415

    if name == OWN:
        return None
    if name is None and preset == "minutes" and model in SHIPPED:
        name = model
    return None if name is None else PersonaSpace.load(name)


def _other(text: str) -> tuple[str, Space]:
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    name, equals, place = text.partition("=")
    if not equals or not name or not place:
        raise EvaluationError(
            "cannot read --other", expected="NAME=SPACE, such as gemma=spaces/gemma", given=text
        )
    return name, PersonaSpace.load(place)


def _prices(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    found = numbers(text)
    if len(found) != 2 or min(found) < 0:
        raise EvaluationError(
            "cannot read --judge-price", expected="two prices, such as 0.4,1.6", given=text
        )
    return found[0], found[1]
