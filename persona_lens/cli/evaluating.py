"""`eval`: what a persona does to behaviour, and what a plan changes about it."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    LargeLoading,
    Model,
    Quiet,
    continued_later,
    err,
    new_path,
    out,
    parse_layers,
    parse_variables,
)
from persona_lens.errors import EvaluationError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.evals.conditions import Condition
    from persona_lens.evals.evaluation import Evaluated, Evaluation
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.persona_space import PersonaSpace

app = typer.Typer()


@dataclass(frozen=True)
class Conditions:
    """What is done to the model, beside nothing."""

    space: Annotated[
        str | None,
        typer.Option(
            help="A saved space, or the name of a packaged one: for --floor and --push, and to read replies."
        ),
    ] = None
    floor: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENTILES", help="Keep the Assistant Axis at or above these, such as 50,75."
        ),
    ] = None
    push: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STRENGTHS",
            help="Push along a direction, such as assistant=-0.2,0.2. Repeatable.",
        ),
    ] = None
    plan: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", parser=check_path, help="A saved plan. Repeatable."),
    ] = None
    layers: Annotated[
        str | None, typer.Option(help="Of --floor and --push, such as 12-18; or paper.")
    ] = None
    controls: Annotated[
        int, typer.Option(min=0, help="Random directions beside each, matched to it.")
    ] = 2

    def all(self, model: PersonaModel, space: PersonaSpace | None) -> list[Condition]:
        """Nothing first, then each with its controls."""
        from persona_lens.evals.conditions import (  # noqa: PLC0415
            UNTOUCHED,
            Condition,
            capped,
            steered,
        )
        from persona_lens.interventions import Plan  # noqa: PLC0415

        found = [UNTOUCHED]
        layers: Any = self.layers if self.layers == "paper" else parse_layers(self.layers)
        if space is None and (self.floor or self.push):
            raise EvaluationError("--floor and --push need a space", remedy="name one: --space")
        if space is not None:
            for percentile in _numbers(self.floor or ""):
                found += capped(
                    model, space, percentile=percentile, layers=layers, controls=self.controls
                )
            for given in self.push or ():
                name, _, strengths = given.partition("=")
                found += steered(
                    space, name, _numbers(strengths), layers=layers, controls=self.controls
                )
        for folder in self.plan or ():
            found.append(Condition(folder.name, Plan.load(folder), "plan", 1.0))
        return found


def _numbers(text: str) -> list[float]:
    """Numbers separated by commas.

    Examples:
        >>> _numbers("50,75")
        [50.0, 75.0]
    """
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise EvaluationError(
            "cannot read the numbers", expected="such as 50,75", given=repr(text)
        ) from None


@command(
    app,
    "persona-lens eval list",
    "persona-lens eval rules -m smollm2-135m-instruct --space smollm2-135m-instruct --floor 75 --with first=10 "
    "--out evals/rules",
    "persona-lens eval susceptibility -m smollm2-135m-instruct --space smollm2-135m-instruct "
    "--push assistant=-0.2,0.2 --with first=3 --out evals/susceptibility",
    "persona-lens eval rules -m Qwen/Qwen3-32B --space spaces/qwen --plan plans/cap --out evals/rules",
    name="eval",
)
def evaluate(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="An evaluation, or list.")],
    model: Model = "smollm2-135m-instruct",
    conditions: Conditions,
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
    from persona_lens.evals.evaluation import evaluate as run  # noqa: PLC0415
    from persona_lens.evals.registry import entry  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    if name == "list":
        _list()
        return
    chosen = entry(name)
    wanted = parse_variables(options, "--with")
    chosen.check(wanted)
    loaded = loading.load(model)
    if "model" in chosen.options():
        wanted["model"] = loaded
    evaluation = chosen.make(**wanted)
    changed = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed}
    given = {key: value for key, value in changed.items() if value is not None}
    sampling = type(evaluation.sampling)(**{**evaluation.sampling.model_dump(), **given})
    space = None if conditions.space is None else PersonaSpace.load(conditions.space)
    planned = conditions.all(loaded, space)
    err.print(_sizes(evaluation, planned, samples), highlight=False)
    if dry_run:
        return
    with continued_later():
        result = run(
            evaluation,
            loaded,
            planned,
            space=space,
            layer=layer,
            sampling=sampling,
            samples=samples,
            batch_size=batch_size,
            out=folder,
            progress=not quiet,
        )
    out.print(_table(result))
    if folder is not None:
        from persona_lens.plots import save_figure  # noqa: PLC0415

        for title, figure in chosen.figures(result).items():
            save_figure(figure, folder / f"{title}.html")
        err.print(f"Written: {folder}.", soft_wrap=True)


def _list() -> None:
    from persona_lens.evals.registry import entries  # noqa: PLC0415

    table = Table("name", "what it tells", "--with", box=None, pad_edge=False)
    for each in entries():
        options = ", ".join(name for name in each.options() if name != "model")
        table.add_row(each.name, each.summary, options)
    out.print(table)


def _sizes(evaluation: Evaluation, planned: list[Condition], samples: int) -> str:
    items = len(evaluation.items)
    return (
        f"{evaluation.title}: {items:,} items x {len(planned)} conditions x {samples} samples = "
        f"{items * len(planned) * samples:,} replies."
    )


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
