"""LoRA and its like: in a folder, in a PeftModel, switched while the model is wrapped."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_folder, tiny_module, tiny_tokenizer
from torch import nn

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.errors import ModelError, RunError
from persona_lens.model import adapters

MESSAGES = [{"role": "user", "content": "Who keeps the light?"}]
REPLY = np.arange(10, 18)

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="peft is an optional extra")


def described(folder: Path, base: object, kind: str = "LORA") -> Path:
    """An adapter's folder without its weights."""
    folder.mkdir()
    held = {"peft_type": kind, "task_type": "CAUSAL_LM", "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(held))
    return folder


def lora(seed: int = 1, module: Any = None, **settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    base = tiny_module("llama") if module is None else module
    torch.manual_seed(seed)
    asked = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    config = LoraConfig(task_type="CAUSAL_LM", **{**asked, **settings})
    return get_peft_model(base, config).eval()


@torch.no_grad()
def apart(model: PersonaModel, itself: nn.Module) -> float:
    """How far log-probabilities are from those of a module itself, in nats."""
    prompt = model.encoder.prompt(MESSAGES)
    ids = torch.tensor([[*prompt.ids.tolist(), *REPLY.tolist()]])
    rows = itself(input_ids=ids).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
    expected = rows[torch.arange(len(REPLY)), torch.tensor(REPLY)].numpy()
    return float(np.abs(model.log_probs([prompt], [REPLY])[0] - expected).max())


# --- without peft -------------------------------------------------------------------------------


@pytest.fixture
def no_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)


@pytest.mark.usefixtures("no_peft")
@pytest.mark.parametrize("whole", [False, True])
def test_without_peft_an_adapter_is_never_the_base_model(
    tmp_path: Path, tiny_llama: Path, whole: bool
) -> None:
    folder = described(tmp_path / "ghost", str(tiny_llama))
    if whole:  # a whole model beside it would load without a word
        for file in tiny_llama.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(
        ModelError, match=r"(?s)ghost is a LORA adapter.*persona-lens\[peft\].*merge"
    ):
        PersonaModel.load(folder)


@pytest.mark.usefixtures("no_peft")
def test_without_peft_an_adapter_on_the_hub_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = described(tmp_path / "cached", "some/base") / "adapter_config.json"
    monkeypatch.setattr(
        "transformers.utils.peft_utils.find_adapter_config_file", lambda name, **_: str(config)
    )
    with pytest.raises(ModelError, match=r"some/adapter is a LORA adapter of some/base"):
        PersonaModel.load("some/adapter")


@pytest.mark.parametrize(
    ("base", "kind", "said"),
    [
        (None, "LORA", "does not say of which base model"),
        ("some/base", "PREFIX_TUNING", r"(?s)vectors in front of the text.*such as LoRA"),
        ("some/base", "PROMPT_TUNING", "vectors in front of the text"),
    ],
)
def test_adapters_that_cannot_be_used_say_why(
    tmp_path: Path, base: object, kind: str, said: str
) -> None:
    with pytest.raises(ModelError, match=said):
        PersonaModel.load(described(tmp_path / "ghost", base, kind))


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    folder = described(tmp_path / "ghost", "some/base")
    (folder / "adapter_config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"adapter in .*ghost is damaged"):
        PersonaModel.load(folder)


@pytest.mark.parametrize("base", ["/nowhere/base", "some/base"])
def test_a_base_model_that_is_not_found_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: name)
    folder = described(tmp_path / "ghost", base)
    tiny_tokenizer().save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"(?s)base model of the adapter ghost.*{base}.*peft"):
        PersonaModel.load(folder)


class BaseTunerLayer:
    """Stands in for peft's class of that name, which is known by name and module."""

    __module__ = "peft.tuners.tuners_utils"


