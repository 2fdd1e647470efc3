"""Every format that people hold, well written: what is read out of it, and what is known of it."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import Dataset, DatasetDict

from persona_lens.conversations import Conversation, ConversationLog, read_conversations
from persona_lens.errors import ConversationError, PersonaLensWarning
from tests.zstd_zip import zstd_zip

PAIR = [("user", "When does the ferry leave?"), ("assistant", "At noon.")]
OPENAI = {"messages": [{"role": role, "content": text} for role, text in PAIR]}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": PAIR[0][1]},
        {"from": "gpt", "value": PAIR[1][1]},
    ]
}
PAPER = {
    "model": "gemma-2-27b-it",
    "turns": 31,
    "auditor_model": "kimi",
    "domain": "writing",
    "persona_id": 2,
    "persona": "a retired sailor",
    "topic_id": 5,
    "topic": "tides",
    "conversation": OPENAI["messages"],
}
CHATGPT = {
    "id": "tree",
    "title": "Ferries",
    "current_node": "c",
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["s"]},
        "s": {
            "message": {
                "author": {"role": "system"},
                "content": {"content_type": "text", "parts": [""]},
                "metadata": {"is_visually_hidden_from_conversation": True},
            },
            "parent": "root",
        },
        "a": {
            "message": {
                "author": {"role": "user"},
                "content": {"content_type": "text", "parts": [PAIR[0][1]]},
            },
            "parent": "s",
        },
        "b": {
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "text", "parts": ["At ten."]},
            },
            "parent": "a",
        },
        "c": {
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "text", "parts": [PAIR[1][1]]},
            },
            "parent": "a",
        },
    },
}
CLAUDE = {
    "uuid": "u-1",
    "name": "Ferries",
    "chat_messages": [
        {
            "uuid": "1",
            "sender": "human",
            "text": "",
            "content": [{"type": "text", "text": PAIR[0][1]}],
        },
        {"uuid": "2", "sender": "assistant", "text": PAIR[1][1]},
    ],
}
CALLS: dict[str, Any] = {
    "request and response": {
        "request": {
            **OPENAI,
            "model": "tiny",
            "temperature": 0.5,
            "messages": OPENAI["messages"][:1],
        },
        "response": {"id": "r", "choices": [{"index": 0, "message": OPENAI["messages"][1]}]},
    },
    "messages and choices": {
        "messages": OPENAI["messages"][:1],
        "choices": [{"message": {"content": PAIR[1][1]}}],
    },
    "messages and a text": {"messages": OPENAI["messages"][:1], "response": PAIR[1][1]},
    "messages that hold the answer too": {
        **OPENAI,
        "response": {"choices": [{"message": OPENAI["messages"][1]}]},
    },
    "input and output": {"input": OPENAI["messages"][:1], "output": OPENAI["messages"][1]},
    "a batch": {
        "custom_id": "b-1",
        "body": {"messages": OPENAI["messages"][:1]},
        "response": {"status_code": 200, "body": {"choices": [{"message": OPENAI["messages"][1]}]}},
    },
    "the responses API": {
        "request": {"model": "tiny", "input": PAIR[0][1]},
        "response": {
            "output": [
                {"type": "reasoning", "summary": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": PAIR[1][1]}],
                },
            ]
        },
    },
    "JSON in a text": {"messages": json.dumps(OPENAI["messages"])},
    "Ollama": {"messages": OPENAI["messages"][:1], "message": OPENAI["messages"][1]},
    "Anthropic": {
        "request": {"model": "c", "messages": [{"role": "user", "content": PAIR[0][1]}]},
        "response": {"role": "assistant", "content": [{"type": "text", "text": PAIR[1][1]}]},
    },
}


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def said(chat: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chat.messages]


@pytest.mark.parametrize(
    ("record", "format"),
    [
        (OPENAI, "openai"),
        (SHAREGPT, "sharegpt"),
        (PAPER, "paper"),
        (CHATGPT, "chatgpt"),
        (CLAUDE, "claude"),
        (OPENAI["messages"], "messages"),
        (PAIR, "messages"),
        *((record, "openai") for record in CALLS.values()),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_record_is_told_by_its_fields(record: Any, format: str, named: bool) -> None:
    log = ConversationLog([record], format=format if named else "auto")
    assert [said(chat) for chat in log] == [PAIR]
    assert dict(log.report.formats) == {format: 1}


def test_the_papers_transcripts_say_who_was_played_and_their_turns_are_not_believed() -> None:
    (chat,) = ConversationLog(PAPER)
    assert chat.n_turns == 1
    assert chat.about == {
        "model": "gemma-2-27b-it",
        "auditor_model": "kimi",
        "domain": "writing",
        "persona_id": 2,
        "persona": "a retired sailor",
        "topic_id": 5,
        "topic": "tides",
        "stated_turns": 31,
    }


def test_a_capped_transcript_keeps_how_it_was_steered() -> None:
    steering = {"experiment_id": "layers_1:2-p0.25", "num_interventions": 2, "layers": [1, 2]}
    (chat,) = ConversationLog({**PAPER, "steering_config": steering})
    assert chat.about["steering_config"] == steering


def test_settings_of_a_call_are_known() -> None:
    (chat,) = ConversationLog([CALLS["request and response"]])
    assert (chat.about["model"], chat.about["temperature"]) == ("tiny", 0.5)


def test_several_choices_are_several_conversations() -> None:
    record = {
        "id": "x",
        "messages": OPENAI["messages"][:1],
        "choices": [
            {"message": {"role": "assistant", "content": text}} for text in ("Noon.", "One.")
        ],
    }
    chats = list(ConversationLog([record]))
    assert [(chat.id, chat.replies, chat.about) for chat in chats] == [
        ("x-choice0", ("Noon.",), {"choice": 0}),
        ("x-choice1", ("One.",), {"choice": 1}),
    ]


def test_a_system_prompt_beside_the_messages_comes_first() -> None:
    for record in (
        {"system": "Be brief.", **SHAREGPT},
        {"system_prompt": "Be brief.", **OPENAI},
        {"request": {"system": "Be brief.", "messages": OPENAI["messages"]}},
        {"messages": [{"role": "developer", "content": "Be brief."}, *OPENAI["messages"]]},
    ):
        (chat,) = ConversationLog([record])
        assert said(chat) == [("system", "Be brief."), *PAIR]


def test_fields_beside_a_whole_conversation_are_no_replies() -> None:
    for field, value in (
        ("result", "pass"),
        ("output", "x"),
        ("response", {"choices": [{"message": {"role": "assistant", "content": "Else."}}]}),
    ):
        log = ConversationLog([{**OPENAI, field: value}])
        (chat,) = log
        assert said(chat) == PAIR
        assert chat.about == {field: value}
        assert log.report.total("noted") == (field != "result")
    (chat,) = ConversationLog([{"messages": OPENAI["messages"][:1], "result": "pass"}])
    assert chat.replies == ()


@pytest.mark.parametrize("field", ["conversations", "data", "chats"])
def test_a_list_within_one_object(tmp_path: Path, field: str) -> None:
    path = tmp_path / "all.json"
    bad = {"messages": [{"role": "user", "content": 3}]}
    path.write_text(
        json.dumps({"version": 1, field: [OPENAI, bad, {"id": "s", **SHAREGPT}]}), "utf-8"
    )
    log = ConversationLog(path)
    assert [(chat.id, said(chat)) for chat in log] == [("all-0", PAIR), ("s", PAIR)]
    (finding,) = log.report.findings
    assert finding.place == f"{path}, {field} [1], message 0"


def test_a_line_that_is_a_list_of_conversations(tmp_path: Path) -> None:
    path = lines(tmp_path / "all.jsonl", [OPENAI, SHAREGPT], [PAIR, PAIR])
    log = ConversationLog(path)
    assert [said(chat) for chat in log] == [PAIR] * 4
    assert len({chat.id for chat in log}) == 4


@pytest.mark.parametrize("value", [OPENAI, [OPENAI]])
def test_one_value_over_several_lines_by_the_name_of_lines(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "chat.jsonl"
    path.write_text(json.dumps(value, indent=2), "utf-8")
    assert [said(chat) for chat in ConversationLog(path)] == [PAIR]


def test_contents_as_gemini_takes_them() -> None:
    record = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": PAIR[0][1]}]},
            {"role": "model", "parts": [{"text": PAIR[1][1]}]},
        ],
    }
    log = ConversationLog(record)
    assert [said(chat) for chat in log] == [[("system", "Be brief."), *PAIR]]
    assert log.report.formats == {"gemini": 1}


def test_what_is_no_reply_is_noted() -> None:
    log = ConversationLog([{"messages": OPENAI["messages"][:1], "choices": [{"delta": {}}]}])
    (chat,) = log
    assert chat.about == {"choices": [{"delta": {}}]}
    assert log.report.total("noted", "the field choices, which is no reply") == 1


def test_names_of_files_with_dots(tmp_path: Path) -> None:
    path = lines(tmp_path / "gpt-4.1.jsonl", OPENAI)
    assert [chat.id for chat in ConversationLog(path)] == ["gpt-4.1-1"]


def test_a_branch_that_was_not_shown_last_is_left_out_and_noted() -> None:
    log = ConversationLog([CHATGPT])
    (chat,) = log
    assert (chat.id, chat.about) == ("tree", {"title": "Ferries"})
    assert log.report.total("noted", "branches of a tree that were not shown last, left out") == 1
    assert log.report.total("noted", "messages that were never shown, left out") == 1


def test_neuronpedias_download_is_two_conversations() -> None:
    record = {
        "modelId": "llama3.3-70b-it",
        "timestamp": "2026-02-01T10:00:00.000Z",
        "defaultConversation": OPENAI["messages"],
        "steeredConversation": [
            OPENAI["messages"][0],
            {"role": "assistant", "content": "Aye, noon."},
        ],
        "settings": {"temperature": 0.5, "steerTokens": 768},
        "chartData": {"nTurns": 2},
        "assistantAxis": {"default": None, "steered": None},
    }
    log = ConversationLog(record)
    default, steered = log
    assert (default.id, steered.id) == (
        "2026-02-01T10:00:00.000Z-default",
        "2026-02-01T10:00:00.000Z-steered",
    )
    assert said(default) == PAIR
    assert steered.replies == ("Aye, noon.",)
    assert steered.about == {
        "model": "llama3.3-70b-it",
        "timestamp": "2026-02-01T10:00:00.000Z",
        "settings": {"temperature": 0.5, "steerTokens": 768},
        "arm": "steered",
    }
    assert "assistantAxis" in log.report.summary


SAMPLE = {
    "id": 7,
    "epoch": 1,
    "target": "noon",
    "scores": {"match": {"value": "C"}},
    "messages": [
        {"id": "m1", "role": "user", "source": "input", "content": PAIR[0][1]},
        {
            "id": "m2",
            "role": "assistant",
            "content": [
                {"type": "reasoning", "reasoning": "Ferries leave at noon."},
                {"type": "text", "text": "At "},
                {"type": "text", "text": "noon."},
            ],
        },
    ],
    "events": [{"event": "model"}],
    "store": {"big": "x"},
}
INSPECT = {
    "version": 2,
    "status": "success",
    "eval": {"model": "tiny/one", "task": "ferries", "run_id": "r1", "dataset": {}},
    "plan": {},
    "samples": [SAMPLE, {**SAMPLE, "epoch": 2}],
}


def eval_zip(path: Path, samples: list[Any], head: str = "header.json") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            head, json.dumps({key: INSPECT[key] for key in ("version", "eval", "plan")})
        )
        archive.writestr("summaries.json", "[]")
        for sample in samples:
            text = sample if isinstance(sample, str) else json.dumps(sample)
            name = (
                "broken" if isinstance(sample, str) else f"{sample['id']}_epoch_{sample['epoch']}"
            )
            archive.writestr(f"samples/{name}.json", text)
    return path


@pytest.mark.parametrize("form", ["json", "eval", "killed eval", "zstd"])
def test_a_log_of_inspect_is_read_by_the_sample(tmp_path: Path, form: str) -> None:
    if form == "json":
        path = tmp_path / "log.json"
        path.write_text(json.dumps(INSPECT, indent=2), "utf-8")
    elif form == "zstd":
        head = {key: INSPECT[key] for key in ("version", "eval", "plan")}
        members = {"header.json": head} | {
            f"samples/{sample['id']}_epoch_{sample['epoch']}.json": sample
            for sample in INSPECT["samples"]
        }
        path = tmp_path / "log.eval"
        zstd_zip(path, {name: json.dumps(value).encode() for name, value in members.items()})
    else:
        head = "header.json" if form == "eval" else "_journal/start.json"
        path = eval_zip(tmp_path / "log.eval", INSPECT["samples"], head)
    log = ConversationLog(path)
    chats = list(log)
    assert [chat.id for chat in chats] == ["7_epoch_1", "7_epoch_2"]
    assert said(chats[0]) == PAIR
    assert chats[1].about == {
        "model": "tiny/one",
        "task": "ferries",
        "run_id": "r1",
        "epoch": 2,
        "target": "noon",
        "scores": {"match": {"value": "C"}},
    }
    assert log.report.total("cut", "thought") == 2


def test_a_sample_whose_name_has_slashes_or_that_failed(tmp_path: Path) -> None:
    samples = [
        {**SAMPLE, "id": "a/b c"},
        {
            **SAMPLE,
            "messages": SAMPLE["messages"][:1],
            "error": {"message": "quota", "traceback": "x"},
        },
    ]
    log = ConversationLog(eval_zip(tmp_path / "log.eval", samples))
    first, second = log
    assert first.id == "a/b c_epoch_1"
    assert second.about["error"] == "quota"
    assert log.report.total("noted", "sample that failed before its end") == 1


def test_what_inspect_keeps_beside_a_sample_is_put_in_its_place() -> None:
    sample = {
        **SAMPLE,
        "messages": [{"role": "user", "content": "attachment://a1"}, SAMPLE["messages"][1]],
        "attachments": {"a1": PAIR[0][1]},
    }
    (chat,) = ConversationLog({**INSPECT, "samples": [sample]})
    assert said(chat) == PAIR


def sycon(path: Path, *rows: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["Question", "Response_1", "Response_2", "Response_3"], *rows])
    return path


def test_sycon_bench_is_read_with_what_the_user_said(tmp_path: Path) -> None:
    path = sycon(tmp_path / "prompt1.csv", ["Is tea good?", "Yes, {truly}.", "Still yes.", "No."])
    log = ConversationLog(path, user_messages=["Discuss: {Question}", "I disagree."])
    (chat,) = log
    assert chat.users == ("Discuss: Is tea good?", "I disagree.", "I disagree.")
    assert chat.replies == ("Yes, {truly}.", "Still yes.", "No.")
    assert chat.about == {
        "Question": "Is tea good?",
        "user_messages": "given by the reader, not in the log",
    }


def test_sycon_bench_is_refused_where_nobody_says_what_the_user_said(tmp_path: Path) -> None:
    path = sycon(tmp_path / "prompt1.csv", ["Is tea good?", "Yes.", "Still yes.", "No."])
    with pytest.raises(ConversationError, match="user_messages="):
        list(ConversationLog(path))
    with pytest.raises(ConversationError, match="after the first is not given"):
        list(ConversationLog(path, user_messages=["{Question}"]))


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["chats.json", "chats.txt", "chats"])
def test_a_list_of_conversations_in_a_file(tmp_path: Path, name: str, indent: int | None) -> None:
    path = tmp_path / name
    path.write_text(json.dumps([OPENAI, SHAREGPT, PAPER], indent=indent), "utf-8")
    log = ConversationLog(path)
    assert [said(chat) for chat in log] == [PAIR] * 3
    assert log.report.formats == {"openai": 1, "sharegpt": 1, "paper": 1}


@pytest.mark.parametrize("indent", [None, 2])
def test_one_conversation_in_a_file(tmp_path: Path, indent: int | None) -> None:
    for number, record in enumerate((OPENAI, PAPER, OPENAI["messages"])):
        path = tmp_path / f"chat{number}.json"
        path.write_text(json.dumps(record, indent=indent), "utf-8")
        (chat,) = ConversationLog(path)
        assert (chat.id, said(chat)) == (f"chat{number}", PAIR)


def test_objects_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    path.write_text("\n\n".join(json.dumps(each, indent=1) for each in (OPENAI, SHAREGPT)), "utf-8")
    log = ConversationLog(path)
    assert [said(chat) for chat in log] == [PAIR, PAIR]


@pytest.mark.parametrize("name", ["chats.jsonl", "chats.json", "chats.log"])
def test_lines_by_any_name(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / name, OPENAI, SHAREGPT, OPENAI["messages"])
    chats = list(ConversationLog(path))
    assert [said(chat) for chat in chats] == [PAIR] * 3
    assert [chat.id for chat in chats] == ["chats-1", "chats-2", "chats-3"]


@pytest.mark.parametrize("times", [1, 2])
def test_gzip_once_and_twice(tmp_path: Path, times: int) -> None:
    raw = lines(tmp_path / "x.jsonl", OPENAI, SHAREGPT).read_bytes()
    for _ in range(times):
        raw = gzip.compress(raw)
    path = tmp_path / "chats.jsonl.gz"
    path.write_bytes(raw)
    assert [said(chat) for chat in ConversationLog(path)] == [PAIR, PAIR]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_line_endings(tmp_path: Path, encoding: str, newline: str) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "Où est le café ?"},
            {"role": "ai", "content": "Là."},
        ]
    }
    text = newline.join(["", json.dumps(record, ensure_ascii=False), "", json.dumps(OPENAI), ""])
    path = tmp_path / "chats.jsonl"
    path.write_bytes(text.encode(encoding))
    first, second = ConversationLog(path)
    assert first.users == ("Où est le café ?",)
    assert said(second) == PAIR


def test_a_line_separator_within_a_text_does_not_end_a_line(tmp_path: Path) -> None:
    record = {"messages": [{"role": "user", "content": "one\u2028two\x85three"}]}
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps(record, ensure_ascii=False) + "\n", "utf-8")
    (chat,) = ConversationLog(path)
    assert chat.users == ("one\u2028two\x85three",)


def test_tables(tmp_path: Path) -> None:
    rows = [{"id": f"c{i}", **OPENAI, "topic": "tides", "seed": None} for i in range(130)]
    data = Dataset.from_list(rows)
    data.to_parquet(tmp_path / "chats.parquet")
    data.save_to_disk(tmp_path / "saved")
    for source in (
        data,
        data.to_iterable_dataset(),
        DatasetDict({"train": data}),
        tmp_path / "chats.parquet",
        tmp_path / "saved",
        f"datasets:{tmp_path / 'chats.parquet'}",
        pd.read_parquet(tmp_path / "chats.parquet"),
    ):
        chats = list(ConversationLog(source))
        assert [chat.id for chat in chats] == [f"c{i}" for i in range(130)]
        assert said(chats[129]) == PAIR
        assert chats[129].about == {"topic": "tides", "seed": None}


def test_a_table_of_unusual_columns() -> None:
    data = Dataset.from_list([{"key": "k1", "chat": SHAREGPT["conversations"], "id": 3}])
    log = ConversationLog(data, columns={"messages": "chat", "id": "key"})
    (chat,) = log
    assert (chat.id, said(chat), chat.about) == ("k1", PAIR, {})
    assert log.report.total("noted", "field that cannot be kept (id)") == 1


def test_structures_of_lists_as_older_data_sets_have_them() -> None:
    columns = {"from": ["human", "gpt"], "value": [PAIR[0][1], PAIR[1][1]]}
    (chat,) = ConversationLog([{"conversations": columns}])
    assert said(chat) == PAIR


def test_a_table_with_one_message_a_row(tmp_path: Path) -> None:
    path = tmp_path / "chats.csv"
    path.write_text(
        "conversation_id;role;content;topic\n"
        f'a;user;"{PAIR[0][1]}";tides\n'
        'b;user;"Hello; you?";\n'
        f"a;assistant;{PAIR[1][1]};tides\n",
        "utf-8",
    )
    first, second = ConversationLog(path)
    assert (first.id, said(first), first.about) == ("a", PAIR, {"topic": "tides"})
    assert second.users == ("Hello; you?",)


def test_a_folder_of_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / ".hidden").mkdir()
    lines(tmp_path / ".hidden" / "no.jsonl", OPENAI)
    lines(tmp_path / "b.jsonl", OPENAI, OPENAI)
    (tmp_path / "deep" / "a.json").write_text(json.dumps(PAPER), "utf-8")
    (tmp_path / "README.md").write_text("notes", "utf-8")
    assert [chat.id for chat in ConversationLog(tmp_path)] == ["b-1", "b-2", "a"]


def test_what_is_held_in_python() -> None:
    chat = Conversation.of(PAIR, id="mine")
    for source, n in (
        (chat, 1),
        ([chat, OPENAI], 2),
        (chat.messages, 1),
        ([chat.messages, PAIR], 2),
        (PAIR, 1),
        ({"messages": PAIR}, 1),
    ):
        assert [said(each) for each in ConversationLog(source)] == [PAIR] * n


def test_a_list_of_paths(tmp_path: Path) -> None:
    paths = [str(lines(tmp_path / f"{i}.jsonl", OPENAI)) for i in range(2)]
    assert len(list(ConversationLog(paths))) == 2


def test_a_log_can_be_passed_over_again_and_its_report_is_of_the_last_pass() -> None:
    log = ConversationLog([OPENAI, SHAREGPT])
    assert list(log) == list(log)
    assert (log.report.read, log.report.messages) == (2, 4)


def test_nothing_is_said_where_nothing_was_cut(recwarn: pytest.WarningsRecorder) -> None:
    assert len(read_conversations([OPENAI, PAPER])) == 2
    assert not [each for each in recwarn if issubclass(each.category, PersonaLensWarning)]


def test_a_warning_where_something_was_cut() -> None:
    with pytest.warns(
        PersonaLensWarning, match=r"refused: 1 x unknown role \(item \[1\], message 0\)"
    ):
        chats = read_conversations([OPENAI, {"messages": [{"role": "narrator", "content": "x"}]}])
    assert len(chats) == 1


def test_calls_of_tools_in_the_responses_api_are_tools() -> None:
    record = {
        "request": {"model": "tiny", "input": PAIR[0][1]},
        "response": {
            "output": [
                {"type": "function_call", "name": "timetable"},
                {"type": "message", "content": [{"type": "output_text", "text": PAIR[1][1]}]},
            ]
        },
    }
    (chat,) = ConversationLog([record], tools="drop")
    assert said(chat) == PAIR
    with pytest.raises(ConversationError, match="tools='drop'"):
        list(ConversationLog([record]))


def test_replies_in_other_shapes() -> None:
    asked = OPENAI["messages"][:1]
    for answered in (
        {"choices": [{"message": PAIR[1][1]}]},
        {"output": {"message": {"content": PAIR[1][1]}}},
        {"completion": [OPENAI["messages"][1]]},
        {"response": json.dumps({"choices": [{"message": OPENAI["messages"][1]}]})},
    ):
        (chat,) = ConversationLog([{"messages": asked, **answered}])
        assert said(chat) == PAIR
    (chat,) = ConversationLog([{"messages": asked, "response": "{not JSON"}])
    assert chat.replies == ("{not JSON",)


def test_a_system_prompt_that_is_no_text_stays_what_is_known() -> None:
    (chat,) = ConversationLog([{**OPENAI, "system": {"version": 2}}])
    assert (said(chat), chat.about) == (PAIR, {"system": {"version": 2}})


def test_thoughts_and_calls_in_an_export_of_chatgpt() -> None:
    def node(parent: str | None, role: str, kind: str, recipient: str = "all") -> dict[str, Any]:
        content = (
            {"content_type": kind, "parts": ["x"]} if kind == "text" else {"content_type": kind}
        )
        message = {"author": {"role": role}, "content": content, "recipient": recipient}
        return {"parent": parent, "message": message}

    record = {
        "current_node": "e",
        "mapping": {
            "a": node(None, "user", "text"),
            "b": node("a", "user", "user_editable_context"),
            "c": node("b", "assistant", "thoughts"),
            "d": node("c", "assistant", "text", "web.run"),
            "e": node("d", "assistant", "text"),
        },
    }
    log = ConversationLog([record], tools="drop")
    (chat,) = log
    assert said(chat) == [("user", "x"), ("assistant", "x")]
    assert log.report.total("cut", "thought") == 1
    assert log.report.total("cut", "tool message or call") == 1
    assert log.report.total("noted", "messages that were never shown, left out") == 1
