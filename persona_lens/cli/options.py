"""What the commands share: options, the look of help, where output goes, what a stopped command says."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from persona_lens.errors import RunError, SpaceError, TranscriptError

MOST_LAYERS = 10_000
"""More than any model has blocks."""

out = Console()
err = Console(stderr=True)


Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Embedded name, hub name, folder or .gguf file."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the fastest by default.")]
DeviceMap = Annotated[
    str | None, typer.Option(help="Spread a large model over devices, such as auto.")
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Entries = Annotated[
    str,
    typer.Option(help='"core", "full", "none", names separated by commas, a file or a folder.'),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let hub repositories run their code.")
]
TemplateVars = Annotated[
    list[str] | None,
    typer.Option(
        "--template-var",
        metavar="NAME=VALUE",
        help="A variable of the chat template, such as enable_thinking=true. Repeatable.",
    ),
]


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


def example(*lines: str) -> str:
    """The end of a command's help."""
    return "[bold]Example[/bold]\n\n" + "\n\n".join(f"  [cyan]{line}[/cyan]" for line in lines)


def parse_template_vars(given: list[str] | None) -> dict[str, Any]:
    """Variables from `NAME=VALUE`; a value that is JSON (true, 3, "text", null) is that, any other plain text.

    Examples:
        >>> parse_template_vars(["enable_thinking=true", "reasoning_effort=low", "budget=512"])
        {'enable_thinking': True, 'reasoning_effort': 'low', 'budget': 512}
    """
    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise TranscriptError(
                "cannot read --template-var",
                expected="NAME=VALUE, such as enable_thinking=true",
                given=text,
            )
        if name in found:
            raise TranscriptError(f"--template-var {name} is given twice", given=text)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def variables_of(
    given: list[str] | None, card: Mapping[str, Any], model: str | None
) -> dict[str, Any]:
    """Those that a run or space was made with, where it is the same model, and those given now.

    Examples:
        >>> card = {"model": "qwen3", "template_kwargs": {"enable_thinking": True}}
        >>> variables_of(None, card, None), variables_of(None, card, "smollm2")
        ({'enable_thinking': True}, {})
    """
    same = model is None or model == card.get("model")
    return {**(card.get("template_kwargs", {}) if same else {}), **parse_template_vars(given)}


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


def parse_layers(text: str) -> list[int]:
    """Layers from `10-20` (both ends) or `3,7,11`, each once.

    Raises:
        SpaceError: It is neither, a range runs backwards, or no model has so many layers.

    Examples:
        >>> parse_layers("3,7-9")
        [3, 7, 8, 9]
    """
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