class Switched(nn.Module, BaseTunerLayer):
    """A layer with two small adapters, switched as peft does."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base
        self.active_adapters, self.merged_adapters, self.disable_adapters = ["a"], [], False
        self.scaling = {"a": 1.0, "b": 2.0}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        factor = 0.0 if self.disable_adapters else self.scaling[self.active_adapters[0]]
        return self.base_layer(x) * (1 + factor)


def test_what_is_switched_on_acts_at_once_and_is_in_fingerprint_name_and_card() -> None:
    module = tiny_module("llama")
    mlp = module.get_decoder().layers[1].mlp
    mlp.up_proj = layer = Switched(mlp.up_proj)
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    assert model.name.endswith("+a")
    prints = []
    for switch in (
        {},
        {"active_adapters": ["b"]},
        {"disable_adapters": True},
        {"scaling": {"b": 3}},
    ):
        for name, value in switch.items():
            setattr(layer, name, value)
        if "scaling" in switch:
            layer.disable_adapters = False
        prints.append(model.fingerprint)
        assert apart(model, module) < 1e-4
        assert model.card()["adapters"] == ([] if layer.disable_adapters else layer.active_adapters)
    assert len(set(prints)) == 4
    plain = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    assert "adapters" not in plain.card()


def test_a_bridge_built_before_a_switch_is_not_handed_out_after_it() -> None:
    module = tiny_module("llama")
    mlp = module.get_decoder().layers[1].mlp
    mlp.up_proj = layer = Switched(mlp.up_proj)
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    tokens = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(model.bridge(tokens), module(tokens).logits, rtol=1e-3, atol=1e-4)
    layer.active_adapters = ["b"]
    with pytest.raises(
        ModelError, match=r"(?s)switched since the bridge was built.*switch them back"
    ):
        _ = model.bridge
    assert apart(model, module) < 1e-4
    layer.active_adapters = ["a"]
    assert model.bridge(tokens) is not None


# --- with peft ----------------------------------------------------------------------------------


@needs_peft
def test_a_peft_model_is_read_as_it_runs_however_it_is_switched() -> None:
    from peft import LoraConfig

    held = lora()
    torch.manual_seed(2)
    held.add_adapter(
        "b",
        LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM"),
    )
    held.eval()
    model = PersonaModel.load(held, tokenizer=tiny_tokenizer())
    base = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    prints = [base.fingerprint, model.fingerprint]
    assert apart(base, held) > 0.1 > apart(model, held)
    held.set_adapter("b")
    prints.append(model.fingerprint)
    assert apart(model, held) < 1e-4
    with held.disable_adapter():
        prints.append(model.fingerprint)
        assert apart(model, tiny_module("llama")) < 1e-4
    held.merge_adapter(["default"])
    prints.append(model.fingerprint)
    assert apart(model, held) < 1e-4
    assert len(set(prints)) == 5
    merged = PersonaModel.load(lora().merge_and_unload(), tokenizer=tiny_tokenizer())
    assert apart(merged, lora()) < 1e-4
    assert merged.fingerprint not in prints


@needs_peft
def test_the_factor_of_an_adapter_is_in_the_fingerprint() -> None:
    weak, strong = (
        PersonaModel.load(lora(lora_alpha=alpha), tokenizer=tiny_tokenizer()) for alpha in (1, 8)
    )
    assert weak.fingerprint != strong.fingerprint


@needs_peft
def test_an_adapter_put_on_after_wrapping_counts() -> None:
    module = tiny_module("llama")
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    before = model.fingerprint
    held = lora(module=module, modules_to_save=["lm_head"])
    assert apart(model, held) < 1e-4
    assert model.fingerprint != before


@needs_peft
def test_an_adapter_folder_loads_on_its_base_model(tmp_path: Path, tiny_llama: Path) -> None:
    from transformers import AutoModelForCausalLM

    held = lora(module=AutoModelForCausalLM.from_pretrained(tiny_llama))
    held.save_pretrained(tmp_path / "ghost")
    tiny_tokenizer().save_pretrained(tmp_path / "ghost")
    model = PersonaModel.load(tmp_path / "ghost", dtype="float32")
    assert model.name == "tiny-llama+ghost"
    assert apart(model, held) < 1e-4
    both = tiny_folder(tmp_path / "both", "llama")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (both / name).write_bytes((tmp_path / "ghost" / name).read_bytes())
    whole = PersonaModel.load(both, dtype="float32")
    assert apart(whole, held) < 1e-4
    assert whole.fingerprint == model.fingerprint != PersonaModel.load(tiny_llama).fingerprint


@needs_peft
def test_an_adapter_of_another_architecture_does_not_load(tmp_path: Path) -> None:
    lora().save_pretrained(tmp_path / "ghost")
    config = tmp_path / "ghost" / "adapter_config.json"
    other = str(tiny_folder(tmp_path / "other", "gpt2"))
    config.write_text(
        json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": other})
    )
    with pytest.raises(ModelError, match=r"(?s)ghost does not load on .*other.*trained on"):
        PersonaModel.load(tmp_path / "ghost")


@needs_peft
def test_virtual_tokens_in_a_peft_model_are_refused() -> None:
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match="vectors in front of the text"):
        PersonaModel.load(get_peft_model(tiny_module("llama"), config), tokenizer=tiny_tokenizer())


@needs_peft
def test_one_adapter_does_not_continue_the_run_of_another(tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "run": tmp_path / "run",
        "roles": ["pirate", "ghost", "jester"],
        "traits": [],
        "questions": ["q01"],
        "prompts": 1,
        "sampling": Sampling(max_new_tokens=4),
        "progress": False,
    }
    PersonaSpace.collect(PersonaModel.load(lora(1), tokenizer=tiny_tokenizer()), **asked)
    other = PersonaModel.load(lora(2), tokenizer=tiny_tokenizer())
    with pytest.raises(RunError, match="fingerprint"):
        PersonaSpace.collect(other, **asked)
