"""The refusal direction: planted residuals are found, noise is not, and the overlap with an axis has its nulls."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel
from persona_lens.errors import EvaluationError
from persona_lens.evals.harm.behaviours import Behaviour
from persona_lens.evals.harm.crossing import cross
from persona_lens.evals.harm.harmless_pairs import HARMLESS_PAIRS
from persona_lens.evals.harm.refusals import RefusalDirection, refusal_direction, with_overlap
from persona_lens.evals.harm.report import direction_of
from persona_lens.interventions import Direction

WIDTH = 64


def planted(length: float, seed=0, n=24) -> RefusalDirection:
    """Prompts that differ along the first coordinate by a length, with noise of one everywhere."""
    rng = np.random.default_rng(seed)
    refused, complied = rng.normal(size=(2, n, 1, WIDTH))
    refused[..., 0] += length
    difference = refused.mean(axis=0) - complied.mean(axis=0)
    return RefusalDirection(Direction("refusal", (3,), difference), refused, complied)


def axis(cosine: float) -> Direction:
    values = np.zeros((2, WIDTH))
    values[:, 0], values[:, 1] = cosine, np.sqrt(1 - cosine**2)
    return Direction("assistant", (3, 4), values)


def test_a_planted_overlap_is_found():
    (row,) = planted(6.0).overlap(axis(0.6)).to_dict("records")
    assert row["layer"] == 3
    assert row["low"] < 0.6 < row["high"]
    assert row["null_high"] < row["cosine"]
    assert row["random_high"] < row["cosine"]
    assert row["p"] < 0.01
    assert row["separation"] > 0.95
    (turned,) = planted(6.0).overlap(axis(-0.6)).to_dict("records")
    assert turned["high"] < -0.4


def test_noise_is_no_refusal_direction():
    rows = pd.concat([planted(0.0, seed).overlap(axis(0.6)) for seed in range(8)])
    assert (rows["p"] < 0.05).sum() <= 1
    assert abs(rows["separation"].mean() - 0.5) < 0.12
    assert ((rows["low"] < 0) & (rows["high"] > 0)).sum() >= 6


def test_of_a_model_it_is_the_difference_of_means_at_the_last_token():
    model = PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())
    refused = [f"Forbidden crane {n}" for n in range(4)]
    complied = [[{"role": "user", "content": f"Plain crane {n}"}] for n in range(5)]
    found = refusal_direction(model, refused, complied, layer=-1)
    assert found.layers == (model.n_layers - 1,)
    assert not found.packaged

    def last(text: str) -> np.ndarray:
        prompt = model.encoder.prompt([{"role": "user", "content": text}])
        return model.residuals([prompt]).row(model.n_layers - 1, 0)[-1]

    means = [np.mean([last(text) for text in texts], axis=0)
             for texts in (refused, [f"Plain crane {n}" for n in range(5)])]  # fmt: skip
    np.testing.assert_allclose(found.direction.values[0], means[0] - means[1], atol=1e-5)
    with pytest.raises(EvaluationError, match="no layer in common"):
        found.overlap(Direction("x", (0,), np.ones((1, model.d_model))))


@pytest.mark.parametrize(
    ("refused", "complied", "said"),
    [
        (["a", "b", "c"], ["d", "e", "f", "g"], "at least 4 refused"),
        (["a", "b", "c", "d"], None, "0 complied"),
        (["a", "b", "c", "d"], ["d", "e", "f", "g"], "among the refused and among the others"),
    ],
)
def test_requests_that_do_not_do(refused, complied, said):
    model = PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())
    with pytest.raises(EvaluationError, match=said):
        refusal_direction(model, refused, complied)


def test_packaged_pairs_are_pairs():
    texts = [text for pair in HARMLESS_PAIRS for text in pair]
    assert len(set(texts)) == 32
    assert max(map(len, texts)) < 70


def test_the_overlap_stands_beside_a_result():
    table = pd.DataFrame({"measure": ["harm", "miss"], "value": [0.1, 0.2]})
    overlap = planted(6.0).overlap(axis(0.6))
    beside = with_overlap(table, overlap)
    assert beside["refusal_cosine"].tolist() == [overlap["cosine"].item()] * 2
    assert {"refusal_null_low", "refusal_random_high", "refusal_layer"} <= {*beside}
    with pytest.raises(EvaluationError, match="one layer"):
        with_overlap(table, pd.concat([overlap, overlap]))


def test_requests_and_their_twins_make_the_direction_if_there_are_enough():
    model = PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())

    def made(pairs: int) -> RefusalDirection:
        cranes = [
            Behaviour(f"{n} {benign}", f"Fold {word} crane {n}", benign=benign, pair=str(n))
            for n in range(pairs)
            for benign, word in ((False, "forbidden"), (True, "plain"))
        ]
        return direction_of(cross(cranes, ["pirate", "ghost"]), model, 1)

    own = made(5)
    assert not own.packaged
    assert (len(own.refused), len(own.complied)) == (5, 5)
    assert made(3).packaged
