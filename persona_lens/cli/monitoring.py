"""`calibrate-monitor` and `monitor`: an alert for drifting conversations, set on calm ones and used on others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    LargeLoading,
    Model,
    Quiet,
    ReplyLength,
    SpaceName,
    err,
    new_path,
    next_steps,
    out,
    parse_names,
)
from persona_lens.errors import MonitorError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer()

ALARMED = 3
"""Exit code where a conversation alarms."""

_SHOWN = [
    *("conversation", "turn", "value", "threshold", "p", "reason", "projection", "z", "nearest"),
    "message",
]
_MESSAGE = 48
_TABLES = (".jsonl", ".csv")

_Long = Annotated[
    Literal["refuse", "windows"],
    typer.Option(help="What to do with conversations beyond the model's context."),
]


@command(
    app,
    "persona-lens calibrate-monitor smollm2-135m-instruct --save monitors/calm -m smollm2-135m-instruct",
    "persona-lens calibrate-monitor smollm2-135m-instruct --calm calm.jsonl --save monitors/own "
    "-m smollm2-135m-instruct --false-alarms 0.05 --layer 20",
    "persona-lens calibrate-monitor spaces/gemma --calm calm.jsonl --held-out more.jsonl "
    "--drifting drift.jsonl --save monitors/gemma -m google/gemma-2-27b-it",
    name="calibrate-monitor",
)
def calibrate_monitor(
    *,
    space: SpaceName,
    model: Model,
    save: Annotated[Path, new_path("Folder of the monitor.", "--save")],
    calm: Annotated[
        Path | None,
        typer.Option(
            parser=check_path,
            metavar="CHATS",
            help="Calm conversations of the model; by default it answers 104 everyday ones first.",
        ),
    ] = None,
    false_alarms: Annotated[
        float, typer.Option(help="Share of calm conversations that may alarm.")
    ] = 0.01,
    statistic: Annotated[
        str,
        typer.Option(help="lowest, drop, jump, path, ewma, cusum; or auto, by --drifting."),
    ] = "auto",
    layer: Annotated[int | None, typer.Option(help="Block; the middle one by default.")] = None,
    directions: Annotated[
        str, typer.Option(help="axis, pc1, traits or roles, separated by commas.")
    ] = "axis",
    high: Annotated[
        str | None, typer.Option(help="Those of which high projections are alarming.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, help="Turns; as many as nine of ten have by default.")
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(
            parser=check_path, metavar="CHATS", help="Other calm ones, to count alarms on."
        ),
    ] = None,
    drifting: Annotated[
        Path | None,
        typer.Option(
            parser=check_path, metavar="CHATS", help="Some that should alarm, to choose by."
        ),
    ] = None,
    replies: Annotated[
        Path | None, new_path("Folder that keeps replies to everyday conversations.", "--replies")
    ] = None,
    max_new_tokens: ReplyLength = 128,
    long: _Long = "refuse",
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Set an alert for drift on calm conversations, at a false-alarm rate per conversation."""
    from persona_lens.conversations import read_conversations  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    loaded = loading.load(model)
    monitor = PersonaSpace.load(space).monitor(
        loaded,
        calm=None if calm is None else read_conversations(calm),
        drifting=None if drifting is None else read_conversations(drifting),
        false_alarms=false_alarms,
        statistic=statistic,
        layer=layer,
        directions=parse_names(directions) or ["axis"],
        high=parse_names(high) or (),
        horizon=horizon,
        out=replies,
        sampling=Sampling(max_new_tokens=max_new_tokens),
        long=long,
        progress=not quiet,
    )
    monitor.save(save)
    out.print(str(monitor), markup=False, highlight=False, soft_wrap=True)
    if held_out is not None:
        traced = monitor.trace(loaded, read_conversations(held_out), long=long, progress=not quiet)
        found = monitor.measure(traced)
        told = ["rule", "nominal", "alarms", "calm", "rate", "rate_low", "rate_high"]
        out.print(found[told].round(4).to_string(index=False), markup=False, highlight=False)
    next_steps(f"Written: {save}.", f"persona-lens monitor {save} chats.jsonl --model {model}")


@command(
    app,
    "persona-lens monitor monitors/calm chats.jsonl --model smollm2-135m-instruct",
    "persona-lens monitor monitors/calm chats/ -m smollm2-135m-instruct --out alarms.jsonl",
    "persona-lens monitor monitors/calm tonight.jsonl -m smollm2-135m-instruct || mail-the-team",
)
def monitor(
    *,
    monitor: Annotated[
        Path, typer.Argument(metavar="MONITOR", parser=check_path, help="A saved monitor.")
    ],
    chats: Annotated[
        Path,
        typer.Argument(
            metavar="CHATS", parser=check_path, help="A log of conversations, or a folder of logs."
        ),
    ],
    model: Model,
    table: Annotated[Path | None, new_path("Write the alarms, in .jsonl or .csv.", "--out")] = None,
    long: _Long = "refuse",
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Alarms in logged conversations. Exits with 0 where nothing alarms, with 3 where something does.

    1 is an error, as everywhere; conversations that cannot be read are listed, and are neither.
    """
    from persona_lens.conversations import ConversationLog  # noqa: PLC0415
    from persona_lens.drift.monitor import Monitor  # noqa: PLC0415

    if table is not None and table.suffix not in _TABLES:
        raise MonitorError(
            "alarms cannot be written in this format",
            expected=" or ".join(_TABLES),
            given=table.name,
        )
    held = Monitor.load(monitor)
    log = ConversationLog(chats)
    traced = held.trace(loading.load(model), log, long=long, progress=not quiet)
    if log.report.findings:
        err.print(log.report.summary, markup=False, highlight=False, soft_wrap=True)
    for refused in traced.refused.to_dict("records"):
        err.print(f"{refused['conversation']}: {refused['reason']}", markup=False, highlight=False)
    found = held.read(traced)
    if table is not None:
        _write(found, table)
    read = traced.turns["conversation"].nunique()
    err.print(str(held), markup=False, highlight=False, soft_wrap=True)
    if found.empty:
        out.print(f"Nothing alarms: {read} conversations.")
        return
    shown = found[_SHOWN].round(3)
    shown["message"] = found["message"].str.replace("\n", " ").str.slice(0, _MESSAGE)
    out.print(shown.to_string(index=False), markup=False, highlight=False, soft_wrap=True)
    out.print(f"{len(found)} of {read} conversations alarm.")
    raise typer.Exit(ALARMED)


def _write(found: pd.DataFrame, path: Path) -> None:
    from persona_lens.files import whole_or_nothing  # noqa: PLC0415

    with whole_or_nothing(path) as partial:
        if path.suffix == ".csv":
            found.to_csv(partial, index=False)
        else:
            found.to_json(partial, orient="records", lines=True, force_ascii=False)
