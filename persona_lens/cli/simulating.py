"""`simulate`: conversations of a model with users, scripted or played."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    LargeLoading,
    Quiet,
    ReplyLength,
    continued_later,
    err,
    new_path,
    out,
    parse_entries,
    parse_json_object,
    parse_layers,
)
from persona_lens.errors import RunError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.drift.simulation import User
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.rollouts.sampling import Sampling

app = typer.Typer()

of_users = partial(typer.Option, rich_help_panel="Users who say what a script says")
of_players = partial(typer.Option, rich_help_panel="Users whom a model plays")


@dataclass(frozen=True)
class Scripted:
    """Users who say the same whatever is answered."""

    scripts: Annotated[
        str | None,
        of_users(help='"all", domains (coding), users or scripts, separated by commas, or a file.'),
    ] = None
    everyday: Annotated[
        str | None,
        of_users(help='"all", uses (cooking) or chats, separated by commas, or a file.'),
    ] = None
    log: Annotated[
        Path | None,
        of_users(metavar="PATH", parser=check_path, help="What the users of recorded chats said."),
    ] = None

    def users(self) -> list[User]:
        """All of them."""
        from persona_lens.catalog import load_everyday, load_scripts  # noqa: PLC0415
        from persona_lens.conversations import read_conversations  # noqa: PLC0415
        from persona_lens.drift import simulation  # noqa: PLC0415

        found: list[User] = []
        if self.scripts is not None:
            found += simulation.scripted(load_scripts(parse_entries(self.scripts) or ()))
        if self.everyday is not None:
            found += simulation.everyday(load_everyday(parse_entries(self.everyday)))
        if self.log is not None:
            found += [simulation.ScriptedUser(chat) for chat in read_conversations(self.log)]
        return found


@dataclass(frozen=True)
class Played:
    """Users whom a model plays."""

    users: Annotated[
        str | None,
        of_players(help='"all", domains (coding) or users, separated by commas, or a file.'),
    ] = None
    topics: Annotated[
        int | None, of_players(min=1, help="Topics of each user, a chat each; all by default.")
    ] = None
    user_model_local: Annotated[
        str | None, of_players(help="Plays them here: a name, folder or .gguf file.")
    ] = None
    user_server: Annotated[
        str | None, of_players(metavar="URL", help="OpenAI-compatible server that plays them.")
    ] = None
    user_model: Annotated[str | None, of_players(help="The server's name for the model.")] = None
    user_temperature: Annotated[float, of_players(min=0)] = 0.8
    user_max_new_tokens: Annotated[int, of_players(min=1, help="Length of a message.")] = 64
    user_seed: Annotated[int, of_players(min=0)] = 0
    concurrency: Annotated[int, of_players(min=1, help="Requests in flight.")] = 16
    timeout: Annotated[float, of_players(help="Seconds a request may take.")] = 600.0
    api_key_env: Annotated[str, of_players(help="Environment variable with the key.")] = (
        "OPENAI_API_KEY"
    )
    extra_body: Annotated[
        str | None, of_players(help="Further fields of each request, as JSON.")
    ] = None

    def everybody(self, loading: LargeLoading) -> list[User]:
        """All of them; the model that plays them is loaded."""
        from persona_lens.catalog import load_users  # noqa: PLC0415
        from persona_lens.drift import simulation  # noqa: PLC0415

        if self.users is None:
            if self.user_model_local or self.user_server:
                raise RunError("nobody for the model to play", remedy="say whom: --users coding")
            return []
        people = load_users(parse_entries(self.users) or ())
        options = {"topics": self.topics, "sampling": self._sampling()}
        if self.user_server is not None and self.user_model is not None:
            return [*simulation.served(self._server(self.user_model), people, **options)]
        if self.user_model_local is not None and self.user_server is None:
            player = loading.load(self.user_model_local, {})
            return [*simulation.played(player, people, **options)]
        raise RunError(
            "no model plays the users",
            expected="--user-model-local NAME, or --user-server URL and --user-model NAME",
            remedy="or take their scripts, which need none: --scripts",
        )

    def _server(self, model: str) -> EndpointSettings:
        from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415

        return EndpointSettings(
            model=model,
            base_url=self.user_server,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            extra_body=parse_json_object(self.extra_body),
        )

    def _sampling(self) -> Sampling:
        from persona_lens.drift.simulation.played_user import DEFAULT  # noqa: PLC0415

        changed = {
            "temperature": self.user_temperature,
            "max_new_tokens": self.user_max_new_tokens,
            "seed": self.user_seed,
        }
        return type(DEFAULT)(**{**DEFAULT.model_dump(), **changed})


@dataclass(frozen=True)
class Answering:
    """How the model under test answers."""

    turns: Annotated[int, typer.Option(min=1, help="Most replies of a conversation.")] = 12
    system: Annotated[str, typer.Option(help="What the model is told.")] = ""
    max_new_tokens: ReplyLength = 128
    temperature: Annotated[float, typer.Option(min=0, help="0 decodes greedily.")] = 0.7
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 0.9
    seed: Annotated[int, typer.Option(min=0)] = 0
    batch_size: Annotated[int, typer.Option(min=1, help="Conversations at a time.")] = 16
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Read every conversation anew for each turn.")
    ] = False

    def sampling(self) -> Sampling:
        """Of the replies."""
        from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
        )


@command(
    app,
    "persona-lens simulate smollm2-135m-instruct --scripts coding,therapy --turns 6 --out sims/plain",
    "persona-lens simulate smollm2-135m-instruct --scripts coding,therapy --turns 6 --out sims/capped "
    "--plan plans/cap",
    "persona-lens simulate smollm2-135m-instruct --everyday all --turns 10 --dry-run",
    "persona-lens simulate smollm2-135m-instruct --users therapy --topics 2 --user-model-local "
    "smollm2-135m-instruct --out sims/played",
    "persona-lens simulate google/gemma-2-27b-it --users philosophy --user-server http://localhost:8000/v1 "
    "--user-model Qwen/Qwen3-32B --out sims/served",
)
def simulate(
    *,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Embedded name, hub name, folder or .gguf file.")
    ],
    folder: Annotated[
        Path | None, new_path("Folder of the simulation, new or to be continued.", "--out")
    ] = None,
    scripted: Scripted,
    answering: Answering,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", parser=check_path, help="Acts while the model answers: Plan.save."
        ),
    ] = None,
    plan_name: Annotated[
        str | None, typer.Option(help="What the conversations call it; what it does by default.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="To read: 10-20 or 3,7,11, or none; all by default.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say how much it would be.")
    ] = False,
    played: Played,
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Have a model talk with users, and read its replies on the way.

    Killed at any point, the same command continues.
    """
    from persona_lens.drift.simulation import Workload  # noqa: PLC0415
    from persona_lens.drift.simulation import simulate as simulate_all  # noqa: PLC0415
    from persona_lens.interventions.plan import Plan  # noqa: PLC0415

    acting = None if plan is None else Plan.load(plan)
    wanted = None if layers == "none" else parse_layers(layers)
    sampling, users = answering.sampling(), [*scripted.users(), *played.everybody(loading)]
    if not users:
        raise RunError(
            "nobody to talk to",
            expected="--scripts, --everyday, --log or --users",
            remedy="such as --scripts coding",
        )
    if dry_run:
        out.print(f"{Workload.of(users, answering.turns, sampling)}.", highlight=False)
        return
    if folder is None:
        raise RunError("a simulation needs a folder", remedy="such as --out sims/plain")
    loaded = loading.load(model)
    err.print(f"{loaded}")
    with continued_later():
        simulated = simulate_all(
            loaded,
            users,
            turns=answering.turns,
            sampling=sampling,
            system=answering.system,
            plan=acting,
            plan_name=plan_name,
            layers=range(loaded.n_layers) if layers is None else wanted,
            out=folder,
            batch_size=answering.batch_size,
            cached=not answering.no_cache,
            progress=not quiet,
        )
    out.print(
        f"{len(simulated.conversations):,} conversations with {len(simulated.frame):,} replies: "
        f"{folder / 'conversations.jsonl'}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
