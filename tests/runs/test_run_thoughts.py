"""Runs keep whole replies, what of them is answer, and how many think."""

import numpy as np
import pytest
from made_runs import REPLIES, ScriptedEngine, collected

from persona_lens.rollouts.reply import Reply
from persona_lens.runs.store.open_run import REPLY_SCHEMA, digest_of
from persona_lens.runs.store.tables import write_rows
from persona_lens.runs.store.thoughts import ThoughtCount
from persona_lens.transcripts.thoughts import Said

SAYINGS = [
    ("Arr!", Said("Arr!"), "stop"),
    ("<think>Hm.</think>Arr!", Said("Arr!", "whole"), "stop"),
    ("They want a pir", Said("", "cut"), "length"),
    ("<think> is a tag.", Said("<think> is a tag."), "stop"),  # spelled out, as its ids told
]


@pytest.fixture
def run(tmp_path):
    return collected(tmp_path / "run")


def replies(count: int = 4) -> list[Reply]:
    return [
        Reply(ids=np.array([number]), text=text, said=said, finish=finish)
        for number, (text, said, finish) in enumerate(SAYINGS[:count])
    ]


def test_replies_come_back_as_they_were_cut(run):
    opened = run.opened()
    shard = next(shard for shard in opened.shards if shard.kind == "role")
    opened.write_replies(shard, replies())
    back = opened.read_replies(shard)
    assert [reply.text for reply in back] == [text for text, _, _ in SAYINGS]
    assert [(reply.answer, reply.thought) for reply in back] == [
        (said.answer, said.thought) for _, said, _ in SAYINGS
    ]
    assert [reply.unanswered for reply in back] == [False, False, True, False]
    assert opened.thoughts() == ThoughtCount(replies=REPLIES, thinking=2, cut=1)
    data = run.replies()
    assert data.filter(lambda row: row["thought"] == "cut")["reply"][:] == ["They want a pir"]


def test_a_run_without_thoughts_has_no_columns_for_them(run):
    assert run.replies().column_names == REPLY_SCHEMA.names
    assert run.opened().thoughts().thinking == 0


def test_a_mark_that_was_spelled_out_stays_an_answer(run):
    opened = run.opened()
    shard = next(shard for shard in opened.shards if shard.kind == "role")
    only = [replies()[3]] * len(shard.requests)
    opened.write_replies(shard, only)
    assert {reply.answer for reply in opened.read_replies(shard)} == {"<think> is a tag."}


def test_replies_of_earlier_files_are_cut_by_their_text(run):
    opened = run.opened()
    shard = next(shard for shard in opened.shards if shard.kind == "role")
    said = [Reply(ids=np.array([1]), text="<think>Hm.</think>Arr!")] * len(shard.requests)
    rows = [
        {**shard.model_dump(include={"kind", "name", "prompt_index", "side", "system"}),
         **request.model_dump(), "reply": reply.text, "reply_ids": reply.ids, "finish": "stop"}
        for request, reply in zip(shard.requests, said, strict=True)
    ]  # fmt: skip
    file = opened.reply_file(shard)
    write_rows(file, rows, REPLY_SCHEMA, {"replies": digest_of(said)})
    assert {reply.answer for reply in opened.read_replies(shard)} == {"Arr!"}


class ThinkingEngine(ScriptedEngine):
    """Thinks before every second reply, and is cut within every fourth."""

    def products(self, jobs, settings, **options):
        for job, products in super().products(jobs, settings, **options):
            for product in products:
                for place, reply in enumerate(product.replies):
                    cut = place % 4 == 3
                    said = Said("" if cut else reply.text, "cut" if cut else "whole")
                    if place % 2:
                        product.replies[place] = Reply(
                            ids=reply.ids, text=f"<think>{reply.text}", said=said,
                            finish="length" if cut else "stop",
                        )  # fmt: skip
            yield job, products


def test_a_collection_tells_how_many_replies_think(tmp_path, capsys):
    collected(tmp_path / "run", ThinkingEngine(), progress=True)
    told = " ".join(capsys.readouterr().err.split())
    assert "16 of 32 replies hold a thought" in told
    assert "8 were cut before any answer. A larger max_new_tokens" in told
    collected(tmp_path / "plain", progress=True)
    assert "thought" not in capsys.readouterr().err
