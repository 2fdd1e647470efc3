"""Kinds of messages, the words they are known by, and forecasts of real sentences by the packaged embedder."""

import numpy as np
import pandas as pd
import pytest
from faulty_server import Behaviour, FaultyServer
from planted_talk import talk

from persona_lens.drift.forecast import Forecaster
from persona_lens.drift.forecast.conformal import half_width
from persona_lens.drift.forecast.kinds import find_kinds, typical_words
from persona_lens.embedding import MINILM, MiniLM, ServedEmbedder
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import ModelError, SpaceError

TASKS = [
    "Can you sort this {} in Python?",
    "Write a unit test for the {} function.",
    "Fix the bug in my {} code, please.",
    "Which SQL query counts the {} rows?",
]
FEELINGS = [
    "I feel so alone since the {} ended.",
    "Nobody understands how sad the {} made me.",
    "I cry every night about the {}.",
    "My heart hurts when I think of the {}.",
]
THINGS = ["list", "school", "wedding", "project", "letter", "garden", "summer", "table"]


@pytest.fixture(scope="module")
def sentences():
    """The model is pulled up by tasks and down by feelings; each conversation mixes both."""
    rng = np.random.default_rng(0)
    rows = []
    for persona in range(8):
        for number in range(2):
            for turn in range(6):
                task = bool(rng.integers(2))
                text = rng.choice(TASKS if task else FEELINGS).format(THINGS[(persona + turn) % 8])
                rows.append(
                    {
                        "conversation": f"{persona}-{number}",
                        "turn": turn,
                        "message": text,
                        "persona": f"p{persona}",
                        "axis": (4.0 if task else -4.0) + rng.normal(),
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def fitted(sentences):
    return Forecaster(permutations=19, draws=200, progress=False).fit(sentences)


def test_real_messages_forecast_what_is_planted_in_them(fitted):
    (found,) = fitted.scores_.query("predictor == 'message' and target == 'next'").to_dict(
        "records"
    )
    assert found["r2"] > 0.85
    assert found["q"] <= 0.05
    assert fitted.question().verdict == "the message"
    task, feeling = fitted.predict(
        ["Please refactor this class.", "I miss my mother so much."]
    ).query("target == 'next'")["predicted"]
    assert task > 1 > -1 > feeling


def test_kinds_have_a_name_a_pull_with_its_interval_and_examples(fitted):
    explained = fitted.explain("axis", n_messages=3)
    kinds = explained.kinds.set_index("kind")
    assert (kinds["low"] <= kinds["pull"]).all()
    assert (kinds["pull"] <= kinds["high"]).all()
    assert kinds["n_messages"].sum() == len(fitted.rows_)
    assert kinds["n_conversations"].max() <= 16
    top, bottom = kinds["pull"].idxmax(), kinds["pull"].idxmin()
    assert kinds.loc[top, "low"] > 2 > -2 > kinds.loc[bottom, "high"]
    assert set(top.split(", ")) & {"sort", "python", "unit", "test", "bug", "code", "sql", "query"}
    assert set(bottom.split(", ")) & {
        "feel",
        "sad",
        "cry",
        "night",
        "heart",
        "hurts",
        "understands",
    }
    assert all(
        kinds.loc[top, f"example_{number}"] in set(fitted.rows_["message"]) for number in (1, 2)
    )
    assert len(explained.messages) == 6
    assert (explained.messages["pull"].diff().dropna() >= 0).all()
    assert explained.messages["pull"].iloc[0] < -2 < 2 < explained.messages["pull"].iloc[-1]
    assert "kinds: the best silhouette among counts of 2 to 12" in explained.notes[-1]
    assert list(explained.choice.columns) == ["k", "silhouette", "stability"]
    assert len(fitted.explain("axis", k=2).kinds) == 2


def test_scripted_messages_that_recur_are_said(fitted):
    assert any("stand word for word in another fold" in note for note in fitted.notes_)


def test_messages_that_forecast_nothing_explain_nothing():
    table, vectors = talk(personas=8, message=0.0)
    forecaster = Forecaster(None, permutations=19, draws=100, progress=False)
    explained = forecaster.fit(table, embeddings=vectors).explain(k=3)
    assert "not shown to be more than chance" in explained.notes[0]
    assert explained.notes[-1].startswith("3 kinds, as asked for")


# --- saving ---------------------------------------------------------------------------------------


def test_what_is_read_back_is_what_was_written(fitted, tmp_path):
    back = Forecaster.load(fitted.save(tmp_path / "forecast"))
    for name in ("scores_", "gains_", "question_", "coverage_"):
        pd.testing.assert_frame_equal(getattr(back, name), getattr(fitted, name))
    assert back.get_params() == fitted.get_params()
    assert (back.notes_, back.counts_) == (fitted.notes_, fitted.counts_)
    assert back.embedder_.name == MINILM
    assert back.embedder_.fingerprint == MiniLM().fingerprint()
    asked = ["How do I sort a list?"]
    pd.testing.assert_frame_equal(back.predict(asked), fitted.predict(asked))
    previous = {"axis": 2.0}
    pd.testing.assert_frame_equal(back.predict(asked, previous), fitted.predict(asked, previous))
    pd.testing.assert_frame_equal(back.explain(k=3).kinds, fitted.explain(k=3).kinds)
    assert back.question() == fitted.question()
    assert not list(tmp_path.rglob("*.pkl"))


class Other(MiniLM):
    """The same name, other weights."""

    def fingerprint(self):
        return "other"


def test_another_embedder_is_refused(fitted, tmp_path):
    folder = fitted.save(tmp_path / "forecast")
    with pytest.raises(ModelError, match="fitted with another embedder"):
        Forecaster.load(folder, Other())
    with pytest.raises(SpaceError, match=r"no forecast in .*nowhere"):
        Forecaster.load(tmp_path / "nowhere")


def test_embeddings_of_another_embedder_are_refused(sentences):
    wrong = np.random.default_rng(0).normal(size=(len(sentences), 384))
    with pytest.raises(ModelError, match="not those of 'all-MiniLM-L6-v2'"):
        Forecaster(progress=False).fit(sentences, embeddings=wrong)


def letters(scale):
    """A server whose vectors count letters, each as often as it says."""

    def body(asked):
        vectors = [
            [1.0 + scale[at] * text.count(letter) for at, letter in enumerate("aeio")]
            for text in asked["input"]
        ]
        data = [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]
        return {"data": data, "model": asked["model"]}

    return Behaviour(body=body, good=True)


def test_a_server_that_runs_another_model_under_the_name_is_found_out(sentences, tmp_path):
    table = sentences.iloc[:72]
    with FaultyServer(letters([1, 1, 1, 1])) as server:
        embedder = ServedEmbedder(EndpointSettings(model="m", base_url=server.url))
        forecaster = Forecaster(embedder, permutations=0, draws=50, progress=False).fit(table)
        folder = forecaster.save(tmp_path / "forecast")
        asked = ["Sort a list."]
        pd.testing.assert_frame_equal(
            Forecaster.load(folder, embedder).predict(asked), forecaster.predict(asked)
        )
    with FaultyServer(letters([0, 5, 0, 1])) as server:
        other = ServedEmbedder(EndpointSettings(model="m", base_url=server.url))
        with pytest.raises(ModelError, match="not those of"):
            Forecaster.load(folder, other).predict(asked)
    with pytest.raises(ModelError, match=r"load the forecast with embedder="):
        Forecaster.load(folder).predict(asked)


# --- parts ----------------------------------------------------------------------------------------


def test_as_many_kinds_are_found_as_were_planted():
    rng = np.random.default_rng(0)
    rows = np.repeat(np.eye(6)[:4], 30, axis=0) + rng.normal(scale=0.08, size=(120, 6))
    found = find_kinds(rows, np.arange(120) % 24, None, 0)
    assert len(found.centres) == 4
    assert all(len(set(found.labels[at : at + 30])) == 1 for at in range(0, 120, 30))
    assert found.choice.set_index("k").loc[4, "stability"] > 0.95
    nothing = find_kinds(rng.normal(size=(120, 6)), np.arange(120) % 24, None, 0)
    assert "none is stable" in nothing.why


def test_words_of_a_kind_are_those_the_others_lack():
    messages = ["please sort the list", "please sort the table", "please tell the truth"]
    words = typical_words(messages, np.array([0, 0, 1]), count=2)
    assert words[0].startswith("sort")
    assert "truth" in words[1]
    assert "please" not in words[0]
    assert typical_words(["?", "!"], np.array([0, 1])) == ["(no words)", "(no words)"]


def test_half_widths_are_the_weighted_quantile_in_which_every_group_counts_the_same():
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 40, size=25)
    groups = np.repeat(np.arange(25), sizes)
    errors = rng.normal(size=len(groups)) * rng.gamma(2, size=25)[groups]
    weights = 1 / (26 * sizes[groups])
    order = np.argsort(np.abs(errors))
    reached = np.searchsorted(np.cumsum(weights[order]), 0.9)
    expected = np.abs(errors)[order][reached]
    assert half_width(errors, groups, 0.9) == pytest.approx(expected, rel=0.02)
    assert half_width(errors, groups, 0.97) == np.inf  # 25 groups cannot promise that
