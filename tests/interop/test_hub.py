"""Spaces as folders for the hub: what is written, what is uploaded, what comes back. No network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import ModelCard

from persona_lens import PersonaSpace
from persona_lens.errors import SpaceError
from persona_lens.interop import from_pretrained, push_to_hub, save_pretrained

FILES = {"README.md", "card.json", "space.safetensors", "vectors.json", "vectors.safetensors"}


@pytest.fixture
def space() -> PersonaSpace:
    rng = np.random.default_rng(0)
    roles = {f"role_{index}": rng.normal(size=(3, 12)) for index in range(6)}
    made = PersonaSpace.from_vectors(
        roles, default=np.ones((3, 12)), traits={"calm": rng.normal(size=(3, 12))}, n_resamples=10
    )
    made.table = replace(
        made.table,
        card={
            "reader": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct"},
            "hook_point": "blocks.{layer}.hook_resid_post",
        },
    )
    return made.fit()


class HubOfOurOwn:
    """What `HfApi` is asked to do, and a copy of what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, api: Any, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))

    def upload_folder(self, api: Any, *, folder_path: Path, **options: Any) -> Any:
        self.calls.append(("upload_folder", options))
        self.files = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}

        class Commit:
            commit_url = f"hub/{options['repo_id']}/commit/1"

        return Commit()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> HubOfOurOwn:
    ours = HubOfOurOwn()
    for name in ("create_repo", "upload_folder"):
        method = getattr(ours, name)

        def call(api: Any, *arguments: Any, method: Any = method, **options: Any) -> Any:
            return method(api, *arguments, **options)

        monkeypatch.setattr(huggingface_hub.HfApi, name, call)
    return ours


def test_a_saved_folder_opens_again(space: PersonaSpace, tmp_path: Path) -> None:
    folder = save_pretrained(space, tmp_path / "space")
    assert {file.name for file in folder.iterdir()} == FILES
    again = from_pretrained(folder)
    np.testing.assert_array_equal(again.axis_, space.axis_)
    np.testing.assert_array_equal(again.components_, space.components_)
    assert again.table.names == space.table.names
    assert again.project("role_2", 1) == space.project("role_2", 1)


def test_the_card_tells_what_is_inside(space: PersonaSpace, tmp_path: Path) -> None:
    folder = save_pretrained(space, tmp_path, repo_id="me/space")
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "persona-lens"
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "assistant-axis" in (card.data.tags or [])
    for text in (
        "1 default, 6 roles, 1 traits",
        "Layers**: 0 to 2, counted as blocks from 0; width 12",
        "`blocks.{layer}.hook_resid_post`",
        "axis = default - mean of the roles, so the Assistant is positive",
        "**Judge**: none",
        'PersonaSpace.from_pretrained("me/space")',
    ):
        assert text in card.text
    row = space.stability_.iloc[1]
    assert f"| 1 | {row['cosine']:.2f} [{row['cosine_low']:.2f}, " in card.text
    assert "nan" not in card.text
    assert f"| {space.explained_variance_ratio_[1, 0]:.0%} |" in card.text


def test_a_real_space_says_how_it_was_made(
    small_space: PersonaSpace, small_run: Path, tmp_path: Path
) -> None:
    folder = save_pretrained(
        small_space, tmp_path, base_model="HuggingFaceTB/SmolLM2-135M-Instruct"
    )
    card = ModelCard.load(folder / "README.md")
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    replies = int(small_space.table.counts.sum())
    assert f"**Replies**: {replies:,}" in card.text
    assert "mean over reply tokens" in card.text
    assert "not known" not in card.text
    assert "1 default, 12 roles, 2 traits" in card.text
    again = from_pretrained(folder)
    assert again.calibration_ is not None
    assert str(small_run) not in "".join(
        file.read_text("utf-8") for file in folder.iterdir() if file.suffix in (".json", ".md")
    )


def test_no_path_of_this_machine_is_published(space: PersonaSpace, tmp_path: Path) -> None:
    cards = {"model": "/home/me/secret/qwen3", "note": "/no_think", "other": ["C:\\Users\\me\\x"]}
    space.table = replace(space.table, card={"reader": cards})
    space.run = "/home/me/secret/runs/first"
    folder = save_pretrained(space, tmp_path)
    texts = [file.read_text("utf-8") for file in folder.iterdir() if file.suffix != ".safetensors"]
    assert not any("secret" in text or "Users" in text for text in texts)
    assert ModelCard.load(folder / "README.md").data.base_model is None
    reader = json.loads((folder / "card.json").read_text("utf-8"))["vectors"]["reader"]
    assert reader == {"model": "qwen3", "note": "/no_think", "other": ["x"]}
    assert from_pretrained(folder).table.card["reader"]["model"] == "qwen3"
    assert from_pretrained(folder).run is None


def test_pushing_makes_a_private_repository_and_uploads_the_folder(
    space: PersonaSpace, hub: HubOfOurOwn, tmp_path: Path
) -> None:
    assert push_to_hub(space, "me/space", revision="v1") == "hub/me/space/commit/1"
    (created, create_options), (uploaded, upload_options) = hub.calls
    assert (created, uploaded) == ("create_repo", "upload_folder")
    assert create_options == {
        "repo_id": "me/space",
        "repo_type": "model",
        "private": True,
        "exist_ok": True,
    }
    assert upload_options["repo_id"] == "me/space"
    assert upload_options["repo_type"] == "model"
    assert upload_options["revision"] == "v1"
    assert set(upload_options["allow_patterns"]) == FILES == set(hub.files)
    assert not {"token"} & {*create_options, *upload_options}
    assert b'from_pretrained("me/space")' in hub.files["README.md"]

    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(from_pretrained(tmp_path).axis_, space.axis_)


def test_pushing_in_public_must_be_said(space: PersonaSpace, hub: HubOfOurOwn) -> None:
    push_to_hub(space, "me/space", private=False, commit_message="First")
    assert hub.calls[0][1]["private"] is False
    assert hub.calls[1][1]["commit_message"] == "First"


def test_what_comes_from_the_hub_is_opened(
    space: PersonaSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_pretrained(space, tmp_path)
    asked: dict[str, Any] = {}

    def download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    opened = from_pretrained("me/space", revision="v1")
    np.testing.assert_array_equal(opened.axis_, space.axis_)
    patterns = asked.pop("allow_patterns")
    assert asked == {"repo_id": "me/space", "repo_type": "model", "revision": "v1"}
    assert set(patterns) == FILES - {"README.md"}


def test_refusals(space: PersonaSpace, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"(?s)no space there.*owner/name"):
        from_pretrained(tmp_path / "nothing")
    with pytest.raises(SpaceError, match="no space in"):
        from_pretrained(tmp_path)
    with pytest.raises(SpaceError, match=r"cannot get me/space from the hub"):
        from_pretrained("me/space")
    with pytest.raises(SpaceError, match=r"(?s)no name for a repository.*owner/name"):
        push_to_hub(space, "space")
    with pytest.raises(SpaceError, match=r"(?s)cannot publish me/space.*log in"):
        push_to_hub(space, "me/space")  # the hub is switched off in tests
    with pytest.raises(SpaceError, match="not fitted"):
        save_pretrained(PersonaSpace(space.table), tmp_path / "unfitted")
