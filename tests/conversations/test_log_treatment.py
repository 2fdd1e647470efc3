"""What is done about everything that logs hold, as it is stated, and otherwise where that is asked for."""

from __future__ import annotations

import json
import math
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persona_lens.conversations import Conversation, ConversationLog, LogReport, read_conversations
from persona_lens.errors import ConversationError
from persona_lens.transcripts.validation import validate

USER = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Hello."}


def read(*messages: Any, **options: Any) -> tuple[list[tuple[str, str]], LogReport]:
    log = ConversationLog([{"messages": list(messages)}], **options)
    (chat,) = log
    return [(message.role, message.content) for message in chat.messages], log.report


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def test_an_assistant_who_speaks_first_is_kept_and_noted() -> None:
    said, report = read(REPLY, USER, REPLY)
    assert [role for role, _ in said] == ["assistant", "user", "assistant"]
    assert report.total("noted", "an assistant who speaks first") == 1
    assert report.whole


def test_messages_in_a_row_are_joined_kept_or_refused() -> None:
    messages = (USER, user("Anybody?"), REPLY, assistant("Still here."), USER)
    said, report = read(*messages)
    assert said == [
        ("user", "Hi\n\nAnybody?"),
        ("assistant", "Hello.\n\nStill here."),
        ("user", "Hi"),
    ]
    assert report.total("noted", "messages of the user in a row, joined") == 1
    assert report.findings[1].place == "item [0], message 3"
    said, report = read(*messages, in_a_row="keep")
    assert len(said) == 5
    assert not report.findings
    with pytest.raises(ConversationError, match="messages 0 and 1 are both of the user"):
        read(*messages, in_a_row="refuse")


def test_blank_messages_are_cut_and_those_around_them_joined() -> None:
    said, report = read(USER, assistant(" \n"), user("Hello?"), assistant(""))
    assert said == [("user", "Hi\n\nHello?")]
    assert report.total("cut", "blank message") == 2
    assert [each.place for each in report.findings[:2]] == [
        "item [0], message 1",
        "item [0], message 3",
    ]
    assert not report.whole


def test_a_system_message_amid_others_is_dropped_or_kept_where_that_is_asked_for() -> None:
    messages = (
        {"role": "system", "content": "A."},
        USER,
        {"role": "system", "content": "B."},
        user("Ho"),
    )
    said, report = read(*messages, later_system="drop")
    assert said == [("system", "A."), ("user", "Hi\n\nHo")]
    assert report.total("cut", "system message amid a conversation") == 1
    said, _ = read(*messages, later_system="keep")
    assert [role for role, _ in said] == ["system", "user", "system", "user"]


def test_system_messages_in_a_row_are_one() -> None:
    said, _ = read(
        {"role": "system", "content": "A."}, {"role": "developer", "content": "B."}, USER
    )
    assert said == [("system", "A.\n\nB."), ("user", "Hi")]


def test_a_conversation_that_waits_for_a_reply_is_kept() -> None:
    said, report = read(USER)
    assert said == [("user", "Hi")]
    assert report.total("noted", "no reply yet") == 1
    said, report = read(USER, REPLY, user("Bye"))
    assert said[-1] == ("user", "Bye")
    assert not report.findings


def test_max_turns_ends_behind_a_reply() -> None:
    said, report = read(USER, REPLY, USER, assistant("2"), USER, max_turns=1)
    assert said == [("user", "Hi"), ("assistant", "Hello.")]
    assert report.total("cut") == 3
    said, report = read(USER, REPLY, USER, assistant("2"), USER, max_turns=2)
    assert len(said) == 5
    assert report.whole


def test_names_given_twice_are_told_apart() -> None:
    records = [{"id": name, "messages": [USER]} for name in ("a", "a", "a#2", "b", "a", 7, "7")]
    log = ConversationLog(records)
    assert [chat.id for chat in log] == ["a", "a#2", "a#2#2", "b", "a#3", "7", "7#2"]
    assert log.report.total("noted", "name given twice") == 4


def test_a_name_is_taken_from_the_usual_fields_or_made_from_the_place() -> None:
    records = [
        {"conversation_hash": "x", "uuid": "u", "messages": [USER]},
        {"id": " ", "messages": [USER]},
        {"id": None, "messages": [USER]},
        {"id": True, "session_id": 5, "messages": [USER]},
    ]
    chats = list(ConversationLog(records))
    assert [chat.id for chat in chats] == ["x", "item-1", "item-2", "5"]
    assert chats[0].about == {"uuid": "u"}


def test_tools_are_dropped_and_counted_where_that_is_asked_for() -> None:
    said, report = read(
        USER,
        assistant(None, tool_calls=[{"id": "1"}]),
        {"role": "tool", "content": [{"type": "text", "text": "4"}]},
        assistant([{"type": "text", "text": "It is 4."}, {"type": "tool_use", "name": "x"}]),
        tools="drop",
    )
    assert said == [("user", "Hi"), ("assistant", "It is 4.")]
    assert report.total("cut", "tool message or call") == 3
    assert report.total("cut", "blank message") == 0


