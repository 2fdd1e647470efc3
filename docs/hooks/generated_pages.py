"""Pages that mkdocs makes when it builds: the command line, from the commands; the changelog, from its file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from persona_lens.cli import app

ROOT = Path(__file__).parents[2]
INTRODUCTION = """# Command line

Every command has `--help`; `persona-lens --install-completion` has the shell complete names and options. Errors
are one to three lines and the exit code 1; `persona-lens --debug ...` shows where. What a command writes appears
whole or not at all, and a command that was killed continues when it is run again.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those that were found."""
    pages = {
        "cli.md": command_pages(),
        "release.md": (ROOT / "CHANGELOG.md").read_text("utf-8"),
    }
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def command_pages() -> str:
    """Markdown of all commands, in the order in which `--help` shows them."""
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="persona-lens")
    return "\n".join([INTRODUCTION, *_commands(root, context)])


def _commands(group: typer.core.TyperGroup, context: typer.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = typer.Context(command, info_name=name, parent=context)
        yield from _command(command, inner)
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, inner)


def _command(command: typer.core.TyperCommand, context: typer.Context) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"## {context.command_path.removeprefix('persona-lens ')}\n"
    yield f"{_plain(command.help)}\n"
    yield f"```\n{usage}\n```\n"
    if command.epilog:
        lines = [line.strip() for line in _plain(command.epilog).splitlines() if line.strip()]
        examples = "\n".join(line for line in lines if line != "Example")
        yield f"```\n{examples}\n```\n"
    yield from _options(command, context)


def _options(command: typer.core.TyperCommand, context: typer.Context) -> Iterator[str]:
    panels: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help":
            continue
        panel = getattr(parameter, "rich_help_panel", None) or "Options"
        if parameter.param_type_name == "argument":
            panel = "Arguments"
        name, about = (" ".join(part.split()) for part in record)
        panels.setdefault(panel, []).append(f"| `{name}` | {_cell(_plain(about))} |")
    for panel, rows in sorted(panels.items(), key=lambda item: item[0] != "Arguments"):
        yield "\n".join([f"| {panel} | |", "| --- | --- |", *rows, ""])


def _plain(text: str | None) -> str:
    """Text without the marks of the terminal's colours; brackets of other kinds stay."""
    return re.sub(r"\[/?(?:bold|cyan)\]", "", text or "")


def _cell(text: str) -> str:
    """Text that neither ends a cell of a table nor begins a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")
