"""What `serve` and `chat` share: their options, and the way from these to a server that has not started yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.options import LargeLoading, err, parse_layers
from persona_lens.errors import ServerError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.drift.monitor import Monitor
    from persona_lens.interventions import Plan
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.persona_space import PersonaSpace
    from persona_lens.server import Allowed, Limits, Served, Serving
    from persona_lens.server.chatting import Chat


@dataclass(frozen=True)
class Acting:
    """What acts on replies, and what watches them."""

    cap: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENTILE",
            help="The plan that acts: keep the Assistant Axis at or above it. Without it the first --plan acts.",
        ),
    ] = None
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER",
            help="A plan saved with plan.save(folder), by its name or the folder's. Repeatable.",
        ),
    ] = None
    monitor: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", parser=check_path, help="A saved monitor: replies tell its alerts."
        ),
    ] = None


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


@dataclass(frozen=True)
class Live:
    """What the options mean, loaded.

    Attributes:
        model: Answers.
        space: Of it.
        cap: Percentile that `default` keeps to; None if it is another plan, or there is none.
        default: The plan that acts where a request says nothing.
        plans: Others, by their names.
        monitor: For alerts.
        allowed: What requests may choose.
        limits: Of the server.
        listening: Where.
        key: That requests have to bring.
    """

    model: PersonaModel
    space: PersonaSpace
    cap: float | None
    default: Plan | None
    plans: dict[str, Plan]
    monitor: Monitor | None
    allowed: Allowed
    limits: Limits
    listening: Listening
    key: str | None

    def server(self, served: Served, page: Chat | None = None) -> Serving:
        """One that listens, and whose plans were tried."""
        from persona_lens.server.serving import Serving  # noqa: PLC0415

        host, port = self.listening.host, self.listening.port
        with err.status("Trying the plans"):
            return Serving(served, host=host, port=port, key=self.key, chat=page)


def prepare(
    model: str,
    space: str,
    acting: Acting,
    listening: Listening,
    choosing: Choosing,
    sizes: Sizes,
    loading: LargeLoading,
    *,
    usual_cap: float | None = None,
) -> Live:
    """Load what the options name; the weights last, when all else is known to be right.

    Args:
        model: Embedded name, hub name, folder or file.
        space: Folder, or the name of a packaged one.
        acting: Plans and a monitor.
        listening: Where, and to whom.
        choosing: What requests may choose.
        sizes: How much at a time.
        loading: How the model is loaded.
        usual_cap: Where neither a cap nor a plan is given.

    Raises:
        ServerError: The extra is not installed, there is no key where one is needed, or plans share a name.
        PersonaLensError: Something cannot be loaded.
    """
    plans = load_plans(acting.plan)
    from persona_lens.server.installed import check_installed  # noqa: PLC0415

    check_installed()
    from persona_lens.server.serving import check_exposure, key_of  # noqa: PLC0415

    key = key_of(listening.api_key_env)
    check_exposure(listening.host, key)
    allowed, limits = choosing.allowed(), sizes.limits()
    from persona_lens.drift.monitor import Monitor  # noqa: PLC0415
    from persona_lens.persona_space import PersonaSpace  # noqa: PLC0415

    tell_log()
    opened = PersonaSpace.load(space)
    monitor = None if acting.monitor is None else Monitor.load(acting.monitor)
    cap = usual_cap if acting.cap is None and not plans else acting.cap
    first = next(iter(plans.values()), None)
    default = first if cap is None else opened.floor(percentile=cap)
    with err.status("Loading the model"):
        loaded = loading.load(model)
    return Live(loaded, opened, cap, default, plans, monitor, allowed, limits, listening, key)


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
