"""Entries from datasets: objects, files and folders; columns that are no field."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset, DatasetDict

from persona_lens.catalog import load_questions, load_roles, load_traits
from persona_lens.errors import CatalogError

BAKER = {"name": "baker", "prompts": ["You bake."], "group": "human", "tags": ["trade"]}
MILLER = {"name": "miller", "prompts": ["You mill.", "You grind."], "group": None, "tags": None}


@pytest.fixture
def table() -> Dataset:
    return Dataset.from_list([BAKER, MILLER])


def test_columns_are_fields_and_empty_cells_are_absent(table):
    baker, miller = load_roles(table)
    assert (baker.group, baker.tags) == ("human", ("trade",))
    assert (miller.group, miller.tags, len(miller.prompts)) == (None, (), 2)


def test_pairs_are_structures():
    rows = [{"name": "calm", "pairs": [{"positive": "Be calm.", "negative": "Be wild."}]}]
    (calm,) = load_traits(Dataset.from_list(rows))
    assert calm.pairs[0].negative == "Be wild."


def test_pairs_stored_side_by_side():
    rows = [
        {"name": "calm", "pairs": {"positive": ["Calm.", "Still."], "negative": ["Wild.", "Loud."]}}
    ]
    (calm,) = load_traits(Dataset.from_list(rows))
    assert [pair.negative for pair in calm.pairs] == ["Wild.", "Loud."]


def test_mixture_with_names(table):
    assert [role.name for role in load_roles(["pirate", table])] == ["pirate", "baker", "miller"]


def test_rows_in_the_layout_of_the_paper():
    (question,) = load_questions(Dataset.from_list([{"question": "Who are you?", "id": 3}]))
    assert (question.text, question.original_id) == ("Who are you?", 3)


def test_other_columns_are_passed_over_with_a_note(table):
    with pytest.warns(UserWarning, match="passed over author, likes"):
        roles = load_roles(table.add_column("likes", [1, 2]).add_column("author", ["a", "b"]))
    assert len(roles) == 2


def test_one_split_is_taken_and_of_several_one_is_named(table, tmp_path):
    assert load_roles(DatasetDict(train=table)) == load_roles(table)
    both = DatasetDict(train=table.select([0]), test=table.select([1]))
    with pytest.raises(CatalogError, match="several splits"):
        load_roles(both)
    both.save_to_disk(tmp_path / "both")
    assert load_roles(f"datasets:{tmp_path / 'both'}@test")[0].name == "miller"
    with pytest.raises(CatalogError) as caught:
        load_roles(f"datasets:{tmp_path / 'both'}@valid")
    assert "no split 'valid'" in str(caught.value)
    assert "expected train, test" in str(caught.value)


def test_saved_folders_and_files(table, tmp_path):
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "roles.parquet")
    (tmp_path / "roles.jsonl").write_text(json.dumps(BAKER) + "\n", "utf-8")
    assert load_roles(f"datasets:{tmp_path / 'saved'}") == load_roles(table)
    assert load_roles(f"datasets:{tmp_path / 'roles.parquet'}") == load_roles(table)
    assert load_roles(f"datasets:{tmp_path / 'roles.jsonl'}@train")[0].name == "baker"


def test_one_split_has_no_splits_to_choose_from(table, tmp_path):
    table.save_to_disk(tmp_path / "saved")
    with pytest.raises(CatalogError, match="has no splits"):
        load_roles(f"datasets:{tmp_path / 'saved'}@train")


def test_missing_dataset_says_how_to_name_one(tmp_path):
    with pytest.raises(CatalogError) as caught:
        load_roles(f"datasets:{tmp_path / 'gone'}")
    assert "cannot be loaded" in str(caught.value)
    assert "datasets:owner/name@split" in str(caught.value)


def test_malformed_row_says_which(table):
    broken = Dataset.from_list([BAKER, {**MILLER, "prompts": []}])
    with pytest.raises(CatalogError, match=r"row 1 'miller', field prompts: is empty"):
        load_roles(broken)
