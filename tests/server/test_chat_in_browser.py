"""The live chat in a browser, with scripted replies, and once with a real model."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import SAID, Script
from talking import ASKED, COLOURS, LANES, MESSAGES, Page
from waiting import happens

from persona_lens import PersonaSpace
from persona_lens.conversations import read_conversations
from persona_lens.model.continuous import Request
from persona_lens.server import Allowed, Limits, Served, Serving
from persona_lens.server.chatting import Chat, chat_layer

HOSTILE = '<img src=x onerror="window.harmed = true"><script>window.harmed = true</script>'


def lanes_of(script: Script) -> list[Request]:
    """The last two requests, which come in any order: that without a plan first."""
    return sorted(script.batches[0].asked[-2:], key=lambda each: each.plan is not None)


@pytest.fixture
def chat(chatting, browse) -> Callable[..., Page]:
    def start(**options: Any) -> Page:
        return Page(browse(chatting(**options).url.removesuffix("/v1") + "/chat"))

    return start


def test_one_message_has_two_replies_that_are_placed_and_tinted(chat, script):
    page = chat()
    page.send("Hi")
    assert page.ask(LANES) == [SAID, SAID]
    plain, planned = lanes_of(script)
    assert plain.plan is None
    assert planned.plan is not None
    assert planned.plan.layers == (1, 2)
    assert plain.sampling.seed == planned.sampling.seed
    assert page.count("#trace .point") == 2
    tokens = page.ask("document.querySelector('.reply.plan .said').children.length")
    assert f"After the plan: {(tokens + 1) / 2:.2f} (interval" in page.text(".reply.plan .notes")
    assert f"{tokens} tokens" in page.text(".reply.plain .notes")
    assert page.ask(COLOURS) > 2
    page.ask("document.querySelector('input[value=moved]').click()")
    assert page.ask(COLOURS) == 1  # each by the same
    page.ask("document.querySelector('input[value=none]').click()")
    assert page.ask("document.querySelector('.said span').style.backgroundColor") == ""
    page.ask("document.querySelector('input[value=before]').click()")
    assert f"Before the plan: {(tokens - 1) / 2:.2f} (interval" in page.text(".reply.plan .notes")
    assert page.text("#trace-reading").startswith("before the plan")
    page.ask("document.querySelector('#trace .point').dispatchEvent(new Event('click'))")
    assert page.count(".turn.shown") == 1
    assert page.complaints == []


def test_replies_are_shown_while_they_are_written_and_can_be_stopped(chat, script):
    page = chat()
    script.go.clear()
    page.send("Hi", wait=False)
    assert page.ask("byId('send').disabled && !byId('stop').disabled")
    pressed = (
        "document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }))"
    )
    page.ask(pressed)
    page.idle()
    assert page.count(".reply .trouble button") == 2
    page.send("More")
    assert "lacks a reply" in page.text("#say")
    assert page.ask("byId('message').value") == "More"
    script.go.set()
    page.ask("document.querySelector('.reply.plain .trouble button').click()")
    page.idle()
    page.ask("document.querySelector('.reply.plan .trouble button').click()")
    page.idle()
    assert page.ask(LANES) == [SAID, SAID]
    assert page.complaints == []


class Slowly(threading.Event):
    """Steps take their time until it is set."""

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(0.1) or True


def test_what_was_said_until_it_was_stopped_is_kept_and_gone_on_from(chat, script):
    script.go, script.text = Slowly(), SAID * 6
    page = chat()
    page.send("Hi", wait=False)
    assert happens(lambda: all(page.ask(LANES)))
    assert "so far" in page.text(".reply.plan .notes")
    page.click("stop")
    halves = page.ask(LANES)
    assert all(half and script.text.startswith(half) for half in halves)
    assert "Stopped" in page.text(".reply.plain .notes")
    script.go.set()
    script.text = SAID
    page.send("Go on")
    assert page.ask(LANES) == [SAID, SAID]
    for half, request in zip(halves, lanes_of(script), strict=True):
        assert f"{half}<" in request.prompt.text.replace("\n", "<")
    lines = page.saved("export-log").splitlines()
    assert [json.loads(line)["turns"][0]["status"] for line in lines] == ["stopped"] * 2
    assert page.complaints == []


def test_keys_send_and_begin_lines(chat):
    page = chat()
    page.type("message", "Hi")
    key = """byId("message").dispatchEvent(new KeyboardEvent("keydown",
        {{ key: "Enter", shiftKey: {}, bubbles: true }}))"""
    page.ask(key.format("true"))
    assert page.count(".turn") == 0
    page.ask(key.format("false"))
    page.idle()
    assert page.ask(MESSAGES) == ["Hi"]
    assert page.ask("byId('message').value") == ""


def test_edits_fork_and_the_old_branch_stays(chat, script):
    page = chat()
    page.send("One")
    page.send("Two")
    page.ask("document.querySelectorAll('.turn .head button')[1].click()")
    page.type("message", "Other")
    page.click("send")
    assert page.ask(MESSAGES) == ["One", "Other"]
    assert page.count("#branch option") == 2
    script.text = "Once more."
    page.click("again")
    assert page.ask(MESSAGES) == ["One", "Other"]
    assert page.ask(LANES) == ["Once more."] * 2
    assert page.count("#branch option") == 3
    page.ask("byId('branch').value = byId('branch').options[0].value")
    page.ask("byId('branch').dispatchEvent(new Event('change'))")
    assert page.ask(MESSAGES) == ["One", "Two"]
    page.click("undo")
    assert page.ask(MESSAGES) == ["One"]
    assert page.ask("byId('message').value") == "Two"
    page.click("clear")
    assert page.count(".turn") == 0
    page.ask("document.querySelector('#say button').click()")
    assert page.ask(MESSAGES) == ["One"]
    last = script.batches[0].asked[-1].prompt.text
    assert "Other" in last
    assert "Two" not in last
    assert page.complaints == []


def test_settings_reach_the_server_and_wrong_ones_are_told(chat, script):
    page = chat()
    page.ask("byId('plan').value = '2'; byId('plan').dispatchEvent(new Event('change'))")
    for name, text in (("layers", "2"), ("temperature", "0"), ("seed", "7"), ("length", "3")):
        page.type(name, text)
    page.ask("byId('role').value = '1'; byId('role').dispatchEvent(new Event('change'))")
    page.send("Hi")
    _, planned = lanes_of(script)
    assert planned.plan is not None
    assert planned.plan.layers == (2,)
    assert (planned.sampling.temperature, planned.sampling.max_new_tokens) == (0, 3)
    assert planned.sampling.seed == 7
    assert page.ask("byId('system').value")[:40] in planned.prompt.text
    assert "Cut at 3 tokens." in page.text(".reply.plan .notes")
    assert page.text(".reply.plan h3") == "with plan calm at layers 2"
    for name, text, words in (
        ("layers", "0-5", "allowed here: 1-2"),
        ("temperature", "9", "from 0 to 2"),
        ("length", "", "length of a reply"),
    ):
        before = page.ask(f"byId('{name}').value")
        page.type(name, text)
        page.send("Again")
        assert words in page.text("#say")
        page.type(name, before)
    assert page.count(".turn") == 1
    page.type("system", "Another.")
    assert page.ask("byId('system-note').hidden") is False


def test_scripts_and_logs_are_replayed(chat):
    page = chat()
    page.click("replay-begin")
    first = page.ask("JSON.stringify(offered.list[0].messages)")
    messages = json.loads(first)
    assert page.ask(MESSAGES) == messages[:1]
    page.click("replay-turn")
    assert page.ask(MESSAGES) == messages[:2]
    page.click("replay-end")
    assert page.ask("byId('replay').hidden")
    said = [{"role": role, "content": text} for text in "abc" for role in ("user", "assistant")]
    log = json.dumps({"id": HOSTILE, "messages": said})
    page.ask(f"openLog(new File([{json.dumps(log)}], 'mine.jsonl'))")
    assert "1 conversations" in page.text("#say")
    page.click("replay-begin")
    assert page.ask("byId('replay-where').textContent") == f"{HOSTILE}: turn 2 of 3 comes next"
    page.ask("byId('replay-all').click()")
    assert happens(lambda: page.count("#trace .point") == 6)
    page.idle()
    assert page.ask(MESSAGES) == ["a", "b", "c"]
    assert page.ask("byId('replay').hidden")
    page.ask("openLog(new File(['nothing'], 'mine.jsonl'))")
    assert "cannot be read" in page.text("#say")
    assert page.ask("window.harmed") is None


def test_hostile_text_is_text(chat, script):
    script.text = f"{HOSTILE} & more"
    page = chat(name=HOSTILE)
    page.type("system", HOSTILE)
    page.send(HOSTILE)
    assert page.ask(MESSAGES) == [HOSTILE]
    assert page.ask(LANES) == [script.text] * 2
    assert page.count("#talk img, #talk script") == 0
    written = page.saved("export-page")
    assert "<script" not in written
    assert "<img" not in written
    assert "&lt;img" in written
    probe = """(() => {
        const node = document.createElement("div");
        node.innerHTML = "<img src=x onerror='window.harmed = true'>";
        document.body.append(node);
    })()"""
    complaints = list(page.complaints)
    page.ask(probe)  # even what became markup does not run
    assert happens(lambda: len(page.complaints) > len(complaints))
    assert page.ask("window.harmed") is None


def test_what_is_exported_is_what_was_said(chat, browse, tmp_path):
    page = chat()
    page.send("One")
    page.send("Zwei\n\n  ünd <b>")
    log = tmp_path / "chat.jsonl"
    log.write_text(page.saved("export-log"), "utf-8")
    plain, planned = read_conversations(log)
    assert plain.users == planned.users == ("One", "Zwei\n\n  ünd <b>")
    assert plain.replies == (SAID, SAID)
    assert plain.id.endswith("as-it-is")
    assert planned.about["turns"][1]["plan"]["name"] == "default"
    assert planned.about["turns"][1]["projection"]["after"]["tokens"] > 0
    written = page.saved("export-page")
    assert re.search(
        r"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'", written
    )
    marked = written.replace('<html lang="en">', '<html lang="en" data-ready="true">')
    file = tmp_path / "chat.html"
    file.write_text(marked, "utf-8")
    exported = browse(file)
    assert exported.ask(MESSAGES) == ["One", "Zwei\n\n  ünd <b>"]
    assert exported.ask("document.querySelectorAll('button').length") == 0
    assert exported.ask("document.querySelectorAll('svg .point').length") == 4
    assert exported.ask("getComputedStyle(document.querySelector('.said span')).backgroundColor")
    assert exported.complaints == []


def test_a_full_context_a_full_queue_and_a_server_that_ends(chatting, browse, script):
    script.go = Slowly()
    server = chatting(limits=Limits(rows=1, waiting=0))
    page = Page(browse(server.url.removesuffix("/v1") + "/chat"))
    page.send("Hi")  # one of the two finds no room
    assert page.count(".reply .trouble") == 1
    assert "The queue is full" in page.text(".trouble")
    assert "Wait" in page.text(".trouble")
    script.go.set()
    page.ask("document.querySelector('.trouble button').click()")
    page.idle()
    assert page.ask(LANES) == [SAID, SAID]
    page.send("long " * 5000)
    assert "The context is full" in page.text(".turn:last-child .trouble")
    page.click("undo")
    server.leave()
    page.send("Anybody?")
    assert "Start it again" in page.text(".turn:last-child .trouble")
    page.click("undo")
    server.__exit__()
    page.send("Anybody?")
    assert "does not answer" in page.text(".turn:last-child .trouble")
    assert page.complaints == []


def test_a_key_is_asked_for(chatting, browse):
    key = "k" * 20
    root = chatting(key=key).url.removesuffix("/v1")
    page = Page(browse(f"{root}/chat", waits=ASKED))
    page.type("key", key)
    page.ask("byId('key-form').requestSubmit()")
    assert happens(lambda: page.ask("document.documentElement.dataset.ready") == "true")
    page.send("Hi")
    assert page.ask(LANES) == [SAID, SAID]


def test_what_is_read_aloud_and_labelled(chat):
    page = chat()
    page.send("Hi")
    assert page.text("#heard").endswith(SAID)
    assert page.ask("byId('heard').getAttribute('aria-live')") == "polite"
    unlabelled = """[...document.querySelectorAll("input, select, textarea, button")].filter(
        (each) => !each.textContent.trim() && !each.closest("label") && !each.ariaLabel).map(
        (each) => each.id)"""
    assert page.ask(unlabelled) == []
    assert "after the plan" in page.ask(
        "document.querySelector('#trace .point').getAttribute('aria-label')"
    )


@pytest.mark.embedded
def test_with_a_real_model_the_cap_holds_what_drifts(smol_auto, browse, tmp_path: Path):
    space = PersonaSpace.load("smollm2-135m-instruct")
    plan = space.floor(percentile=75)
    layer = chat_layer(space, plan, None)
    served = Served.of(
        smol_auto,
        space,
        default=plan,
        layer=layer,
        allowed=Allowed(percentiles=(0, 100), layers=tuple(space.layers_)),
    )
    chat = Chat(served, space, cap=75)
    with Serving(served, port=0, checked=False, chat=chat) as server:
        page = Page(browse(server.url.removesuffix("/v1") + "/chat"))
        page.type("length", "16")
        page.type("seed", "3")
        page.type("system", "You are a ghost in an old house. Speak as the ghost.")
        page.send("Who are you?")
        log = tmp_path / "chat.jsonl"
        log.write_text(page.saved("export-log"), "utf-8")
        plain, planned = (chat.about["turns"][0]["projection"] for chat in read_conversations(log))
        assert plain["before"] == plain["after"]
        assert planned["after"]["mean"] > max(planned["before"]["mean"], plain["after"]["mean"])
        assert planned["clean"]["mean"] == pytest.approx(planned["before"]["mean"], abs=3)
        assert "tokens of prompt and reply, by" in page.text(".reply.plan .notes")
        assert page.count("#trace .band") == 1
        page.ask("document.querySelector('input[value=clean]').click()")
        assert page.count("#trace .point") == 2
        assert page.complaints == []
