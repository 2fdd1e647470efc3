"""`persona-lens catalog`: look into the catalogue, check it or your own, write entries, export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from persona_lens.cli.options import err, example, out, parse_entries
from persona_lens.errors import CatalogError
from persona_lens.spelling import did_you_mean

if TYPE_CHECKING:
    from persona_lens.catalog.doubles import Embedder, Limits
    from persona_lens.endpoints import Endpoint

from persona_lens.paths import check_target

app = typer.Typer(
    help="Roles, traits and questions: list, show, check, export, or have new ones written.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

KINDS: tuple[Kind[Any], ...] = (ROLE, TRAIT, QUESTION, DEFAULT)
KindName = Literal["roles", "traits", "questions", "defaults"]
_LOADERS = {
    "roles": load_roles,
    "traits": load_traits,
    "questions": load_questions,
    "defaults": load_defaults,
}

_SPEC = (
    '"core", "full", "none", names separated by commas, a file, a folder or datasets:owner/name.'
)
Roles = Annotated[str | None, typer.Option(help=_SPEC)]
Traits = Annotated[str | None, typer.Option(help="As for roles.")]
Questions = Annotated[str | None, typer.Option(help="As for roles.")]
Defaults = Annotated[str | None, typer.Option(help="As for roles.")]
Embedding = Annotated[
    str,
    typer.Option(
        help="What finds texts that mean the same: tokens (of the embedded model), none, or a "
        "sentence model such as sentence-transformers/all-MiniLM-L6-v2."
    ),
]
EntryName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the new entry.")]
Hint = Annotated[str, typer.Option(help="What to know about it beyond its name.")]
WriterModel = Annotated[
    str, typer.Option("--model", "-m", help="Model that writes, as the server knows it.")
]
BaseUrl = Annotated[
    str | None, typer.Option(help="An OpenAI-compatible server; OPENAI_BASE_URL, or OpenAI.")
]
ApiKeyEnv = Annotated[str, typer.Option(help="Environment variable with the API key.")]
Target = Annotated[
    Path, typer.Option("--out", metavar="PATH", parser=check_target, help="A new .json file.")
]


@app.command(
    "list",
    epilog=example("persona-lens catalog list", "persona-lens catalog list --kind traits honesty"),
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
    for entry in _LOADERS[kind](parse_entries(spec)):
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


@app.command(
    epilog=example("persona-lens catalog show pirate", "persona-lens catalog show generalist")
)
def show(
    name: Annotated[
        str,
        typer.Argument(help="A role or trait (role:stoic for one of two), or a question's id."),
    ],
) -> None:
    """Show all that a packaged entry says; of a role and a trait with one name, both."""
    plain = {kind: name.removeprefix(f"{kind.noun}:") for kind in KINDS}
    holders = {kind: known for kind, known in plain.items() if known in full_names(kind)}
    if not holders:
        known = dict.fromkeys(each for kind in KINDS for each in full_names(kind))
        raise CatalogError(
            f"no entry is called {name!r}",
            remedy=did_you_mean(name, known, "`persona-lens catalog list` lists them"),
        )
    for kind, known in holders.items():
        out.print(f"[bold]{kind.noun} {known}[/bold]")
        out.print_json(packaged_entry(kind, known).model_dump_json(exclude_defaults=True))


@app.command(
    epilog=example(
        "persona-lens catalog check",
        "persona-lens catalog check mine.json",
        "persona-lens catalog check data/ --embedder sentence-transformers/all-MiniLM-L6-v2",
        "persona-lens catalog check --roles full,mine.json",
        "persona-lens catalog check assistant-axis/data --house-rules",
    )
)
def check(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|FOLDER]...", help="Your own; all packaged ones by default."),
    ] = None,
    *,
    roles: Roles = None,
    traits: Traits = None,
    questions: Questions = None,
    defaults: Defaults = None,
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

    given = dict(zip(KINDS, (roles, traits, questions, defaults), strict=True))
    own: dict[Kind[Any], list[Any]] = {
        kind: [parse_entries(text)] if text else [] for kind, text in given.items()
    }
    for source in sources or ():
        for kind in _kinds_in(source):
            own[kind].append(source)
    standard = None if any(own.values()) else FULL
    entries = [
        load(["full"] if standard else own[kind])
        for kind, load in zip(KINDS, _LOADERS.values(), strict=True)
    ]
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


@app.command(
    epilog=example(
        "persona-lens catalog export data/",
        "persona-lens catalog export mine/ --roles pirate,mine.json --traits none",
    )
)
def export(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", parser=check_target, help="A new or an empty folder."),
    ],
    roles: Roles = None,
    traits: Traits = None,
    questions: Questions = None,
    defaults: Defaults = None,
) -> None:
    """Write entries in the layout of the paper's data, for its tools or for editing."""
    export_catalog(
        folder,
        roles=load_roles(parse_entries(roles or "full")),
        traits=load_traits(parse_entries(traits or "full")),
        questions=load_questions(parse_entries(questions or "full")),
        defaults=load_defaults(parse_entries(defaults or "full")),
    )
    err.print(f"Saved: {folder}")


