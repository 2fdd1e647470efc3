"""`chat`: a page in the browser to talk to a model with and without a plan, and to watch the axis meanwhile."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.live import Acting, Choosing, Listening, Sizes, prepare
from persona_lens.cli.options import LargeLoading, Model, SpaceName, next_steps

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
    acting: Acting,
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

    The second column is under --cap, or the first --plan, or a cap at 75. The page lets you choose any percentile
    and the layers that the space covers, unless --allow-percentiles or --allow-layers say otherwise. The same
    process serves OpenAI's API, as `persona-lens serve` does. Ctrl-C ends it.
    """
    live = prepare(model, space, acting, listening, choosing, sizes, loading, usual_cap=_CAP)
    from persona_lens.server.chatting import PAGE  # noqa: PLC0415
    from persona_lens.server.notebook import prepared  # noqa: PLC0415

    assert live.default is not None  # of the usual cap, if of nothing else
    served, page = prepared(
        live.model,
        live.space,
        live.default,
        cap=live.cap,
        plans=live.plans,
        monitor=live.monitor,
        layer=layer,
        allowed=live.allowed,
        limits=live.limits,
    )
    server = live.server(served, page)
    address = server.url.removesuffix("/v1") + PAGE
    next_steps(f"Chatting with {served.name} at {address} (Ctrl-C ends it).", f"open {address}")
    if open_browser:
        webbrowser.open(address)
    server.run()
