"""The options of `eval`: what is done to the model, who answers, what a user brings, and who judges."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from persona_lens.cli.options import (
    LargeLoading,
    parse_entries,
    parse_json_object,
    parse_layers,
    parse_temperature,
)
from persona_lens.errors import EvaluationError
from persona_lens.paths import check_path

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.evals.conditions import Condition
    from persona_lens.evals.outcomes import ItemJudge
    from persona_lens.evals.registry import Entry
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.persona_space import PersonaSpace
    from persona_lens.rollouts.serving import ServedSource
    from persona_lens.runs.engines.worker_spec import ModelSpec

of_judges = partial(typer.Option, rich_help_panel="A language model that judges")
of_server = partial(typer.Option, rich_help_panel="A server, where nothing acts")
of_requests = partial(typer.Option, rich_help_panel="Requests that you bring, for harm")


@dataclass(frozen=True)
class Conditions:
    """What is done to the model, beside nothing."""

    space: Annotated[
        str | None,
        typer.Option(
            help="A saved space, or the name of a packaged one: for --floor and --push, and to read replies."
        ),
    ] = None
    floor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERCENTILES",
            help="Keep the Assistant Axis at or above these, such as 50,75; or another direction, such as pc1=75. "
            "Repeatable.",
        ),
    ] = None
    push: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=STRENGTHS",
            help="Push along a direction, such as assistant=-0.2,0.2. Repeatable.",
        ),
    ] = None
    plan: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", parser=check_path, help="A saved plan. Repeatable."),
    ] = None
    layers: Annotated[
        str | None, typer.Option(help="Of --floor and --push, such as 12-18; or paper.")
    ] = None
    controls: Annotated[
        int, typer.Option(min=0, help="Random directions beside each, matched to it.")
    ] = 2

    def all(self, model: PersonaModel, space: PersonaSpace | None) -> list[Condition]:
        """Nothing first, then each with its controls."""
        from persona_lens.evals.conditions import (  # noqa: PLC0415
            UNTOUCHED,
            Condition,
            capped,
            steered,
        )
        from persona_lens.interventions import Plan  # noqa: PLC0415

        found = [UNTOUCHED]
        layers: Any = self.layers if self.layers == "paper" else parse_layers(self.layers)
        if space is None and (self.floor or self.push):
            raise EvaluationError("--floor and --push need a space", remedy="name one: --space")
        if space is not None:
            for given in self.floor or ():
                name, equals, percentiles = given.rpartition("=")
                for percentile in numbers(percentiles):
                    found += capped(
                        model,
                        space,
                        name if equals else "assistant",
                        percentile,
                        layers=layers,
                        controls=self.controls,
                    )
            for given in self.push or ():
                name, _, strengths = given.partition("=")
                found += steered(
                    space, name, numbers(strengths), layers=layers, controls=self.controls
                )
        for folder in self.plan or ():
            found.append(Condition(folder.name, Plan.load(folder), "plan", 1.0))
        return found


def numbers(text: str) -> list[float]:
    """Numbers separated by commas.

    Examples:
        >>> numbers("50,75")
        [50.0, 75.0]
    """
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise EvaluationError(
            "cannot read the numbers", expected="such as 50,75", given=repr(text)
        ) from None


@dataclass(frozen=True)
class Judged:
    """A language model that judges, on a server or here."""

    judge_model: Annotated[
        str | None, of_judges(help="A server's name for it, such as gpt-4.1-mini.")
    ] = None
    judge_server: Annotated[
        str | None,
        of_judges(
            metavar="URL", help="OpenAI-compatible server, such as http://localhost:8000/v1."
        ),
    ] = None
    judge_model_local: Annotated[
        str | None, of_judges(help="Instead, it judges here: a name, folder or .gguf file.")
    ] = None
    judge_max_tokens: Annotated[
        int,
        of_judges(min=1, help="Where its answer is cut; one that thinks needs some thousand."),
    ] = 64
    judge_temperature: Annotated[
        str, of_judges(help="A number, or none to send none, for models that refuse it.")
    ] = "0"
    api_key_env: Annotated[str, of_judges(help="Environment variable with the key.")] = (
        "OPENAI_API_KEY"
    )
    concurrency: Annotated[int, of_judges(min=1, help="Calls in flight.")] = 16
    timeout: Annotated[float, of_judges(help="Seconds a call may take.")] = 600.0
    extra_body: Annotated[str | None, of_judges(help="Further fields of each call, as JSON.")] = (
        None
    )

    def judge(
        self, entry: Entry, loading: LargeLoading, scale: str | None
    ) -> ItemJudge | list[ItemJudge] | None:
        """The judge, None if none is named; a scale is one of harm's rubrics."""
        told = {} if scale is None else {"scale": scale}
        if self.judge_model_local is not None and self.judge_model is not None:
            raise EvaluationError(
                "one language model judges",
                expected="--judge-model or --judge-model-local",
                given="both",
            )
        if self.judge_model_local is not None:
            return entry.judge(loading.load(self.judge_model_local), **told)
        if self.judge_model is not None:
            temperature = parse_temperature(self.judge_temperature)
            sent = {"temperature": temperature, "max_tokens": self.judge_max_tokens}
            return entry.judge(self._settings(self.judge_model), **sent, **told)
        if self.judge_server is not None or scale is not None:
            raise EvaluationError(
                "nobody judges",
                expected="--judge-model NAME (a server's), or --judge-model-local NAME",
                given="--judge-server" if scale is None else "--rubric",
                remedy="name the model; without one, leave both out: rules tell refusals, and no harm",
            )
        return None

    def endpoint(self) -> EndpointSettings | None:
        """Its server, None if none is named."""
        if self.judge_model_local is not None:
            raise EvaluationError(
                "here a server judges",
                expected="--judge-model NAME --judge-server URL",
                given=f"--judge-model-local {self.judge_model_local}",
                remedy="serve it: persona-lens serve",
            )
        return None if self.judge_model is None else self._settings(self.judge_model)

    def _settings(self, model: str) -> EndpointSettings:
        from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415

        return EndpointSettings(
            model=model,
            base_url=self.judge_server,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            extra_body=parse_json_object(self.extra_body),
        )


