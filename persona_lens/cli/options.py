"""What the commands share: options and groups of them, where output goes, what a stopped command says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from persona_lens.errors import RunError, SpaceError, TranscriptError
from persona_lens.paths import check_path, check_target

if TYPE_CHECKING:
    from persona_lens.endpoints import EndpointSettings
    from persona_lens.model.hardware import DtypeName
    from persona_lens.model.persona_model import PersonaModel
    from persona_lens.runs.engines.engine import Engine
    from persona_lens.runs.engines.worker_spec import ModelSpec
else:
    DtypeName = str  # the library refuses others; to name them here would take torch

of_workers = partial(typer.Option, rich_help_panel="Workers")

MOST_LAYERS = 10_000
"""More than any model has blocks."""

out = Console()
err = Console(stderr=True)


def new_path(help: str, *names: str) -> Any:
    """An option for what will be written."""
    return typer.Option(*names, metavar="PATH", parser=check_target, help=help)


def run_argument(help: str) -> Any:
    """The argument for a run that is there."""
    return typer.Argument(metavar="RUN", parser=check_path, help=help)


Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Embedded name, hub name, folder or .gguf file."),
]
Entries = Annotated[
    str,
    typer.Option(help='"core", "full", "none", names separated by commas, a file or a folder.'),
]
SpaceName = Annotated[
    str, typer.Argument(metavar="SPACE", help="A saved space, or the name of a packaged one.")
]
Layers = Annotated[str | None, typer.Option(help="Such as 10-20 or 3,7,11; all by default.")]
ReplyLength = Annotated[int, typer.Option(min=1, help="Length of a reply.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]

_Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the fastest by default.")
]
_Dtype = Annotated[DtypeName, typer.Option(help="auto, float32, bfloat16 or float16.")]
_TemplateVars = Annotated[
    list[str] | None,
    typer.Option(
        "--template-var",
        metavar="NAME=VALUE",
        help="A variable of the chat template, such as enable_thinking=true. Repeatable.",
    ),
]


class _Loading:
    """Loads models as options say."""

    template_var: list[str] | None

    def variables(
        self, card: Mapping[str, Any] | None = None, model: str | None = None
    ) -> dict[str, Any]:
        """Variables of the template: those in the card of a run or space, if it is of the model, and those given.

        Examples:
            >>> card = {"model": "qwen3", "template_kwargs": {"enable_thinking": True}}
            >>> Loading().variables(card), Loading().variables(card, "smollm2")
            ({'enable_thinking': True}, {})
        """
        of_model = card if card and model in (None, card.get("model")) else {}
        return {**of_model.get("template_kwargs", {}), **parse_variables(self.template_var)}

    def load(self, source: str, variables: Mapping[str, Any] | None = None) -> PersonaModel:
        """A model, with the variables that were given unless others are named."""
        from persona_lens.model.persona_model import PersonaModel  # noqa: PLC0415

        return PersonaModel.load(source, **self._arguments(variables))

    def spec(self, source: str, variables: Mapping[str, Any] | None = None) -> ModelSpec:
        """The same, to be loaded later or elsewhere."""
        from persona_lens.runs.engines.worker_spec import ModelSpec  # noqa: PLC0415

        return ModelSpec(source, **self._arguments(variables))

    def _arguments(self, variables: Mapping[str, Any] | None) -> dict[str, Any]:
        given = {name: value for name, value in vars(self).items() if name != "template_var"}
        return {**given, "template_kwargs": self.variables() if variables is None else variables}


@dataclass(frozen=True)
class Loading(_Loading):
    """How a model is loaded that fits on one device."""

    device: _Device = None
    dtype: _Dtype = "auto"
    template_var: _TemplateVars = None


@dataclass(frozen=True)
class LargeLoading(_Loading):
    """How any model is loaded."""

    device: _Device = None
    device_map: Annotated[
        str | None, typer.Option(help="Spread a large model over devices, such as auto.")
    ] = None
    dtype: _Dtype = "auto"
    template_var: _TemplateVars = None
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let hub repositories run their code.")
    ] = False


@dataclass(frozen=True)
class Working:
    """Who works on the shards, or pieces."""

    engine: Annotated[
        Literal["local", "ray"], of_workers(help="local, or ray for several workers.")
    ] = "local"
    workers: Annotated[int, of_workers(min=1)] = 1
    gpus_per_worker: Annotated[float, of_workers(min=0, help="Parts of one are fine.")] = 0
    address: Annotated[
        str | None, of_workers(help="Of a Ray cluster, such as auto; this machine by default.")
    ] = None

    def open(self, writer: ModelSpec, reader: ModelSpec | None) -> AbstractContextManager[Engine]:
        """The engine, as long as it takes."""
        from persona_lens.runs import open_engine  # noqa: PLC0415

        return open_engine(writer, reader, **vars(self))

    def beside(self, writer: ModelSpec) -> AbstractContextManager[Engine | None]:
        """Workers, if there are to be any beside the model that is loaded here."""
        asked = self.engine != "local" or self.workers > 1 or self.address
        return self.open(writer, None) if asked else nullcontext()


class Calling:
    """Settings of an endpoint as options say; `extra_body` is JSON."""

    base_url: str | None
    api_key_env: str
    concurrency: int
    timeout: float
    extra_body: str | None

    def endpoint(self, model: str) -> EndpointSettings:
        """For a model of this name there."""
        from persona_lens.endpoints import EndpointSettings  # noqa: PLC0415

        return EndpointSettings(
            model=model,
            base_url=self.base_url,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout=self.timeout,
            extra_body=parse_json_object(self.extra_body),
        )


@contextmanager
def continued_later() -> Iterator[None]:
    """Answer Ctrl-C with how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("Stopped. The same command continues where it was.")
        raise typer.Exit(130) from None