def test_images_are_dropped_and_counted_where_that_is_asked_for() -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}]
    said, report = read(user(parts), media="drop")
    assert said == [("user", "What is this?")]
    assert report.total("cut", "image, sound or file") == 1


def test_parts_are_joined_with_nothing_between() -> None:
    parts = ["One, ", {"type": "input_text", "text": "two, "}, {"text": "three."}]
    assert read(user(parts))[0] == [("user", "One, two, three.")]
    assert read(user({"type": "text", "text": "One."}))[0] == [("user", "One.")]
    value = [{"type": "text", "text": {"value": "Two.", "annotations": []}}]
    assert read(user(value))[0] == [("user", "Two.")]


@pytest.mark.parametrize(
    "message",
    [
        assistant("Yes.", reasoning_content="Hm."),
        assistant("Yes.", reasoning="Hm."),
        assistant("Yes.", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]),
        assistant([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}]),
        assistant("<think>\nHm.\n</think>\n\nYes."),
        assistant("<Thinking>Hm.</Thinking>Yes."),
        assistant("[THINK]Hm.[/THINK]Yes."),
        assistant("Hm.\n</think>\n\nYes."),
    ],
)
def test_thoughts_are_cut_and_counted(message: dict[str, Any]) -> None:
    said, report = read(USER, message)
    assert said[1] == ("assistant", "Yes.")
    assert report.total("cut", "thought") == 1
    kept, report = read(USER, message, thoughts="keep")
    assert "Hm." in kept[1][1]
    assert kept[1][1].endswith("Yes.")
    assert report.whole


def test_a_thought_without_an_end_is_no_answer() -> None:
    said, report = read(
        USER, assistant("<think>Hm, let me see"), user("And?"), assistant(None, reasoning="x")
    )
    assert said == [("user", "Hi\n\nAnd?")]
    assert report.total("cut", "thought without an answer") == 2


def test_words_about_thoughts_stay() -> None:
    for text in ("Use <think> tags.", "It ends with <think>x</think> here.", "1 < 2 </b>"):
        assert read(USER, assistant(text))[0][1] == ("assistant", text)
    assert read(user("<think>x</think> y"))[0] == [("user", "<think>x</think> y")]


HIDDEN = {
    "<STATE>bored</STATE>Go on.": ("Go on.", 1),
    "Go on.\n\n<STATE>bored\n</STATE>": ("Go on.", 1),
    "Go <state>x</State> on.": ("Go on.", 1),
    "a<STATE>x</STATE> b": ("a b", 1),
    "One.\n\n<STATE a='1'>x</STATE>\n\nTwo.": ("One.\n\nTwo.", 1),
    "<STATE><STATE>x</STATE>y</STATE>z": ("z", 1),
    "<STATE/>z<STATE />": ("z", 2),
    "<STATE>x</STATE> a <PLAN>y</PLAN> b": ("a b", 2),
    " <STATES>x</STATES> ": (" <STATES>x</STATES> ", 0),
}


@pytest.mark.parametrize("text", HIDDEN)
def test_hidden_tags_are_taken_out_and_counted(text: str) -> None:
    wanted, count = HIDDEN[text]
    said, report = read(user(text), hidden_tags=["STATE", "PLAN"])
    assert said == [("user", wanted)]
    assert report.total("cut", "hidden tag") == count


def test_a_message_of_hidden_tags_alone_is_blank() -> None:
    _, report = read(user("<STATE>x</STATE>"), USER, hidden_tags=["STATE"])
    assert report.total("cut", "blank message") == 1


@pytest.mark.parametrize(
    "text", ["<STATE>bored. Go on.", "bored</STATE> Go on.", "<STATE>a</STATE></STATE>b"]
)
def test_half_a_hidden_tag_is_refused(text: str) -> None:
    with pytest.raises(ConversationError, match=r"message 0: .*STATE> is not (closed|opened)"):
        read(user(text), hidden_tags=["STATE"])
    assert read(user(text))[0] == [("user", text)]


def test_tags_that_look_hidden_are_pointed_out() -> None:
    said, report = read(
        user("<INTERNAL_STATE>x</INTERNAL_STATE> Hi <b>you</b>"), assistant("<NOTE>x</NOTE>")
    )
    assert "<INTERNAL_STATE>" in said[0][1]
    (finding,) = report.findings
    assert finding.kind == "noted"
    assert finding.remedy.startswith("hidden_tags=['INTERNAL_STATE']")


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *((name, "user") for name in ("user", "human", "Human", "prompter", "customer", " USER ")),
        *(
            (name, "assistant")
            for name in ("assistant", "gpt", "model", "bot", "AI", "chatgpt", "Claude")
        ),
        *((name, "system") for name in ("system", "developer", "System")),
    ],
)
def test_spellings_of_roles(name: str, role: str) -> None:
    said, _ = read({"from": name, "value": "x"}, USER, in_a_row="keep", later_system="keep")
    assert said[0] == (role, "x")


