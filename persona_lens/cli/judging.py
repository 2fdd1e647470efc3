"""`judge` and `judge-audit`: labels for the replies of a run, and whether to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_lens.cli.commands import command
from persona_lens.cli.options import (
    Calling,
    Loading,
    Quiet,
    continued_later,
    err,
    new_path,
    next_steps,
    out,
    parse_layers,
    parse_names,
    parse_price,
    parse_temperature,
    run_argument,
)
from persona_lens.errors import RunError
from persona_lens.paths import check_path
from persona_lens.spelling import check_choice

if TYPE_CHECKING:
    from persona_lens.judges import Judge, OpenAIJudge
    from persona_lens.judges.openai_judge import Scoring
    from persona_lens.runs import RunFolder
else:
    Scoring = str  # the judge refuses others

app = typer.Typer()

JUDGES = ("likelihood", "rules", "local", "openai")


@dataclass(frozen=True)
class Asking(Calling):
    """A judge on a server, and how it is asked."""

    base_url: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server, such as http://localhost:8000/v1.")
    ] = None
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the key.")] = (
        "OPENAI_API_KEY"
    )
    concurrency: Annotated[int, typer.Option(min=1, help="Calls in flight.")] = 16
    scoring: Annotated[
        Scoring, typer.Option(help="openai: answer, or logits for the expected score.")
    ] = "answer"
    temperature: Annotated[
        str, typer.Option(help="openai: a number, or none to send none, for models that refuse it.")
    ] = "0"
    max_tokens: Annotated[
        int,
        typer.Option(
            min=1, help="openai: where an answer is cut; a judge that thinks needs some thousand."
        ),
    ] = 64
    verbatim: Annotated[
        bool,
        typer.Option(
            "--verbatim",
            help="openai: ask with the entry's own judge prompt (eval_prompt) as it is, as the paper's code does.",
        ),
    ] = False
    timeout: Annotated[float, typer.Option(help="openai: seconds a call may take.")] = 600.0
    extra_body: Annotated[
        str | None,
        typer.Option(
            help='openai: further fields of each call, as JSON: {"reasoning_effort": "low"}.'
        ),
    ] = None

    def judge(self, model: str | None) -> OpenAIJudge:
        """The judge, for a model of this name on the server."""
        from persona_lens.judges import OpenAIJudge  # noqa: PLC0415

        temperature = parse_temperature(self.temperature)
        if model is None:
            raise RunError("this judge needs a model", remedy="pass --model, such as gpt-4.1-mini")
        return OpenAIJudge(
            self.endpoint(model),
            temperature=temperature,
            scoring=self.scoring,
            max_tokens=self.max_tokens,
            verbatim=self.verbatim,
        )


@command(
    app,
    "persona-lens judge runs/first",
    "persona-lens judge runs/first --judge rules",
    "persona-lens judge runs/first --judge local --model Qwen/Qwen3-4B",
    "persona-lens judge runs/first --judge openai --model gpt-4.1-mini --dry-run --price 0.40,1.60",
    "persona-lens judge runs/first --judge openai --model o4-mini --temperature none --max-tokens 4000",
    "persona-lens judge runs/paper --judge openai --model gpt-4.1-mini --verbatim --temperature 1 "
    "--max-tokens 10",
)
def judge(
    *,
    run: Annotated[Path, run_argument("A run with its replies.")],
    which: Annotated[str, typer.Option("--judge", help=", ".join(JUDGES) + ".")] = "likelihood",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Of the judge; for likelihood the model that wrote the replies."
        ),
    ] = None,
    asking: Asking,
    somewhat: Annotated[
        float,
        typer.Option(help="likelihood: share of default replies that get this label or more."),
    ] = 0.1,
    fully: Annotated[float, typer.Option(help="likelihood: the same for this label.")] = 0.01,
    kinds: Annotated[str, typer.Option(help="What to label: role, trait, or both.")] = "role,trait",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only say how many replies, tokens, minutes and dollars; asks and loads nothing.",
        ),
    ] = False,
    price: Annotated[
        str | None,
        typer.Option(
            help="For --dry-run: dollars for a million tokens of prompts and of answers, such as 0.40,1.60."
        ),
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Ask again where an answer could not be read.")
    ] = False,
    loading: Loading,
    quiet: Quiet = False,
) -> None:
    """Label how far each reply plays its role, or shows its trait.

    Labels of several judges lie side by side in the run. Killed at any point, the same command continues.
    """
    from persona_lens.runs.judging import check_kinds, judge_run, sample_cases  # noqa: PLC0415
    from persona_lens.runs.store.folder import RunFolder  # noqa: PLC0415

    folder, labelled = RunFolder(run), parse_names(kinds) or ()
    check_choice(which, JUDGES, "no such judge", error=RunError)
    check_kinds(labelled)
    costs = parse_price(price)
    if dry_run:
        sample, total = sample_cases(folder, kinds=labelled)
        told = f"{total:,} replies to be judged, by this machine alone: no calls, $0."
        if which == "openai":
            if costs is not None and len(costs) != 2:
                raise RunError("a judge has two prices", expected="0.40,1.60", given=price)
            two = None if costs is None else (costs[0], costs[-1])
            found = asking.judge(model).estimate(sample, total, price=two)
            told = f"{found}\n\nOne of the prompts:\n\n{found.sample_prompt}"
        out.print(told, markup=False, highlight=False, soft_wrap=True)
        return
    if which == "openai":
        chosen = asking.judge(model)
    else:
        chosen = _offline(folder, which, model, loading, (somewhat, fully))
    with continued_later():
        labels = judge_run(folder, chosen, kinds=labelled, retry=retry, progress=not quiet)
    from persona_lens.cli import describe  # noqa: PLC0415
    from persona_lens.runs.unlabelled import Unlabelled  # noqa: PLC0415

    out.print(describe.labels(labels))
    Unlabelled.of(labels).check()
    next_steps(
        f"Labelled: {run}.",
        f"persona-lens fit {run} --judge {labels.key} --out SPACE",
        f"persona-lens judge-audit {run}",
    )


@command(
    app,
    "persona-lens judge-audit runs/first --out audit",
    "persona-lens judge-audit runs/first --sample to_label.csv",
    "persona-lens judge-audit runs/first --labelled to_label.csv --out audit",
    name="judge-audit",
)
def judge_audit(
    run: Annotated[Path, run_argument("A labelled run.")],
    judges: Annotated[
        str | None, typer.Option(help="Names separated by commas; all that labelled it by default.")
    ] = None,
    folder: Annotated[Path | None, new_path("Folder for figures and tables.", "--out")] = None,
    layers: Annotated[
        str | None, typer.Option(help="Such as 10-20 or 3,7,11; eight by default.")
    ] = None,
    min_count: Annotated[int, typer.Option(min=1, help="Replies a label needs for a vector.")] = 10,
    sample: Annotated[
        Path | None, new_path("Write a sheet of replies for a person to label, and stop.")
    ] = None,
    sample_size: Annotated[int, typer.Option(min=10, help="Replies on that sheet.")] = 120,
    labelled: Annotated[
        Path | None,
        typer.Option(metavar="PATH", parser=check_path, help="The sheet, labelled by a person."),
    ] = None,
) -> None:
    """Tell how far judges agree with each other and with a person, and what they do to the axis."""
    from persona_lens.analysis.audit.auditing import audit_run  # noqa: PLC0415
    from persona_lens.analysis.audit.hand_labels import export_sample  # noqa: PLC0415
    from persona_lens.runs.store.folder import RunFolder  # noqa: PLC0415

    chosen = parse_names(judges)
    if sample is not None:
        export_sample(RunFolder(run), sample, n=sample_size, judges=chosen)
        next_steps(
            f"To be labelled: {sample}.", f"persona-lens judge-audit {run} --labelled {sample}"
        )
        return
    with err.status("Comparing"):
        audit = audit_run(
            RunFolder(run),
            chosen,
            labelled=labelled,
            layers=parse_layers(layers),
            min_count=min_count,
        )
        files = [] if folder is None else audit.save(folder)
    out.print(audit)
    for file in files:
        err.print(f"  {file}", soft_wrap=True)


def _offline(
    folder: RunFolder,
    which: str,
    model: str | None,
    loading: Loading,
    rates: tuple[float, float],
) -> Judge:
    from persona_lens.judges import LikelihoodJudge, LocalJudge, RuleJudge  # noqa: PLC0415

    match which:
        case "rules":
            return RuleJudge()
        case "likelihood":
            manifest = folder.manifest()
            written_by = manifest.conditions.get("model", {})
            writer = model or written_by.get("model")
            if writer is None:
                raise RunError(
                    "a server wrote these replies", remedy="pass --model with the model it served"
                )
            variables = loading.variables(written_by or manifest.reader, model)
            loaded = loading.load(writer, variables)
            return LikelihoodJudge(loaded, somewhat=rates[0], fully=rates[1])
        case "local":
            if model is None:
                raise RunError("this judge needs a model", remedy="pass --model NAME")
            return LocalJudge(loading.load(model))
    raise AssertionError(which)