def next_steps(done: str, *commands: str) -> None:
    """Say what is finished and what to run next, each command on a line that can be copied."""
    err.print(f"{done} Next:", soft_wrap=True)
    for command in commands:
        err.print(f"  [cyan]{command}[/cyan]", soft_wrap=True)


def parse_variables(given: list[str] | None, option: str = "--template-var") -> dict[str, Any]:
    """What an option given as `NAME=VALUE` sets: JSON (true, 3, "text", null) as what it is, all else as text.

    Examples:
        >>> parse_variables(["enable_thinking=true", "reasoning_effort=low", "budget=512"])
        {'enable_thinking': True, 'reasoning_effort': 'low', 'budget': 512}
    """
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise TranscriptError(
                f"cannot read {option}",
                expected="NAME=VALUE, such as enable_thinking=true",
                given=text,
            )
        if name in found:
            raise TranscriptError(f"{option} {name} is given twice", given=text)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def parse_entries(text: str) -> Any:
    """What `--roles` and the like mean for the loaders.

    Examples:
        >>> parse_entries("full"), parse_entries("none"), parse_entries("pirate, mine.json")
        ('full', None, ['pirate', 'mine.json'])
    """
    if text == "none":
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    # os.path.exists, because Path.exists fails on a list too long for a file name.
    return text if os.path.exists(text) or len(parts) == 1 else parts


def parse_names(text: str | None) -> list[str] | None:
    """Names separated by commas; None for none.

    Examples:
        >>> parse_names("bridge, cache"), parse_names(None)
        (['bridge', 'cache'], None)
    """
    return None if text is None else [name.strip() for name in text.split(",")]


def parse_layers(text: str | None) -> list[int] | None:
    """Layers from `10-20` (both ends) or `3,7,11`, each once; None for None, where all are meant.

    Raises:
        SpaceError: It is neither, a range runs backwards, or no model has so many layers.

    Examples:
        >>> parse_layers("3,7-9")
        [3, 7, 8, 9]
    """
    if text is None:
        return None
    layers: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            begin, end = int(first), int(last if dash else first)
        except ValueError:
            begin, end = 0, -1
        if not 0 <= begin <= end < MOST_LAYERS:
            raise SpaceError(
                "cannot read the layers",
                expected=f"10-20 or 3,7,11, each from 0 to {MOST_LAYERS - 1}",
                given=repr(text),
            )
        layers += range(begin, end + 1)
    return list(dict.fromkeys(layers))


def parse_temperature(text: str) -> float | None:
    """What the temperature of a judge means: None sends none.

    Raises:
        RunError: It is neither a number from 0 on nor "none".

    Examples:
        >>> parse_temperature("0.5"), parse_temperature("none")
        (0.5, None)
    """
    if text.strip().lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise RunError(
            "cannot read the temperature", expected="a number from 0 on, or none", given=text
        )
    return value


def parse_price(text: str | None) -> tuple[float, ...] | None:
    """What `--price` means: one number of dollars, or two separated by a comma.

    Raises:
        RunError: It is neither.

    Examples:
        >>> parse_price("2.5"), parse_price("0.4,1.6"), parse_price(None)
        ((2.5,), (0.4, 1.6), None)
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, 2) or not all(0 <= each < float("inf") for each in found):
        raise RunError(
            "cannot read the price", expected="dollars, as 2.50 or 0.40,1.60", given=text
        )
    return found


def parse_json_object(text: str | None) -> dict[str, Any]:
    """What `--extra-body` means; nothing for None.

    Raises:
        RunError: It is no JSON object.

    Examples:
        >>> parse_json_object('{"reasoning_effort": "low"}'), parse_json_object(None)
        ({'reasoning_effort': 'low'}, {})
    """
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError("--extra-body is not JSON", given=error) from error
    if not isinstance(found, dict):
        raise RunError("--extra-body is not a JSON object", given=text)
    return found
