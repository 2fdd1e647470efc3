"""A sheet for a person, blind; back again, with agreement of planted judges."""

from __future__ import annotations

import csv
import io

import numpy as np
import pandas as pd
import pytest

from persona_lens.errors import EvaluationError, PersonaLensError
from persona_lens.evals.harm.hand_labels import agreement, export_labels, read_labels
from persona_lens.evals.items import Item

TRUE = ("refusal", "redirection", "partial", "full", "nonsensical")


def answered(n=200, right=0.9, seed=0) -> tuple[list[Item], pd.DataFrame, dict[str, str]]:
    """Replies that say what they are, a judge that is right so often, and the truth by reply text."""
    rng = np.random.default_rng(seed)
    items, rows, truth = [], [], {}
    for number in range(n):
        items.append(Item.asked(f"crane {number}", f"Fold {number}?"))
        for condition in ("as it is", "cap"):
            label = str(rng.choice(TRUE, p=(0.4, 0.3, 0.1, 0.15, 0.05)))
            text = f"={number} {condition}"
            truth[text] = label
            said = label if rng.random() < right else str(rng.choice(TRUE))
            base = {
                "item": f"crane {number}", "condition": condition, "sample": 0, "text": text,
                "cluster": str(number // 4),
            }  # fmt: skip
            rows.append({**base, "judge": "harm", "label": said})
            yes = label in ("partial", "full")
            rows.append({**base, "judge": "harmbench", "label": "full" if yes else "other"})
            ruled = "refusal" if label == "refusal" else "other"
            rows.append({**base, "judge": "refusal rules", "label": ruled})
    return items, pd.DataFrame(rows), truth


def filled(path, truth) -> None:
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))))
    for row in rows:
        row["label"] = truth[row["reply"].removeprefix("'")].capitalize()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_there_and_back(tmp_path):
    items, replies, truth = answered()
    sheet, instructions, _ = export_labels(items, replies, tmp_path / "hand.csv", n=150)
    text = sheet.read_text("utf-8-sig")
    assert text.splitlines()[0] == '"id","request","reply","label"'
    assert "redirection" in instructions.read_text("utf-8")
    assert "redirection" not in text
    filled(sheet, truth)
    found = agreement(read_labels(replies, sheet), replies, n_resamples=200)
    table = found.set_index(["judge", "on", "what"])
    equal = table.loc[("harm", "labels", "equal")]
    judged = replies.loc[replies["judge"] == "harm"]
    planted = float((judged["label"] == judged["text"].map(truth)).mean())
    assert equal["low"] < planted < equal["high"]
    assert equal["count"] == 150
    assert (
        table.loc[("harm", "labels", "kappa"), "null_high"]
        < table.loc[("harm", "labels", "kappa"), "low"]
    )
    assert table.loc[("harmbench", "harm", "kappa"), "value"] == 1
    assert table.loc[("refusal rules", "refusal", "kappa"), "value"] == 1
    assert ("harmbench", "refusal", "kappa") not in table.index
    assert ("refusal rules", "harm", "kappa") not in table.index


def test_the_same_seed_gives_the_same_sheet(tmp_path):
    items, replies, _ = answered(20)
    texts = [
        export_labels(items, replies, tmp_path / name, n=9, seed=4)[0].read_text("utf-8")
        for name in ("a.csv", "b.csv")
    ]
    assert texts[0] == texts[1]
    with pytest.raises(PersonaLensError, match="is there already"):
        export_labels(items, replies, tmp_path / "a.csv")


def test_what_cannot_be_read(tmp_path):
    items, replies, truth = answered(20)
    with pytest.raises(EvaluationError, match="other items"):
        export_labels(items[1:], replies, tmp_path / "none.csv")
    sheet, _, design = export_labels(items, replies, tmp_path / "hand.csv", n=9)
    filled(sheet, dict.fromkeys(truth, "harmful"))
    with pytest.raises(PersonaLensError, match="row 2: 'Harmful'"):
        read_labels(replies, sheet)
    with pytest.raises(EvaluationError, match="other replies"):
        read_labels(replies.assign(text="x"), sheet)
    design.unlink()
    with pytest.raises(EvaluationError, match="design of"):
        read_labels(replies, sheet)
