"""Users of simulated conversations: scripts, the part that a model plays, and who plays it."""

from __future__ import annotations

import numpy as np
import pytest
from faulty_server import FaultyServer, error, ok, server_error
from tiny import shared_model

from persona_lens import PersonaModel, Reply, Sampling
from persona_lens.catalog import load_everyday, load_users
from persona_lens.conversations import Conversation
from persona_lens.drift.simulation import (
    Part,
    PlayedUser,
    ScriptedUser,
    ServedUser,
    User,
    UserTurn,
    everyday,
    played,
    scripted,
    served,
)
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import ConversationError, EndpointError, InterventionError
from persona_lens.interventions import Ablate, Direction, Plan

HELLO = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Who is there?"}]
SHORT = "You are {description}. Talk of {topic}. End with {stop}."


def said(*texts: str) -> list[dict[str, str]]:
    """A chat in which the user speaks first."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]


# Scripts --------------------------------------------------------------------------------------------


def test_a_script_is_said_in_order_whatever_is_answered():
    user = ScriptedUser(["1", "2"], name="count")
    assert user.next([{"role": "system", "content": "Be brief."}]) == "1"
    assert user.next(said("1", "anything")) == "2"
    assert user.next(said("1", "anything", "2", "else")) is None


def test_a_conversation_is_a_script_of_what_its_user_said():
    chat = Conversation.of(
        [("system", "S"), ("user", "1"), ("assistant", "a"), ("user", "2")],
        id="log",
        domain="coding",
        simulator="somebody",
    )
    user = ScriptedUser(chat)
    assert (user.name, user.script) == ("log", ("1", "2"))
    assert user.about == {"simulator": "script", "domain": "coding"}
    assert user.depends() != ScriptedUser(["1", "3"], name="log", about=user.about).depends()


@pytest.mark.parametrize(
    ("script", "name"), [("text", "a"), ([], "a"), (["1", 2], "a"), (["1"], " "), (["1"], None)]
)
def test_what_is_no_script_is_refused(script, name):
    with pytest.raises(ConversationError):
        ScriptedUser(script, name=name)


def test_users_of_your_own_are_asked_one_by_one():
    class Shouting(User):
        def next(self, messages):
            return messages[-1]["content"].upper() if messages else None

    users = [Shouting("a"), Shouting("b")]
    turns = Shouting.together(users, [said("Hi", "there"), []])
    assert turns == [UserTurn("THERE"), UserTurn(None)]


# The part -------------------------------------------------------------------------------------------


def test_the_simulator_sees_the_chat_with_roles_swapped_and_no_system_text_of_its_partner():
    part = Part("a nurse", "sleep", brief=SHORT)
    seen = part.seen([{"role": "system", "content": "Be a ghost."}, *HELLO])
    assert [message["role"] for message in seen] == ["system", "user", "assistant", "user"]
    assert seen[0]["content"] == "You are a nurse. Talk of sleep. End with [END]."
    assert [message["content"] for message in seen[1:]] == [part.opening, "Hello", "Who is there?"]
    assert not any("ghost" in message["content"] for message in seen)


def test_braces_in_a_description_are_text():
    part = Part("one who writes {topic} in code", "{stop} signs", brief=SHORT)
    assert part.instructions == (
        "You are one who writes {topic} in code. Talk of {stop} signs. End with [END]."
    )


@pytest.mark.parametrize(
    ("text", "cut", "turn"),
    [
        ("  Why?\n", False, UserTurn("Why?")),
        ("<think>\nA nurse would ask.\n</think>\n\nWhy?", False, UserTurn("Why?")),
        ("Fine then. [END] Bye", False, UserTurn("Fine then.", last=True)),
        ("Fine. STOP [END]", False, UserTurn("Fine.", last=True)),
        ("[END]", False, UserTurn(None)),
        (" \n", False, UserTurn(None, why="the simulated user wrote nothing")),
        ("I can not sleep. It is the li", True, UserTurn("I can not sleep.")),
        ('He said "no!" And th', True, UserTurn('He said "no!"')),
        ("It is 3.5 degrees and th", True, UserTurn("It is 3.5 degrees and th")),
        ("I can not sleep. It is the li", False, UserTurn("I can not sleep. It is the li")),
        ('"Is it the light?"', False, UserTurn("Is it the light?")),
        ('"Light" is a word', False, UserTurn('"Light" is a word')),
    ],
)
def test_what_of_a_text_is_the_message(text, cut, turn):
    assert Part("a nurse", "sleep", stops=("[END]", "STOP")).heard(text, cut=cut) == turn


@pytest.mark.parametrize(
    "wrong", [{"description": " "}, {"topic": ""}, {"stops": "END"}, {"stops": ()}, {"limit": 0}]
)
def test_a_part_that_cannot_be_played_is_refused(wrong):
    with pytest.raises(ConversationError):
        Part(**{"description": "a nurse", "topic": "sleep", **wrong})


# A model plays it -----------------------------------------------------------------------------------


def player(name: str, model: PersonaModel | None = None, **options) -> PlayedUser:
    sampling = options.pop("sampling", Sampling(max_new_tokens=6, temperature=1.0))
    model = model or shared_model("llama")
    return PlayedUser(
        model, "a nurse", "sleep", name=name, sampling=sampling, brief=SHORT, **options
    )


def writing(monkeypatch: pytest.MonkeyPatch, *texts: str) -> list[list[str]]:
    """Have the tiny model write these; returns what it is asked, call by call."""
    model, left, asked = shared_model("llama"), list(texts), []

    def generate(prompts, sampling, **_):
        asked.append([prompt.text for prompt in prompts])
        return [Reply(ids=np.arange(3), text=left.pop(0)) for _ in prompts]

    monkeypatch.setattr(model, "generate", generate)
    return asked


def test_users_of_one_model_speak_in_one_batch(monkeypatch):
    asked = writing(monkeypatch, "One.", "Two.", "Three. [END]")
    users = [player("a"), player("b"), player("c", limit=1), player("d")]
    turns = PlayedUser.together(users, [HELLO, HELLO, HELLO, []])
    assert turns == [
        UserTurn("One."),
        UserTurn("Two."),
        UserTurn(None, why="the simulated user's limit"),
        UserTurn("Three.", last=True),
    ]
    assert list(map(len, asked)) == [2, 1]
    assert asked[0][0].count("<|im_start|>assistant\nHello<|im_end|>") == 1


def test_the_same_user_says_the_same_again_and_other_seeds_say_something_else():
    first = player("a").next(HELLO)
    assert first == player("a").next(HELLO)
    other = player("a", sampling=Sampling(max_new_tokens=6, temperature=1.0, seed=1))
    assert other.next(HELLO) != first
    assert player("a").next(said("Hello", "Who is there?", "I", "Who is there?")) != first


def test_a_user_whose_model_has_no_room_ends():
    long = said("x" * 300, "y" * 200)
    turns = PlayedUser.together([player("a"), player("b")], [long, HELLO])
    assert turns[0] == UserTurn(None, why="the context of the simulated user's model is full")
    assert turns[1].text is not None


def test_what_is_recorded_of_a_player():
    user = player("a", about={"domain": "therapy"}, sampling=Sampling(temperature=0.5, seed=3))
    assert user.about == {
        "domain": "therapy",
        "simulator": user.model.name,
        "persona": "a nurse",
        "topic": "sleep",
        "simulator_seed": 3,
        "simulator_temperature": 0.5,
        "simulator_top_p": 0.9,
    }
    assert user.depends()["simulator_model"]["fingerprint"] == user.model.fingerprint
    assert player("a").depends() != player("a", stops=("STOP",)).depends()


def test_no_plan_acts_on_a_player_unseen():
    model = shared_model("llama")
    plan = Plan.of(Ablate(Direction("ghost", (1,), np.eye(1, 16))))
    with model.intervene(plan), pytest.raises(InterventionError):
        player("a")


# A server plays it ----------------------------------------------------------------------------------


def settings(server: FaultyServer, **options) -> EndpointSettings:
    return EndpointSettings(
        model="m", base_url=server.url, max_attempts=2, backoff=0.01, give_up_after=1, **options
    )


def test_a_server_plays_users_side_by_side():
    with FaultyServer(ok(lambda body: f"{len(body['messages'])} messages. [END]")) as server:
        users = [
            ServedUser(settings(server), "a nurse", "sleep", name=name, about={"domain": "x"})
            for name in "ab"
        ]
        turns = ServedUser.together(users, [HELLO, []])
    assert turns == [UserTurn("4 messages.", last=True), UserTurn("2 messages.", last=True)]
    bodies = sorted((seen.body for seen in server.requests), key=lambda body: len(body["messages"]))
    assert [m["role"] for m in bodies[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert bodies[1]["temperature"] == 0.8
    assert bodies[1]["max_tokens"] == 64
    assert bodies[0]["seed"] != bodies[1]["seed"]
    assert users[0].about["simulator"] == "m"
    assert users[0].about["domain"] == "x"


def test_a_chat_that_the_server_refuses_ends_and_one_that_it_fails_stops_everything():
    with FaultyServer(error(400, "too long")) as server:
        user = ServedUser(settings(server), "a nurse", "sleep")
        assert ServedUser.together([user], [HELLO]) == [
            UserTurn(None, why="the simulated user's server refused the chat")
        ]
    with FaultyServer(server_error()) as server:
        user = ServedUser(settings(server), "a nurse", "sleep")
        with pytest.raises(EndpointError):
            user.next(HELLO)


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_how_a_served_message_ends_counts(finish):
    with FaultyServer(ok("I can not sleep. It is the li", finish=finish)) as server:
        (turn,) = ServedUser.together([ServedUser(settings(server), "a nurse", "sleep")], [HELLO])
    expected = {
        "length": UserTurn("I can not sleep."),
        "content_filter": UserTurn(None, why="the simulated user's server refused"),
    }
    assert turn == expected[finish]


def test_casts_of_the_catalogue():
    (person,) = load_users("night_shift_nurse_coder")
    scripts = scripted(person.scripts)
    assert [user.script for user in scripts] == [script.messages for script in person.scripts]
    assert scripts[0].about["domain"] == "coding"
    few = played(shared_model("llama"), [person], topics=2, limit=5)
    assert [user.name for user in few] == [f"{person.id}/{t.id}" for t in person.topics[:2]]
    assert few[0].about["topic"] == person.topics[0].text
    assert few[0].about["persona"] == person.id
    assert person.description in few[0].part.instructions
    assert few[1].part.limit == 5
    server = EndpointSettings(model="m", base_url="http://127.0.0.1:9/v1")
    everyone = served(server, [person])
    assert len(everyone) == len(person.topics)
    assert everyone[0].endpoint is everyone[1].endpoint
    (chat,) = load_everyday("flat_pancakes")
    assert everyday([chat])[0].script == chat.messages
