"""`persona-lens catalog`: look into the catalogue, check it or your own, write entries, export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from rich.table import Table

from persona_lens.catalog import (
    Role,
    Trait,
    load_defaults,
    load_questions,
    load_roles,
    load_traits,
)
from persona_lens.catalog.kinds import DEFAULT, QUESTION, ROLE, TRAIT, Kind
from persona_lens.catalog.origin import in_paper_layout, kinds_in_file
from persona_lens.catalog.packaged import full_names, packaged_entry
from persona_lens.catalog.paper_layout import export_catalog, holds
from persona_lens.cli.commands import command
from persona_lens.cli.options import err, new_path, out, parse_entries
from persona_lens.errors import CatalogError
from persona_lens.paths import check_target
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from persona_lens.catalog.doubles import Embedder, Limits


app = typer.Typer(
    help="Roles, traits and questions: list, show, check, export, or have new ones written.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

KindName = Literal["roles", "traits", "questions", "defaults"]
LOADERS: dict[Kind[Any], Callable[[Any], tuple[Any, ...]]] = {
    ROLE: load_roles,
    TRAIT: load_traits,
    QUESTION: load_questions,
    DEFAULT: load_defaults,
}

_SPEC = (
    '"core", "full", "none", names separated by commas, a file, a folder or datasets:owner/name.'
)
_AsForRoles = Annotated[str | None, typer.Option(help="As for roles.")]
Embedding = Annotated[
    str,
    typer.Option(
        help="What finds texts that mean the same: tokens (of the embedded model), none, or a "
        "sentence model such as sentence-transformers/all-MiniLM-L6-v2."
    ),
]
EntryName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new entry.")]


@dataclass(frozen=True)
class Choice:
    """Entries of every kind, in the words of the loaders."""

    roles: Annotated[str | None, typer.Option(help=_SPEC)] = None
    traits: _AsForRoles = None
    questions: _AsForRoles = None
    defaults: _AsForRoles = None


@dataclass(frozen=True)
class Writing:
    """A new entry: where it goes, who writes it, and what it is compared with."""

    target: Annotated[Path, new_path("A new .json file.", "--out")]
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model that writes, as the server knows it.")
    ]
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server; OPENAI_BASE_URL, or OpenAI.")
    ] = None
    api_key_env: Annotated[str, typer.Option(help="Environment variable with the API key.")] = (
        "OPENAI_API_KEY"
    )
    hint: Annotated[str, typer.Option(help="What to know about it beyond its name.")] = ""
    embedder: Embedding = "tokens"

    def have_written(self, name: str, write: Callable[..., Role | Trait]) -> None:
        """Ask for the entry, unless it could not be saved, and save it."""
        from persona_lens.endpoints import Endpoint, EndpointSettings  # noqa: PLC0415
        from persona_lens.files import write_json  # noqa: PLC0415

        if self.target.exists():
            raise CatalogError(f"{self.target}: exists already", remedy="name a new file in --out")
        endpoint = Endpoint(
            EndpointSettings(model=self.model, base_url=self.base_url, api_key_env=self.api_key_env)
        )
        with err.status(f"Asking {self.model}"):
            embed, limits = _embedder(self.embedder)
            entry = write(name, endpoint, hint=self.hint, embedder=embed, limits=limits)
        write_json(self.target, entry.model_dump(mode="json", exclude_defaults=True))
        err.print(f"Saved: {self.target}. Read it before you use it.")


@command(
    app, "persona-lens catalog list", "persona-lens catalog list --kind traits honesty", name="list"
)
def list_entries(
    word: Annotated[
        str, typer.Argument(help="Only entries with this in their name, group, tags or text.")
    ] = "",
    kind: Annotated[KindName, typer.Option(help="Which kind.")] = "roles",
    spec: Annotated[str, typer.Option("--from", help=_SPEC)] = "full",
) -> None:
    """List roles, traits, questions or default prompts."""
    table = Table("name", "group", "tags", "what it is", box=None, pad_edge=False)
    load = dict(zip(get_args(KindName), LOADERS.values(), strict=True))[kind]
    for entry in load(parse_entries(spec)):
        fields = entry.model_dump()
        row = (
            fields.get("name") or fields["id"],
            fields.get("group") or "",
            " ".join(fields.get("tags", ())),
            fields.get("description") or fields.get("text", ""),
        )
        if word.lower() in " ".join(row).lower():
            table.add_row(*row)
    out.print(table)
    err.print(f"{table.row_count} {kind}")


@command(app, "persona-lens catalog show pirate", "persona-lens catalog show generalist")
def show(
    name: Annotated[
        str,
        typer.Argument(help="A role or trait (role:stoic for one of two), or a question's id."),
    ],
) -> None:
    """Show all that a packaged entry says; of a role and a trait with one name, both."""
    plain = {kind: name.removeprefix(f"{kind.noun}:") for kind in LOADERS}
    holders = {kind: known for kind, known in plain.items() if known in full_names(kind)}
    if not holders:
        known = dict.fromkeys(each for kind in LOADERS for each in full_names(kind))
        raise CatalogError(
            f"no entry is called {name!r}",
            remedy=did_you_mean(name, known, "`persona-lens catalog list` lists them"),
        )
    for kind, known in holders.items():
        out.print(f"[bold]{kind.noun} {known}[/bold]")
        out.print_json(packaged_entry(kind, known).model_dump_json(exclude_defaults=True))


@command(
    app,
    "persona-lens catalog check",
    "persona-lens catalog check mine.json",
    "persona-lens catalog check data/ --embedder sentence-transformers/all-MiniLM-L6-v2",
    "persona-lens catalog check --roles full,mine.json",
    "persona-lens catalog check assistant-axis/data --house-rules",
)
def check(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|FOLDER]...", help="Your own; all packaged ones by default."),
    ] = None,
    *,
    chosen: Choice,
    embedder: Embedding = "tokens",
    house_rules: Annotated[
        bool,
        typer.Option(
            "--house-rules",
            help="Hold entries in the paper's layout to the rules of the packaged texts too.",
        ),
    ] = False,
) -> None:
    """Look for doubles, leaks, and texts missing, too short or too long; exit code 1 if there are any.

    Entries in the layout of the paper's data were written by other people to other rules: of them only the format
    and the names are checked, unless you ask for more.
    """
    from persona_lens.catalog.checking import check_catalog  # noqa: PLC0415
    from persona_lens.catalog.rules import FULL  # noqa: PLC0415

    own: dict[Kind[Any], list[Any]] = {
        kind: [parse_entries(text)] if text else []
        for kind, text in zip(LOADERS, vars(chosen).values(), strict=True)
    }
    for source in sources or ():
        for kind in _kinds_in(source):
            own[kind].append(source)
    standard = None if any(own.values()) else FULL
    entries = [load(["full"] if standard else own[kind]) for kind, load in LOADERS.items()]
    imported = set() if house_rules else _imported(own)
    with err.status("Comparing all texts"):
        embed, limits = _embedder(embedder)
        report = check_catalog(
            *entries, embedder=embed, limits=limits, standard=standard, imported=imported
        )
    out.print(report)
    if imported:
        err.print(
            f"{len(imported)} entries in the paper's layout: format and names only (--house-rules checks them as "
            "the packaged ones)."
        )
    raise typer.Exit(0 if report.ok else 1)


@command(
    app,
    "persona-lens catalog export data/",
    "persona-lens catalog export mine/ --roles pirate,mine.json --traits none",
)
def export(
    *,
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", parser=check_target, help="A new or an empty folder."),
    ],
    chosen: Choice,
) -> None:
    """Write entries in the layout of the paper's data, for its tools or for editing."""
    spoken = zip(LOADERS.values(), vars(chosen).items(), strict=True)
    entries = {name: load(parse_entries(text or "full")) for load, (name, text) in spoken}
    export_catalog(folder, **entries)
    err.print(f"Saved: {folder}")


