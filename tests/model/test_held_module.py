"""Modules a user holds: what they carry acts as long as it is there, and nothing acts on half of what is done."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from tiny import tiny_module, tiny_tokenizer
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import prune
from transformers import PreTrainedModel

from persona_lens import PersonaModel, Sampling
from persona_lens.errors import ModelError, RunError
from persona_lens.interventions import Add, Direction, Plan

MESSAGES = [{"role": "user", "content": "Who keeps the light?"}]
GREEDY = Sampling(temperature=0, max_new_tokens=5)
REPLY = np.arange(10, 18)
TOWARDS = Direction("light", (1,), np.random.default_rng(1).normal(size=(1, 16)))
PUSH = Plan.of(Add(TOWARDS, lengths=30.0)).where("all", sinks=True)


def pushed(module: PreTrainedModel, layer: int = 1) -> Any:
    """PUSH by hand, after whatever hooks are there."""
    vector = 30.0 * torch.tensor(TOWARDS.units[0], dtype=torch.float32)
    return module.get_decoder().layers[layer].register_forward_hook(lambda *call: call[2] + vector)


@torch.no_grad()
def written(module: PreTrainedModel, prompt: list[int], *, push: bool) -> list[int]:
    """The greedy reply, the whole text anew at each step; ends where the model would."""
    ids = list(prompt)
    for _ in range(GREEDY.max_new_tokens):
        handle = pushed(module) if push else None
        ids.append(int(module(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if handle is not None:
            handle.remove()
    return ids[len(prompt) :]


@torch.no_grad()
def scored(module: PreTrainedModel, prompt: list[int]) -> np.ndarray:
    """Log-probabilities of REPLY by the module itself."""
    logits = module(input_ids=torch.tensor([[*prompt, *REPLY.tolist()]])).logits[0]
    rows = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return rows[torch.arange(len(REPLY)), torch.tensor(REPLY)].numpy()


@torch.no_grad()
def read(module: PreTrainedModel, ids: list[int], layer: int) -> np.ndarray:
    """Mean over all positions of what a block hands out."""
    kept = []
    block = module.get_decoder().layers[layer]
    handle = block.register_forward_hook(lambda *call: kept.append(call[2]))
    module(input_ids=torch.tensor([ids]))
    handle.remove()
    return kept[0][0].mean(0).numpy()


def check_everything(model: PersonaModel, itself: PreTrainedModel) -> None:
    """Replies with and without a plan, log-probabilities and readings are those of the module itself."""
    prompt = model.encoder.prompt(MESSAGES)
    ids = prompt.ids.tolist()
    for plan in (None, PUSH):
        if plan is None:
            found = model.generate([prompt], GREEDY, layers=[2])[0]
        else:
            with model.intervene(plan):
                found = model.generate([prompt], GREEDY, layers=[2])[0]
        expected = written(itself, ids, push=plan is not None)[: len(found.ids)]
        assert found.ids.tolist() == expected
    np.testing.assert_allclose(
        model.log_probs([prompt], [REPLY])[0], scored(itself, ids), atol=1e-4
    )
    everywhere = [np.ones(len(ids), dtype=bool)]
    for layer in (0, 2):
        found = model.pooled([prompt], everywhere, layers=[layer])[0, 0]
        np.testing.assert_allclose(found, read(itself, ids, layer), atol=1e-4)


def logged(output: Any) -> Any:
    """What a user's wrapper does beside calling the original."""
    return output


def twice(module: PreTrainedModel) -> Any:
    """A hook that doubles what the first block hands out."""
    return module.get_decoder().layers[0].register_forward_hook(lambda *call: call[2] * 2)


def hook_a_block(module: PreTrainedModel) -> None:
    twice(module)


def hook_before_a_block(module: PreTrainedModel) -> None:
    block = module.get_decoder().layers[1]
    block.register_forward_pre_hook(lambda _, args: (args[0] * 1.5, *args[1:]))


def hook_with_keywords(module: PreTrainedModel) -> None:
    module.get_decoder().layers[1].mlp.register_forward_hook(
        lambda _part, _args, _options, out: out * 3, with_kwargs=True
    )


def hook_the_output_embedding(module: PreTrainedModel) -> None:
    module.get_output_embeddings().register_forward_hook(lambda *call: call[2] * 2)


def hook_as_weight_norm(module: PreTrainedModel) -> None:
    projection = module.get_decoder().layers[0].mlp.up_proj
    torch.nn.utils.weight_norm(projection)
    with torch.no_grad():
        projection.weight_g.mul_(2)


