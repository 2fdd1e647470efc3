"""Modules of the live chat, run in a browser: the tree of turns, replies as they grow, requests, colours."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

RunScript = Callable[[str, str], Any]
SCRIPT = "chat/script/"


def test_forks_keep_what_was_said_and_undo_forgets_only_ends(run_script: RunScript) -> None:
    found = run_script(
        f"{SCRIPT}tree.js",
        """(() => {
            const tree = freshTree();
            const one = grow(tree, null, "one", {});
            const two = grow(tree, one, "two", {});
            const other = grow(tree, one, "other", {});
            const said = [pathTo(tree.head).map((turn) => turn.user), branchEnds(tree).map((turn) => turn.user)];
            takeBack(tree);
            said.push([tree.head.user, branchEnds(tree).map((turn) => turn.user)]);
            takeBack(tree);
            said.push([tree.head, tree.turns.length, branchEnds(tree).map((turn) => turn.user)]);
            takeBack(tree);
            return said;
        })()""",
    )
    assert found == [
        ["one", "other"],
        ["two", "other"],
        ["one", ["one", "two"]],
        [None, 2, ["two"]],
    ]


def chunk(text: str, tokens: int, **more: Any) -> dict[str, Any]:
    drawn = [{"token": "", "logprob": 0.0}] * tokens
    return {"choices": [{"delta": {"content": text}, "logprobs": {"content": drawn}}], **more}


def heard(chunks: list[dict[str, Any]], ask: str) -> str:
    each = f"{json.dumps(chunks)}.forEach((chunk) => hear(reply, chunk))"
    return f"(() => {{ const reply = freshReply(); {each}; return {ask}; }})()"


def test_readings_find_their_token_and_text_that_was_held_back_joins_the_last(
    run_script: RunScript,
) -> None:
    read = [{"index": 0, "before": 1.0, "after": 3.0}, {"index": 1, "before": 2.0, "after": 2.0}]
    chunks = [
        chunk("Half", 1),
        chunk("", 1, persona={"choices": [{"index": 0, "tokens": read[:1]}]}),
        chunk(" é", 1, persona={"choices": [{"index": 0, "tokens": read[1:]}]}),
        {"choices": [{"delta": {"content": "!"}, "finish_reason": None}]},
    ]
    ask = """[textOf(reply), reply.pieces.map((piece) => [piece.text, piece.before, piece.after]),
              placed(reply, "before"), placed(reply, "clean")]"""
    text, pieces, place, clean = run_script(f"{SCRIPT}reply.js", heard(chunks, ask))
    assert text == "Half é!"
    assert pieces == [["Half", 1, 3], ["", 2, 2], [" é!", None, None]]
    nothing = {"low": None, "high": None, "z": None}
    assert place == {"mean": 1.5, **nothing, "tokens": 2, "early": True}
    assert clean is None


def test_what_is_said_of_the_whole_replaces_what_was_reckoned_meanwhile(
    run_script: RunScript,
) -> None:
    told = {
        "index": 0,
        "projection": {
            "after": {"mean": 5.0, "low": 4.0, "high": 6.0, "z": 0.1, "tokens": 1},
            "clean": {"mean": None, "low": None, "high": None, "z": None, "tokens": 0},
        },
        "projections": {
            "counted": [False, True],
            "before": [7.0, 4.0],
            "after": [7.0, 5.0],
            "clean": [None, 4.5],
        },
        "tokens": {"seen": 3, "moved": 1, "change": 0.02},
    }
    last = {
        "choices": [{"delta": {}, "finish_reason": "length"}],
        "persona": {"plan": {"name": "cap"}, "choices": [told]},
    }
    ask = """[placed(reply, "after").low, placed(reply, "clean"), reply.finish, reply.plan.name,
              reply.pieces.map((piece) => [piece.counted, piece.after, piece.clean])]"""
    found = run_script(f"{SCRIPT}reply.js", heard([chunk("a", 1), chunk("b", 1), last], ask))
    assert found == [4, None, "length", "cap", [[False, 7, None], [True, 5, 4.5]]]


def test_what_another_server_wrote_is_cut_and_placed_as_our_model_reads_it(
    run_script: RunScript,
) -> None:
    told = {
        "index": 0,
        "projection": {"before": None, "after": None, "clean": {"mean": 2.0, "tokens": 2}},
        "words": ["Bo", "o."],
        "projections": {
            "counted": [True, True],
            "before": None,
            "after": None,
            "clean": [1.0, 3.0],
        },
    }
    chunks = [chunk("Boo.", 0), {"choices": [], "persona": {"choices": [told]}}]
    ask = """[textOf(reply), reply.pieces.map((piece) => [piece.text, piece.before, piece.clean]),
              placed({ ...reply, other: "x" }, "after").mean, placed(reply, "after")]"""
    found = run_script(f"{SCRIPT}reply.js", heard(chunks, ask))
    assert found == ["Boo.", [["Bo", None, 1], ["o.", None, 3]], 2, None]


@pytest.mark.parametrize(
    ("status", "text", "goes_on"),
    [
        ("done", "", True),
        ("stopped", "Half", True),
        ("stopped", "", False),
        ("failed", "x", False),
        ("running", "x", False),
    ],
)
def test_conversations_go_on_behind_replies_only(
    run_script: RunScript, status: str, text: str, goes_on: bool
) -> None:
    reply = json.dumps({"status": status, "pieces": [{"text": text}]})
    assert run_script(f"{SCRIPT}reply.js", f"answered({reply})") is goes_on


def test_events_are_taken_as_they_become_whole(run_script: RunScript) -> None:
    text = 'data: {"a":1}\n\n: ping\n\ndata: [DONE]\r\n\r\ndata: {"b"'
    found = run_script(f"{SCRIPT}asking.js", f"splitEvents({json.dumps(text)})")
    assert found == {"events": ['{"a":1}', "[DONE]"], "rest": 'data: {"b"'}


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (429, "rate_limit_exceeded", "busy", "The queue is full"),
        (400, "context_length_exceeded", "full", "Edit an earlier message"),
        (503, "shutting_down", "gone", "Start it again"),
        (401, "invalid_api_key", "key", "key"),
        (400, "not_allowed", "refused", "What it said."),
    ],
)
def test_troubles_say_what_to_do(
    run_script: RunScript, status: int, code: str, kind: str, words: str
) -> None:
    body = json.dumps({"error": {"message": "What it said.", "code": code}})
    ask = (
        f"(({{ message, kind, wait }}) => [message, kind, wait])(troubleOf({status}, {body}, '7'))"
    )
    message, found, wait = run_script(f"{SCRIPT}asking.js", ask)
    assert words in message
    assert found == kind
    assert wait == (7 if kind in ("busy", "gone") else 0)


def test_each_lane_is_asked_with_its_own_replies_and_one_seed(run_script: RunScript) -> None:
    settings = {
        "temperature": 0.5,
        "seed": 4,
        "length": 9,
        "clean": True,
        "plan": "default",
        "percentile": 60,
        "layers": [2, 3],
    }
    ask = f"""(() => {{
        const settings = {json.dumps(settings)};
        const said = (text) => ({{ status: "done", pieces: [{{ text }}] }});
        const one = {{ parent: null, user: "Hi", system: "Be a ghost.", settings,
            replies: {{ plain: said("Boo."), plan: said("Hello.") }} }};
        const two = {{ parent: one, user: "And?", settings, replies: {{}} }};
        return ["plain", "plan"].map((lane) => bodyFor("m", two, lane));
    }})()"""
    plain, planned = run_script(f"{SCRIPT}requests.js", ask)
    assert [each["content"] for each in plain["messages"]] == ["Be a ghost.", "Hi", "Boo.", "And?"]
    assert planned["messages"][2] == {"role": "assistant", "content": "Hello."}
    assert plain["seed"] == planned["seed"] == 4
    assert plain["persona"] == {"plan": "none", "projections": True, "clean": True}
    assert planned["persona"]["percentile"] == 60
    assert planned["persona"]["layers"] == [2, 3]


@pytest.mark.parametrize(
    ("text", "found"),
    [("", None), ("5", [5]), ("7-9, 3", [3, 7, 8, 9]), ("4–5", [4, 5])],
)
def test_layers_are_read(run_script: RunScript, text: str, found: list[int] | None) -> None:
    allowed = list(range(10))
    assert (
        run_script(f"{SCRIPT}requests.js", f"parsedLayers({json.dumps(text)}, {allowed})") == found
    )


@pytest.mark.parametrize(
    ("text", "words"), [("x", "written as"), ("9-3", "written as"), ("1-12", "allowed here: 0-9")]
)
def test_layers_that_cannot_be_are_refused(run_script: RunScript, text: str, words: str) -> None:
    call = f"parsedLayers({json.dumps(text)}, {list(range(10))})"
    ask = f"(() => {{ try {{ {call}; }} catch (error) {{ return error.message; }} }})()"
    assert words in run_script(f"{SCRIPT}requests.js", ask)


def test_colours_have_a_side_and_a_middle(run_script: RunScript) -> None:
    piece = "{ before: -30, after: -10 }"
    scale = "{ middle: -20, reach: 20 }"
    modes = [("axis", "after"), ("axis", "before"), ("moved", "after"), ("none", "after")]
    calls = ", ".join(f'tinted({piece}, "{mode}", "{reading}", {scale})' for mode, reading in modes)
    after, before, moved, none = run_script(f"{SCRIPT}tint.js", f"[{calls}]")
    assert after == "rgba(0, 114, 178, 0.28)"
    assert before == "rgba(213, 94, 0, 0.28)"
    assert moved == "rgba(139, 63, 199, 0.55)"
    assert none == ""
    again = "{ before: null, after: null, clean: -10 }"
    calls = ", ".join(
        f'tinted({again}, "{mode}", "{reading}", {scale})'
        for mode, reading in (("axis", "after"), ("axis", "clean"), ("moved", "clean"))
    )
    found = run_script(f"{SCRIPT}tint.js", f"[{calls}]")
    assert found == ["", "rgba(0, 114, 178, 0.28)", ""]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(-80, 35, [-80, -60, -40, -20, 0, 20]), (0, 0.3, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])],
)
def test_ticks_are_round(
    run_script: RunScript, low: float, high: float, found: list[float]
) -> None:
    values = run_script(f"{SCRIPT}chart.js", f"ticks({low}, {high}).values")
    assert values == pytest.approx(found)


def test_points_that_alarm_have_a_ring_and_say_so(run_script: RunScript) -> None:
    place = {"mean": -30.0, "low": -35.0, "high": -25.0, "z": -2.0, "tokens": 12}
    told = {"projection": {"after": place, "before": place}, "monitor": {"alarming": True}}
    spread = {"default": {"mean": -7.0, "deviation": 18.0}, "role": {"mean": -24.0}}
    ask = f"""(() => {{
        const svg = drawn("svg");
        const calm = {{ ...{json.dumps(told).replace("true", "false")} }};
        const turn = {{ id: 1, replies: {{ plain: {{ told: {json.dumps(told)} }}, plan: {{ told: calm }} }} }};
        const clicked = [];
        const names = {{ plain: "as it is", plan: "with the plan" }};
        const chosen = (each) => clicked.push(each.id);
        drawTrace(svg, [turn], {{ reading: "before", spread: {json.dumps(spread)}, names, chosen }});
        svg.querySelectorAll(".point").forEach((point) => point.dispatchEvent(new Event("click")));
        return [svg.querySelectorAll(".alarm").length, svg.querySelectorAll(".band").length, clicked,
            [...svg.querySelectorAll(".point")].map((point) => point.getAttribute("aria-label"))];
    }})()"""
    rings, bands, clicked, labels = run_script(f"{SCRIPT}chart.js", ask)
    assert (rings, bands, clicked) == (1, 1, [1, 1])
    plain, planned = labels
    assert plain == (
        "Turn 1, as it is, before the plan acted at this layer: −30.00 (−35.00 to −25.00, 95 %), z −2.00, "
        "12 tokens; the monitor alarms"
    )
    assert "alarms" not in planned


def test_alarms_and_receipts_have_their_numbers(run_script: RunScript) -> None:
    verdict = {
        "statistic": "lowest",
        "direction": "axis",
        "value": 71.15,
        "threshold": 23.38,
        "p": 0.01,
        "since": 1,
        "false_alarms": {"rate": 0.05, "calm": 99},
        "caution": "with care",
    }
    said = run_script(f"{SCRIPT}talk.js", f"alarmText({json.dumps(verdict)})")
    for part in (
        "since turn 2",
        "71.15",
        "23.38",
        "5.0 % of 99 calm",
        "p 0.010",
        "Note: with care.",
    ):
        assert part in said
    moved = {"seen": 154, "moved": 59, "change": 0.03}
    said = run_script(f"{SCRIPT}talk.js", f"movedBy({json.dumps(moved)})")
    assert said.startswith("The plan moved 59 of 154 tokens of prompt and reply, by 3.0 %")
    nothing = {"seen": 0, "moved": 0, "change": 0}
    assert run_script(f"{SCRIPT}talk.js", f"movedBy({json.dumps(nothing)})") == "No plan acted."
