"""Logs as they should not be: each fault costs one conversation, and is said with its place and what to do."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persona_lens.conversations import ConversationLog, read_conversations
from persona_lens.errors import ConversationError
from tests.zstd_zip import zstd_zip

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}
USER = {"role": "user", "content": "Hi"}
REPLY = {"role": "assistant", "content": "Hello."}


def chat(*messages: Any) -> dict[str, Any]:
    return {"messages": list(messages)}


RECORDS: dict[str, tuple[Any, str, str, str]] = {
    # what it is: the record, the place behind the line, words of the problem, words of the remedy
    "unknown role": (
        chat(USER, {"role": "narrator", "content": "x"}),
        "message 1",
        "'narrator'",
        "roles=",
    ),
    "a role with a typo": (
        chat({"role": "asistant", "content": "x"}),
        "message 0",
        "'asistant'",
        "did you mean assistant",
    ),
    "a role that is a number": (
        chat({"role": 1, "content": "x"}),
        "message 0",
        "given 1",
        "as a text",
    ),
    "no role": (chat(USER, {"content": "x"}), "message 1", "does not say who speaks", '"role"'),
    "no text": (
        chat(USER, {"role": "assistant"}),
        "message 1",
        "does not say what is said",
        '"content"',
    ),
    "null": (
        chat(USER, {"role": "assistant", "content": None}),
        "message 1",
        "given null",
        'write ""',
    ),
    "a number": (
        chat(USER, {"role": "assistant", "content": 42}),
        "message 1",
        "given int '42'",
        "in quotes",
    ),
    "true": (chat({"role": "user", "content": True}), "message 0", "given bool", "in quotes"),
    "a text in place of a message": (chat(USER, "Hello."), "message 1", "is no message", '"role"'),
    "null in place of a message": (chat(None, USER), "message 0", "is no message", '"role"'),
    "an empty message": (chat(USER, {}), "message 1", "an empty message", '"role"'),
    "no messages": (chat(), "", "has no messages", "leave the conversation out"),
    "messages that are text": (
        {"messages": "user: hi"},
        "",
        "is no list of messages",
        "square brackets",
    ),
    "messages that are broken JSON": (
        {"messages": "[{'role': 'user'}]"},
        "",
        "a text that is no JSON",
        "double quotes",
    ),
    "messages that are null": (
        {"messages": None},
        "",
        "is no list of messages",
        "square brackets",
    ),
    "no user": (
        chat({"role": "system", "content": "x"}, REPLY),
        "",
        "no message of a user",
        "roles=",
    ),
    "a blank user": (
        chat({"role": "user", "content": " \n"}, REPLY),
        "",
        "no message of a user",
        "roles=",
    ),
    "a system message in the middle": (
        chat(USER, {"role": "system", "content": "x"}, REPLY),
        "",
        "message 1 is a system message",
        "later_system=",
    ),
    "a message of a tool": (
        chat(USER, {"role": "tool", "content": "4"}, REPLY),
        "message 1",
        "a message of a tool ('tool')",
        "tools='drop'",
    ),
    "a call of a tool": (
        chat(USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}),
        "message 1",
        "a call of a tool (tool_calls)",
        "tools='drop'",
    ),
    "a function call of ShareGPT": (
        {
            "conversations": [
                {"from": "human", "value": "x"},
                {"from": "function_call", "value": "{}"},
            ]
        },
        "message 1",
        "'function_call'",
        "tools='drop'",
    ),
    "a part that is a tool's": (
        chat(USER, {"role": "assistant", "content": [{"type": "tool_use", "name": "x"}]}),
        "message 1",
        "'tool_use'",
        "tools='drop'",
    ),
    "an image": (
        chat({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}),
        "message 0",
        "'image_url'",
        "media='drop'",
    ),
    "sound": (
        chat({"role": "user", "content": [{"type": "input_audio"}]}),
        "message 0",
        "'input_audio'",
        "media='drop'",
    ),
    "an unknown part": (
        chat({"role": "user", "content": [{"type": "hologram"}]}),
        "message 0",
        "'hologram'",
        '"type": "text"',
    ),
    "a part without anything": (
        chat({"role": "user", "content": [{}]}),
        "message 0",
        "nothing in it",
        '"type": "text"',
    ),
    "a part whose text is null": (
        chat({"role": "user", "content": [{"type": "text", "text": None}]}),
        "message 0",
        "given null",
        'write ""',
    ),
    "half a character": (
        chat({"role": "user", "content": "hi \ud83d"}),
        "message 0",
        "lone surrogate",
        "cut within an emoji",
    ),
    "prompt and completion": (
        {"prompt": "x", "completion": "y"},
        "",
        "fields prompt, completion",
        "columns=",
    ),
    "a field with a typo": ({"mesages": []}, "", "fields mesages", "did you mean messages"),
    "no fields": ({}, "", "no fields", "columns="),
    "a single message": (USER, "", "a single message", '{"messages": [...]}'),
    "a number in place of a conversation": (7, "", "given int '7'", "columns="),
    "null in place of a conversation": (None, "", "NoneType", "columns="),
    "an empty list": ([], "", "given list", "columns="),
    "the response alone": (
        {"custom_id": "x", "response": {"body": {"choices": [{"message": REPLY}]}}},
        "",
        "not what was asked",
        "join it with the requests",
    ),
    "a log of Inspect without samples": (
        {"version": 2, "status": "error", "eval": {}, "plan": {}},
        "",
        "has no samples",
        "log_samples",
    ),
    "a sample without messages": (
        {"eval": {}, "samples": [{"id": 1, "epoch": 1, "error": {}}]},
        "sample [0]",
        "has no messages",
        "see its error",
    ),
    "an attachment that is missing": (
        {
            "eval": {},
            "samples": [{"id": 1, "messages": [{"role": "user", "content": "attachment://x"}]}],
        },
        "sample [0]",
        "not in the sample",
        "--resolve-attachments",
    ),
    "a tree without a current node": (
        {"mapping": {"a": {}}},
        "",
        "no current_node",
        "export the chats again",
    ),
    "a tree with a circle": (
        {"current_node": "a", "mapping": {"a": {"parent": "b"}, "b": {"parent": "a"}}},
        "",
        "cannot be followed",
        "export the chats again",
    ),
    "a tree with a missing node": (
        {"current_node": "a", "mapping": {"a": {"parent": "b"}}},
        "",
        "given 'b'",
        "export the chats again",
    ),
    "replies alone": (
        {"Question": "x", "Response_1": "y"},
        "",
        "holds the replies",
        "user_messages=",
    ),
    "another version": (
        {"id": "x", "messages": [USER], "persona_lens": 9},
        "",
        "another version",
        "upgrade",
    ),
    "a changed file of ours": (
        {"id": "x", "messages": [{"role": "human", "content": "x"}], "persona_lens": 1},
        "message 0",
        "no known role",
        "write it again",
    ),
}


RECORDS |= {
    "a tree of messages": (
        [{"role": "prompter", "text": "x"}, {"role": "assistant", "text": "y", "parent_id": "1"}],
        "",
        "as a tree",
        "follow the parents",
    ),
    "messages of several conversations": (
        [
            {"role": "user", "content": "x", "chat_id": 1},
            {"role": "user", "content": "y", "chat_id": 2},
        ],
        "",
        "differ in chat_id",
        "pandas.DataFrame",
    ),
    "messages that are a dict": ({"messages": {"0": USER}}, "", "given dict", "square brackets"),
}


@pytest.mark.parametrize("form", ["lines", "list", "python"])
@pytest.mark.parametrize("fault", RECORDS)
def test_a_fault_costs_one_conversation(tmp_path: Path, fault: str, form: str) -> None:
    record, inner, problem, remedy = RECORDS[fault]
    records = [GOOD, record, GOOD]
    path = tmp_path / "chats.jsonl"
    if form == "lines":
        path.write_text("\n".join(map(json.dumps, records)), "utf-8")
        place = f"{path}, line 2"
    elif form == "list":
        path = tmp_path / "chats.json"
        path.write_text(json.dumps(records, indent=0), "utf-8")
        place = f"{path}, item [1]"
    else:
        place = "item [1]"
    source = records if form == "python" else path
    log = ConversationLog(source)
    assert len(list(log)) == 2
    (finding,) = [each for each in log.report.findings if each.kind == "refused"]
    assert finding.place.startswith(place)
    assert finding.place.endswith(inner)
    assert problem in finding.problem
    assert remedy in finding.remedy
    with pytest.raises(ConversationError) as strict:
        list(ConversationLog(source, strict=True))
    assert str(strict.value).startswith(place)
    assert remedy in str(strict.value)


LINES: dict[str, tuple[bytes, str, str]] = {
    "not JSON": (b"hello", "is no JSON (line 2, column 1)", "missing comma, quote or bracket"),
    "single quotes": (b"{'messages': []}", "line 2, column 2", "write double quotes"),
    "a comma within": (
        b'{"messages": [],}',
        "line 2, column 17",
        "missing comma, quote or bracket",
    ),
    "a bracket missing": (
        b'{"messages": [{"role": "user"}',
        "line 2",
        "missing comma, quote or bracket",
    ),
    "two values": (
        b'{"a": 1} {"b": 2}',
        "more than one value (line 2, column 10)",
        "a line of its own",
    ),
    "another encoding": (
        '{"a": "café"}'.encode("latin-1"),
        "is not UTF-8 text (given byte 0xe9 at byte 10)",
        "UTF-8 encoding",
    ),
    "a field given twice": (
        b'{"messages": [{"role": "user", "content": "a", "content": "b"}]}',
        "given content",
        "take one of them out",
    ),
    "a null byte": (b'{"a": "\x00"}', "Invalid control character", "missing comma"),
    "deep": (b"[" * 200_000, "nested too deeply", "take the item out"),
    "a number of 5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "is no JSON", "write it as text"),
    "a merge mark": (b"<<<<<<< HEAD", "is no JSON (line 2, column 1)", "correct it there"),
    "very long": (b'{"a": "' + b"x" * 300_000 + b'"}', "at most 200 kB", "max_bytes="),
}


@pytest.mark.parametrize("fault", LINES)
def test_a_broken_line_costs_that_line(tmp_path: Path, fault: str) -> None:
    line, problem, remedy = LINES[fault]
    path = tmp_path / "chats.jsonl"
    good = json.dumps(GOOD).encode()
    path.write_bytes(b"\n".join((good, line, good, b"")))
    log = ConversationLog(path, max_bytes=200_000)
    assert [each.id for each in log] == ["chats-1", "chats-3"]
    (finding,) = log.report.findings
    assert finding.place == f"{path}, line 2"
    assert problem in finding.problem
    assert remedy in finding.remedy


def test_a_broken_item_costs_that_item(tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    good = json.dumps(GOOD, indent=1)
    path.write_text(f'[\n{good},\n{{"messages": [oops]}},\n{good},\n"}}",\n{good}, \n]\n', "utf-8")
    log = ConversationLog(path)
    assert [each.id for each in log] == ["chats-0", "chats-2", "chats-4"]
    first, second = log.report.findings
    line = 2 + good.count("\n") + 1
    assert first.place == f"{path}, item [1] (line {line})"
    assert f"line {line}, column 15" in first.problem
    assert second.place.startswith(f"{path}, item [3]")
    assert "given str '}'" in second.problem


def test_brackets_that_do_not_match_cost_what_follows_and_say_so(tmp_path: Path) -> None:
    path = tmp_path / "chats.json"
    good = json.dumps(GOOD)
    path.write_text(f'[{good},\n{{"messages": [{{"role": "user"],\n{good}]', "utf-8")
    log = ConversationLog(path)
    assert len(list(log)) == 1
    assert log.report.refused >= 1
    assert log.report.findings[0].place.startswith(f"{path}, item [1] (line 2)")


def text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def cut_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples/a_epoch_1.json", json.dumps(GOOD))
    return text(path, path.read_bytes()[:-30])


def zip_of(*names: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "{}")
        return path

    return write


def bzip2_like(path: Path) -> Path:
    """A zip of a method that nobody knows."""
    zip_of("samples/a_epoch_1.json")(path)
    raw = bytearray(path.read_bytes())
    # The method of compression, in the local header and in the directory at the end.
    local, central = raw.index(b"PK\x03\x04") + 8, raw.index(b"PK\x01\x02") + 10
    raw[local : local + 2] = raw[central : central + 2] = (77).to_bytes(2, "little")
    return text(path, bytes(raw))


def zstd_damaged(path: Path) -> Path:
    zstd_zip(path, {"samples/a_epoch_1.json": json.dumps(GOOD).encode()})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\x28\xb5\x2f\xfd") + 20] ^= 0xFF
    return text(path, bytes(raw))


FILES: dict[str, tuple[str, Callable[[Path], Path], str, str]] = {
    "empty": ("a.jsonl", lambda p: text(p, b""), "is empty", "download it again"),
    "blank": ("a.json", lambda p: text(p, b" \n\n"), "holds nothing", "download it again"),
    "lines that are blank": ("a.jsonl", lambda p: text(p, b" \n\n"), "no conversations", "a.jsonl"),
    "an empty list": ("a.json", lambda p: text(p, b"[]"), "no conversations", "a.json"),
    "a pointer": (
        "a.jsonl",
        lambda p: text(p, b"version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer",
        "git lfs pull",
    ),
    "prose": ("a.txt", lambda p: text(p, b"User: hi"), "begins with 'User: hi'", ".jsonl"),
    "YAML": ("a.yaml", lambda p: text(p, b"messages:\n- role: user"), "neither JSON nor", ".jsonl"),
    "UTF-16 without its mark": (
        "a.json",
        lambda p: text(p, '"x"'.encode("utf-16-le")),
        "neither JSON nor",
        "UTF-8",
    ),
    "UTF-16 that breaks off": (
        "a.json",
        lambda p: text(p, '{"x": 1}'.encode("utf-16")[:-1]),
        "UTF-16",
        "UTF-8",
    ),
    "zstd": ("a.jsonl.zst", lambda p: text(p, b"\x28\xb5\x2f\xfdxx"), "packed as zstd", "unpack"),
    "Arrow": ("a.arrow", lambda p: text(p, b"ARROW1\0\0"), "packed as Arrow", "Parquet"),
    "a zip of something": ("a.zip", zip_of("conversations.json"), "no log of Inspect", "unpack it"),
    "an empty zip": ("a.zip", zip_of(), "nothing in it", "unpack it"),
    "a log of headers": ("a.eval", zip_of("header.json"), "has no samples", "log_samples"),
    "a log cut off": ("a.eval", cut_zip, "a zip without an end", "inspect log recover"),
    "a log packed otherwise": ("a.eval", bzip2_like, "method 77", "inspect log convert"),
    "a log that is damaged": ("a.eval", zstd_damaged, "cannot be unpacked", "copy the file again"),
    "a log in chunks": (
        "a.eval",
        zip_of("samples/a_epoch_1/sample.json"),
        "in chunks",
        "inspect log convert",
    ),
    "Parquet that is none": (
        "a.parquet",
        lambda p: text(p, b"PAR1 and more PAR1"),
        "damaged, or no Parquet",
        "download it again",
    ),
    "a table without titles": (
        "a.csv",
        lambda p: text(p, b"a,,b\n1,2,3\n"),
        "no title for each column",
        "first line",
    ),
    "a table of titles given twice": (
        "a.csv",
        lambda p: text(p, b"a,a\n1,2\n"),
        "no title for each column",
        "first line",
    ),
    "a table of something": ("a.csv", lambda p: text(p, b"x,y\n1,2\n"), "fields x, y", "columns="),
    "a table in another encoding": (
        "a.csv",
        lambda p: text(p, "Question,Response_1\né,b\n".encode("latin-1")),
        "not UTF-8",
        "UTF-8 encoding",
    ),
    "a table with an open quote": (
        "a.csv",
        lambda p: text(p, b'Question,Response_1\n"a,b\n'),
        "quotes do not match",
        "double the quotes",
    ),
    "a row with too many cells": (
        "a.csv",
        lambda p: text(p, b"Question,Response_1\na,b,c\n"),
        "3 cells, and there are 2",
        "double quotes",
    ),
    "a message of no conversation": (
        "a.csv",
        lambda p: text(p, b"chat_id,role,content\n,user,x\n"),
        "which conversation",
        "fill the column",
    ),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_file_that_is_no_log(tmp_path: Path, fault: str) -> None:
    name, write, problem, remedy = FILES[fault]
    path = write(tmp_path / name)
    with pytest.raises(ConversationError) as alone:
        list(ConversationLog(path))
    for words in (str(path), problem, remedy):
        assert words in str(alone.value)
    # Among others it costs itself alone.
    good = text(tmp_path / "good.jsonl", json.dumps(GOOD).encode())
    log = ConversationLog([path, good])
    assert [each.id for each in log] == ["good-1"]
    assert log.report.refused == ("no conversations" not in problem)


def test_a_file_that_ends_too_early(tmp_path: Path) -> None:
    good = json.dumps(GOOD)
    cases = {
        "a.jsonl": (f"{good}\n{good}\n{good[:30]}", 2, "is cut off at line 3"),
        "b.json": (f"[{good}, {good}, {good[:30]}", 2, "is cut off at line 1"),
        "c.json": (f"[{good}, {good}", 2, "ends before its list does"),
        "d.json": (f"[{good}, {good}] more", 2, "follows the end of the list"),
    }
    for name, (content, n_read, problem) in cases.items():
        log = ConversationLog(text(tmp_path / name, content.encode()))
        assert len(list(log)) == n_read
        (finding,) = log.report.findings
        assert name in finding.place
        assert problem in finding.problem
        assert finding.remedy


def test_a_list_of_messages_that_breaks_off_is_no_conversation(tmp_path: Path) -> None:
    path = text(tmp_path / "a.json", json.dumps([USER, REPLY, USER]).encode()[:-15])
    with pytest.raises(ConversationError, match="cut off"):
        list(ConversationLog(path))


def test_a_gzipped_file_that_is_cut_off(tmp_path: Path) -> None:
    records = [chat({"role": "user", "content": f"{i} {i * 7919 % 104729}"}) for i in range(9_000)]
    packed = gzip.compress("\n".join(map(json.dumps, records)).encode())
    path = text(tmp_path / "a.jsonl.gz", packed[: len(packed) // 2])
    log = ConversationLog(path)
    n_read = len(list(log))
    assert 1_000 < n_read < 9_000
    assert "cut off or damaged" in log.report.findings[-1].problem
    path = text(tmp_path / "b.jsonl.gz", packed[:100] + b"\0\0\0\0" + packed[104:])
    with pytest.raises(ConversationError, match=r"cut off or damaged|is no JSON|not UTF-8"):
        list(ConversationLog(path, strict=True))


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("missing.jsonl", {}, "there is no missing.jsonl"),
        ("missing/x.jsonl", {}, "datasets:owner/name"),
        (7, {}, "no log of conversations"),
        (b"[]", {}, "no log of conversations"),
        (iter([GOOD]), {}, r"list\(\.\.\.\)"),
        ([], {}, "holds no conversations"),
        ([GOOD], {"format": "opanai"}, "did you mean openai"),
        ([GOOD], {"format": "sharegpt"}, "format='openai'"),
        ([GOOD], {"tool": "drop"}, "did you mean tools"),
        ([GOOD], {"tools": "dropp"}, "did you mean drop"),
        ([GOOD], {"max_turns": 0}, "1 or more"),
        ([GOOD], {"max_turns": True}, "1 or more"),
        ([GOOD], {"hidden_tags": "STATE"}, "hidden_tags is a list"),
        ([GOOD], {"hidden_tags": ["<STATE>"]}, "angle brackets"),
        ([GOOD], {"roles": {"Ann": "women"}}, "unknown meaning"),
        ([GOOD], {"columns": {"message": "x"}}, "did you mean messages"),
        ([GOOD], {"columns": {"messages": "x"}}, "no field 'x'"),
        ([GOOD], {"columns": {"id": "x"}}, "no field 'x'"),
        (
            [{"Question": "a", "Response_1": "b"}],
            {"user_messages": ["{Topic}"]},
            "a column 'Topic'",
        ),
        ([{"Question": "a", "Response_1": "b"}], {"user_messages": ["{"]}, "other half"),
        (
            [{"Question": "a", "Response_1": "", "Response_2": "c"}],
            {"user_messages": ["x", "y"]},
            "missing between",
        ),
        (
            [{"Question": "a", "Response_1": "b", "Response_3": "c"}],
            {"user_messages": ["x", "y"]},
            "missing between",
        ),
    ],
)
def test_what_cannot_be_asked(source: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConversationError, match=words):
        read_conversations(source, **options)


def test_a_folder_without_logs(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x", "utf-8")
    with pytest.raises(ConversationError, match="no logs in"):
        list(ConversationLog(tmp_path))


def test_several_splits_have_to_be_chosen_from() -> None:
    from datasets import Dataset, DatasetDict

    splits = DatasetDict({"train": Dataset.from_list([GOOD]), "test": Dataset.from_list([GOOD])})
    with pytest.raises(ConversationError, match="several splits"):
        list(ConversationLog(splits))


def test_a_data_set_that_is_not_there() -> None:
    with pytest.raises(ConversationError, match="datasets:owner/name@split or datasets:path"):
        list(ConversationLog("datasets:/nowhere/at/all"))
