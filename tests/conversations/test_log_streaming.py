"""Logs of any length are read in little memory, and written and read back the same."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_lens.conversations import (
    Conversation,
    ConversationLog,
    Message,
    read_conversations,
    write_conversations,
)
from persona_lens.conversations.conversation import OWN_KEYS
from persona_lens.conversations.json_items import items
from persona_lens.errors import ConversationError, PathError

N = 4_000
MEGABYTE = 1_000_000


def records(n: int) -> Iterator[dict[str, Any]]:
    """Conversations of about half a kB."""
    for number in range(n):
        messages = [
            {"role": role, "content": f"{role} {number} {turn} " + "word " * 12}
            for turn in range(2)
            for role in ("user", "assistant")
        ]
        yield {"id": f"c{number}", "messages": messages, "domain": "tides"}


def as_lines(path: Path, n: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records(n))


def as_gzip(path: Path, n: int) -> None:
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.writelines(json.dumps(record) + "\n" for record in records(n))


def as_list(path: Path, n: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number, record in enumerate(records(n)):
            file.write(("[" if not number else ",\n") + json.dumps(record))
        file.write("]")


def as_parquet(path: Path, n: int) -> None:
    table = pa.Table.from_pylist(list(records(n)))
    pq.write_table(table, path, row_group_size=500)


@pytest.mark.parametrize(
    ("name", "write", "n"),
    [
        ("a.jsonl", as_lines, N),
        ("a.jsonl.gz", as_gzip, N // 4),
        ("a.json", as_list, N // 4),
        ("a.parquet", as_parquet, N // 4),
    ],
)
def test_thousands_of_conversations_in_little_memory(
    tmp_path: Path, name: str, write: Callable[[Path, int], None], n: int
) -> None:
    path = tmp_path / name
    write(path, n)
    log = ConversationLog(path)
    next(iter(log))  # what is imported on first use
    tracemalloc.start()
    count, after_a_tenth = 0, 0
    for chat in log:
        count += chat.n_turns
        if log.report.read == n // 10:
            tracemalloc.reset_peak()
            after_a_tenth = tracemalloc.get_traced_memory()[0]
    peak = tracemalloc.get_traced_memory()[1] - after_a_tenth
    tracemalloc.stop()
    assert count == 2 * n
    # Held as objects they would be 2.5 kB each; a number for each name is 0.1 kB, and a chunk is under way.
    assert peak < n * 120 + MEGABYTE // 2, peak


def test_a_line_that_is_too_long_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "user", "content": "')
        for _ in range(300):
            file.write("x" * 100_000)
        file.write('"}]}\n{"messages": [{"role": "user", "content": "Hi"}]}\n')
    for name in ("a.jsonl", "b.json"):
        if name == "b.json":
            text = path.read_text("utf-8").replace("\n", ",", 1)
            path = tmp_path / name
            path.write_text(f"[{text}]", "utf-8")
        tracemalloc.start()
        log = ConversationLog(path, max_bytes=MEGABYTE)
        assert [chat.users for chat in log] == [("Hi",)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * MEGABYTE, (name, peak)
        assert log.report.findings[0].what == "too long"


finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


containers = st.dictionaries(st.text(max_size=3), json_values, max_size=3) | st.lists(
    json_values, max_size=3
)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(containers, max_size=5),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    chunk=st.integers(1, 40),
    bracketed=st.booleans(),
)
def test_items_are_cut_where_they_end(
    values: list[Any], indent: int | None, ascii_only: bool, chunk: int, bracketed: bool
) -> None:
    texts = [json.dumps(value, indent=indent, ensure_ascii=ascii_only) for value in values]
    whole = f" [{', '.join(texts)}]\n" if bracketed else "\n".join(texts)

    class Slow:
        """A file that gives a few bytes at a time."""

        left = whole.encode()

        def read(self, _: int) -> bytes:
            given, self.left = self.left[:chunk], self.left[chunk:]
            return given

    found = list(items(Slow(), 10_000, bracketed=bracketed))  # pyright: ignore[reportArgumentType]
    assert [json.loads(piece.text or b"") for piece in found] == values
    assert [piece.number for piece in found] == list(range(len(values)))
    for piece, text in zip(found, texts, strict=True):
        assert whole.split("\n")[piece.line - 1].find(text.split("\n")[0]) >= 0


encodable = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
messages = st.tuples(st.sampled_from(["system", "user", "assistant"]), encodable)
about = st.dictionaries(
    encodable.filter(lambda key: key not in OWN_KEYS), json_values, max_size=4
).filter(lambda value: "\\ud" not in json.dumps(value))
chats = st.builds(
    lambda name, said, known: Conversation(name, tuple(Message(*one) for one in said), known),
    encodable.filter(lambda name: bool(name.strip())),
    st.lists(messages, min_size=1, max_size=5),
    about,
)


@settings(max_examples=100, deadline=None)
@given(made=st.lists(chats, min_size=1, max_size=4, unique_by=lambda chat: chat.id))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, made: list[Conversation]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    assert write_conversations(path, made) == path
    log = ConversationLog(path, strict=True)
    assert list(log) == made
    assert not log.report.findings


def test_the_file_is_plain_json_lines(tmp_path: Path) -> None:
    path = write_conversations(
        tmp_path / "a.jsonl", [Conversation.of([("user", "Où ?")], id="a", topic="cafés")]
    )
    assert path.read_text("utf-8") == (
        '{"id": "a", "messages": [{"role": "user", "content": "Où ?"}], "topic": "cafés", '
        '"persona_lens": 1}\n'
    )


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    chat = Conversation.of([("user", "Hi")], id="a")
    write_conversations(path, [chat])

    def breaks() -> Iterator[Conversation]:
        yield Conversation.of([("user", "Other")], id="b")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_conversations(path, breaks())
    assert read_conversations(path) == [chat]
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    chat = Conversation.of([("user", "Hi")], id="a")
    for given_, words in (
        ([], "no conversations"),
        ([chat, chat], "two conversations"),
        ([{}], r"item \[0\]"),
    ):
        with pytest.raises(ConversationError, match=words):
            write_conversations(tmp_path / "a.jsonl", given_)  # pyright: ignore[reportArgumentType]
    with pytest.raises(PathError):
        write_conversations("", [chat])
    assert not list(tmp_path.iterdir())


def test_a_log_is_written_as_it_is_read(tmp_path: Path) -> None:
    log = ConversationLog(list(records(3)))
    path = write_conversations(tmp_path / "a.jsonl", log)
    assert read_conversations(path) == list(log)
