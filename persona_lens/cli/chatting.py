"""`chat`: a page in the browser to talk to a model with and without a plan, and to watch the axis meanwhile."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import LargeLoading, Model, SpaceName, err, next_steps
from persona_lens.cli.serving import Choosing, Listening, Sizes, load_plans, tell_log
from persona_lens.errors import ServerError
from persona_lens.paths import check_path

app = typer.Typer()

_CAP = 75.0


@command(
    app,
    "persona-lens chat smollm2-135m-instruct --model smollm2-135m-instruct",
    "persona-lens chat smollm2-135m-instruct --model smollm2-135m-instruct --cap 60 --monitor monitors/calm",
    "persona-lens chat spaces/gemma --model google/gemma-2-27b-it --plan plans/pirate --port 8100",
)
def chat(
    *,
    space: SpaceName,
    model: Model,
    cap: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENTILE",
            help="The plan of the second column: keep the Assistant Axis at or above it; 75 without --plan.",
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="A plan saved with plan.save(folder); the first acts in the second column unless "
            "there is a --cap. Repeatable.",
        ),
    ] = None,
    monitor: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", parser=check_path, help="A saved monitor, for alerts."),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            help="Block that replies are read at; the monitor's, or the first that the plan acts at."
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in the browser.")
    ] = True,
    listening: Listening,
    choosing: Choosing,
    sizes: Sizes,
    loading: LargeLoading,
) -> None:
    """Talk to a model in the browser, as it is and with a plan, and watch where its replies lie on the axis.

    The page lets you choose any percentile and the layers that the space covers, unless --allow-percentiles or
    --allow-layers say otherwise. The same process serves OpenAI's API, as
    `persona-lens serve` does. Ctrl-C ends it.
    """
    named = load_plans(plan)
    try:
        from persona_lens.server.chatting import PAGE  # noqa: PLC0415
        from persona_lens.server.notebook import prepared  # noqa: PLC0415
        from persona_lens.server.serving import Serving, check_exposure, key_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ServerError(
            "the server is not installed",
            given=f"no {error.name}",
            remedy='pip install "persona-lens[serve]"',
        ) from error
    key = key_of(listening.api_key_env)
    check_exposure(listening.host, key)  # before weights are loaded
    from persona_lens.drift.monitor import Monitor  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    tell_log()
    opened = PersonaSpace.load(space)
    watching = None if monitor is None else Monitor.load(monitor)
    floor = _CAP if cap is None and not named else cap
    default = next(iter(named.values())) if floor is None else opened.floor(percentile=floor)
    allowed, limits = choosing.allowed(), sizes.limits()
    with err.status("Loading the model"):
        loaded = loading.load(model)
    served, page = prepared(
        loaded,
        opened,
        default,
        cap=floor,
        plans=named,
        monitor=watching,
        layer=layer,
        allowed=allowed,
        limits=limits,
    )
    with err.status("Trying the plans"):
        server = Serving(served, host=listening.host, port=listening.port, key=key, chat=page)
    address = server.url.removesuffix("/v1") + PAGE
    next_steps(f"Chatting with {served.name} at {address} (Ctrl-C ends it).", f"open {address}")
    if open_browser:
        webbrowser.open(address)
    server.run()