def hook_as_pruning(module: PreTrainedModel) -> None:
    prune.l1_unstructured(module.get_decoder().layers[0].mlp.up_proj, "weight", 0.5)


def hook_backward(module: PreTrainedModel) -> None:
    module.get_decoder().layers[0].register_full_backward_hook(lambda *_: None)


def replace_a_method(module: PreTrainedModel) -> None:
    mlp = module.get_decoder().layers[1].mlp
    mlp.forward = types.MethodType(lambda self, x: self.down_proj(self.up_proj(x)), mlp)


def replace_by_a_closure(module: PreTrainedModel) -> None:
    mlp = module.get_decoder().layers[1].mlp
    before = mlp.forward
    mlp.forward = lambda x: 2 * before(x)


def replace_a_block(module: PreTrainedModel) -> None:
    block = module.get_decoder().layers[1]

    def call(before: Callable[..., Any], *args: Any, **options: Any) -> Any:
        return before(*args, **options)

    block.forward = functools.partial(call, block.forward)


def replace_the_decoder(module: PreTrainedModel) -> None:
    decoder = module.get_decoder()
    before = decoder.forward
    decoder.forward = lambda *args, **options: logged(before(*args, **options))


def offload(module: PreTrainedModel) -> None:
    cpu_offload(module, execution_device=torch.device("cpu"))


MARKS = [
    *(hook_a_block, hook_before_a_block, hook_with_keywords, hook_the_output_embedding),
    *(hook_as_weight_norm, hook_as_pruning, hook_backward, replace_a_method),
    *(replace_by_a_closure, replace_a_block, replace_the_decoder, offload),
]


@pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.__name__)
def test_what_a_module_carries_acts_on_everything(mark: Callable[[PreTrainedModel], None]) -> None:
    held, itself = tiny_module("llama"), tiny_module("llama")
    mark(held)
    mark(itself)
    check_everything(PersonaModel.load(held, tokenizer=tiny_tokenizer()), itself)


def test_a_hook_on_all_modules_meets_the_module_that_was_passed() -> None:
    held, itself = tiny_module("llama"), tiny_module("llama")
    blocks = [module.get_decoder().layers[0] for module in (held, itself)]
    handle = register_module_forward_hook(
        lambda part, _, out: out * 2 if any(part is block for block in blocks) else None
    )
    try:
        check_everything(PersonaModel.load(held, tokenizer=tiny_tokenizer()), itself)
    finally:
        handle.remove()


def test_hooks_count_from_when_they_come_until_they_go() -> None:
    held = tiny_module("llama")
    model = PersonaModel.load(held, tokenizer=tiny_tokenizer())
    check_everything(model, tiny_module("llama"))
    handle = twice(held)
    itself = tiny_module("llama")
    twice(itself)
    check_everything(model, itself)
    handle.remove()
    check_everything(model, tiny_module("llama"))
    assert not any(part._forward_hooks for part in held.modules())


def compile_the_module(module: PreTrainedModel) -> Any:
    return torch.compile(module, backend="eager")


def compile_in_place(module: PreTrainedModel) -> Any:
    module.compile(backend="eager")
    return module


def compile_the_forward(module: PreTrainedModel) -> Any:
    module.forward = torch.compile(module.forward, backend="eager")
    return module


def compile_blocks(module: PreTrainedModel) -> Any:
    blocks = module.get_decoder().layers
    for place in range(len(blocks)):
        blocks[place] = torch.compile(blocks[place], backend="eager")
    return module


def compile_the_decoder(module: PreTrainedModel) -> Any:
    module.model = torch.compile(module.model, backend="eager")
    return module


COMPILING = [
    *(compile_the_module, compile_in_place, compile_the_forward),
    *(compile_blocks, compile_the_decoder),
]


@pytest.mark.parametrize("compiling", COMPILING, ids=lambda way: way.__name__)
def test_a_compiled_module_is_steered_and_has_the_fingerprint_of_its_weights(compiling) -> None:
    model = PersonaModel.load(compiling(tiny_module("llama")), tokenizer=tiny_tokenizer())
    check_everything(model, tiny_module("llama"))
    plain = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    assert model.fingerprint == plain.fingerprint


def test_what_was_compiled_is_run_even_if_it_is_not_the_forward_of_the_class() -> None:
    def other(self, x):
        return self.down_proj(self.up_proj(x))

    held, itself = tiny_module("llama"), tiny_module("llama")
    for module, wrap in ((held, torch.compile), (itself, lambda f, **_: f)):
        mlp = module.get_decoder().layers[1].mlp
        mlp.forward = wrap(types.MethodType(other, mlp), backend="eager")
    with pytest.raises(
        ModelError, match=r"(?s)layers\.1\.mlp of this module is compiled.*before torch\.compile"
    ):
        PersonaModel.load(held, tokenizer=tiny_tokenizer())
    check_everything(PersonaModel.load(itself, tokenizer=tiny_tokenizer()), itself)


