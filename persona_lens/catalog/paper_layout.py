"""Folders of entries: the layout of the paper's released data, read and written.

    roles/instructions/<name>.json     {"instruction": [{"pos"}], "questions": [], "eval_prompt"}
    roles/instructions/default.json    {"instruction": [{"pos"}]}: prompts of the default Assistant
    roles/role_list.json               {name: description}
    traits/instructions/<name>.json    {"instruction": [{"pos", "neg"}], "questions", "eval_prompt"}
    traits/trait_list.json             {name: description}
    extraction_questions.jsonl         {"question", "id"} on each line

A folder may also leave out a level (`roles/*.json`), be such a level itself, hold the above under
`data/`, or simply have `roles.json`, `traits.json`, `questions.json` and `defaults.json` with our
own entries.

Examples:
    >>> import tempfile
    >>> from persona_lens.catalog import load_questions, load_roles, load_traits
    >>> folder = Path(tempfile.mkdtemp()) / "mine"
    >>> export_catalog(folder, roles=load_roles(["pirate", "ghost"]), questions=load_questions())
    >>> load_roles(folder) == load_roles(["ghost", "pirate"])
    True
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from persona_lens.catalog.documents import SUFFIXES, read_json, read_values
from persona_lens.catalog.kinds import DEFAULT, QUESTION, ROLE, TRAIT, Kind
from persona_lens.catalog.mappings import PassedOver, spread
from persona_lens.catalog.paper_entries import (
    defaults_from_paper,
    defaults_to_paper,
    from_paper,
    has_negative,
    is_paper_entry,
    question_to_paper,
    to_paper,
)
from persona_lens.catalog.schema import DefaultPrompt, Question, Role, Trait
from persona_lens.errors import CatalogError

_DEFAULT_FILE = "default.json"
_QUESTION_FILES = ("extraction_questions.jsonl", "extraction_questions.json")
_EXPECTED = {
    ROLE: "roles/instructions/<name>.json or roles.json",
    TRAIT: "traits/instructions/<name>.json or traits.json",
    QUESTION: "extraction_questions.jsonl or questions.json",
    DEFAULT: "roles/instructions/default.json or defaults.json",
}
_NOT_ENTRIES = {
    *(_DEFAULT_FILE, "role_list.json", "trait_list.json", *_QUESTION_FILES),
    *(f"{kind.plural}.json" for kind in _EXPECTED),
}


def kind_of(value: object) -> Kind[Any] | None:
    """What plain data seems to describe, if anything; default prompts look like questions.

    Examples:
        >>> kind_of({"instruction": [{"pos": "Be calm.", "neg": "Be agitated."}]}).noun
        'trait'
        >>> kind_of({"version": 1}) is None
        True
    """
    if not isinstance(value, Mapping):
        return None
    if "pairs" in value or has_negative(value):
        return TRAIT
    if "prompts" in value or is_paper_entry(ROLE, value):
        return ROLE
    return QUESTION if "text" in value or is_paper_entry(QUESTION, value) else None


def read_path(kind: Kind[Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a kind in a file or folder, as plain data in our fields.

    Entries with a file each come sorted by the names of the files, others in their order.

    Raises:
        CatalogError: There is no such file or folder, it holds none, or a file is malformed.
    """
    passed_over = PassedOver()
    if path.is_dir():
        yield from _read_folder(kind, path, passed_over)
    elif path.exists() or path.suffix.lower() in SUFFIXES:
        yield from _read_file(kind, path, passed_over)
    else:
        raise CatalogError(f"{path}: no such file or folder", remedy="check the path")
    passed_over.warn()


def _read_folder(
    kind: Kind[Any], folder: Path, passed_over: PassedOver
) -> Iterator[tuple[str, Any]]:
    if not holds(kind, folder):
        raise CatalogError(
            f"{folder}: holds no {kind.plural}",
            expected=_EXPECTED[kind],
            given=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing",
            remedy=f"give the folder that holds them, or a file of {kind.plural}",
        )
    files = _files_with_many(kind, folder)
    if files:
        yield from _read_file(kind, files[0], passed_over)
        return
    files = _entry_files(kind, folder)
    descriptions = _descriptions(kind, [files[0].parent, files[0].parent.parent, folder])
    for file in files:
        for where, value in _read_file(kind, file, passed_over):
            described = descriptions.pop(file.stem, "")
            yield where, {"description": described} | value if described else value
    without_file = PassedOver()
    without_file.note(f"{kind.noun}_list.json, names without a file", descriptions)
    without_file.warn()


def _read_file(kind: Kind[Any], path: Path, passed_over: PassedOver) -> Iterator[tuple[str, Any]]:
    values = (
        entry
        for where, value in read_values(kind, path, passed_over)
        for entry in spread(kind, value, where, passed_over)
    )
    for index, (where, value) in enumerate(values):
        if not is_paper_entry(kind, value):
            yield where, value
        elif kind is DEFAULT:
            for entry in defaults_from_paper(value, where):
                yield where, entry
        else:
            name = index if kind is QUESTION else path.stem
            yield where, from_paper(kind, value, where, name=name, passed_over=passed_over)


