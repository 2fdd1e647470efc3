"""Engines and servers opened from names and settings, as the command line and scripts open them."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from persona_lens import Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EndpointError, RunError
from persona_lens.model import loading
from persona_lens.runs import collect_run, open_engine, open_server
from persona_lens.runs.engines.worker_spec import ModelSpec

PLAN = {
    "roles": ["pirate", "ghost", "poet"],
    "traits": None,
    "questions": ["q01"],
    "prompts": 1,
    "default_samples": 1,
    "sampling": Sampling(max_new_tokens=4),
    "progress": False,
}


def test_a_local_engine_does_what_the_model_does(tiny_llama: Path, tmp_path: Path) -> None:
    spec = ModelSpec(tiny_llama, dtype="float32", device="cpu")
    by_model = collect_run(spec.load(), tmp_path / "model", **PLAN)
    with open_engine(spec) as engine:
        by_engine = collect_run(None, tmp_path / "engine", engine=engine, **PLAN)
    assert by_engine.manifest() == by_model.manifest()
    assert by_engine.replies().to_list() == by_model.replies().to_list()


@pytest.mark.parametrize("place", [{"workers": 2}, {"address": "auto"}])
def test_several_workers_take_ray(place: dict) -> None:
    with (
        pytest.raises(RunError, match="several workers need an engine"),
        open_engine(ModelSpec("nowhere"), **place),
    ):
        pass


def test_a_server_that_renders_is_told_the_variables_of_the_template(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokenizer.chat_template += "{% if enable_thinking %}<think>{% endif %}"
    monkeypatch.setattr(loading, "load_tokenizer", lambda *_, **__: tokenizer)
    settings = EndpointSettings(
        model="m", base_url="http://127.0.0.1:9/v1", extra_body={"top_k": 20}
    )
    spec = ModelSpec(tiny_llama, template_kwargs={"enable_thinking": True})
    told = {"chat_template_kwargs": {"enable_thinking": True}, "top_k": 20}
    assert open_server(settings, spec).settings.extra_body == told
    ours = open_server(settings, spec, template="ours")
    assert ours.settings == settings
    assert ours.encoder is not None
    assert ours.encoder.template_kwargs == {"enable_thinking": True}


def test_a_server_without_a_key_is_refused_before_a_tokenizer_is_loaded(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(loading, "load_tokenizer", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(EndpointError, match="no API key"):
        open_server(EndpointSettings(model="m"), ModelSpec(tiny_llama))