@command(
    app,
    'persona-lens catalog new-role "lighthouse keeper" -m gpt-4.1-mini --out keeper.json',
    "persona-lens catalog new-role astronaut -m qwen3 --base-url http://127.0.0.1:8000/v1 "
    '--hint "alone on a station" --out astronaut.json',
)
def new_role(*, name: EntryName, writing: Writing) -> None:
    """Have a model write a role, and check it against the packaged ones."""
    from persona_lens.catalog.writing import new_role as write  # noqa: PLC0415

    writing.have_written(name, write)


@command(app, "persona-lens catalog new-trait thrifty -m gpt-4.1-mini --out thrifty.json")
def new_trait(*, name: EntryName, writing: Writing) -> None:
    """Have a model write a trait with pairs and questions, and check it against the packaged ones."""
    from persona_lens.catalog.writing import new_trait as write  # noqa: PLC0415

    writing.have_written(name, write)


def _imported(own: Mapping[Kind[Any], Sequence[Any]]) -> set[str]:
    """Owners, such as "role baker", that come from files in the paper's layout."""
    owners: set[str] = set()
    for kind, load in LOADERS.items():
        for source in own[kind]:
            for spec in source if isinstance(source, list) else [source]:
                if in_paper_layout(kind, spec):
                    owners |= {f"{kind.noun} {kind.key_of(entry)}" for entry in load(spec)}
    return owners


def _kinds_in(source: Path) -> Sequence[Kind[Any]]:
    """Which kinds of entry a file or folder holds."""
    in_folder = source.is_dir()
    found = (
        [kind for kind in LOADERS if holds(kind, source)] if in_folder else kinds_in_file(source)
    )
    if not found:
        raise CatalogError(
            f"{source}: holds neither roles nor traits nor questions",
            remedy="say what it is, with --roles, --traits, --questions or --defaults",
        )
    return found


def _embedder(choice: str) -> tuple[Embedder | None, Limits]:
    from persona_lens.catalog.doubles import SENTENCE_LIMITS, TOKEN_LIMITS  # noqa: PLC0415
    from persona_lens.catalog.texts import catalog_texts  # noqa: PLC0415
    from persona_lens.model.text_embedding import (  # noqa: PLC0415
        SentenceEmbedder,
        TokenEmbedder,
    )

    if choice == "none":
        return None, TOKEN_LIMITS
    if choice != "tokens":
        return SentenceEmbedder(choice), SENTENCE_LIMITS
    # Always the packaged texts, so that the limits mean the same for one own entry as for hundreds.
    background = catalog_texts(load_roles("full"), load_traits("full"), load_questions("full"))
    return TokenEmbedder([text.text for text in background]), TOKEN_LIMITS
