"""`chat`: a page in the browser to talk to a model with and without a plan, and to watch the axis meanwhile."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.live import Acting, Choosing, Listening, Sizes, prepare
from persona_lens.cli.options import LargeLoading, Model, SpaceName, next_steps
from persona_lens.errors import ServerError

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings

app = typer.Typer()

_CAP = 75.0


@dataclass(frozen=True)
class Other:
    """Another server, for the first column."""

    other: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Another OpenAI-compatible server that may fill the first column, such as "
            "http://127.0.0.1:8001/v1; what it says is read by the model.",
        ),
    ] = None
    other_model: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name of the model there.")
    ] = None
    other_key_env: Annotated[
        str, typer.Option(metavar="NAME", help="Environment variable with the key it wants.")
    ] = "OPENAI_API_KEY"

    def settings(self) -> EndpointSettings | None:
        """The same for a server.

        Raises:
            ServerError: Only one of address and model is given.
        """
        if self.other is None and self.other_model is None:
            return None
        if self.other is None or self.other_model is None:
            raise ServerError(
                "another server is half named", remedy="give both --other and --other-model"
            )
        from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415

        return EndpointSettings(
            model=self.other_model, base_url=self.other, api_key_env=self.other_key_env
        )


@command(
    app,
    "persona-lens chat smollm2-135m-instruct --model smollm2-135m-instruct",
    "persona-lens chat smollm2-135m-instruct --model smollm2-135m-instruct --cap 60 --monitor monitors/calm",
    "persona-lens chat spaces/gemma --model google/gemma-2-27b-it --plan plans/pirate --port 8100",
    "persona-lens chat smollm2-135m-instruct --model smollm2-135m-instruct --other http://127.0.0.1:8001/v1 "
    "--other-model qwen3",
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
    other: Other,
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
    another = other.settings()
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
        other=another,
    )
    server = live.server(served, page)
    address = server.url.removesuffix("/v1") + PAGE
    next_steps(f"Chatting with {served.name} at {address} (Ctrl-C ends it).", f"open {address}")
    if open_browser:
        webbrowser.open(address)
    server.run()
