"""`trace`: where the replies of logged conversations lie, turn by turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    LargeLoading,
    Layers,
    Model,
    Quiet,
    SpaceName,
    err,
    new_path,
    out,
    parse_layers,
    parse_names,
)
from persona_lens.paths import check_path

app = typer.Typer()

MOST_BY_TOKEN = 60
"""Conversations whose replies are tinted token by token; of more, as a whole."""
MOST_ROWS = 10
"""Conversations listed, those that come lowest first."""


@command(
    app,
    "persona-lens trace smollm2-135m-instruct chats.jsonl --model smollm2-135m-instruct --out trace.html",
    "persona-lens trace smollm2-135m-instruct sims/plain/conversations.jsonl -m smollm2-135m-instruct "
    "--out trace.html --save traces/plain",
    "persona-lens trace spaces/gemma chats/ -m google/gemma-2-27b-it --by domain --out trace.html",
    "persona-lens trace spaces/first chats.jsonl -m gemma-3-270m --plan capped --out capped.html",
)
def trace(
    *,
    space: SpaceName,
    chats: Annotated[
        Path,
        typer.Argument(
            metavar="CHATS", parser=check_path, help="A log of conversations, or a folder of logs."
        ),
    ],
    model: Model,
    page: Annotated[Path, new_path("Page to write, in .html.", "--out")],
    layers: Layers = None,
    directions: Annotated[
        str, typer.Option(help="axis, pc1, traits or roles, separated by commas.")
    ] = "axis",
    by: Annotated[
        str | None, typer.Option(help="What groups conversations in curves, such as domain.")
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(parser=check_path, help="A saved plan: read before and after it as well."),
    ] = None,
    save: Annotated[Path | None, new_path("Folder for the tables.", "--save")] = None,
    long: Annotated[
        Literal["refuse", "windows"],
        typer.Option(help="What to do with conversations beyond the model's context."),
    ] = "refuse",
    hidden_tag: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Take out what stands in <TAG>...</TAG>. Repeatable."),
    ] = None,
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Trace conversations: every reply along the Assistant Axis, with intervals, z-scores and nearest roles."""
    from persona_lens.conversations import ConversationLog  # noqa: PLC0415
    from persona_lens.interventions import Plan  # noqa: PLC0415
    from persona_lens.pages.trace import trace_page  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    log = ConversationLog(chats, hidden_tags=hidden_tag or ())
    count = sum(1 for _ in log)
    if log.report.findings:
        err.print(log.report.summary, markup=False, highlight=False, soft_wrap=True)
    opened = PersonaSpace.load(space)
    found = opened.trace(
        log,
        loading.load(model),
        layers=parse_layers(layers),
        directions=parse_names(directions) or ["axis"],
        plan=None if plan is None else Plan.load(plan),
        detail=count <= MOST_BY_TOKEN,
        long=long,
        progress=not quiet,
    )
    if save is not None:
        found.save(save)
    trace_page(found, page, space=opened, by=by)
    for refused in found.refused.to_dict("records"):
        err.print(f"{refused['conversation']}: {refused['reason']}", markup=False, highlight=False)
    lowest = found.motion().sort_values("lowest", ignore_index=True).head(MOST_ROWS)
    out.print(lowest.round(2).to_string(index=False), markup=False, highlight=False, soft_wrap=True)
    err.print(f"Written: {page}", soft_wrap=True)
