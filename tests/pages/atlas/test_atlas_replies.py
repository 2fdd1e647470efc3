"""Replies on the atlas: those of the run, with labels and prompts; those kept with a space; and none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from judged_run import honest, judged_by, write_run

from persona_lens import PersonaSpace
from persona_lens.pages.atlas.replies import MOST, reply_samples
from persona_lens.pages.atlas.units import Units


def test_replies_of_a_run_come_with_their_labels_and_prompts(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", n_questions=8, n_traits=2)
    key = judged_by(run, "honest", honest)
    space = PersonaSpace.from_run(run.path, judge=key, min_count=1, n_resamples=10).fit()
    units = Units.of(space)
    found = reply_samples(units)
    assert set(found["of"]) == set(range(len(units))), "every unit has some"
    for place, replies in found["of"].items():
        row, table = units.rows[place], space.table
        kind, name = table.kinds[row], table.names[row]
        assert 1 <= len(replies) <= MOST
        for side, system, question, text, label, averaged in replies:
            assert averaged == (kind != "role" or label == table.labels[row])
            assert found["texts"][question].startswith("Q")
            if kind == "role":
                assert name in found["texts"][system]
                assert label == ("not", "somewhat", "fully")[int(text.split()[0])]
            assert (side in ("positive", "negative")) == (kind == "trait")


def test_every_role_of_the_packaged_space_has_a_reply_and_says_whether_it_is_averaged() -> None:
    space = PersonaSpace.load("smollm2-135m-instruct")
    units = Units.of(space)
    found = reply_samples(units)
    assert not set(units.places("role")) - set(found["of"])
    kept = space.sample_replies(further=True)
    assert int(kept["averaged"].sum()) == 320
    assert len(space.sample_replies()) == 320
    assert kept.loc[~kept["averaged"], "label"].isna().all()


def test_without_a_run_the_page_says_why_there_are_none() -> None:
    rng = np.random.default_rng(0)
    roles = {f"role_{place}": rng.normal(size=(1, 6)) for place in range(20)}
    space = PersonaSpace.from_vectors(roles, default=np.ones((1, 6)), n_resamples=10).fit()
    found = reply_samples(Units.of(space))
    assert found["of"] == {}
    assert "run" in found["why"]
