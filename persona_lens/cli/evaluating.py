"""`eval`: what a persona does to behaviour, and what a plan changes about it."""

from __future__ import annotations

import warnings
from dataclasses import fields
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from persona_lens.cli.commands import command
from persona_lens.cli.eval_options import Brought, Conditions, Judged, Served
from persona_lens.cli.options import (
    LargeLoading,
    Model,
    Quiet,
    Working,
    continued_later,
    err,
    new_path,
    out,
    parse_variables,
)
from persona_lens.errors import EvaluationError

if TYPE_CHECKING:
    from persona_lens.evals.conditions import Condition
    from persona_lens.evals.evaluation import Evaluated, Evaluation
    from persona_lens.evals.registry import Entry
    from persona_lens.evals.telling import Told

app = typer.Typer()


@command(
    app,
    "persona-lens eval list",
    "persona-lens eval rules -m smollm2-135m-instruct --space smollm2-135m-instruct --floor 75 --controls 1 "
    "--with first=10 --max-new-tokens 32 --out evals/rules",
    "persona-lens eval susceptibility -m smollm2-135m-instruct --space smollm2-135m-instruct "
    "--push assistant=-0.2,0.2 --controls 1 --with first=3 --with prompts=1 --max-new-tokens 32 "
    "--out evals/susceptibility",
    "persona-lens eval completions -m smollm2-135m-instruct --space smollm2-135m-instruct "
    "--push assistant=-0.1,0.1 --controls 1 --max-new-tokens 16 --out evals/completions",
    "persona-lens eval price -m smollm2-135m-instruct --space smollm2-135m-instruct --floor 75 --controls 1 "
    "--with first=4 --max-new-tokens 48 --out evals/price",
    "persona-lens eval play -m smollm2-135m-instruct --space smollm2-135m-instruct --floor 75 --controls 1 "
    "--with first=4 --max-new-tokens 32 --out evals/play",
    "printf 'request,category,benign,pair\\nFold the forbidden crane,paper,no,1\\n"
    "Fold a crane,paper,yes,1\\n' > mine.csv",
    "persona-lens eval harm -m smollm2-135m-instruct --space smollm2-135m-instruct --items mine.csv "
    "--personas pirate,ghost --max-new-tokens 32 --out evals/harm",
    "persona-lens eval harm -m smollm2-135m-instruct --items mine.csv --personas core --each 2 "
    "--rubric strongreject --judge-server http://localhost:8000/v1 --judge-model qwen3 --dry-run",
    "persona-lens eval rules -m Qwen/Qwen3-32B --space spaces/qwen --plan plans/cap --out evals/rules "
    "--engine ray --workers 4 --gpus-per-worker 1 --dtype bfloat16",
    name="eval",
)
def evaluate(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An evaluation, or list.")],
    model: Model = "smollm2-135m-instruct",
    conditions: Conditions,
    brought: Brought,
    judged: Judged,
    served: Served,
    working: Working,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=VALUE",
            help="An option of the evaluation, such as first=10; persona-lens eval list names them. Repeatable.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Replies to each item.")] = 1,
    layer: Annotated[
        int | None, typer.Option(help="Where replies are read; the middle by default.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Length of a reply; the evaluation's by default.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="0 is greedy; the evaluation's by default.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Replies at a time.")] = 64,
    folder: Annotated[
        Path | None, new_path("Keeps replies, verdicts, measures and figures.", "--out")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how much it would be.")
    ] = False,
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Ask a model the items of an evaluation with and without plans, and measure what it does.

    Killed at any point, the same command continues.
    """
    from persona_lens.evals.registry import entry  # noqa: PLC0415
    from persona_lens.evals.standing import evaluate_standing  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    if name == "list":
        _list()
        return
    chosen = entry(name)
    wanted = _wanted(chosen, brought, parse_variables(options, "--with"))
    judge = judged.judge(chosen, loading, brought.rubric)
    if judge is not None:
        wanted |= {"judge": judge} if "judge" in chosen.options() else {"judges": [judge]}
    loaded = loading.load(model)
    if "model" in chosen.options():
        wanted["model"] = loaded
    with warnings.catch_warnings(record=True) as warned:
        evaluation = chosen.make(**wanted)
    for each in warned:
        err.print(str(each.message), markup=False, highlight=False, soft_wrap=True)
    changed = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    given = {key: value for key, value in changed.items() if value is not None}
    sampling = type(evaluation.sampling)(**{**evaluation.sampling.model_dump(), **given})
    space = None if conditions.space is None else PersonaSpace.load(conditions.space)
    planned = conditions.all(loaded, space)
    for line in _sizes(evaluation, planned, samples, sampling.max_new_tokens):
        err.print(line, highlight=False, markup=False, soft_wrap=True)
    if dry_run:
        return
    spec = loading.spec(model)
    with continued_later(), working.beside(spec) as engine:
        result, trouble = evaluate_standing(
            evaluation,
            loaded,
            planned,
            space=space,
            layer=layer,
            sampling=sampling,
            samples=samples,
            batch_size=batch_size,
            engine=engine,
            served=served.open(model, spec),
            out=folder,
            progress=not quiet,
        )
    read_at = loaded.n_layers // 2 if layer is None else layer
    told = chosen.told(result, evaluation.items, loaded, space, read_at)
    if not any(each.whole for each in told):
        out.print(_table(result))
    for each in told:
        _tell(each)
    if folder is not None:
        _keep(folder, chosen, result, told)
        err.print(f"Written: {folder}.", soft_wrap=True)
    if trouble is not None:
        err.print(
            "A judge failed: what it has not said counts as unjudged. The same command continues where it was.",
            soft_wrap=True,
        )
        raise trouble


def _wanted(chosen: Entry, brought: Brought, options: dict[str, Any]) -> dict[str, Any]:
    """Options of the evaluation, from `--with` and those of their own."""
    own = brought.given()
    twice = sorted({*own} & {*options})
    if twice:
        raise EvaluationError("an option is given twice", given=f"--with {twice[0]}, --{twice[0]}")
    wanted = {**own, **options}
    foreign = [name for name in own if name not in chosen.options()]
    if foreign or (brought.rubric is not None and "items" not in chosen.options()):
        raise EvaluationError(
            f"evaluation {chosen.name!r} brings what it asks",
            expected="--with, as persona-lens eval list names it",
            given=f"--{(foreign or ['rubric'])[0]}",
            remedy="requests of your own are for: persona-lens eval harm",
        )
    chosen.check(wanted)
    return wanted


def _tell(told: Told) -> None:
    """A table of results."""
    out.print(f"\n[bold]{escape(told.title)}[/bold]")
    table = Table(box=None, pad_edge=False)
    for head in told.head:
        table.add_column(escape(head), justify="left" if head in _WORDS else "right")
    for row in told.rows():
        table.add_row(*map(escape, row))
    out.print(table)
    if told.note:
        out.print(told.note, style="dim", highlight=False, markup=False)


_WORDS = ("", "asked", "condition")


def _keep(folder: Path, chosen: Entry, result: Evaluated, told: list[Told]) -> None:
    from persona_lens.files import whole_or_nothing  # noqa: PLC0415
    from persona_lens.plots import save_figure  # noqa: PLC0415

    for title, figure in chosen.figures(result).items():
        save_figure(figure, folder / f"{title}.html")
    for each in told:
        with whole_or_nothing(folder / f"{each.name}.csv") as partial:
            each.frame.to_csv(partial, index=False)


_OWN = {"model", "judge", "judges", "columns", *(field.name for field in fields(Brought))}
"""Not for `--with`: they have options of their own."""


def _list() -> None:
    from persona_lens.evals.registry import entries  # noqa: PLC0415

    table = Table("name", "what it tells", "--with", box=None, pad_edge=False)
    for each in entries():
        options = ", ".join(name for name in each.options() if name not in _OWN)
        table.add_row(each.name, each.summary, options)
    out.print(table)


def _sizes(
    evaluation: Evaluation, planned: list[Condition], samples: int, length: int
) -> list[str]:
    """How many replies, and what it costs to have them judged by a language model."""
    from persona_lens.evals.outcomes import Answer  # noqa: PLC0415
    from persona_lens.evals.rubric_judge import RubricJudge  # noqa: PLC0415

    items = len(evaluation.items)
    replies = items * len(planned) * samples
    lines = [
        f"{evaluation.title}: {items:,} items x {len(planned)} conditions x {samples} samples = "
        f"{replies:,} replies."
    ]
    for judge in evaluation.judges:
        asked = getattr(judge, "inner", judge)
        by = getattr(asked, "by", "")
        for kind, each in getattr(asked, "judges", {"": asked}).items():
            if not isinstance(each, RubricJudge):
                continue
            mine = [item for item in evaluation.items if item.about.get(by, "") == kind]
            some = [Answer(item, "word " * length) for item in mine[:32]]
            calls = len(mine) * len(planned) * samples
            cost = each.estimate(some, calls) if mine else None
            name = f"{judge.name}, {kind}" if kind not in ("", judge.name) else judge.name
            lines.append(f"Judge {name}: {cost or f'{calls:,} replies, read here.'}")
    return lines


def _table(result: Evaluated) -> Table:
    """Every measure under every condition: value, change from no plan, answers, and share of tokens moved."""
    table = Table(box=None, pad_edge=False)
    for head in ("", "value", "change", "n", "moved"):
        table.add_column(head, justify="right" if head else "left", no_wrap=bool(head))
    measures = result.measures
    for name in dict.fromkeys(measures["measure"]):
        table.add_row(f"[bold]{escape(str(name))}[/bold]")
        for row in measures.loc[measures["measure"] == name].to_dict("records"):
            moved = f"{row['engaged']:.0%}" if row["kind"] != "none" else ""
            cells = (_cell(row, "value", "low", "high"), f"{row['n']:,}", moved)
            change = _cell(row, "change", "change_low", "change_high")
            table.add_row(f"  {escape(str(row['condition']))}", cells[0], change, *cells[1:])
    return table


def _cell(row: dict[str, Any], *names: str) -> str:
    """
    >>> _cell({"unit": "share", "value": 0.5, "low": 0.4, "high": 0.61}, "value", "low", "high")
    '50% [40%, 61%]'
    """
    value, low, high = (row[name] for name in names)
    if isnan(value):
        return ""
    form = ".0%" if row["unit"] == "share" else ".3g"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"