def closure_on_top(module: PreTrainedModel) -> None:
    before = module.forward
    module.forward = lambda *args, **options: logged(before(*args, **options))


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        (closure_on_top, r"(?s)`forward` of its own.*del module\.forward"),
        (lambda module: module.register_forward_hook(lambda *_: None), "this module carries torch"),
        (lambda module: module.register_forward_pre_hook(lambda *_: None), "pass by"),
        (lambda module: (twice(module), module.train()), r"(?s)training mode.*eval"),
        (lambda module: (twice(module), module.compile()), r"(?s)this module is compiled"),
    ],
)
def test_what_only_replies_would_meet_is_refused(mark, said: str) -> None:
    module = tiny_module("llama")
    mark(module)
    with pytest.raises(ModelError, match=said):
        PersonaModel.load(module, tokenizer=tiny_tokenizer())


def test_a_mark_that_comes_later_is_refused_when_it_would_act() -> None:
    module = tiny_module("llama")
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    closure_on_top(module)
    with pytest.raises(ModelError, match="`forward` of its own"):
        model.generate([model.encoder.prompt(MESSAGES)], GREEDY)


def test_a_bridge_would_lose_hooks_and_is_refused() -> None:
    module = tiny_module("llama")
    handle = twice(module)
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    with pytest.raises(ModelError, match="which a bridge would lose"):
        _ = model.bridge
    handle.remove()
    assert model.bridge.cfg.n_layers == 3


def test_torch_hooks_on_blocks_of_a_bridge_are_refused_as_long_as_they_are_there() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    block = model.bridge.original_model.model.layers[0]
    handle = block.register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match=r"(?s)'model.layers.0' of the bridge.*bridge\.add_hook"):
        model.generate([model.encoder.prompt(MESSAGES)], GREEDY)
    handle.remove()
    check_everything(model, tiny_module("llama"))


def test_torch_hooks_on_parts_of_blocks_of_a_bridge_act_on_everything() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    itself = tiny_module("llama")
    for module in (model.bridge.original_model, itself):
        mlp = module.model.layers[0].mlp
        mlp.register_forward_hook(lambda *call: call[2] * 2)
    assert model.has_hooks
    check_everything(model, itself)


def test_using_transformer_lens_leaves_nothing_that_counts_as_a_hook() -> None:
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    model.bridge.run_with_cache(torch.tensor([[5, 6, 7]]))
    assert not model.has_hooks
    assert type(model.held.backend).__name__ == "NativeBackend"


def test_recorders_of_transformers_are_no_hooks_of_the_users() -> None:
    module = tiny_module("llama")
    module(input_ids=torch.tensor([[5, 6]]), output_hidden_states=True)
    assert any(part._forward_hooks for part in module.modules())
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    assert not model.has_hooks
    running = model.held.backend.module
    assert running is not module
    again = running(input_ids=torch.tensor([[5, 6]]), output_hidden_states=True)
    assert len(again.hidden_states) == 4


def test_a_forward_of_its_own_is_part_of_the_fingerprint_and_hooks_are_not() -> None:
    plain, hooked, replaced = (tiny_module("llama") for _ in range(3))
    twice(hooked)
    replace_by_a_closure(replaced)
    prints = [
        PersonaModel.load(module, tokenizer=tiny_tokenizer()).fingerprint
        for module in (plain, hooked, replaced)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_nothing_is_collected_from_a_module_with_hooks() -> None:
    from persona_lens.runs.engines.worker import Worker, WorkSettings

    module = tiny_module("llama")
    twice(module)
    worker = Worker(PersonaModel.load(module, tokenizer=tiny_tokenizer()))
    with pytest.raises(RunError, match=r"(?s)model carries hooks.*handle\.remove"):
        worker.check([], WorkSettings(sampling=GREEDY, layers=(1,), batch_size=1), samples=False)


def test_offloaded_weights_have_the_fingerprint_of_the_weights() -> None:
    module = tiny_module("llama")
    offload(module)
    assert next(module.parameters()).device.type == "meta"
    model = PersonaModel.load(module, tokenizer=tiny_tokenizer())
    plain = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    assert model.device.type == "cpu"
    assert model.fingerprint == plain.fingerprint
