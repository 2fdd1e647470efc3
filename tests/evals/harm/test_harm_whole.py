"""From a table to the results, offline on the embedded model, with stand-ins and without a judge of harm."""

from __future__ import annotations

import numpy as np
import pandas as pd

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.evals.conditions import UNTOUCHED, capped
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.harm import (
    RefusalRules,
    after_first_turns,
    cross,
    first_turns,
    harm,
    harm_table,
    projection_effect,
    read_behaviours,
    refusal_direction,
    with_overlap,
)
from persona_lens.evals.harm.report import figures, tables
from persona_lens.space.budget import neutral_transcripts

FEW = Sampling(temperature=0, max_new_tokens=4)


def test_from_a_table_to_the_results(smol_auto: PersonaModel, judged_space: PersonaSpace, tmp_path):
    rows = [{"Index": n, "Goal": f"Fold forbidden crane {n}", "Behavior": f"c{n}", "Category": "paper"}
            for n in range(3)]  # fmt: skip
    twins = [{**row, "Goal": row["Goal"].replace("forbidden ", "")} for row in rows]
    behaviours = read_behaviours(rows, benign=twins)
    items = cross(behaviours, ["pirate", "ghost"], each=1)
    layer = smol_auto.n_layers // 2
    texts = neutral_transcripts(smol_auto, 2)
    conditions = [
        UNTOUCHED,
        *capped(smol_auto, judged_space, layers=[layer], controls=1, texts=texts),
    ]
    run = {"space": judged_space, "layer": layer, "out": tmp_path, "progress": False}
    result = evaluate(harm(items, RefusalRules(), sampling=FEW), smol_auto, conditions, **run)
    overlap = refusal_direction(smol_auto, layer=layer).overlap(judged_space)
    table = with_overlap(harm_table(result.replies), overlap)
    assert {"refusal", "over-refusal"} <= {*table["measure"]}
    assert set(table["condition"]) == {condition.name for condition in conditions}
    assert table.loc[table["category"] == "all", "n"].eq(3).all()
    assert table["refusal_cosine"].between(-1, 1).all()
    told = {each.name: each for each in tables(result, items, smol_auto, judged_space, layer)}
    assert [*told] == ["harm", "persona", "refusal", "projection", "mixed"]
    assert told["harm"].rows() != []
    assert told["refusal"].frame["cosine"].item() == overlap["cosine"].item()
    assert told["projection"].frame["outcome"].eq("refusal").all()
    assert [*figures(result)] == ["harm"]
    engaged = {kind: float(some["engaged"].mean()) for kind, some in result.replies.groupby("kind")}
    assert engaged.pop("none") == 0
    assert min(engaged.values()) > 0

    first = first_turns(
        smol_auto, ["pirate", "ghost"], space=judged_space, n_questions=2, layer=layer,
        sampling=FEW, progress=False,
    )  # fmt: skip
    asked = after_first_turns(first, behaviours, each=2)
    assert len(asked) == 8
    drift = evaluate(harm(asked, RefusalRules(), sampling=FEW), smol_auto, [UNTOUCHED],
                     space=judged_space, layer=layer, progress=False)  # fmt: skip
    (row,) = projection_effect(drift.replies, by="first_projection", outcome="refusal").to_dict(
        "records"
    )
    known = pd.Series(
        [item.about["first_projection"] for item in asked if not item.about["benign"]]
    )
    assert row["n"] == known.nunique()
    assert np.isfinite(drift.replies["first_projection"]).all()
