"""Entries in the columns of a Hugging Face dataset.

A column is a field of the entry (`name`, `prompts`, `group`, ...; `pairs` is a list of structures),
a row is an entry. Empty cells count as absent. Columns that are no field are passed over with a
warning, because data sets carry much that is not meant for the catalogue.

Examples:
    >>> from datasets import Dataset
    >>> from persona_lens.catalog import load_roles
    >>> table = Dataset.from_list([{"name": "baker", "prompts": ["You bake."]}])
    >>> load_roles(["pirate", table])[1].prompts
    ('You bake.',)
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from persona_lens.catalog.kinds import Kind
from persona_lens.catalog.mappings import PassedOver
from persona_lens.catalog.paper_entries import from_paper, is_paper_entry
from persona_lens.errors import CatalogError

PREFIX = "datasets:"
_BUILDERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}


def is_table(spec: object) -> bool:
    """Whether `spec` is a dataset or a dictionary of them; does not import `datasets`."""
    module = sys.modules.get("datasets")
    if module is None:  # then nobody can hold one
        return False
    return isinstance(
        spec,
        (
            module.Dataset,
            module.DatasetDict,
            module.IterableDataset,
            module.IterableDatasetDict,
        ),
    )


def open_table(reference: str) -> Any:
    """The dataset that a string such as `datasets:owner/name@split` names.

    Args:
        reference: After "datasets:", a name on the hub, a folder made by `save_to_disk`, a folder
            of data files or one such file; after "@", a split, which a dataset with only one may
            leave out.

    Raises:
        CatalogError: It cannot be found or read, or has no such split.
    """
    import datasets  # noqa: PLC0415 - takes a second, and few need it
    from datasets.exceptions import DatasetsError  # noqa: PLC0415

    place, _, split = reference.removeprefix(PREFIX).partition("@")
    path = Path(place).expanduser()
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(str(path))
        elif path.is_file() and path.suffix in _BUILDERS:
            found = datasets.load_dataset(_BUILDERS[path.suffix], data_files=str(path))
        else:
            found = datasets.load_dataset(str(path) if path.exists() else place)
    except (OSError, ValueError, DatasetsError) as error:
        raise CatalogError(
            f"the dataset {place!r} cannot be loaded",
            given=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            remedy="give datasets:owner/name@split or datasets:path, and check the network",
        ) from error
    return _split(found, split, reference) if split else found


def table_rows(kind: Kind[Any], table: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a dataset as plain data in the fields of a kind.

    Raises:
        CatalogError: It has several splits, of which one has to be chosen.
    """
    if isinstance(table, Mapping):
        table = _split(table, "", where)
    fields = kind.model.model_fields
    passed_over = PassedOver()
    for index, row in enumerate(table):
        place = f"{where}, row {index}"
        cells = {name: _cell(value) for name, value in row.items() if value is not None}
        if is_paper_entry(kind, cells):
            yield place, from_paper(kind, cells, place, name=index, passed_over=passed_over)
            continue
        if index == 0:  # all rows have the same columns
            passed_over.note(where, row.keys() - fields.keys())
        yield place, {name: value for name, value in cells.items() if name in fields}
    passed_over.warn()


def _split(table: Any, split: str, where: str) -> Any:
    if not isinstance(table, Mapping):
        raise CatalogError(f"{where}: has no splits", given=split, remedy="leave out the @split")
    if split in table:
        return table[split]
    if not split and len(table) == 1:
        return next(iter(table.values()))
    raise CatalogError(
        f"{where}: " + (f"has no split {split!r}" if split else "has several splits"),
        expected=", ".join(table),
        remedy="choose one: datasets:owner/name@split, or dataset[split]",
    )


def _cell(value: Any) -> Any:
    """A list of structures, where older files store a structure of lists."""
    if isinstance(value, Mapping) and all(isinstance(each, list) for each in value.values()):
        return [dict(zip(value, row, strict=True)) for row in zip(*value.values(), strict=True)]
    return value
