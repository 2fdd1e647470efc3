"""`serve`: an OpenAI-compatible server with a plan on what it writes, projections in its replies, and metrics."""

from __future__ import annotations

from typing import Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.live import Acting, Choosing, Listening, Sizes, prepare
from persona_lens.cli.options import LargeLoading, next_steps

app = typer.Typer()


@command(
    app,
    "persona-lens serve smollm2-135m-instruct --space smollm2-135m-instruct --cap 75",
    "persona-lens serve smollm2-135m-instruct --space smollm2-135m-instruct --monitor monitors/calm "
    "--plan calm=plans/calm --plan plans/pirate",
    "persona-lens serve smollm2-135m-instruct --space smollm2-135m-instruct --cap 75 "
    "--allow-percentiles 50-90 --allow-layers 18-26",
    "persona-lens serve google/gemma-2-27b-it --space spaces/gemma --cap 75 --device-map auto "
    "--host 0.0.0.0 --api-key-env SERVE_KEY",
)
def serve(
    *,
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Embedded name, hub name, folder or .gguf file."),
    ],
    space: Annotated[
        str,
        typer.Option("--space", help="A saved space of the model, or the name of a packaged one."),
    ],
    acting: Acting,
    layer: Annotated[
        int | None,
        typer.Option(help="Block that replies are read at; the monitor's, or the middle one."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What requests call the model; its own name by default.")
    ] = None,
    listening: Listening,
    choosing: Choosing,
    sizes: Sizes,
    log_messages: Annotated[
        bool, typer.Option("--log-messages", help="Let the log quote what was asked and replied.")
    ] = False,
    loading: LargeLoading,
) -> None:
    """Serve a model with a plan on what it writes: OpenAI's API, projections in replies, Prometheus metrics.

    Plans are tried before anything is served, and a server whose plans do not act is not started. Ctrl-C ends it:
    what runs may come to its end.
    """
    live = prepare(model, space, acting, listening, choosing, sizes, loading)
    from persona_lens.server import Served  # noqa: PLC0415

    served = Served.of(
        live.model,
        live.space,
        default=live.default,
        plans=live.plans,
        monitor=live.monitor,
        layer=layer,
        name=name,
        allowed=live.allowed,
        limits=live.limits,
        log_messages=log_messages,
    )
    server = live.server(served)
    root = server.url.removesuffix("/v1")
    asked = f'\'{{"model": "{served.name}", "messages": [{{"role": "user", "content": "Who are you?"}}]}}\''
    bearer = "" if live.key is None else f'-H "Authorization: Bearer ${listening.api_key_env}" '
    next_steps(
        f"Serving {served.name} at {server.url}, plans {', '.join(served.plans.names)}.",
        f"curl {bearer}{server.url}/chat/completions -H 'Content-Type: application/json' -d {asked}",
        f"curl {bearer}{root}/metrics",
    )
    server.run()
