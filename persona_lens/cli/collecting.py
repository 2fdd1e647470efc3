"""`demo`, `collect` and `gate`: replies and their mean residuals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from persona_lens.cli.options import (
    Device,
    DeviceMap,
    Dtype,
    Entries,
    Model,
    Quiet,
    TrustRemoteCode,
    continued_later,
    err,
    example,
    out,
    parse_entries,
    parse_layers,
)
from persona_lens.errors import RunError

app = typer.Typer()


@app.command(epilog=example("persona-lens demo", "persona-lens demo --out demo --layer 20"))
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where everything goes.")] = Path("demo"),
    layer: Annotated[int, typer.Option(help="Block the map is drawn at.")] = 20,
) -> None:
    """From nothing to a persona map of the embedded model, offline, in some minutes."""
    from persona_lens.demo import run_demo  # noqa: PLC0415

    with continued_later():
        run_demo(folder, layer=layer)


@app.command(
    epilog=example(
        "persona-lens collect --model smollm2-135m-instruct --run runs/first",
        "persona-lens collect -m google/gemma-2-27b-it --run runs/gemma --roles pirate,ghost,tutor "
        "--device-map auto",
        "persona-lens collect -m smollm2-135m-instruct --run runs/mine --roles my_role.json",
    )
)
def collect(
    run: Annotated[Path, typer.Option(help="Run folder, new or to be continued.")],
    model: Model = "smollm2-135m-instruct",
    roles: Entries = "core",
    traits: Entries = "core",
    questions: Entries = "core",
    prompts: Annotated[
        int | None,
        typer.Option(min=1, help="System prompts of each role and trait; all by default."),
    ] = None,
    default_samples: Annotated[
        int, typer.Option(min=1, help="Default-Assistant replies to each question and prompt.")
    ] = 4,
    trait_questions: Annotated[
        str, typer.Option(help="What traits are asked: shared (the paper) or own.")
    ] = "shared",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 decodes greedily.")] = 0.7,
    top_p: Annotated[float, typer.Option(min=0, max=1)] = 0.9,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    layers: Annotated[
        str | None, typer.Option(help="Such as 10-20 or 3,7,11; all by default.")
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(help="Another model to read the replies with, such as the base model."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Replies sampled at a time.")] = 64,
    fork: Annotated[
        Path | None,
        typer.Option(help="Collect changed settings here, starting with what of RUN still holds."),
    ] = None,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
) -> None:
    """Have a model play roles and traits, and store the mean residual of every reply.

    Killed at any point, the same command continues.
    """
    chosen_layers = None if layers is None else parse_layers(layers)
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.model.sampling import Sampling  # noqa: PLC0415
    from persona_lens.runs.collecting import collect_run  # noqa: PLC0415

    def load(name: str) -> PersonaModel:
        return PersonaModel.load(
            name,
            device=device,
            device_map=device_map,
            dtype=dtype,  # pyright: ignore[reportArgumentType]
            trust_remote_code=trust_remote_code,
        )

    writer = load(model)
    err.print(f"{writer}")
    with continued_later():
        folder = collect_run(
            writer,
            run,
            roles=parse_entries(roles),
            traits=parse_entries(traits),
            questions=parse_entries(questions),
            prompts=prompts,
            default_samples=default_samples,
            trait_questions=trait_questions,  # pyright: ignore[reportArgumentType]
            sampling=Sampling(
                temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed
            ),
            layers=chosen_layers,
            reader=None if reader is None else load(reader),
            batch_size=batch_size,
            fork=fork,
            progress=not quiet,
        )
    err.print(f"Done: {folder.path}. Next: [cyan]persona-lens fit {folder.path} --out SPACE[/cyan]")


@app.command(
    epilog=example(
        "persona-lens gate --model smollm2-135m-instruct",
        "persona-lens gate --model Qwen/Qwen3-4B --judge rules --run runs/gate",
    )
)
def gate(
    model: Model = "smollm2-135m-instruct",
    run: Annotated[
        Path | None, typer.Option(help="Folder for the replies; runs/gate-MODEL by default.")
    ] = None,
    judge: Annotated[str, typer.Option(help="likelihood or rules.")] = "likelihood",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Length of a reply.")] = 64,
    device: Device = None,
    device_map: DeviceMap = None,
    dtype: Dtype = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
) -> None:
    """Tell whether a model plays roles at all, before the big run: twelve roles, a few minutes."""
    from persona_lens.gate import role_play_gate  # noqa: PLC0415
    from persona_lens.judges import RuleJudge  # noqa: PLC0415
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415
    from persona_lens.model.sampling import Sampling  # noqa: PLC0415

    if judge not in ("likelihood", "rules"):
        raise RunError("no such judge", expected="likelihood or rules", given=judge)
    loaded = PersonaModel.load(
        model,
        device=device,
        device_map=device_map,
        dtype=dtype,  # pyright: ignore[reportArgumentType]
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
