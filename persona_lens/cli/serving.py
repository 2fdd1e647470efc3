"""`serve`: an OpenAI-compatible server with a plan on what it writes, projections in its replies, and metrics."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import LargeLoading, err, next_steps, parse_layers
from persona_lens.errors import ServerError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.interventions import Plan
    from persona_lens.server import Allowed, Limits

app = typer.Typer()


@dataclass(frozen=True)
class Listening:
    """Where the server listens, and to whom."""

    host: Annotated[
        str, typer.Option(help="Address to listen at; anything but this computer's needs a key.")
    ] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000
    api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Environment variable with the key requests have to bring."
        ),
    ] = None


@dataclass(frozen=True)
class Choosing:
    """What requests may choose beyond the names of plans."""

    allow_percentiles: Annotated[
        str | None,
        typer.Option(metavar="LOW-HIGH", help="Caps that requests may ask for, such as 50-90."),
    ] = None
    allow_layers: Annotated[
        str | None,
        typer.Option(help="Blocks that requests may restrict plans to, such as 18-26."),
    ] = None

    def allowed(self) -> Allowed:
        """The same for a server."""
        from persona_lens.server.limits import Allowed, parse_percentiles  # noqa: PLC0415

        layers = parse_layers(self.allow_layers)
        return Allowed(
            percentiles=parse_percentiles(self.allow_percentiles),
            layers=None if layers is None else tuple(layers),
        )


@dataclass(frozen=True)
class Sizes:
    """How much at a time."""

    rows: Annotated[int, typer.Option(min=1, help="Replies that are written at a time.")] = 32
    waiting: Annotated[int, typer.Option(min=0, help="Replies that may wait for a place.")] = 256
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest reply that requests may ask for.")
    ] = 4096
    default_tokens: Annotated[
        int, typer.Option(min=1, help="Length of replies where requests do not say.")
    ] = 512
    grace: Annotated[
        float, typer.Option(min=0.0, help="Seconds that running replies have at the end.")
    ] = 20.0

    def limits(self) -> Limits:
        """The same for a server."""
        from persona_lens.server.limits import Limits  # noqa: PLC0415

        return Limits(
            rows=self.rows,
            waiting=self.waiting,
            reply_tokens=self.max_tokens,
            default_tokens=self.default_tokens,
            grace=self.grace,
        )


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
    cap: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENTILE",
            help="The default plan: keep the Assistant Axis at or above it. Without it the first --plan is the "
            "default, and without that nothing.",
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="A plan saved with plan.save(folder), by its name or the folder's. Repeatable.",
        ),
    ] = None,
    monitor: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", parser=check_path, help="A saved monitor: replies tell its alerts."
        ),
    ] = None,
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
    named = load_plans(plan)
    try:
        from persona_lens.server.serving import Serving, check_exposure, key_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ServerError(
            "the server is not installed",
            given=f"no {error.name}",
            remedy='pip install "persona-lens[serve]"',
        ) from error
    key = key_of(listening.api_key_env)
    check_exposure(listening.host, key)  # before weights are loaded
    allowed, limits = choosing.allowed(), sizes.limits()
    from persona_lens.drift.monitor import Monitor  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415
    from persona_lens.server import Served  # noqa: PLC0415

    tell_log()
    opened = PersonaSpace.load(space)
    watching = None if monitor is None else Monitor.load(monitor)
    with err.status("Loading the model"):
        loaded = loading.load(model)
    served = Served.of(
        loaded,
        opened,
        cap=cap,
        plans=named,
        monitor=watching,
        layer=layer,
        name=name,
        allowed=allowed,
        limits=limits,
        log_messages=log_messages,
    )
    with err.status("Trying the plans"):
        server = Serving(served, host=listening.host, port=listening.port, key=key)
    root = server.url.removesuffix("/v1")
    asked = f'\'{{"model": "{served.name}", "messages": [{{"role": "user", "content": "Who are you?"}}]}}\''
    bearer = "" if key is None else f'-H "Authorization: Bearer ${listening.api_key_env}" '
    next_steps(
        f"Serving {served.name} at {server.url}, plans {', '.join(served.plans.names)}.",
        f"curl {bearer}{server.url}/chat/completions -H 'Content-Type: application/json' -d {asked}",
        f"curl {bearer}{root}/metrics",
    )
    server.run()


def _named(text: str) -> tuple[str, Path]:
    """Name and folder of one `--plan`.

    Examples:
        >>> _named("calm=plans/first"), _named("plans/first")
        (('calm', PosixPath('plans/first')), ('first', PosixPath('plans/first')))
    """
    name, equals, folder = text.partition("=")
    if not equals or "/" in name:
        path = check_path(text)
        return path.resolve().name, path
    return name.strip(), check_path(folder)


def load_plans(given: list[str] | None) -> dict[str, Plan]:
    """The plans of all `--plan`, by their names.

    Raises:
        ServerError: Two have one name.
    """
    from persona_lens.interventions import Plan  # noqa: PLC0415

    named = {name: Plan.load(folder) for name, folder in map(_named, given or ())}
    if len(named) < len(given or ()):
        raise ServerError("two plans have one name", remedy="name them: --plan NAME=FOLDER")
    return named


def tell_log() -> None:
    """Lines of the server on stderr, with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log = logging.getLogger("persona_lens.server")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
