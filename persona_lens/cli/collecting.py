"""`demo`, `collect` and `gate`: replies and their mean residuals."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from persona_lens.cli.options import (
    Device,
    DeviceMap,
    Dtype,
    Entries,
    Model,
    Quiet,
    TemplateVars,
    TrustRemoteCode,
    continued_later,
    err,
    example,
    next_steps,
    out,
    parse_entries,
    parse_json_object,
    parse_layers,
    parse_template_vars,
)
from persona_lens.errors import RunError
from persona_lens.paths import check_target

app = typer.Typer()

SERVER = "Replies from a server"
WORKERS = "Workers"


@app.command(epilog=example("persona-lens demo", "persona-lens demo --out demo --layer 20"))
def demo(
    folder: Annotated[
        Path,
        typer.Option("--out", metavar="PATH", parser=check_target, help="Where everything goes."),
    ] = Path("demo"),
    layer: Annotated[int, typer.Option(help="Block the map is drawn at.")] = 20,
) -> None:
    """From nothing to a persona map of the embedded model, offline, in some minutes."""
    from persona_lens.cli.demo import run_demo  # noqa: PLC0415

    with continued_later():
        run_demo(folder, layer=layer)


@app.command(
    epilog=example(
        "persona-lens collect --model smollm2-135m-instruct --run runs/first",
        "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --roles pirate,ghost,tutor "
        "--device-map auto",
        "persona-lens collect -m smollm2-135m-instruct --run runs/mine --roles my_role.json",
        "persona-lens collect -m Qwen/Qwen3-32B --run runs/paper --roles data --traits data --questions data "
        "--defaults data --tokens paper --max-new-tokens 512",
        "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --base-url http://localhost:8000/v1",
        "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --engine ray --workers 4 "
        "--gpus-per-worker 1",
    )
)
def collect(
    run: Annotated[
        Path,
        typer.Option(
            metavar="PATH", parser=check_target, help="Run folder, new or to be continued."
        ),
    ],
    model: Model = "smollm2-135m-instruct",
    roles: Entries = "core",
    traits: Entries = "core",
    questions: Entries = "core",
    defaults: Annotated[
        str,
        typer.Option(
            help="System prompts of the default Assistant, which has full weight in the axis; as for roles."
        ),
    ] = "core",
    prompts: Annotated[
        int | None,
        typer.Option(min=1, help="System prompts of each role and trait; all by default."),
    ] = None,
    default_samples: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Default-Assistant replies to each question and prompt."
        ),
    ] = 4,
    trait_questions: Annotated[
        Literal["shared", "own"],
        typer.Option(help="What traits are asked: shared (the paper) or own."),
    ] = "shared",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 decodes greedily.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 0.9,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    layers: Annotated[
        str | None, typer.Option(help="Such as 10-20 or 3,7,11; all by default.")
    ] = None,
    tokens: Annotated[
        str,
        typer.Option(
            help="Tokens of a reply that are averaged: answer, or paper to replicate the paper's code exactly "
            "(its borders, prompts and model name)."
        ),
    ] = "answer",
    reader: Annotated[
        str | None,
        typer.Option(help="Another model to read the replies with, such as the base model."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Replies sampled at a time.")] = 64,
    fork: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            parser=check_target,
            help="Collect changed settings here, starting with what of RUN still holds.",
        ),
    ] = None,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = "auto",
    template_var: TemplateVars = None,
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    base_url: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible server that writes the replies; --model then reads them.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    served_model: Annotated[
        str | None,
        typer.Option(help="Its name for the model; --model by default.", rich_help_panel=SERVER),
    ] = None,
    template: Annotated[
        Literal["server", "ours"],
        typer.Option(help="Who applies the chat template: server or ours.", rich_help_panel=SERVER),
    ] = "server",
    replies_only: Annotated[
        bool,
        typer.Option(
            "--replies-only",
            help="Read nothing yet, on a machine that cannot hold the model.",
            rich_help_panel=SERVER,
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Ask again where a request failed.", rich_help_panel=SERVER
        ),
    ] = False,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests in flight.", rich_help_panel=SERVER)
    ] = 16,
    timeout: Annotated[
        float, typer.Option(help="Seconds a request may take.", rich_help_panel=SERVER)
    ] = 600.0,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable with the key.", rich_help_panel=SERVER)
    ] = "OPENAI_API_KEY",
    extra_body: Annotated[
        str | None,
        typer.Option(help="Further fields of each request, as JSON.", rich_help_panel=SERVER),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="local, or ray for several workers.", rich_help_panel=WORKERS),
    ] = "local",
    workers: Annotated[int, typer.Option(min=1, rich_help_panel=WORKERS)] = 1,
    gpus_per_worker: Annotated[
        float, typer.Option(min=0, help="Parts of one are fine.", rich_help_panel=WORKERS)
    ] = 0,
    address: Annotated[
        str | None,
        typer.Option(
            help="Of a Ray cluster, such as auto; this machine by default.", rich_help_panel=WORKERS
        ),
    ] = None,
) -> None:
    """Have a model play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same command continues.
    """
    chosen_layers = None if layers is None else parse_layers(layers)
    from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415
    from persona_lens.runs import (  # noqa: PLC0415
        CollectionPlan,
        collect_run,
        open_engine,
        open_server,
    )
    from persona_lens.runs.engines.engine import LocalEngine  # noqa: PLC0415
    from persona_lens.runs.engines.worker_spec import ModelSpec  # noqa: PLC0415

    variables = parse_template_vars(template_var)

    def spec(name: str, **more: Any) -> ModelSpec:
        return ModelSpec(
            name,
            device=device,
            device_map=device_map,
            dtype=dtype,  # pyright: ignore[reportArgumentType]
            trust_remote_code=trust_remote_code,
            **more,
        )

    # What is asked, and how, is checked before a model is loaded or a server called.
    plan = CollectionPlan(
        sampling=Sampling(
            temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
        ),
        roles=parse_entries(roles),
        traits=parse_entries(traits),
        questions=parse_entries(questions),
        defaults=parse_entries(defaults),
        prompts=prompts,
        default_samples=default_samples,
        trait_questions=trait_questions,
        layers=chosen_layers,
        tokens=tokens,  # pyright: ignore[reportArgumentType]
        batch_size=batch_size,
    ).loaded()
    writer = spec(model, template_kwargs=variables)
    served = None
    if base_url is not None:
        settings = EndpointSettings(
            model=served_model or model,
            base_url=base_url,
            api_key_env=api_key_env,
            concurrency=concurrency,
            timeout=timeout,
            extra_body=parse_json_object(extra_body),
        )
        served = open_server(settings, writer, template=template)
    elif replies_only:
        raise RunError("--replies-only needs a server", remedy="give its --base-url")
    opened = open_engine(
        writer,
        None if reader is None else spec(reader),
        name=engine,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        address=address,
    )
    with continued_later(), nullcontext() if replies_only else opened as at_work:
        if isinstance(at_work, LocalEngine):
            err.print(f"{at_work.writer}")
        folder = collect_run(
            None,
            run,
            plan=plan,
            engine=at_work,
            served=served,
            retry_failed=retry_failed,
            fork=fork,
            progress=not quiet,
        )
    if replies_only:
        err.print(f"Replies: {folder.path}. The same command without --replies-only reads them.")
        return
    next_steps(
        f"Done: {folder.path}.",
        f"persona-lens judge {folder.path}",
        f"persona-lens fit {folder.path} --out SPACE",
    )


@app.command(
    epilog=example(
        "persona-lens gate --model smollm2-135m-instruct",
        "persona-lens gate --model Qwen/Qwen3-4B --judge rules --run runs/gate",
    )
)
def gate(
    model: Model = "smollm2-135m-instruct",
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            parser=check_target,
            help="Folder for the replies; runs/gate-MODEL by default.",
        ),
    ] = None,
    judge: Annotated[
        Literal["likelihood", "rules"], typer.Option(help="Who labels the replies.")
    ] = "likelihood",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply.")] = 64,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = "auto",
    template_var: TemplateVars = None,
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
) -> None:
    """Tell whether a model plays roles at all, before the big run: twelve roles, a few minutes."""
    from persona_lens.evals.gate import role_play_gate  # noqa: PLC0415
    from persona_lens.judges import RuleJudge  # noqa: PLC0415
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.rollouts.sampling import Sampling  # noqa: PLC0415

    loaded = PersonaModel.load(
        model,
        device=device,
        device_map=device_map,
        dtype=dtype,  # pyright: ignore[reportArgumentType]
        template_kwargs=parse_template_vars(template_var),
        trust_remote_code=trust_remote_code,
    )
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
