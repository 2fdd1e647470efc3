"""`demo`, `collect` and `gate`: replies and their mean residuals."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from persona_lens.catalog.schema import TraitQuestions
from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    Calling,
    Entries,
    LargeLoading,
    Layers,
    Model,
    Quiet,
    ReplyLength,
    Working,
    continued_later,
    err,
    new_path,
    next_steps,
    out,
    parse_entries,
    parse_layers,
    parse_price,
)
from persona_lens.errors import RunError

if TYPE_CHECKING:
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs import CollectionPlan
    from persona_lens.runs.engines.reading import Tokens
    from persona_lens.runs.engines.worker_spec import ModelSpec
else:
    Tokens = str  # the library refuses others

app = typer.Typer()

ENTRIES = ("roles", "traits", "questions", "defaults")

of_server = partial(typer.Option, rich_help_panel="Replies from a server")


@command(app, "persona-lens demo", "persona-lens demo --quick", "persona-lens demo --out demo")
def demo(
    folder: Annotated[
        Path | None,
        new_path("Where everything goes; demo, or demo-quick, by default.", "--out"),
    ] = None,
    layer: Annotated[int, typer.Option(help="Block the map is drawn at.")] = 20,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="A quarter of the replies, and shorter ones: less certain."),
    ] = False,
) -> None:
    """From nothing to a persona map of the embedded model, offline, in some minutes."""
    from persona_lens.cli import demo as parts  # noqa: PLC0415

    with continued_later():
        if quick:
            place = folder or Path("demo-quick")
            parts.run_demo(place, layer=layer, plan=parts.QUICK, min_count=parts.QUICK_MIN_COUNT)
        else:
            parts.run_demo(folder or Path("demo"), layer=layer)


@dataclass(frozen=True)
class Asked:
    """What is asked, how replies are sampled, and what of them is read."""

    roles: Entries = "core"
    traits: Entries = "core"
    questions: Entries = "core"
    defaults: Annotated[
        str,
        typer.Option(
            help="System prompts of the default Assistant, which has full weight in the axis; as for roles."
        ),
    ] = "core"
    prompts: Annotated[
        int | None,
        typer.Option(min=1, help="System prompts of each role and trait; all by default."),
    ] = None
    default_samples: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Default-Assistant replies to each question and prompt."
        ),
    ] = 4
    trait_questions: Annotated[
        TraitQuestions,
        typer.Option(help="What traits are asked: shared (the paper) or own."),
    ] = "shared"
    max_new_tokens: ReplyLength = 128
    temperature: Annotated[float, typer.Option(min=0, help="0 decodes greedily.")] = 0.7
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 0.9
    seed: Annotated[int, typer.Option(min=0)] = 0
    layers: Layers = None
    tokens: Annotated[
        Tokens,
        typer.Option(
            help="Tokens of a reply that are averaged: answer, or paper to replicate the paper's code exactly "
            "(its borders, prompts and model name)."
        ),
    ] = "answer"

    def plan(self, batch_size: int) -> CollectionPlan:
        """The plan, with its entries read: what is wrong with them shows before a model is loaded."""
        from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415
        from persona_lens.runs import CollectionPlan  # noqa: PLC0415

        return CollectionPlan(
            layers=parse_layers(self.layers),
            sampling=Sampling(
                temperature=self.temperature,
                top_p=self.top_p,
                max_new_tokens=self.max_new_tokens,
                seed=self.seed,
            ),
            **{kind: parse_entries(getattr(self, kind)) for kind in ENTRIES},
            prompts=self.prompts,
            default_samples=self.default_samples,
            trait_questions=self.trait_questions,
            tokens=self.tokens,
            batch_size=batch_size,
        ).loaded()


@dataclass(frozen=True)
class Serving(Calling):
    """A server that writes the replies."""

    base_url: Annotated[
        str | None,
        of_server(
            help="OpenAI-compatible server that writes the replies; --model then reads them."
        ),
    ] = None
    served_model: Annotated[
        str | None, of_server(help="Its name for the model; --model by default.")
    ] = None
    template: Annotated[
        Literal["server", "ours"], of_server(help="Who applies the chat template: server or ours.")
    ] = "server"
    replies_only: Annotated[
        bool,
        of_server(
            "--replies-only", help="Read nothing yet, on a machine that cannot hold the model."
        ),
    ] = False
    retry_failed: Annotated[
        bool, of_server("--retry-failed", help="Ask again where a request failed.")
    ] = False
    concurrency: Annotated[int, of_server(min=1, help="Requests in flight.")] = 16
    timeout: Annotated[float, of_server(help="Seconds a request may take.")] = 600.0
    api_key_env: Annotated[str, of_server(help="Environment variable with the key.")] = (
        "OPENAI_API_KEY"
    )
    extra_body: Annotated[
        str | None, of_server(help="Further fields of each request, as JSON.")
    ] = None

    def open(self, model: str, spec: ModelSpec) -> ServedSource | None:
        """The server, if there is one."""
        from persona_lens.runs import open_server  # noqa: PLC0415

        if self.base_url is not None:
            settings = self.endpoint(self.served_model or model)
            return open_server(settings, spec, template=self.template)
        if self.replies_only:
            raise RunError("--replies-only needs a server", remedy="give its --base-url")
        return None


@command(
    app,
    "persona-lens collect --model smollm2-135m-instruct --run runs/first",
    "persona-lens collect -m smollm2-135m-instruct --run runs/full --roles full --traits full --dry-run",
    "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --roles pirate,ghost,tutor --device-map auto",
    "persona-lens collect -m smollm2-135m-instruct --run runs/mine --roles my_role.json",
    "persona-lens collect -m Qwen/Qwen3-32B --run runs/paper --roles data --traits data --questions data "
    "--defaults data --tokens paper --max-new-tokens 512",
    "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --base-url http://localhost:8000/v1",
    "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --engine ray --workers 4 --gpus-per-worker 1",
)
def collect(
    *,
    run: Annotated[Path, new_path("Run folder, new or to be continued.")],
    model: Model = "smollm2-135m-instruct",
    asked: Asked,
    reader: Annotated[
        str | None,
        typer.Option(help="Another model to read the replies with, such as the base model."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Replies sampled at a time.")] = 64,
    fork: Annotated[
        Path | None,
        new_path("Collect changed settings here, starting with what of RUN still holds."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say how large, how long and how dear it would be; loads nothing.",
        ),
    ] = False,
    price: Annotated[
        str | None,
        typer.Option(
            help="For --dry-run, in dollars: an hour of this machine, such as 2.50; or, of a server, a million "
            "tokens of prompts and of answers, such as 0.40,1.60."
        ),
    ] = None,
    loading: LargeLoading,
    quiet: Quiet = False,
    serving: Serving,
    working: Working,
) -> None:
    """Have a model play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same command continues.
    """
    from persona_lens.runs import collect_plan  # noqa: PLC0415
    from persona_lens.runs.engines.engine import LocalEngine  # noqa: PLC0415

    plan, writer = asked.plan(batch_size), loading.spec(model)
    costs = parse_price(price)
    if dry_run:
        from persona_lens.runs.sizing import dry_run as sized  # noqa: PLC0415

        told = sized(
            plan,
            model,
            run=run if fork is None else fork,
            served=serving.base_url is not None,
            reader=reader,
            device=loading.device,
            dtype=loading.dtype,
            workers=working.workers,
            price=costs,
        )
        out.print(str(told), markup=False, highlight=False, soft_wrap=True)
        return
    if plan.layers is not None and not serving.replies_only:
        from persona_lens.model.shape import shape_of  # noqa: PLC0415

        if shape := shape_of(model if reader is None else reader):
            shape.check_layers(list(plan.layers))
    served = serving.open(model, writer)
    engine = working.open(writer, None if reader is None else loading.spec(reader, {}))
    with continued_later(), nullcontext() if serving.replies_only else engine as at_work:
        if isinstance(at_work, LocalEngine):
            err.print(f"{at_work.writer}")
        folder = collect_plan(
            None,
            run,
            plan,
            engine=at_work,
            served=served,
            retry_failed=serving.retry_failed,
            fork=fork,
            progress=not quiet,
        )
    if serving.replies_only:
        err.print(f"Replies: {folder.path}. The same command without --replies-only reads them.")
        return
    next_steps(
        f"Done: {folder.path}.",
        f"persona-lens judge {folder.path}",
        f"persona-lens fit {folder.path} --out SPACE",
    )


@command(
    app,
    "persona-lens gate --model smollm2-135m-instruct",
    "persona-lens gate --model Qwen/Qwen3-4B --judge rules --run runs/gate",
)
def gate(
    *,
    model: Model = "smollm2-135m-instruct",
    run: Annotated[
        Path | None, new_path("Folder for the replies; runs/gate-MODEL by default.")
    ] = None,
    judge: Annotated[
        Literal["likelihood", "rules"], typer.Option(help="Who labels the replies.")
    ] = "likelihood",
    max_new_tokens: ReplyLength = 64,
    loading: LargeLoading,
    quiet: Quiet = False,
) -> None:
    """Tell whether a model plays roles at all, before the big run: twelve roles, a few minutes."""
    from persona_lens.evals.gate import role_play_gate  # noqa: PLC0415
    from persona_lens.judges import RuleJudge  # noqa: PLC0415
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    loaded = loading.load(model)
    err.print(f"{loaded}")
    folder = run or Path("runs") / f"gate-{loaded.name.replace('/', '--')}"
    with continued_later():
        report = role_play_gate(
            loaded,
            folder,
            judge=RuleJudge() if judge == "rules" else None,
            sampling=Sampling(max_new_tokens=max_new_tokens),
            progress=not quiet,
        )
    out.print(report)
    err.print(f"Replies and labels: {folder}")