def test_names_of_people_are_roles_where_that_is_said() -> None:
    messages = [{"speaker": "Ann", "text": "Hi"}, {"speaker": "Robo", "text": "Hello."}]
    (chat,) = ConversationLog([{"messages": messages}], roles={"Ann": "user", "Robo": "assistant"})
    assert chat.replies == ("Hello.",)


def test_further_fields_of_messages_are_noted_once() -> None:
    _, report = read({**USER, "toxicity": 0.1, "name": None}, {**REPLY, "weight": 1, "toxicity": 0})
    (finding,) = report.findings
    assert (finding.kind, finding.problem) == ("noted", "toxicity, weight")


def test_a_refusal_is_what_the_assistant_said() -> None:
    said, report = read(USER, assistant(None, refusal="I would rather not."))
    assert said[1] == ("assistant", "I would rather not.")
    assert report.total("noted", "a refusal of the assistant") == 1


def test_what_is_known_becomes_plain_json() -> None:
    when = datetime(2026, 5, 1, tzinfo=timezone.utc)
    log = ConversationLog(
        [
            {
                "messages": [USER],
                "nan": math.nan,
                "deep": {"inf": [math.inf, 1]},
                "when": when,
                "price": Decimal("1.5"),
                "count": np.int64(3),
                "raw": b"x",
                "made": object(),
                "half": "\ud83d",
                5: "five",
            }
        ]
    )
    (chat,) = log
    assert chat.about == {
        "nan": None,
        "deep": {"inf": [None, 1]},
        "when": when.isoformat(),
        "price": 1.5,
        "count": 3,
        "5": "five",
    }
    left_out = {each.what for each in log.report.findings} - {"no reply yet"}
    assert left_out == {f"field that cannot be kept ({name})" for name in ("raw", "made", "half")}


def test_nan_in_a_file_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"messages": [USER], "score": math.nan}]), "utf-8")
    (chat,) = ConversationLog(path)
    assert chat.about == {"score": None}


def test_a_comma_behind_each_line_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps({'messages': [USER]})},\n" * 2, "utf-8")
    assert len(list(ConversationLog(path))) == 2


def test_conversations_that_were_made_are_taken_as_they_are() -> None:
    chat = Conversation.of(
        [
            ("user", ""),
            ("user", "<STATE>x</STATE>Hi"),
            ("assistant", "<think>x</think>Yes."),
            ("assistant", ""),
        ],
        id="made",
    )
    assert read_conversations([chat]) == [chat]
    (cut,) = ConversationLog(chat, hidden_tags=["STATE"], max_turns=1)
    assert [message.content for message in cut.messages] == ["", "Hi", "<think>x</think>Yes."]


def test_what_is_read_can_be_rendered() -> None:
    messages = (
        {"role": "developer", "content": "A."},
        USER,
        USER,
        assistant(""),
        assistant("x", reasoning="y"),
        {"role": "system", "content": "B."},
        {"role": "tool", "content": "z"},
        user("Bye"),
    )
    log = ConversationLog([{"messages": list(messages)}], tools="drop", later_system="drop")
    (chat,) = log
    validate(chat.as_dicts())
    roles = [message.role for message in chat.messages]
    assert roles == ["system", "user", "assistant", "user"]


def test_the_report_counts_what_it_does_not_keep() -> None:
    log = ConversationLog([{"messages": [USER]}, *({"messages": []} for _ in range(1_234))])
    assert len(list(log)) == 1
    assert log.report.refused == 1_234
    assert len(log.report.findings) == 1_001
    frame = log.report.frame
    assert list(frame.columns) == ["kind", "what", "place", "problem", "remedy", "count"]
    assert frame["kind"].value_counts().to_dict() == {"refused": 1_000, "noted": 1}
    assert str(log.report).splitlines() == [
        "1 conversations of 1 messages were read",
        "refused: 1,234 x no messages (item [1]; item [2]; item [3]; and 1,231 more)",
        "  leave the conversation out of the log",
        "kept, with: 1 x no reply yet (item [0])",
    ]


def test_a_conversation_that_is_refused_leaves_nothing_else_in_the_report() -> None:
    log = ConversationLog([{"messages": [user(""), USER, user(3)]}, {"messages": [USER, REPLY]}])
    list(log)
    assert [each.kind for each in log.report.findings] == ["refused"]


def test_half_a_hidden_tag_in_a_conversation_that_was_made_is_refused() -> None:
    chat = Conversation.of([("user", "Hi"), ("user", "<STATE>x")], id="made")
    with pytest.raises(ConversationError, match=r"message 1: <STATE> is not closed"):
        list(ConversationLog(chat, hidden_tags=["STATE"]))