@dataclass(frozen=True)
class Served:
    """A server that answers where nothing acts on the model."""

    base_url: Annotated[
        str | None,
        of_server(metavar="URL", help="OpenAI-compatible server of --model; plans still act here."),
    ] = None
    served_model: Annotated[
        str | None, of_server(help="Its name for the model; --model by default.")
    ] = None
    template: Annotated[
        Literal["server", "ours"], of_server(help="Who applies the chat template: server or ours.")
    ] = "server"
    served_key_env: Annotated[str, of_server(help="Environment variable with its key.")] = (
        "OPENAI_API_KEY"
    )

    def open(self, model: str, spec: ModelSpec) -> ServedSource | None:
        """The server, if there is one."""
        from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415
        from persona_lens.runs import open_server  # noqa: PLC0415

        if self.base_url is None:
            return None
        settings = EndpointSettings(
            model=self.served_model or model,
            base_url=self.base_url,
            api_key_env=self.served_key_env,
        )
        return open_server(settings, spec, template=self.template)


@dataclass(frozen=True)
class Brought:
    """Requests that a user brings."""

    items: Annotated[
        str | None,
        of_requests(
            metavar="FILE",
            help="CSV, JSONL, Parquet, or datasets:owner/name@split. HarmBench, StrongREJECT, JailbreakBench and "
            "persona modulation are known by their columns.",
        ),
    ] = None
    benign: Annotated[
        str | None, of_requests(metavar="FILE", help="Their harmless twins, paired by id.")
    ] = None
    layout: Annotated[
        str | None, of_requests(help="Of the table, if its columns do not tell it.")
    ] = None
    column: Annotated[
        list[str] | None,
        of_requests(
            metavar="FIELD=TITLE",
            help="Title of a column: text=Request, also id, category, pair, benign, system. Repeatable.",
        ),
    ] = None
    personas: Annotated[
        str | None, of_requests(help='"core", "full", names separated by commas, or a file.')
    ] = None
    each: Annotated[
        int | None, of_requests(min=1, help="Personas for each request; all by default.")
    ] = None
    rubric: Annotated[
        str | None,
        of_requests(help="What a language model judges by: harm, paper, strongreject, harmbench."),
    ] = None

    def given(self) -> dict[str, Any]:
        """What was said, as `persona_lens.evals.harm.brought` takes it."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        told = {name: value for name, value in told.items() if value is not None}
        told.pop("rubric", None)
        if "column" in told:
            told["columns"] = dict(map(_pair, told.pop("column")))
        if "personas" in told:
            told["personas"] = parse_entries(told["personas"])
        return told


def _pair(text: str) -> tuple[str, str]:
    """
    >>> _pair("text=The Request")
    ('text', 'The Request')
    """
    name, equals, title = text.partition("=")
    if not equals or not title:
        raise EvaluationError(
            "cannot read --column", expected="FIELD=TITLE, such as text=Request", given=text
        )
    return name.strip(), title