@app.command(
    epilog=example(
        'persona-lens catalog new-role "lighthouse keeper" -m gpt-4.1-mini --out keeper.json',
        "persona-lens catalog new-role astronaut -m qwen3 --base-url http://127.0.0.1:8000/v1 "
        '--hint "alone on a station" --out astronaut.json',
    )
)
def new_role(
    name: EntryName,
    *,
    target: Target,
    model: WriterModel,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    hint: Hint = "",
    embedder: Embedding = "tokens",
) -> None:
    """Have a model write a role, and check it against the packaged ones."""
    from persona_lens.catalog import writing  # noqa: PLC0415

    endpoint = _writer(target, model, base_url, api_key_env)
    with err.status(f"Asking {model}"):
        embed, limits = _embedder(embedder)
        entry = writing.new_role(name, endpoint, hint=hint, embedder=embed, limits=limits)
    _save(entry, target)


@app.command(
    epilog=example("persona-lens catalog new-trait thrifty -m gpt-4.1-mini --out thrifty.json")
)
def new_trait(
    name: EntryName,
    *,
    target: Target,
    model: WriterModel,
    base_url: BaseUrl = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    hint: Hint = "",
    embedder: Embedding = "tokens",
) -> None:
    """Have a model write a trait with pairs and questions, and check it against the packaged ones."""
    from persona_lens.catalog import writing  # noqa: PLC0415

    endpoint = _writer(target, model, base_url, api_key_env)
    with err.status(f"Asking {model}"):
        embed, limits = _embedder(embedder)
        entry = writing.new_trait(name, endpoint, hint=hint, embedder=embed, limits=limits)
    _save(entry, target)


def _imported(own: Mapping[Kind[Any], Sequence[Any]]) -> set[str]:
    """Owners, such as "role baker", that come from files in the paper's layout."""
    owners: set[str] = set()
    for kind, load in zip(KINDS, _LOADERS.values(), strict=True):
        for source in own[kind]:
            for spec in source if isinstance(source, list) else [source]:
                if in_paper_layout(kind, spec):
                    owners |= {f"{kind.noun} {kind.key_of(entry)}" for entry in load(spec)}
    return owners


def _kinds_in(source: Path) -> Sequence[Kind[Any]]:
    """Which kinds of entry a file or folder holds."""
    in_folder = source.is_dir()
    found = [kind for kind in KINDS if holds(kind, source)] if in_folder else kinds_in_file(source)
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


def _writer(target: Path, model: str, base_url: str | None, api_key_env: str) -> Endpoint:
    """The model that writes, unless what it writes could not be saved."""
    from persona_lens.endpoints import Endpoint, EndpointSettings  # noqa: PLC0415

    if target.exists():
        raise CatalogError(f"{target}: exists already", remedy="name a new file in --out")
    return Endpoint(EndpointSettings(model=model, base_url=base_url, api_key_env=api_key_env))


def _save(entry: Role | Trait, target: Path) -> None:
    from persona_lens.files import write_json  # noqa: PLC0415

    write_json(target, entry.model_dump(mode="json", exclude_defaults=True))
    err.print(f"Saved: {target}. Read it before you use it.")