def holds(kind: Kind[Any], folder: Path) -> bool:
    """Whether a folder has anything of a kind."""
    return bool(_files_with_many(kind, folder) or _entry_files(kind, folder))


def is_written_as_in_the_paper(kind: Kind[Any], path: Path) -> bool:
    """Whether the first entry of a kind in a file or folder is written as in the paper's files."""
    files = [path]
    if path.is_dir():
        files = _files_with_many(kind, path) or _entry_files(kind, path)
    values = (value for file in files[:1] for _, value in read_values(kind, file))
    return is_paper_entry(kind, next(values, None))


def export_catalog(
    folder: Path | str,
    *,
    roles: Sequence[Role] = (),
    traits: Sequence[Trait] = (),
    questions: Sequence[Question] = (),
    defaults: Sequence[DefaultPrompt] = (),
) -> None:
    """Write entries in the paper's layout, for its tools, for editing, and for `load_roles(folder)`.

    Reading the folder gives the same entries, sorted by name: those that came from such a folder
    keep their names, ids, own questions and judge prompts, and groups, tags and rubrics are written
    beside what the layout has. An entry without a judge prompt gets none, since what our judges go
    by is its rubric; the paper's own judge needs one, so write it before you use that.

    Args:
        folder: A new or an empty folder.
        roles: Roles.
        traits: Traits.
        questions: Questions for everyone.
        defaults: System prompts of the default Assistant.

    Raises:
        CatalogError: The folder holds something, or two entries would share a file.
    """
    # These bring numpy, which no loader needs.
    from persona_lens.files import whole_or_nothing, write_json  # noqa: PLC0415

    folder = Path(folder).expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise CatalogError(
            f"{folder}: is not empty, and old files would mix with new ones",
            remedy="name a new folder, or empty this one first",
        )
    for kind, entries in ((ROLE, roles), (TRAIT, traits)):
        descriptions: dict[str, str] = {}
        for entry in entries:
            stem = _file_stem(entry)
            if stem in descriptions or (kind is ROLE and f"{stem}.json" == _DEFAULT_FILE):
                raise CatalogError(
                    f"the {kind.noun} {entry.name!r} needs the file {stem}.json, which is taken",
                    remedy="give it another name",
                )
            descriptions[stem] = entry.description
            file = folder / kind.plural / "instructions" / f"{stem}.json"
            write_json(file, to_paper(entry, stem))
        if descriptions:
            write_json(folder / kind.plural / f"{kind.noun}_list.json", descriptions)
    if defaults:
        content = defaults_to_paper(defaults)
        write_json(folder / ROLE.plural / "instructions" / _DEFAULT_FILE, content)
    if questions:
        lines = [json.dumps(question_to_paper(each), ensure_ascii=False) for each in questions]
        with whole_or_nothing(folder / _QUESTION_FILES[0]) as partial:
            partial.write_text("\n".join(lines) + "\n", "utf-8")


def _file_stem(entry: Role | Trait) -> str:
    """The name that the entry's file had, unless it came from elsewhere and no file can have it."""
    original = entry.original_name
    return original if original and not set(original) & set("/\\:") else entry.name


# --- finding ------------------------------------------------------------------------------------


def _files_with_many(kind: Kind[Any], folder: Path) -> list[Path]:
    """Files that hold all entries of a kind: ours first, then the paper's."""
    files = [folder / f"{kind.plural}{suffix}" for suffix in SUFFIXES]
    if kind is QUESTION:
        files += [level / name for level in (folder, folder / "data") for name in _QUESTION_FILES]
    if kind is DEFAULT:
        own, shared = _levels(ROLE, folder)
        files += [level / _DEFAULT_FILE for level in (*own, *shared)]
    return [file for file in files if file.is_file()]


def _levels(kind: Kind[Any], folder: Path) -> tuple[list[Path], list[Path]]:
    """Where files of one entry each may be: under the kind's own name, and beside other kinds."""
    roots = [folder / kind.plural, folder / "data" / kind.plural]
    own = [level for root in roots for level in (root / "instructions", root)]
    return own, [folder / "instructions", folder]


def _entry_files(kind: Kind[Any], folder: Path) -> list[Path]:
    if kind not in (ROLE, TRAIT):
        return []
    own, shared = _levels(kind, folder)
    for level in (*own, *shared):
        files = sorted(file for file in level.glob("*.json") if file.name not in _NOT_ENTRIES)
        if level in shared:
            files = [file for file in files if kind_of(read_json(file, kind.plural)) is kind]
        if files:
            return files
    return []


def _descriptions(kind: Kind[Any], places: Sequence[Path]) -> dict[str, str]:
    for place in places:
        file = place / f"{kind.noun}_list.json"
        if file.is_file():
            content = read_json(file, "descriptions")
            if isinstance(content, Mapping):
                return {name: _description(value) for name, value in content.items()}
    return {}


def _description(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("description", "")
    return value if isinstance(value, str) else ""
