"""How a command is declared: examples below its help, and options in groups that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

import typer


def command(
    app: typer.Typer, *examples: str, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to `app` as a command, by its own name if no other, with lines to copy below its help."""
    lines = "\n\n".join(f"  [cyan]{line}[/cyan]" for line in examples)
    declare = app.command(name, epilog=f"[bold]Example[/bold]\n\n{lines}")
    return lambda function: declare(with_groups(function))


def with_groups(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with an option for every field of each parameter that is a dataclass, in the place of that one.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Drawing:
        ...     layer: int = 20
        >>> def draw(*, space: str, drawing: Drawing):
        ...     print(space, drawing.layer)
        >>> list(inspect.signature(with_groups(draw)).parameters)
        ['space', 'layer']
        >>> with_groups(draw)(space="first", layer=3)
        first 3
    """
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    groups = {name: hints[name] for name in signature.parameters if is_dataclass(hints[name])}

    @wraps(function)
    def ungrouped(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        function(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        if name in groups:
            parameters += _options(groups[name])
        else:
            parameters.append(
                parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY)
            )
    ungrouped.__signature__ = signature.replace(parameters=parameters)  # pyright: ignore[reportAttributeAccessIssue]
    return ungrouped


def _options(group: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=hints[field.name],
        )
