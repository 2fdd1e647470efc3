"""Loading, wrapping and refusing; what the user holds stays as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_folder, tiny_module, tiny_tokenizer
from transformer_lens.model_bridge.sources import build_bridge_from_module

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import ModelError
from persona_lens.model.hardware import choose_device, choose_dtype
from persona_lens.model.loading import nothing_installed
from persona_lens.model.twin import native_twin

QUESTION = [{"role": "user", "content": "What do you fear?"}]


def bridge_of(architecture: str):
    module = tiny_module(architecture)
    return build_bridge_from_module(module, type(module).__name__, hf_config=module.config)


def test_a_folder_loads_and_names_its_hook_points(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    assert (model.n_layers, model.d_model, model.dtype) == (3, 16, torch.float32)
    assert model.hook_name(2) == "blocks.2.hook_resid_post"
    tokens = torch.tensor([[5, 6, 7]])
    _, cache = model.bridge.run_with_cache(tokens, names_filter=model.hook_name(2))
    assert cache[model.hook_name(2)].shape == (1, 3, 16)
    with pytest.raises(ModelError, match=r"(?s)no such layer.*0 to 2.*given 3"):
        model.hook_name(3)


def test_the_bridge_reads_the_same_residual_under_the_published_hook_name(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    transcript = model.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])
    _, cache = model.bridge.run_with_cache(torch.tensor(transcript.ids)[None])
    answer = torch.tensor(transcript.mask("assistant"))
    for layer, mean in enumerate(model.pooled([transcript])[0]):
        expected = cache[model.hook_name(layer)][0, answer].mean(0)
        torch.testing.assert_close(torch.tensor(mean), expected, rtol=1e-4, atol=1e-5)


def test_a_module_the_user_holds_is_not_changed() -> None:
    module, tokenizer = tiny_module("llama").train(), tiny_tokenizer()
    before = {name: id(child) for name, child in module.named_modules()}
    attention = module.config._attn_implementation
    template, side, vocabulary = tokenizer.chat_template, tokenizer.padding_side, len(tokenizer)
    model = PersonaModel.load(module, tokenizer=tokenizer)
    model.generate([model.encoder.prompt(QUESTION)], Sampling(max_new_tokens=3), layers=[1])
    assert model.bridge.original_model is not module
    assert {name: id(child) for name, child in module.named_modules()} == before
    assert module.training
    assert module.config._attn_implementation == attention
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert (tokenizer.chat_template, tokenizer.padding_side, len(tokenizer)) == (
        template,
        side,
        vocabulary,
    )
    assert (
        model.held.backend.module.get_input_embeddings().weight
        is module.get_input_embeddings().weight
    )


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_a_bridge_the_user_holds_gives_the_same_replies_and_stays_wrapped(
    architecture: str,
) -> None:
    bridge, tokenizer = bridge_of(architecture), tiny_tokenizer()
    from_bridge = PersonaModel.load(bridge, tokenizer=tokenizer)
    from_module = PersonaModel.load(tiny_module(architecture), tokenizer=tokenizer)
    prompts = [from_bridge.encoder.prompt(QUESTION)]
    greedy = Sampling(temperature=0, max_new_tokens=10)
    first, second = (model.generate(prompts, greedy)[0] for model in (from_bridge, from_module))
    assert first.ids.tolist() == second.ids.tolist()
    assert from_bridge.bridge is bridge
    assert any("Bridge" in type(part).__name__ for part in bridge.original_model.modules())
    assert not any(
        "Bridge" in type(part).__name__ for part in from_bridge.held.backend.module.modules()
    )


def test_the_twin_shares_every_weight() -> None:
    bridge = bridge_of("llama")
    shared = {parameter.data_ptr() for parameter in bridge.original_model.parameters()}
    assert {parameter.data_ptr() for parameter in native_twin(bridge).parameters()} <= shared


def test_hooks_on_the_bridge_act_on_replies_and_can_be_taken_off(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    prompts = [model.encoder.prompt(QUESTION)]
    greedy = Sampling(temperature=0, max_new_tokens=8)
    before = model.generate(prompts, greedy)[0].ids.tolist()
    direction = torch.randn(16) * 20
    model.bridge.add_hook(model.hook_name(1), lambda x, hook: x + direction)
    assert model.generate(prompts, greedy)[0].ids.tolist() != before
    model.bridge.reset_hooks()
    assert model.generate(prompts, greedy)[0].ids.tolist() == before


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_compatibility_mode_is_refused_with_the_reason(architecture: str) -> None:
    bridge = bridge_of(architecture)
    bridge.enable_compatibility_mode(disable_warnings=True)
    with pytest.raises(
        ModelError, match=r"(?s)compatibility mode.*raw weights.*boot a fresh bridge"
    ):
        PersonaModel.load(bridge, tokenizer=tiny_tokenizer())


def test_compatibility_mode_would_indeed_move_the_residual_of_a_layernorm_model() -> None:
    raw = PersonaModel.load(tiny_module("gpt2"), tokenizer=tiny_tokenizer())
    bridge = bridge_of("gpt2")
    bridge.enable_compatibility_mode(disable_warnings=True)
    transcript = raw.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])
    _, cache = bridge.run_with_cache(torch.tensor(transcript.ids)[None])
    answer = torch.tensor(transcript.mask("assistant"))
    moved = cache["blocks.2.hook_resid_post"][0, answer].mean(0)
    expected = torch.tensor(raw.pooled([transcript])[0, 2])
    assert not torch.allclose(moved, expected, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(moved, expected - expected.mean(), rtol=1e-3, atol=1e-3)


def test_loading_starts_no_process(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args, **_kwargs):
        raise AssertionError(f"a process was started: {args}")

    monkeypatch.setattr(subprocess, "run", forbidden)
    monkeypatch.setattr(subprocess, "Popen", forbidden)
    assert PersonaModel.load(tiny_llama).bridge.cfg.n_layers == 3


def test_the_installer_of_transformer_lens_is_switched_off_and_on_again() -> None:
    from transformer_lens.model_bridge.sources.transformers import helpers

    original = helpers._ensure_torchvision
    with nothing_installed():
        assert helpers._ensure_torchvision is not original
        assert helpers._ensure_torchvision() is False
    assert helpers._ensure_torchvision is original


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("./nowhere", "no such model folder"),
        ("nowhere.gguf", "no such GGUF file"),
        (42, "cannot wrap this object"),
    ],
)
def test_what_cannot_be_loaded_says_why(source, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        PersonaModel.load(source)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ModelError, match=r"(?s)no model in.*config.json.*notes.txt"):
        PersonaModel.load(tmp_path)


def test_an_unreachable_hub_points_to_the_embedded_copy() -> None:
    with pytest.raises(ModelError, match=r"(?s)cannot load.*'smollm2-135m-instruct'"):
        PersonaModel.load("HuggingFaceTB/SmolLM2-135M-Instruct")


def test_a_module_without_a_tokenizer_is_refused() -> None:
    with pytest.raises(ModelError, match=r"(?s)no tokenizer.*pass tokenizer"):
        PersonaModel.load(tiny_module("llama"))


def test_device_and_device_map_exclude_each_other(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="exclude"):
        PersonaModel.load(tiny_llama, device="cpu", device_map="auto")


def test_the_fingerprint_knows_the_weights(tmp_path: Path, tiny_llama: Path) -> None:
    other = tiny_folder(tmp_path / "other", "llama", seed=1)
    first, again, second = (
        PersonaModel.load(path, dtype="float32").fingerprint
        for path in (tiny_llama, tiny_llama, other)
    )
    assert first == again != second


def test_auto_dtype_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    from persona_lens.model import hardware

    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(hardware, "_cpu_multiplies_bfloat16", lambda fast=fast: fast)
        assert choose_dtype("auto", torch.device("cpu")) is expected
    assert choose_dtype("float16", torch.device("cpu")) is torch.float16


@pytest.mark.parametrize("dtype", ["float8", "int8", "complex64", "bool", "", torch.int64])
def test_a_dtype_that_cannot_compute_is_refused(dtype: Any) -> None:
    with pytest.raises(ModelError, match=r"(?s)does not compute.*auto, float32, bfloat16"):
        choose_dtype(dtype, torch.device("cpu"))


@pytest.mark.parametrize("device", ["meta", "banana", "", "cuda:99", "vulkan", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ModelError, match=r"(?s)on this device.*expected .*cpu"):
        choose_device(device)


@pytest.mark.embedded
def test_the_embedded_model_knows_itself(smol: PersonaModel) -> None:
    assert (smol.n_layers, smol.d_model) == (30, 576)
    assert smol.tokenizer.convert_ids_to_tokens(list(smol.end_ids)) == ["<|im_end|>"]
    assert smol.card()["model"] == "smollm2-135m-instruct"
    assert "Paris" in smol.chat(
        "What is the capital of France?", sampling=Sampling(temperature=0, max_new_tokens=12)
    )


@pytest.mark.embedded
def test_the_first_token_is_the_one_sink_and_is_never_averaged(smol: PersonaModel) -> None:
    assert list(smol.sinks) == [0]
    assert smol.sinks[0] > 50
    transcript = smol.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])
    assert not smol.reply_positions(transcript)[0]


def test_sinks_are_taken_out_of_the_default_choice(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    transcript = model.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])
    answer = transcript.mask("assistant").nonzero()[0]
    model.__dict__["sinks"] = {int(answer[1]): 99.0}
    assert model.reply_positions(transcript).nonzero()[0].tolist() == [
        place for place in answer.tolist() if place != answer[1]
    ]


def test_the_fingerprint_does_not_depend_on_hooks_or_the_bridge(tiny_llama: Path) -> None:
    plain = PersonaModel.load(tiny_llama, dtype="float32").fingerprint
    hooked = PersonaModel.load(tiny_llama, dtype="float32")
    hooked.bridge.add_hook(hooked.hook_name(0), lambda x, hook: None)
    assert hooked.fingerprint == plain
    bridge = bridge_of("llama")
    before = PersonaModel.load(bridge, tokenizer=tiny_tokenizer()).fingerprint
    bridge.add_hook("blocks.0.hook_resid_post", lambda x, hook: None)
    assert PersonaModel.load(bridge, tokenizer=tiny_tokenizer()).fingerprint == before


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_a_device_map_gives_the_same_residuals(tiny_llama: Path, device_map: str) -> None:
    one = PersonaModel.load(tiny_llama, dtype="float32")
    mapped = PersonaModel.load(tiny_llama, dtype="float32", device_map=device_map)
    said = [one.encoder.encode([*QUESTION, {"role": "assistant", "content": "Nothing."}])]
    torch.testing.assert_close(torch.tensor(mapped.pooled(said)), torch.tensor(one.pooled(said)))
    assert mapped.bridge.cfg.n_layers == 3
    torch.testing.assert_close(torch.tensor(mapped.pooled(said)), torch.tensor(one.pooled(said)))


def test_random_weights_keep_architecture_and_tokenizer(tiny_llama: Path) -> None:
    trained = PersonaModel.load(tiny_llama, dtype="float32")
    state = torch.random.get_rng_state()
    control, same, other = (
        PersonaModel.load(f"random:{tiny_llama}{seed}", dtype="float32")
        for seed in (":7", ":7", ":8")
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert control.name == "random:tiny-llama:7"
    assert control.fingerprint == same.fingerprint
    assert len({trained.fingerprint, control.fingerprint, other.fingerprint}) == 3
    assert (control.n_layers, control.d_model) == (trained.n_layers, trained.d_model)
    assert control.encoder.template_hash == trained.encoder.template_hash


def test_random_weights_are_not_spread(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="not spread over devices"):
        PersonaModel.load(f"random:{tiny_llama}", device_map="auto")
