"""`judge` and `judge-audit`: labels for the replies of a run, and whether to trust them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from persona_lens.cli.options import Device, Dtype, Quiet, continued_later, err, example, out
from persona_lens.errors import RunError

if TYPE_CHECKING:
    from persona_lens.judges import Judge
    from persona_lens.runs import RunFolder

app = typer.Typer()

JUDGES = ("likelihood", "rules", "local", "openai")


@app.command(
    epilog=example(
        "persona-lens judge runs/first",
        "persona-lens judge runs/first --judge rules",
        "persona-lens judge runs/first --judge local --model Qwen/Qwen3-4B",
        "persona-lens judge runs/first --judge openai --model gpt-4.1-mini --dry-run",
    )
)
def judge(
    run: Annotated[Path, typer.Argument(help="A run with its replies.")],
    which: Annotated[str, typer.Option("--judge", help=", ".join(JUDGES) + ".")] = "likelihood",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Of the judge; for likelihood the model that wrote the replies."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server, such as http://localhost:8000/v1.")
    ] = None,
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable with the key.")
    ] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 16,
    scoring: Annotated[
        str, typer.Option(help="openai: answer, or logits for the expected score.")
    ] = "answer",
    somewhat: Annotated[
        float,
        typer.Option(help="likelihood: share of default replies that get this label or more."),
    ] = 0.1,
    fully: Annotated[float, typer.Option(help="likelihood: the same for this label.")] = 0.01,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="openai: cost, time and one prompt; asks nothing.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask again where an answer could not be read.")
    ] = False,
    device: Device = None,
    dtype: Dtype = "auto",
    quiet: Quiet = False,
) -> None:
    """Label how far each reply plays its role, or shows its trait.

    Labels of several judges lie side by side in the run. Killed at any point, the same command continues.
    """
    from persona_lens.runs.folder import RunFolder  # noqa: PLC0415
    from persona_lens.runs.judging import judge_run  # noqa: PLC0415

    folder = RunFolder(run)
    if which == "openai":
        chosen = _openai(model, base_url, api_key_env, concurrency, scoring)
        if dry_run:
            out.print(_estimate(folder, chosen))
            return
    else:
        chosen = _offline(
            folder, which, model, {"device": device, "dtype": dtype}, (somewhat, fully)
        )
    with continued_later():
        labels = judge_run(folder, chosen, retry=retry, progress=not quiet)
    from persona_lens import describe  # noqa: PLC0415

    out.print(describe.labels(labels))
    err.print(
        f"Next: [cyan]persona-lens fit {run} --judge {labels.key} --out SPACE[/cyan], "
        f"[cyan]persona-lens judge-audit {run}[/cyan]"
    )


def _estimate(folder: RunFolder, judge: Any) -> Any:
    from persona_lens.runs.judging import sample_cases  # noqa: PLC0415

    cases, total = sample_cases(folder)
    return judge.estimate(cases, total)


def _openai(
    model: str | None, base_url: str | None, api_key_env: str, concurrency: int, scoring: str
) -> Any:
    from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415
    from persona_lens.judges import OpenAIJudge  # noqa: PLC0415

    if model is None:
        raise RunError("this judge needs a model", remedy="pass --model, such as gpt-4.1-mini")
    settings = EndpointSettings(
        model=model, base_url=base_url, api_key_env=api_key_env, concurrency=concurrency
    )
    return OpenAIJudge(settings, scoring=scoring)  # pyright: ignore[reportArgumentType]


def _offline(
    folder: RunFolder,
    which: str,
    model: str | None,
    options: dict[str, Any],
    rates: tuple[float, float],
) -> Judge:
    from persona_lens.judges import LikelihoodJudge, LocalJudge, RuleJudge  # noqa: PLC0415
    from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415

    match which:
        case "rules":
            return RuleJudge()
        case "likelihood":
            written_by = folder.manifest().conditions.get("model", {})
            writer = model or written_by.get("model")
            if writer is None:
                raise RunError(
                    "a server wrote these replies", remedy="pass --model with the model it served"
                )
            loaded = PersonaModel.load(writer, **options)
            return LikelihoodJudge(loaded, somewhat=rates[0], fully=rates[1])
        case "local":
            if model is None:
                raise RunError("this judge needs a model", remedy="pass --model NAME")
            return LocalJudge(PersonaModel.load(model, **options))
    raise RunError("no such judge", expected=", ".join(JUDGES), given=which)
