"""Keys and values kept from turn to turn: the same replies and means as from the whole text."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np
import pytest
from tiny import shared_model, tiny_module, tiny_tokenizer
from transformers import GPTNeoConfig, LlamaConfig, Phi3Config, Qwen2Config

from persona_lens import PersonaModel, Reply, Sampling
from persona_lens.errors import ModelError
from persona_lens.interventions import Ablate, Add, Direction, Plan, Receipt
from persona_lens.interventions.operations.gating import Gate
from persona_lens.model.listening import Acting, listening
from persona_lens.model.memory import Memory, attends_to_all
from persona_lens.transcripts.next_turns import next_turn

GREEDY = Sampling(max_new_tokens=7, temperature=0)
OPENINGS = ("Hello", "Who are you, my friend?", "B")
GHOST = Direction("ghost", (0, 1), np.eye(2, 16))


def push(*where: str, **options) -> Plan:
    return Plan.of(Add(GHOST, lengths=8.0)).where(*where, **options)


class Chats:
    """Conversations whose user says something of another length each time, and leaves when it is told to."""

    def __init__(self, model: PersonaModel, plans: Sequence[Plan], memory: Memory | None) -> None:
        self.model, self.plans, self.memory = model, plans, memory
        self.receipts: list[Receipt | None] = [None] * len(plans)
        self.talks = [model.encoder.messages(text) for text in OPENINGS]
        self.prompts = [model.encoder.prompt(talk) for talk in self.talks]
        self.turn = 0

    def answer(self, sampling: Sampling = GREEDY, **options) -> list[Reply]:
        """Everybody is answered, and speaks again."""
        with ExitStack() as stack:
            self.receipts = [
                stack.enter_context(self.model.intervene(plan, receipt=receipt))
                for plan, receipt in zip(self.plans, self.receipts, strict=True)
            ]
            options = {"layers": [0, 2], **options}
            replies = self.model.generate(self.prompts, sampling, memory=self.memory, **options)
        self.turn += 1
        for place, (talk, reply) in enumerate(zip(self.talks, replies, strict=True)):
            said = self.model.encoder.with_reply(self.prompts[place], reply.ids)
            talk += [
                {"role": "assistant", "content": reply.answer},
                {"role": "user", "content": "And then? " * ((place + self.turn) % 3)},
            ]
            self.prompts[place] = next_turn(self.model.encoder, said, talk).prompt
        return replies

    def leave(self, place: int) -> None:
        """One of them is over."""
        places = [other for other in range(len(self.talks)) if other != place]
        self.talks = [self.talks[other] for other in places]
        self.prompts = [self.prompts[other] for other in places]
        if self.memory is not None:
            self.memory.keep(places)


def both(model: PersonaModel, *plans: Plan, turns: int = 3, **options) -> tuple[Chats, Chats]:
    """The same conversations with a memory and without, seen to be the same."""
    kept, again = (Chats(model, plans, memory) for memory in (Memory(), None))
    for turn in range(turns):
        assert_same(kept.answer(**options), again.answer(**options))
        if turn == 1:
            kept.leave(1), again.leave(1)
    return kept, again


def assert_same(found: Sequence[Reply], expected: Sequence[Reply]) -> None:
    assert [reply.ids.tolist() for reply in found] == [reply.ids.tolist() for reply in expected]
    assert [reply.finish for reply in found] == [reply.finish for reply in expected]
    for name in ("mean", "before", "log_probs"):
        for one, other in zip(found, expected, strict=True):
            if getattr(other, name) is None:
                assert getattr(one, name) is None
            else:
                np.testing.assert_allclose(
                    getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-4
                )


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gpt2", "qwen3_moe", "olmo2"])
def test_replies_are_those_to_the_whole_text(architecture):
    kept, _ = both(shared_model(architecture), log_probs=True)
    assert kept.memory is not None
    assert kept.memory.why == ""
    assert kept.memory.tokens > sum(map(len, OPENINGS))
    assert len(kept.memory) == 2


def test_only_what_is_new_is_run():
    model, fed = shared_model("llama"), []
    chats = Chats(model, (), Memory())
    chats.answer()
    before = list(map(len, chats.prompts))
    with model.held.backend.before_forward(lambda ids: fed.append(ids.shape[1])):
        chats.answer()
    assert fed[0] < max(before) / 2
    assert set(fed[1:]) == {1}


@pytest.mark.parametrize("pooled", [True, False])
def test_rows_that_end_early_leave_holes(pooled):
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    probe = Chats(model, (), None).answer()
    first = {int(reply.ids[0]) for reply in probe}
    # Ends a reply amid it, and another at once.
    model.end_ids = (
        next(int(t) for t in probe[0].ids if int(t) not in first),
        int(probe[1].ids[0]),
    )
    kept, _ = both(model, turns=3, layers=[1] if pooled else None)
    assert kept.memory is not None
    assert kept.memory.tokens > 0
    lengths = {len(reply.ids) for reply in Chats(model, (), None).answer()}
    assert 0 in lengths
    assert len(lengths) > 1


@pytest.mark.parametrize(
    "where",
    [
        (("all",), {}),
        (("all",), {"sinks": True}),
        (("assistant",), {}),
        (("user",), {"turn": -1}),
        (("assistant",), {"turn": 0}),
        (("generated",), {}),
        (("last",), {}),
        (("prompt",), {}),
    ],
    ids=str,
)
def test_plans_touch_the_tokens_they_touch_without_a_memory(where):
    names, options = where
    both(shared_model("llama"), push(*names, **options), before=True)


def test_plans_nest():
    outer, inner = push("user"), Plan.of(Ablate(GHOST.at((1,)))).where("generated")
    both(shared_model("llama"), outer, inner)


def seen(receipt: Receipt | None) -> int:
    assert receipt is not None
    return int(receipt.frame()["seen"].max())


def test_history_is_counted_once():
    model = shared_model("llama")
    kept, again = both(model, push("all"), turns=3)
    # All tokens but BOS and the sink, each once: those of the prompts as they are now, and the last replies.
    once = seen(kept.receipts[0])
    assert once < seen(again.receipts[0])
    alone, _ = both(model, push("generated"), turns=3)
    _, fresh = both(model, push("generated"), turns=3)
    assert seen(alone.receipts[0]) == seen(fresh.receipts[0])


def test_of_one_conversation_every_token_is_counted_exactly_once():
    model = shared_model("llama")
    chats = Chats(model, (push("all", sinks=True),), Memory())
    chats.leave(2), chats.leave(1)
    chats.answer()
    chats.answer()
    last = chats.prompts[0]
    said = last.mask("assistant", turn=1)
    fed = (
        int(np.flatnonzero(said)[-1]) + 1
    )  # up to the end of the second reply, which is fed to be read
    assert seen(chats.receipts[0]) == fed


def test_other_plans_begin_anew():
    model, memory = shared_model("llama"), Memory()
    chats, alone = Chats(model, (push("all"),), memory), Chats(model, (push("all"),), None)
    assert_same(chats.answer(), alone.answer())
    for each in (chats, alone):
        each.plans, each.receipts = (Plan.of(Add(GHOST, lengths=-8.0)),), [None]
    assert_same(chats.answer(), alone.answer())
    assert memory.tokens == 0
    for each in (chats, alone):
        each.plans, each.receipts = (), []
    assert_same(chats.answer(), alone.answer())
    assert memory.tokens == 0


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (push("all") * [1.0, 2.0, 3.0], "single rows"),
        (
            Plan.of(
                Gate(GHOST, thresholds=-1e9, operation=Add(GHOST, lengths=8.0), per="sequence")
            ),
            "depends on those before it",
        ),
    ],
)
def test_what_depends_on_more_than_the_token_is_run_again(plan, why):
    chats = Chats(shared_model("llama"), (plan,), Memory())
    alone = Chats(shared_model("llama"), (plan,), None)
    for _ in range(2):
        assert_same(chats.answer(), alone.answer())
    assert chats.memory is not None
    assert why in chats.memory.why
    assert chats.memory.tokens == 0


def test_a_prompt_that_changes_amid_its_past_shares_its_beginning():
    model, memory = shared_model("llama"), Memory()
    first = model.encoder.messages("The same beginning, and then this")
    other = model.encoder.messages("The same beginning, and then that, which is longer")
    prompts = [[model.encoder.prompt(talk)] for talk in (first, other)]
    model.generate(prompts[0], GREEDY, memory=memory)
    assert_same(
        model.generate(prompts[1], GREEDY, memory=memory), model.generate(prompts[1], GREEDY)
    )
    assert 20 < memory.tokens < len(prompts[1][0])


def test_sampled_replies_are_drawn_alike_with_an_idle_memory():
    model, warm = shared_model("llama"), Sampling(max_new_tokens=7, temperature=1.0)
    kept, idle = Chats(model, (), Memory()), Chats(model, (), Memory())
    for _ in range(3):
        one = kept.answer(warm)
        assert idle.memory is not None
        idle.memory.forget()
        assert_same(one, idle.answer(warm))


def test_holes_do_not_grow_without_end():
    model, memory = shared_model("llama"), Memory()
    prompts = [model.encoder.prompt(model.encoder.messages(text)) for text in ("A", "B")]
    for _ in range(5):  # the same prompts: every turn adds columns and no token
        replies = model.generate(prompts, GREEDY, memory=memory)
        assert_same(replies, model.generate(prompts, GREEDY))
    assert memory._width <= 3 * len(prompts[0]) + GREEDY.max_new_tokens


def test_a_model_that_sees_a_window_reads_again():
    chats, alone = (Chats(shared_model("gemma2"), (), memory) for memory in (Memory(), None))
    for _ in range(2):
        assert_same(chats.answer(), alone.answer())
    assert chats.memory is not None
    assert "does not go on" in chats.memory.why


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(), True),
        (Qwen2Config(use_sliding_window=False, sliding_window=4096), True),
        (Qwen2Config(use_sliding_window=True, sliding_window=4096, max_window_layers=0), False),
        (Phi3Config(sliding_window=2047), False),
        (GPTNeoConfig(), False),
        (
            LlamaConfig(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}),
            False,
        ),
    ],
)
def test_windows_that_no_short_text_shows(config, expected):
    assert attends_to_all(config) is expected


def test_hooks_of_the_users_are_not_relied_on():
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    memory = Memory()
    handle = model.bridge.add_hook("blocks.1.hook_resid_post", lambda value, hook: value)
    Chats(model, (), memory).answer()
    assert "hooks of yours" in memory.why
    del handle


def test_a_memory_is_of_one_batch():
    model, memory = shared_model("llama"), Memory()
    chats = Chats(model, (), memory)
    chats.answer(batch_size=2)
    assert "one batch" in memory.why
    chats.answer()
    with pytest.raises(ModelError, match="other conversations"):
        model.generate(chats.prompts[:2], GREEDY, memory=memory)
    with pytest.raises(ModelError, match="no such conversation"):
        memory.keep([3])


def test_an_interrupted_reply_leaves_nothing_behind():
    model, memory = shared_model("llama"), Memory()
    chats, alone = Chats(model, (), memory), Chats(model, (), None)
    assert_same(chats.answer(), alone.answer())

    def interrupt(_ids):
        raise KeyboardInterrupt

    with model.held.backend.before_forward(interrupt), pytest.raises(KeyboardInterrupt):
        model.generate(chats.prompts, GREEDY, memory=memory)
    assert_same(chats.answer(), alone.answer())


def test_what_was_there_before_a_plan_acted_is_read_too():
    model, plan = shared_model("llama"), push("all")
    (reply,) = Chats(model, (plan,), None).answer(before=True)[:1]
    assert reply.mean is not None
    assert reply.before is not None
    ghost = np.linalg.norm(reply.mean[0] - reply.before[0])
    np.testing.assert_allclose(ghost, 8.0, rtol=1e-3)  # layer 0, where the plan acts
    np.testing.assert_array_equal(reply.before[1], reply.mean[1])  # layer 2, where it does not
    assert Chats(model, (), None).answer(before=True)[0].before is None


class Pushing:
    """A listener that has a plan act on the first row of every call."""

    layers = (1,)

    def __init__(self) -> None:
        self.plan = push("all")
        self.receipt = Receipt(self.plan)
        self.means: list[np.ndarray | None] = []

    def before(self, prompts):
        return [Acting(self.plan, self.receipt, frozenset({0}))]

    def after(self, written):
        self.means += [each.reply.mean for each in written]


def test_plans_of_single_rows_and_listeners():
    model = shared_model("llama")
    kept, alone = (Chats(model, (), memory) for memory in (Memory(), None))
    heard = Pushing(), Pushing()
    for _ in range(2):
        with listening(model, heard[0]):
            one = kept.answer(before=True)
        with listening(model, heard[1]):
            assert_same(one, alone.answer(before=True))
    assert kept.memory is not None
    assert kept.memory.tokens > 0
    np.testing.assert_allclose(heard[0].means, heard[1].means, rtol=1e-4, atol=1e-4)
    assert one[0].before is not None
    assert not np.allclose(one[0].before[0], one[0].mean[0])
    np.testing.assert_array_equal(one[1].before[0], one[1].mean[0])
