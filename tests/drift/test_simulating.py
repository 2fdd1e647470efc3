"""Conversations simulated: who speaks when, what is sent and read, how they end, and what a plan does."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import shared_model, tiny_module, tiny_tokenizer

from persona_lens import PersonaModel, Sampling
from persona_lens.drift.simulation import (
    Part,
    PlayedUser,
    ScriptedUser,
    Simulated,
    Simulation,
    User,
    UserTurn,
    simulate,
)
from persona_lens.errors import InterventionError, RunError, TranscriptError
from persona_lens.interventions import Ablate, Add, Direction, Plan

GREEDY = Sampling(max_new_tokens=8, temperature=0)
SCRIPTS = {
    "long": ["Hi", "Who are you, then?", "No"],
    "short": ["Tell me more of it"],
    "two": ["A", "B"],
}


def users(**scripts: list[str]) -> list[User]:
    return [ScriptedUser(script, name=name) for name, script in (scripts or SCRIPTS).items()]


def run(model: PersonaModel | None = None, who: list[User] | None = None, **options) -> Simulated:
    options = {"turns": 3, "sampling": GREEDY, "layers": [1, 2], "progress": False, **options}
    return simulate(model or shared_model("llama"), who or users(), **options)


def pushed(layer: int, strength: float = 30.0) -> Plan:
    return Plan.of(Add(Direction("ghost", (layer,), np.ones((1, 16)) / 4), lengths=strength))


def test_users_speak_in_turn_and_leave_the_batch():
    said = run()
    assert [chat.id for chat in said.conversations] == list(SCRIPTS)
    assert [chat.users for chat in said.conversations] == [tuple(s) for s in SCRIPTS.values()]
    assert [chat.n_turns for chat in said.conversations] == [3, 1, 2]
    ended = [chat.about["ended"] for chat in said.conversations]
    assert ended == ["turns", "user", "user"]
    counts = said.frame.groupby("conversation", sort=False)["turn"].apply(list).to_dict()
    assert counts == {"long": [0, 1, 2], "short": [0], "two": [0, 1]}
    assert said.frame["tokens"].tolist() == [len(ids) for ids in said.frame["ids"]]
    assert (said.frame["anew"] == "").all()


def test_what_was_asked_is_what_is_read(smol):
    said = simulate(
        smol,
        users(),
        turns=2,
        sampling=GREEDY,
        layers=[3, 20],
        progress=False,
        system="Be a ghost.",
    )
    seen = said.transcripts(smol.encoder)
    assert [len(each) - len(ids) for each, ids in zip(seen, said.frame["ids"], strict=True)] == (
        said.frame["prompt_tokens"].tolist()
    )
    first, second = seen[0], seen[1]
    assert second.ids[: len(first)].tolist() == first.ids.tolist()
    assert said.means is not None
    assert said.means.shape == (len(said.frame), 2, smol.d_model)
    np.testing.assert_allclose(said.means, smol.pooled(seen, layers=[3, 20]), rtol=1e-3, atol=1e-3)
    by_hand = smol.generate([smol.encoder.prompt(said.conversations[0].as_dicts()[:2])], GREEDY)[0]
    assert said.conversations[0].replies[0] == by_hand.text
    assert said.conversations[0].messages[0].content == "Be a ghost."


def test_batches_depend_on_the_order_of_users_alone():
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    said = run(sampling=sampling, batch_size=2)
    assert said.frame["batch"].tolist() == [0, 0, 0, 0, 1, 1]
    again = run(sampling=sampling, batch_size=2)
    assert again.frame.equals(said.frame)
    assert again.conversations == said.conversations
    other = run(sampling=sampling.model_copy(update={"seed": 1}), batch_size=2)
    assert other.frame["ids"].tolist() != said.frame["ids"].tolist()


def test_turns_of_one_conversation_are_drawn_apart():
    said = run(
        who=users(same=["Hi"] * 2, other=["Hi"]),
        sampling=Sampling(max_new_tokens=8, temperature=1.0),
    )
    ids = said.frame["ids"].tolist()
    assert len({tuple(each) for each in ids}) == 3


def test_a_full_context_ends_the_conversation_and_says_so():
    said = run(who=users(full=["x" * 440, "y" * 100, "z"], fits=["a", "b"]))
    full, fits = said.conversations
    assert full.about["ended"] == "context"
    assert full.n_turns == 1
    assert full.messages[-1].content == "y" * 100  # stands without an answer
    assert fits.n_turns == 2


class Leaving(User):
    """Says goodbye with its second message, or nothing at all."""

    @classmethod
    def together(cls, users, conversations):
        return [
            UserTurn(None, why="shy")
            if user.name == "silent"
            else UserTurn("Bye" if messages else "Hi", last=bool(messages))
            for user, messages in zip(users, conversations, strict=True)
        ]

    def next(self, messages):
        raise NotImplementedError


def test_a_last_message_is_answered_and_a_silent_user_is_left_out():
    with pytest.warns(UserWarning, match=r"1 of 2 conversations .*silent.*shy"):
        said = run(who=[Leaving("silent"), Leaving("polite")])
    (polite,) = said.conversations
    assert polite.users == ("Hi", "Bye")
    assert polite.n_turns == 2
    assert polite.about["ended"] == "user"


def test_an_empty_reply_is_no_number_and_the_conversation_goes_on():
    model = PersonaModel.load(tiny_module("llama"), tokenizer=tiny_tokenizer())
    probe = model.generate([model.encoder.prompt([{"role": "user", "content": "A"}])], GREEDY)[0]
    model.end_ids = (int(probe.ids[0]),)  # the first reply ends at once
    said = run(model, users(a=["A", "Something else"]))
    assert said.frame["tokens"].tolist()[0] == 0
    assert said.conversations[0].replies[0] == ""
    assert said.means is not None
    assert np.isnan(said.means[0]).all()
    assert said.conversations[0].n_turns == 2


INSISTS = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must alternate') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_that_insists_on_alternation_has_it():
    model = PersonaModel.load(
        tiny_module("llama"), tokenizer=tiny_tokenizer(), chat_template=INSISTS
    )
    short = Sampling(max_new_tokens=4, temperature=0)
    player = PlayedUser(model, "a nurse", "sleep", sampling=short, brief="{description}")
    said = run(model, [*users(), player], system="Be a ghost.")
    assert said.conversations[0].n_turns == 3
    played = said.conversations[3]
    roles = [message.role for message in played.messages if message.role != "system"]
    assert roles == ["user", "assistant"] * played.n_turns


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def test_thoughts_are_in_no_message_and_what_drops_them_is_told():
    model = PersonaModel.load(
        tiny_module("llama"), tokenizer=tiny_tokenizer(), chat_template=THINKING
    )
    said = run(model, users(a=["A", "B"]))
    assert said.frame["thought"].tolist() == ["cut", "cut"]
    assert said.conversations[0].replies == ("", "")
    assert said.means is not None
    assert np.isnan(said.means).all()
    assert said.frame["anew"].tolist()[0] == ""
    assert said.frame["anew"].tolist()[1]
    assert said.conversations[0].about["rendered_anew"] == said.frame["anew"][1]


# Plans ----------------------------------------------------------------------------------------------


def test_a_plan_acts_on_the_replies_and_on_what_is_read_of_them():
    plain, steered = run(), run(plan=pushed(1))
    assert plain.before is None
    assert steered.before is not None
    assert steered.means is not None
    moved = np.linalg.norm(steered.means - steered.before, axis=-1)
    np.testing.assert_allclose(moved, [[30.0, 0.0]] * len(moved), rtol=1e-3)
    assert [chat.users for chat in plain.conversations] == [c.users for c in steered.conversations]
    assert plain.conversations[0].about["plan"] is None
    assert steered.conversations[0].about["plan"] == "add ghost"
    model = shared_model("llama")
    with model.intervene(pushed(1)):
        again = model.pooled(steered.transcripts(model.encoder), layers=[1, 2])
    assert steered.means is not None
    np.testing.assert_allclose(steered.means, again, rtol=1e-3, atol=1e-3)
    receipt = steered.receipt
    assert receipt["batch"].tolist() == [0]
    assert receipt["operation"].tolist() == ["add"]
    assert receipt["seen"][0] > 0
    assert plain.receipt.empty


def test_no_plan_acts_on_a_simulated_user():
    model = shared_model("llama")
    short = Sampling(max_new_tokens=6, temperature=0)

    def player() -> list[User]:
        return [PlayedUser(model, "a nurse", "sleep", sampling=short, brief="{topic}")]

    plain, steered = (run(model, player(), turns=1, plan=plan) for plan in (None, pushed(1, 200.0)))
    assert plain.conversations[0].users == steered.conversations[0].users
    assert plain.conversations[0].replies != steered.conversations[0].replies


def test_receipts_count_a_batch_once_over_all_its_turns():
    said = run(plan=pushed(2).where("generated"), batch_size=2)
    # The last sampled token of a reply is fed to be read.
    expected = said.frame.groupby("batch")["tokens"].sum()
    assert said.receipt.set_index("batch")["seen"].to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"turns": 0}, RunError, "needs turns"),
        ({"batch_size": 0}, RunError, "needs batch size"),
        ({"who": [ScriptedUser(["A"], name="a")] * 2}, RunError, "one name"),
        ({"plan": pushed(7)}, InterventionError, "layers that the model does not have"),
        ({"plan": pushed(1) * [1.0, 2.0, 3.0]}, RunError, "single prompts"),
        ({"plan": "floor"}, InterventionError, "no plan"),
    ],
)
def test_what_cannot_be_simulated_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        run(**options)


def test_nobody_to_talk_to():
    with pytest.raises(RunError, match="nobody"):
        simulate(shared_model("llama"), [], progress=False)


def test_a_plan_in_force_would_not_be_told():
    model = shared_model("llama")
    plan = Plan.of(Ablate(Direction("ghost", (1,), np.eye(1, 16))))
    with model.intervene(plan), pytest.raises(InterventionError):
        run(model)


def test_the_workload_is_known_before():
    simulation = Simulation(shared_model("llama"), users(), turns=2, sampling=GREEDY)
    assert str(simulation.workload) == "3 conversations, at most 5 replies and 40 tokens"
    player = PlayedUser(shared_model("llama"), "a nurse", "sleep", limit=3)
    more = Simulation(shared_model("llama"), [*users(), player], turns=12, sampling=GREEDY)
    assert more.workload.replies == 6 + 3


def test_a_refusal_of_the_template_is_an_error():
    model = PersonaModel.load(
        tiny_module("llama"),
        tokenizer=tiny_tokenizer(),
        chat_template="{% if messages|length > 1 %}{{ raise_exception('one message') }}{% endif %}"
        "<|im_start|>{{ messages[0].content }}<|im_end|>",
    )
    with pytest.raises(TranscriptError):
        run(model, users(a=["A", "B"]))


def test_parts_have_a_limit():
    assert Part("a nurse", "sleep", limit=3).limit == 3


@pytest.mark.parametrize("plan", [None, pushed(1), pushed(2).where("generated")])
def test_a_kept_cache_changes_no_reply(plan):
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    kept, reread = (run(plan=plan, sampling=sampling, cached=cached) for cached in (True, False))
    assert kept.frame.equals(reread.frame)
    assert kept.means is not None
    np.testing.assert_allclose(kept.means, reread.means, rtol=1e-3, atol=1e-3)
    told = [said.conversations[0].about["cache"] for said in (kept, reread)]
    assert told == ["kept from turn to turn", "not kept: asked for"]


def test_a_model_that_cannot_keep_its_cache_says_so():
    said = run(shared_model("gemma2"))
    assert said.conversations[0].about["cache"].startswith("not kept: this model")
