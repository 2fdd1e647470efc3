"""The folders the paper's pipeline leaves: means by score, and the replies themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from persona_lens.errors import SpaceError
from persona_lens.interop import read_pipeline, read_responses


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("responses", "activations", "scores"):
        (tmp_path / name).mkdir()
    generator = torch.Generator().manual_seed(0)
    for role in ("default", "ghost", "pirate", "poet", "tutor"):
        keys = [f"pos_p{p}_q{q}" for p in range(2) for q in range(3)]
        means = {key: torch.randn(2, 8, generator=generator).bfloat16() for key in keys}
        torch.save(means, tmp_path / "activations" / f"{role}.pt")
        lines = [
            {"system_prompt": f"You are a {role}.", "prompt_index": int(key[5]), "label": "pos",
             "question_index": int(key[8]), "question": "Why?",
             "conversation": [{"role": "user", "content": "Why?"},
                              {"role": "assistant", "content": f"{role} {key}"}]}
            for key in keys
        ]  # fmt: skip
        text = "\n".join(map(json.dumps, lines))
        (tmp_path / "responses" / f"{role}.jsonl").write_text(text, "utf-8")
        if role != "default":
            scores = dict(zip(keys, (3, 3, 2, 2, 3, 0), strict=True))
            (tmp_path / "scores" / f"{role}.json").write_text(json.dumps(scores), "utf-8")
    return tmp_path


def test_vectors_are_means_by_score(folder: Path) -> None:
    table = read_pipeline(folder, min_count=2).table
    assert table.frame()["label"].value_counts().to_dict() == {"fully": 4, "somewhat": 4, "all": 1}
    means = {
        key: value.float().numpy()
        for key, value in torch.load(folder / "activations" / "pirate.pt").items()
    }
    fully = np.mean([means[key] for key in ("pos_p0_q0", "pos_p0_q1", "pos_p1_q1")], axis=0)
    row = list(zip(table.names, table.labels, strict=True)).index(("pirate", "fully"))
    np.testing.assert_allclose(table.values[row], fully, atol=1e-6)
    assert table.counts[row] == 3
    default = torch.load(folder / "activations" / "default.pt")
    expected = torch.stack(list(default.values())).float().mean(0).numpy()
    np.testing.assert_allclose(table.values[table.indices(kind="default")[0]], expected, atol=1e-6)
    assert read_pipeline(folder, min_count=3).table.indices(label="somewhat") == []


def test_a_space_needs_enough_replies(folder: Path) -> None:
    assert read_pipeline(folder, min_count=2).fit().axis_.shape == (2, 8)
    with pytest.raises(SpaceError, match=r"(?s)no space can be made.*50 replies scored 3"):
        read_pipeline(folder)
    (folder / "scores" / "pirate.json").unlink()
    with pytest.raises(SpaceError, match="a role has no scores"):
        read_pipeline(folder, min_count=2)
    with pytest.raises(SpaceError, match="nothing to read in"):
        read_pipeline(folder / "responses")


def test_replies_come_with_their_scores(folder: Path) -> None:
    replies = read_responses(folder)
    assert len(replies) == 30
    one = replies[(replies["name"] == "poet") & (replies["prompt_index"] == 1)].iloc[2]
    assert (one["reply"], one["score"], one["system"]) == ("poet pos_p1_q2", 0, "You are a poet.")
    assert replies.loc[replies["name"] == "default", "score"].isna().all()
    (folder / "responses" / "poet.jsonl").write_text("{}", "utf-8")
    with pytest.raises(SpaceError, match=r"poet.jsonl, line 1 is no reply"):
        read_responses(folder)
