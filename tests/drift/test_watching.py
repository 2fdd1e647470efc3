"""Watching while replies are written gives what reading them afterwards gives, and touches nothing else."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pytest
from tiny import shared_module, tiny_tokenizer

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.catalog import load_everyday, split_everyday
from persona_lens.conversations import Conversation
from persona_lens.drift import trace
from persona_lens.drift.monitor import Monitor
from persona_lens.drift.monitor.watching import Watch
from persona_lens.drift.places import Places
from persona_lens.drift.simulation import simulate
from persona_lens.drift.simulation.casts import everyday
from persona_lens.errors import DriftAlarm, ModelError, MonitorError, PersonaLensWarning
from persona_lens.interventions import Add, Direction, Plan
from persona_lens.model.listening import Written, listening
from persona_lens.rollouts.reply import Reply

LAYER = 1
GREEDY = Sampling(temperature=0, max_new_tokens=6)
USERS = [["Wet?", "Ice?", "Why so?"], ["Who are you really?", "And then?", "Go on."]]


@pytest.fixture(scope="module")
def model() -> PersonaModel:
    return PersonaModel.load(shared_module("llama"), tokenizer=tiny_tokenizer())


@pytest.fixture(scope="module")
def space(model: PersonaModel) -> PersonaSpace:
    rng = np.random.default_rng(0)
    shape = (model.n_layers, model.d_model)
    roles = {f"role_{number}": rng.normal(size=shape) for number in range(6)}
    return PersonaSpace.from_vectors(roles, rng.normal(size=shape), n_resamples=10).fit()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Conversations of two turns are other traffic than what thresholds are planted with here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "other traffic")
        yield


def planted(
    model: PersonaModel, space: PersonaSpace, lowest: float, layer: int = LAYER, **options
) -> Monitor:
    """A monitor that alarms where the projection on the axis is below `lowest`."""
    values = lowest + np.random.default_rng(0).uniform(0.0, 1.0, size=(19, 4))
    values[3, 2] = lowest
    calm = pd.DataFrame(
        {
            "conversation": np.repeat(np.arange(19), 4),
            "turn": np.tile(np.arange(4), 19),
            "projection": values.ravel(),
        }
    )
    options = {"false_alarms": 0.05, "layer": layer, **options}
    return Monitor.calibrate(calm, "lowest", places=Places.of(space, [layer], ["axis"]), **options)


def told_turns(chats: Chats, turns: Sequence[int], watch: Watch) -> int:
    """Some turns of all conversations; how many tokens the plan has seen by then."""
    for turn in turns:
        chats.say(turn)
    assert watch.receipt is not None
    return int(watch.receipt.frame()["seen"].sum())


class Chats:
    """Several conversations, written turn by turn in batches."""

    def __init__(self, model: PersonaModel, users: Sequence[Sequence[str]] = USERS) -> None:
        self.model = model
        self.users = users
        self.messages: list[list[dict[str, str]]] = [[] for _ in users]
        self.ids: list[list[list[int]]] = [[] for _ in users]

    def say(
        self, turn: int, sampling: Sampling = GREEDY, only: Sequence[int] | None = None
    ) -> None:
        encoder = self.model.encoder
        rows = range(len(self.users)) if only is None else only
        for row in rows:
            said = self.users[row][turn]
            asked = encoder.messages(said) if turn == 0 else [{"role": "user", "content": said}]
            self.messages[row] += asked
        prompts = [encoder.prompt(self.messages[row]) for row in rows]
        for row, reply in zip(rows, self.model.generate(prompts, sampling), strict=True):
            self.messages[row].append({"role": "assistant", "content": reply.answer})
            self.ids[row].append(reply.ids.tolist())

    def logs(self) -> list[Conversation]:
        return [
            Conversation.of(messages, id=f"chat {row + 1}")
            for row, messages in enumerate(self.messages)
        ]


def first_values(model: PersonaModel, monitor: Monitor) -> list[float]:
    """The projections of the first replies."""
    chats = Chats(model)
    with monitor.watching(model) as watch:
        chats.say(0)
    return watch.turns["projection"].tolist()


@pytest.fixture(scope="module")
def between(model: PersonaModel, space: PersonaSpace) -> tuple[Monitor, int]:
    """A monitor that one of the two conversations alarms at its first turn, and which."""
    values = first_values(model, planted(model, space, -1e3))
    return planted(model, space, float(np.mean(values))), int(np.argmin(values))


def push(model: PersonaModel) -> Plan:
    vector = np.random.default_rng(5).normal(size=(1, model.d_model))
    return Plan.of(Add(Direction("push", (0,), vector), lengths=np.array([40.0]))).where(
        "generated"
    )


def test_watching_the_embedded_model_equals_reading_the_finished_log(smol):
    space = PersonaSpace.load("smollm2-135m-instruct")
    chats = Chats(smol, [users[:2] for users in USERS])
    short = Sampling(temperature=0, max_new_tokens=8)
    free = planted(smol, space, -1e3, layer=20)
    with free.watching(smol) as watch:
        for turn in (0, 1):
            chats.say(turn, short)
    assert watch.alarms.empty
    log = trace(space, smol, chats.logs(), layers=20, tokens="answer", progress=False)
    turns = watch.turns.sort_values(["conversation", "turn"], ignore_index=True)
    read = log.at(20).sort_values(["conversation", "turn"], ignore_index=True)
    assert turns[["conversation", "turn", "tokens"]].equals(
        read[["conversation", "turn", "tokens"]]
    )
    np.testing.assert_allclose(turns["projection"], read["projection"], rtol=1e-3, atol=2e-3)

    middle = float(np.median(read["projection"]))
    monitor = planted(smol, space, middle, layer=20)
    again = Chats(smol, chats.users)
    with monitor.watching(smol) as watch:
        for turn in (0, 1):
            again.say(turn, short)
    assert again.ids == chats.ids
    live, finished = watch.alarms, monitor.read(log)
    assert len(live) > 0
    order = [
        "conversation",
        "turn",
        "statistic",
        "direction",
        "reason",
        "nearest",
        "message",
        "within",
    ]
    both = [frame.sort_values("conversation", ignore_index=True) for frame in (live, finished)]
    pd.testing.assert_frame_equal(both[0].loc[:, order], both[1].loc[:, order])
    for column in ("value", "z", "p"):
        np.testing.assert_allclose(both[0][column], both[1][column], rtol=1e-3, atol=2e-3)


def test_replies_are_the_same_whether_or_not_somebody_watches(model, space):
    sampling = Sampling(temperature=0.9, max_new_tokens=7, seed=3)
    prompts = [model.encoder.prompt(model.encoder.messages(text)) for text in ("Hi", "Hello you")]
    alone = model.generate(prompts, sampling)
    with planted(model, space, 1e3).watching(model) as watch:
        watched = model.generate(prompts, sampling, layers=[2])
    assert [reply.ids.tolist() for reply in alone] == [reply.ids.tolist() for reply in watched]
    assert alone[0].mean is None
    means = model.generate(prompts, sampling, layers=[2, LAYER])
    for mine, theirs in zip(watched, means, strict=True):
        assert mine.mean is not None
        assert theirs.mean is not None
        np.testing.assert_allclose(mine.mean, theirs.mean[:1], atol=1e-5)
    unit = space.axis_[LAYER] / np.linalg.norm(space.axis_[LAYER])
    np.testing.assert_allclose(
        watch.turns["projection"],
        [np.asarray(reply.mean)[1] @ unit for reply in means],
        atol=1e-3,
    )


def test_a_row_does_not_depend_on_its_neighbours(model, space):
    """Longer prompts beside it, and replies that go on when its own has ended, are not in its mean."""
    monitor = planted(model, space, -1e3)
    prompts = [model.encoder.prompt(model.encoder.messages(text)) for text in ("a", "bcd" * 9, "?")]
    with monitor.watching(model) as together:
        model.generate(prompts, Sampling(temperature=0, max_new_tokens=16))
    alone = []
    for prompt in prompts:
        with monitor.watching(model) as watch:
            model.generate([prompt], Sampling(temperature=0, max_new_tokens=16))
        alone += watch.turns["projection"].tolist()
    np.testing.assert_allclose(together.turns["projection"], alone, atol=1e-3)


def test_a_plan_acts_after_the_alarm_and_only_there(model, space, between):
    monitor, low = between
    plan = push(model)
    plain, chats = Chats(model), Chats(model)
    for turn in range(3):
        plain.say(turn)
    warned = pytest.warns(PersonaLensWarning, match="2 of 6 turns were written under a plan")
    with warned, monitor.watching(model, then=plan) as watch:
        seen = [told_turns(chats, [turn], watch) for turn in range(3)]
    assert seen[0] == 0
    other = 1 - low
    assert chats.ids[other] == plain.ids[other]
    assert chats.ids[low][0] == plain.ids[low][0]
    assert chats.ids[low][1] != plain.ids[low][1]
    steered = Chats(model)
    steered.say(0)
    with model.intervene(plan):
        steered.say(1)
        steered.say(2)
    assert chats.ids[low][1:] == steered.ids[low][1:]
    # The last token of a reply is fed once more, since its mean is taken.
    fed = sum(len(ids) for ids in chats.ids[low][1:])
    assert told_turns(chats, [], watch) == fed
    turns = watch.turns.set_index(["conversation", "turn"])["reading"]
    assert turns[f"chat {low + 1}"].tolist() == ["clean", "after", "after"]
    assert set(turns[f"chat {other + 1}"]) == {"clean"}
    assert watch.alarms["conversation"].tolist() == [f"chat {low + 1}"]
    assert watch.alarms["reading"].tolist() == ["clean"]
    values = watch.readings().values[low]
    assert np.isfinite(values[0]).all()
    assert np.isnan(values[1:]).all()  # capped turns are no calm evidence


def test_replies_under_a_plan_of_the_users_are_not_taken_for_calm(model, space):
    chats = Chats(model)
    monitor = planted(model, space, 1e3)  # anything alarms
    with (
        pytest.warns(PersonaLensWarning, match="2 of 2 turns were written under a plan"),
        model.intervene(push(model)),
        monitor.watching(model) as watch,
    ):
        chats.say(0)
    assert watch.alarms.empty
    assert set(watch.turns["reading"]) == {"after"}


def test_actions(model, space, between, caplog):
    monitor, low = between
    with caplog.at_level(logging.WARNING, "persona_lens.drift.monitor"), monitor.watching(model):
        Chats(model).say(0)
    assert [f"chat {low + 1}, turn 0: lowest of axis at" in line for line in caplog.messages] == [
        True
    ]
    warned = pytest.warns(
        PersonaLensWarning, match=f"a conversation drifts: chat {low + 1}, turn 0"
    )
    with warned, monitor.watching(model, action="warn"):
        Chats(model).say(0)
    with monitor.watching(model, action="raise") as watch:
        with pytest.raises(DriftAlarm, match="1 of 2 conversations drift") as raised:
            Chats(model).say(0)
        assert len(raised.value.replies) == 2
        assert raised.value.alarms["conversation"].tolist() == [f"chat {low + 1}"]
        assert len(watch.turns) == 2
    assert not model.listeners.active
    with pytest.raises(MonitorError, match="no such action"):
        monitor.watching(model, action="shout")


def test_a_conversation_alarms_once(model, space):
    chats = Chats(model)
    with planted(model, space, 1e3).watching(model) as watch:
        for turn in range(3):
            chats.say(turn)
    assert watch.alarms["turn"].tolist() == [0, 0]
    assert watch.turns["alarming"].all()


def test_threads_do_not_hear_each_other(model, space):
    monitor = planted(model, space, -1e3)
    shared = monitor.watching(model)
    counts = {}

    def work(name: str, users: list[list[str]]) -> None:
        with monitor.watching(model) as own, shared:
            chats = Chats(model, users)
            for turn in range(2):
                chats.say(turn)
            counts[name] = len(own.turns)

    threads = [
        threading.Thread(target=work, args=(f"t{number}", [[f"Hi {number}", "More"]]))
        for number in range(3)
    ]
    with monitor.watching(model) as here:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert counts == {"t0": 2, "t1": 2, "t2": 2}
    assert here.turns.empty
    # One watch entered by all of them has heard them all, and kept them apart.
    assert shared.turns.groupby("conversation")["turn"].apply(list).tolist() == [[0, 1]] * 3


def test_conversations_are_told_apart_by_what_was_said(model, space):
    monitor = planted(model, space, -1e3)
    with monitor.watching(model) as watch:
        one, same = Chats(model, [USERS[0]]), Chats(model, [USERS[0]])
        one.say(0)
        same.say(0)  # another person who begins alike
        one.say(1)
        same.say(1)
        other = Chats(model, [["Something else"]])
        other.say(0)
        one.say(2)
    assert watch.turns[["conversation", "turn"]].values.tolist() == [
        ["chat 1", 0], ["chat 2", 0], ["chat 1", 1], ["chat 2", 1], ["chat 3", 0], ["chat 1", 2]
    ]  # fmt: skip


def test_another_answer_to_the_same_message_is_a_branch_with_the_same_past(model, space):
    values = first_values(model, planted(model, space, -1e3))
    monitor = planted(model, space, values[0] + 0.5)
    with monitor.watching(model, then=push(model)) as watch:
        chats = Chats(model, [USERS[0]])
        chats.say(0)
        messages = [*chats.messages[0], {"role": "user", "content": USERS[0][1]}]
        prompt = model.encoder.prompt(messages)
        for seed in range(3):
            model.generate([prompt], Sampling(max_new_tokens=4, temperature=1.0, seed=seed))
    assert watch.turns["conversation"].tolist() == ["chat 1", "chat 1", "chat 2", "chat 3"]
    assert watch.turns["turn"].tolist() == [0, 1, 1, 1]
    # The turn that alarmed is in the past of every branch.
    assert watch.turns["reading"].tolist() == ["clean", "after", "after", "after"]
    assert len(watch.alarms) == 1


def test_a_past_nobody_heard_counts_as_turns_not_as_calm(model, space):
    monitor = planted(model, space, -1e3)
    encoder = model.encoder
    told = [
        *encoder.messages("a"),
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    warned = pytest.warns(PersonaLensWarning, match="1 of 2 turns have no reading")
    with warned, monitor.watching(model) as watch:
        model.generate([encoder.prompt(told)], GREEDY)
    assert watch.turns["turn"].tolist() == [1]


def test_the_past_is_recognised_where_a_template_renders_it_anew(model, space):
    """Blanks at the ends of replies are cut by the template, so that no ids agree."""
    source = model.tokenizer.chat_template.replace("message.content", "(message.content | trim)")
    trimming = PersonaModel.load(
        shared_module("llama"), tokenizer=tiny_tokenizer(), chat_template=source
    )
    monitor = planted(trimming, space, -1e3)
    encoder = trimming.encoder
    asked = encoder.messages("Hi")
    with monitor.watching(trimming) as watch:
        prompt = encoder.prompt(asked)
        ids = np.asarray(encoder.plain_ids(" ghost "))
        reply = Reply(ids=ids, text=" ghost ", mean=np.zeros((1, trimming.d_model), np.float32))
        watch.before([prompt])
        watch.after([Written(prompt, reply, steered=False)])
        later = [
            *asked,
            {"role": "assistant", "content": " ghost "},
            {"role": "user", "content": "Boo"},
        ]
        trimming.generate([encoder.prompt(later)], GREEDY)
    assert watch.turns[["conversation", "turn"]].values.tolist() == [["chat 1", 0], ["chat 1", 1]]


def test_names_decide_where_they_are_given(model, space):
    monitor = planted(model, space, -1e3)
    with monitor.watching(model) as watch:
        with watch.naming("mine", "yours"):
            chats = Chats(model)
            chats.say(0)
            chats.say(1)
        with watch.naming("mine"):
            model.chat("Something else")  # a retry from the start
        refused = pytest.raises(MonitorError, match="expected 2 names, each once, given mine")
        with refused, watch.naming("mine"):
            chats.say(2)
        model.chat("Unnamed")
    assert watch.turns["conversation"].tolist() == ["mine", "yours"] * 2 + ["mine", "chat 3"]
    assert watch.turns["turn"].tolist() == [0, 0, 1, 1, 0, 0]


def test_a_watch_forgets_the_oldest_and_says_so(model, space):
    monitor = planted(model, space, -1e3)
    chats = Chats(model, [["a", "b"], ["c", "d"], ["e", "f"]])
    with warnings.catch_warnings(record=True) as told, monitor.watching(model, keep=2) as watch:
        for row in range(3):
            chats.say(0, only=[row])
        chats.say(1, only=[0])
        chats.say(1, only=[2])
    assert any("forgotten to remember others" in str(each.message) for each in told)
    # Whoever was forgotten goes on as somebody new, and what was kept of him is gone.
    assert watch.turns[["conversation", "turn"]].values.tolist() == [
        ["chat 3", 0], ["chat 4", 1], ["chat 3", 1]
    ]  # fmt: skip


def test_a_call_that_failed_leaves_the_conversation_as_it_was(model, space):
    monitor = planted(model, space, -1e3)
    chats = Chats(model, [USERS[0]])
    with monitor.watching(model) as watch:
        chats.say(0)
        prompt = model.encoder.prompt([*chats.messages[0], {"role": "user", "content": "Ice?"}])

        def broken(replies: int, tokens: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            model.generate([prompt], GREEDY, on_batch=broken)
        model.generate([prompt], GREEDY)
    assert watch.turns["conversation"].tolist() == ["chat 1", "chat 1"]


def test_turns_beyond_the_horizon_are_marked(model, space):
    monitor = planted(model, space, 1e3, horizon=2)
    chats = Chats(model, [USERS[0]])
    with warnings.catch_warnings(record=True) as told, monitor.watching(model) as watch:
        for turn in range(3):
            chats.say(turn)
    assert any("1 of 1 conversations are longer than the 2 turns" in str(w.message) for w in told)
    assert watch.turns["within"].tolist() == [True, True, False]


def test_a_space_calibrates_on_everyday_conversations_that_the_model_answers(
    model, space, tmp_path
):
    brief = Sampling(temperature=1.0, max_new_tokens=2)
    options = {
        "layer": LAYER,
        "turns": 2,
        "sampling": brief,
        "progress": False,
        "out": tmp_path / "calm",
    }
    monitor = space.monitor(model, **options)
    assert (monitor.n, monitor.horizon, monitor.threshold.rate) == (104, 2, 0.01)
    assert monitor.card["calm"] == "the calibration half of the everyday conversations"
    calibration, test = split_everyday(load_everyday())
    assert set(monitor.calm.names) == {chat.id for chat in calibration}
    assert (
        space.monitor(model, **options).threshold.value == monitor.threshold.value
    )  # kept in the folder
    said = simulate(model, everyday(test[:20]), turns=2, sampling=brief, progress=False)
    found = monitor.measure(
        monitor.trace(model, said.conversations, progress=False), statistics=["path"]
    )
    assert found["calm"].tolist() == [20, 20, 20]
    with pytest.raises(MonitorError, match="at least 109, 4 of them for the constants"):
        space.monitor(model, statistic="cusum", false_alarms=0.0095, **options)
    with warnings.catch_warnings(record=True) as told, monitor.watching(model) as watch:
        Chats(model).say(0, brief)
    assert len(watch.turns) == 2
    assert not [each for each in told if "no reading" in str(each.message)]


def test_what_cannot_be_watched_is_refused(model, space, between):
    monitor, _ = between
    other = PersonaModel.load(shared_module("qwen3"), tokenizer=tiny_tokenizer())
    card = {
        "model": model.card(),
        "shorter": 0,
        "unread": 0,
        "choice": "",
        "chosen_on": None,
        "seed": 0,
    }
    calm = pd.DataFrame(
        {
            "conversation": np.repeat(np.arange(19), 2),
            "turn": np.tile([0, 1], 19),
            "projection": np.arange(38.0),
        }
    )
    reader = Monitor.calibrate(calm, "lowest", false_alarms=0.05)
    with pytest.raises(MonitorError, match="knows no directions in residuals"):
        reader.watching(model)
    own = Monitor(
        monitor.threshold, 4, monitor.calm, monitor.reference, 1, None, card, monitor.places
    )
    own.watching(model)
    with pytest.raises(MonitorError, match="calibrated on other weights"):
        own.watching(other)
    retold = PersonaModel.load(
        shared_module("llama"),
        tokenizer=tiny_tokenizer(),
        chat_template=model.tokenizer.chat_template + "\n",
    )
    with pytest.raises(MonitorError, match="another chat template"):
        own.watching(retold)
    paper = Monitor(
        monitor.threshold,
        4,
        monitor.calm,
        monitor.reference,
        1,
        None,
        {**card, "tokens": "paper"},
        monitor.places,
    )
    with pytest.raises(MonitorError, match='tokens="answer"'):
        paper.watching(model)
    with pytest.raises(MonitorError, match="rows"):
        monitor.watching(model, then=push(model) * [1.0, 2.0])


def test_a_listener_that_fails_does_not_keep_others_from_hearing(model):
    heard: list[int] = []

    class Failing:
        layers: tuple[int, ...] = (0,)

        def before(self, prompts):
            return []

        def after(self, written: Sequence[Written]) -> None:
            if written:
                raise ValueError("nothing heard")

    class Counting(Failing):
        layers = (2, 1)

        def after(self, written: Sequence[Written]) -> None:
            assert written[0].reply.mean is not None
            heard.append(written[0].reply.mean.shape[0])

    prompt = model.encoder.prompt(model.encoder.messages("Hi"))
    failed = pytest.raises(ValueError, match="nothing heard")
    with listening(model, Failing()), listening(model, Counting()), failed:
        model.generate([prompt], GREEDY)
    assert heard == [2]
    Failing.layers = (99,)
    with pytest.raises(ModelError), listening(model, Failing()):
        pass
    assert not model.listeners.active
