"""What servers answer beside plain text: told apart, counted, kept, and never read as what it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty_server import Behaviour, FaultyServer
from tiny import tiny_folder, tiny_tokenizer

from persona_lens import PersonaModel, RunFolder, Sampling
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EndpointError, TranscriptError
from persona_lens.judges.answers import settled
from persona_lens.judges.base import Case
from persona_lens.rollouts.reply import Reply
from persona_lens.rollouts.serving import ServedSource
from persona_lens.runs import collect_run
from persona_lens.transcripts import TranscriptEncoder

PLAN: dict[str, Any] = {
    "roles": ["pirate", "ghost", "tutor"],
    "traits": None,
    "questions": ["q01", "q02"],
    "prompts": 1,
    "defaults": ["none"],
    "default_samples": 1,
    "sampling": Sampling(max_new_tokens=16),
    "progress": True,
}
TOTAL = 8
THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
SINGLE_QUESTIONS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def answer(
    message: dict[str, Any] | None = None, *, finish: str | None = "stop", **choice: Any
) -> dict[str, Any]:
    said = {"role": "assistant", "content": "I keep watch.", **(message or {})}
    whole = {
        "index": 0,
        "message": said,
        "text": said["content"],
        "finish_reason": finish,
        **choice,
    }
    return {
        "model": "m",
        "choices": [whole],
        "usage": {"prompt_tokens": 3, "completion_tokens": 16},
    }


def always(content: dict[str, Any] | Callable[[dict[str, Any]], Any] | str) -> Behaviour:
    return Behaviour(body=content, good=True)


def collect(
    script: Any, path: Path, model: PersonaModel | None = None, **options: Any
) -> tuple[RunFolder, FaultyServer]:
    source: dict[str, Any] = {
        name: options.pop(name) for name in ("template", "encoder") if name in options
    }
    with FaultyServer(script) as server:
        settings = EndpointSettings(
            model="m", base_url=server.url, concurrency=2, max_attempts=2, backoff=0.001
        )
        served = ServedSource(settings, **source)
        return collect_run(model, path, served=served, **{**PLAN, **options}), server


def stored(run: RunFolder) -> list[Reply]:
    opened = run.opened()
    return [reply for shard in opened.shards for reply in opened.read_replies(shard)]


def means(run: RunFolder) -> np.ndarray:
    opened = run.opened()
    return np.concatenate([opened.read_activations(shard) for shard in opened.shards])


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> PersonaModel:
    return PersonaModel.load(tiny_llama, dtype="float32")


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> PersonaModel:
    folder = tiny_folder(tmp_path_factory.mktemp("models") / "thinker", "llama")
    return PersonaModel.load(folder, dtype="float32", chat_template=THINKS)


# Counts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told", "finish"),
    [
        (answer({"content": None}), f"{TOTAL} without text", "stop"),
        (answer({"content": " \n"}), f"{TOTAL} without text", "stop"),
        (
            answer({"content": None, "reasoning_content": "Hm."}),
            f"{TOTAL} with a thought and no answer",
            "stop",
        ),
        (
            answer({"content": "", "reasoning": "Hm."}, finish="length"),
            f"{TOTAL} cut at the limit, {TOTAL} with a thought and no answer",
            "length",
        ),
        (
            answer({"content": None, "tool_calls": [{"id": "a"}]}, finish="tool_calls"),
            f"{TOTAL} calling a tool",
            "tool_call",
        ),
        (answer(finish="max_tokens"), f"{TOTAL} cut at the limit", "length"),
        (answer(finish="MAX_TOKENS"), f"{TOTAL} cut at the limit", "length"),
        (answer(finish=None), f"{TOTAL} cut at the limit", "length"),  # as many tokens as asked for
        (answer(finish="SAFETY"), f"{TOTAL} filtered", "filtered"),
        (answer(), "all whole", "stop"),
    ],
)
def test_what_is_no_whole_answer_is_counted(
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    content: dict[str, Any],
    told: str,
    finish: str,
) -> None:
    run, _ = collect(always(content), tmp_path)
    said = capsys.readouterr().err
    assert f"{TOTAL} replies: {told}\n" in said
    assert ("do not count" in said) == ("without text" in told or "no answer" in told)
    assert {reply.finish for reply in stored(run)} == {finish}


def test_a_server_that_never_says_anything_is_left_early(tmp_path: Path) -> None:
    silent = always(answer({"content": None, "reasoning_content": "They want a ghost."}))
    many = {"questions": "core", "roles": ["pirate", "ghost", "tutor", "bard"], "progress": False}
    with pytest.raises(EndpointError, match=r"(?s)none of the first 32.*They want a ghost"):
        collect(silent, tmp_path, **many)


def test_a_server_that_always_streams_is_heard(tmp_path: Path) -> None:
    def events(body: dict[str, Any]) -> str:
        pieces = [
            {"delta": {"content": "I keep "}},
            {"delta": {"content": "watch."}, "finish_reason": "length"},
        ]
        lines = [f"data: {json.dumps({'choices': [piece]})}\n\n" for piece in pieces]
        return "".join((*lines, "data: [DONE]\n\n"))

    run, server = collect(always(events), tmp_path)
    assert {(reply.text, reply.finish) for reply in stored(run)} == {("I keep watch.", "length")}
    assert len(server.requests) == TOTAL


# Thoughts -------------------------------------------------------------------------------------------


def test_a_thought_that_is_given_apart_is_kept_and_in_no_mean(
    tmp_path: Path, thinker: PersonaModel
) -> None:
    raw = "They ask who I am.\n</think>\n\nI keep watch."
    apart = answer({"reasoning_content": "They ask who I am."})
    by_text, _ = collect(always(answer({"content": raw})), tmp_path / "raw", thinker)
    given, _ = collect(always(apart), tmp_path / "apart", thinker)
    assert {(r.text, r.thinking) for r in stored(given)} == {
        ("I keep watch.", "They ask who I am.")
    }
    np.testing.assert_array_equal(means(given), means(by_text))

    manifest = given.manifest()
    expected = []
    for shard in manifest.shards:
        for request in shard.requests:
            encoder = thinker.encoder
            prompt = encoder.prompt(encoder.messages(request.question, system=shard.system))
            ids = encoder.tokenizer(raw)["input_ids"]
            whole = encoder.with_reply(prompt, np.array(ids))
            answered = np.arange(len(whole)) >= len(whole) - len("I keep watch.")
            expected.append(thinker.pooled([whole], [answered])[0])
    np.testing.assert_allclose(means(given), expected, rtol=1e-4, atol=1e-5)
    assert "before the answer" in manifest.versions["read_as"]
    assert set(given.replies()["thinking"]) == {"They ask who I am."}
    assert "thinking" not in by_text.replies().column_names


def test_a_thought_that_was_cut_is_told_and_averaged_nowhere(
    tmp_path: Path, thinker: PersonaModel, capsys: pytest.CaptureFixture
) -> None:
    cut = answer({"content": "They ask who I am, so I"}, finish="length")
    run, _ = collect(always(cut), tmp_path, thinker)
    assert np.isnan(means(run)).all()
    assert f"{TOTAL} replies with text have no answer to average" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        answer({"content": None, "reasoning_content": "They ask."}),
        answer({"content": None, "tool_calls": [{"id": "a"}]}, finish="tool_calls"),
    ],
)
def test_what_is_no_answer_gets_no_verdict(tmp_path: Path, content: dict[str, Any]) -> None:
    run, _ = collect(always(content), tmp_path)
    opened = run.opened()
    shard = next(shard for shard in opened.shards if shard.kind == "role")
    verdict = settled(Case(shard, 0, opened.read_replies(shard)[0]))
    assert verdict is not None
    assert (verdict.status, verdict.label) == ("failed", None)


# Tokens ---------------------------------------------------------------------------------------------


def test_an_end_token_left_in_the_text_is_taken_off(tmp_path: Path, model: PersonaModel) -> None:
    clean, _ = collect(always(answer()), tmp_path / "clean", model, encoder=model.encoder)
    left = answer({"content": "I keep watch.<|im_end|>\n"})
    ended, _ = collect(always(left), tmp_path / "ended", model, encoder=model.encoder)
    unknown, _ = collect(always(left), tmp_path / "unknown", model)
    assert {reply.text for reply in stored(ended)} == {"I keep watch."}
    np.testing.assert_array_equal(means(ended), means(clean))
    np.testing.assert_array_equal(means(unknown), means(clean))


def test_ids_that_the_server_tells_are_read(tmp_path: Path, model: PersonaModel) -> None:
    encoder = model.encoder
    ids = encoder.tokenizer("I keep watch.<|im_end|>")["input_ids"]

    def told(body: dict[str, Any]) -> dict[str, Any]:
        prompt = encoder.tokenizer(body["prompt"])["input_ids"]
        return answer(token_ids=ids, prompt_token_ids=prompt)

    ours = {"template": "ours", "encoder": encoder}
    run, _ = collect(always(told), tmp_path / "told", model, **ours)
    assert all(reply.ids.tolist() == ids[:-1] for reply in stored(run))
    plain, _ = collect(always(answer()), tmp_path / "plain", model, **ours)
    np.testing.assert_array_equal(means(run), means(plain))


def test_a_server_that_renders_another_prompt_is_found_out(
    tmp_path: Path, model: PersonaModel
) -> None:
    dated = model.encoder.tokenizer("Today is Monday. Who are you?")["input_ids"]
    script = always(answer(prompt_token_ids=dated))
    with pytest.raises(EndpointError, match=r"(?s)renders another prompt.*Today is Monday"):
        collect(script, tmp_path, model, encoder=model.encoder)


# Before anything is asked, and on the card ----------------------------------------------------------


def test_what_could_not_be_read_is_refused_before_any_reply(tmp_path: Path) -> None:
    refuses = (
        "{% for m in messages %}{% if 'ghost' in m.content %}{{ raise_exception('no ghosts') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    folder = tiny_folder(tmp_path / "model", "llama")
    reader = PersonaModel.load(folder, dtype="float32", chat_template=refuses)
    encoder = TranscriptEncoder(tiny_tokenizer(), chat_template=refuses)
    asked = []
    script: Callable[[Any], Behaviour] = lambda seen: asked.append(seen) or always(answer())  # noqa: E731
    each: list[dict[str, Any]] = [{"model": reader}, {"encoder": encoder}]
    for options in each:
        with pytest.raises(TranscriptError, match="no ghosts"):
            collect(script, tmp_path / "run", **options)
    assert not asked


def test_templates_that_refuse_replies_are_no_hindrance(tmp_path: Path) -> None:
    encoder = TranscriptEncoder(tiny_tokenizer(), chat_template=SINGLE_QUESTIONS)
    run, _ = collect(always(answer()), tmp_path, template="ours", encoder=encoder)
    assert len(stored(run)) == TOTAL


def test_the_card_says_who_rendered_the_prompts(tmp_path: Path, model: PersonaModel) -> None:
    theirs, _ = collect(always(answer()), tmp_path / "theirs")
    assert (
        theirs.manifest()
        .versions["rendered_by"]
        .startswith("the server, by a template that is not")
    )
    assert "read_as" not in theirs.manifest().versions
    again, _ = collect(always(answer()), tmp_path / "theirs", model)
    assert "left out" in again.manifest().versions["read_as"]
    ours, _ = collect(always(answer()), tmp_path / "ours", template="ours", encoder=model.encoder)
    rendered = ours.manifest().versions["rendered_by"]
    assert rendered == f"persona-lens, template {model.encoder.template_hash}, sent as text"


def test_replies_in_process_are_stored_as_before(tmp_path: Path, model: PersonaModel) -> None:
    run = collect_run(model, tmp_path, **{**PLAN, "progress": False})
    assert "thinking" not in run.replies().column_names
    assert not {"rendered_by", "read_as"} & run.manifest().versions.keys()


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "They want me to"}, "length", ("", "cut", True)),
        ({"content": "Hm.\n</think>\n\nI keep watch."}, "stop", ("I keep watch.", "whole", False)),
        ({"content": "I keep watch.", "reasoning_content": "Hm."}, "stop", ("I keep watch.", "whole", False)),
        ({"content": "", "reasoning_content": "They want me to"}, "length", ("", "cut", True)),
        ({"content": "", "refusal": "I won't."}, "stop", ("I won't.", "none", False)),
    ],
)  # fmt: skip
def test_the_prompt_tells_whether_a_text_is_thought_or_answer(
    tmp_path, capsys, message, finish, expected
):
    encoder = TranscriptEncoder(tiny_tokenizer(), chat_template=THINKS)
    run, _ = collect(always(answer(message, finish=finish)), tmp_path / "run", encoder=encoder)
    opened = run.opened()
    for shard in opened.shards:
        for reply in opened.read_replies(shard):
            assert (reply.answer, reply.thought, reply.unanswered) == expected
    told = "with a thought and no answer" in " ".join(capsys.readouterr().err.split())
    assert told == expected[2]
