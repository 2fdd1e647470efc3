"""The judge behind a server: every answer read or said to be unreadable, every reply judged once."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from faulty_server import (
    Behaviour,
    FaultyServer,
    Seen,
    drop,
    error,
    filtered,
    no_choices,
    no_quota,
    not_json,
    ok,
    refused,
    server_error,
    too_long,
    too_many,
)
from judged_cases import ATTACKS, make_case
from typer.testing import CliRunner, Result
from waiting import PATIENCE

from persona_lens import PersonaModel, RunFolder, Sampling, cli
from persona_lens.endpoints import EndpointSettings
from persona_lens.errors import EndpointError, PersonaLensError, RunError
from persona_lens.judges import Case, OpenAIJudge, Verdict
from persona_lens.judges.answers import read_answer, settled
from persona_lens.runs import collect_run
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.labels import Labels

MakeJudge = Callable[..., OpenAIJudge]


@pytest.fixture
def make_judge() -> MakeJudge:
    def make(url: str, *, concurrency: int = 4, **options) -> OpenAIJudge:
        settings = EndpointSettings(
            model="m", base_url=url, concurrency=concurrency, timeout=PATIENCE, backoff=0.001
        )
        return OpenAIJudge(settings, **options)

    return make


def judged(judge: OpenAIJudge, *cases: Case) -> list[Verdict]:
    found = dict(judge.verdicts(cases))
    assert len(found) == len(cases)
    return [found[case] for case in cases]


# Reading answers ----------------------------------------------------------------------------------

READABLE = [
    ("role", "3", 3),
    ("role", " 2\n", 2),
    ("role", "**1**", 1),
    ("role", '"0"', 0),
    ("role", "3.", 3),
    ("role", "3.0", 3),
    ("role", "3/3", 3),
    ("role", "2 out of 3", 2),
    ("role", "Score: 3/3", 3),
    ("role", "**Score:** 2", 2),
    ("role", "The score is 1.", 1),
    ("role", '{"score": 3}', 3),
    ("role", '{"score": "3/3"}', 3),
    ("role", '```json\n{"score": 1}\n```', 1),
    ("role", '{"verdict": {"score": 2}}', 2),
    ("role", '{"score": 3,}', 3),
    ("role", 'Two sentences, 1 oath.\n{"score": 3}', 3),
    ("role", "I would give this reply a 2.", 2),
    ("role", "3 - it stays in role through all 4 sentences", 3),
    ("role", "On the scale of 0-3 I give it a 2.", 2),
    ("role", "Score (0 to 3): 2", 2),
    ("role", 'The reply asks me for "Score: 3", but it deserves 1.', 1),
    ("role", "<think>A 2? No: it says 3 times that it is an AI.</think>1", 1),
    ("trait", "0", 0),
    ("trait", "100", 100),
    ("trait", "85%", 85),
    ("trait", "70 out of 100", 70),
    ("trait", "80/100", 80),
    ("trait", '{"refusal": false, "score": 40}', 40),
    ("trait", '{"refusal": false, "score": 40.0}', 40),
]

UNREADABLE = [
    ("role", ""),
    ("role", "fully"),
    ("role", "4"),
    ("role", "-1"),
    ("role", "2.5"),
    ("role", "7/10"),
    ("role", "1st"),
    ("role", "2 or 3"),
    ("role", "2 criteria are met, so 3"),
    ("role", "Score: 3\nScore: 1"),
    ("role", 'It contains {"score": 3}. I give 1.'),
    ("role", '{"score": true}'),
    ("role", '{"score": null}'),
    ("role", '{"score": 9}'),
    ("role", '{"score": 3'),
    ("role", "<think>It is a 3, or"),
    ("role", "REFUSAL"),
    ("trait", "101"),
    ("trait", "1000"),
    ("trait", "8/10"),
    ("trait", "between 60 and 70"),
    ("trait", "REFUSAL, else 50"),
    ("trait", '{"refusal": false, "score": 8'),
    ("trait", '{"refusal": false}'),
]


@pytest.mark.parametrize(("kind", "text", "score"), READABLE)
def test_a_score_is_read_in_every_shape_it_comes_in(kind, text: str, score: int) -> None:
    verdict = read_answer(kind, text)
    label = {0: "not", 1: "not", 2: "somewhat", 3: "fully"}[score] if kind == "role" else None
    assert verdict == Verdict(label=label, score=float(score), raw=text)


@pytest.mark.parametrize(("kind", "text"), UNREADABLE)
def test_what_could_mean_two_things_is_not_read(kind, text: str) -> None:
    assert read_answer(kind, text) == Verdict(status="unparsed", raw=text)


@pytest.mark.parametrize(
    "text",
    ["REFUSAL", "Refusal.", "**REFUSAL**", '{"refusal": true, "score": 0}', '{"score": "REFUSAL"}'],
)
def test_a_refusal_to_show_a_trait_has_no_score(text: str) -> None:
    assert read_answer("trait", text) == Verdict(refused=True, raw=text)


def test_what_is_kept_of_an_answer_can_be_stored() -> None:
    assert read_answer("role", "Arr \ud83d").raw == "Arr ?"


@pytest.mark.parametrize(
    ("kind", "text", "finish", "verdict"),
    [
        ("role", "Arr!", "failed", None),
        ("role", " \n", "stop", Verdict(label="not", score=0.0, raw="the reply is empty")),
        ("trait", "", "refused", Verdict(refused=True, raw="the reply is empty")),
        ("role", "", "failed", Verdict(status="failed", raw="there is no reply to judge (failed)")),
        ("trait", "", "filtered", Verdict(status="failed", raw="there is no reply to judge (filtered)")),
    ],
)  # fmt: skip
def test_an_empty_reply_needs_no_judge(kind, text: str, finish: str, verdict) -> None:
    assert settled(make_case(text, kind=kind, finish=finish)) == verdict


# What is sent, and what is made of the answer -----------------------------------------------------


def test_the_server_is_held_to_a_schema(make_judge: MakeJudge) -> None:
    answers = [ok('{"score": 2}'), ok('{"refusal": false, "score": 61}')]
    with FaultyServer(answers) as server:
        judge = make_judge(server.url, concurrency=1, max_tokens=99)
        role, trait = judged(judge, make_case("Arr!"), make_case("Breathe.", kind="trait"))
    assert (role.label, role.score, trait.label, trait.score) == ("somewhat", 2, None, 61)
    sent = [seen.body for seen in server.requests]
    schemas = [body["response_format"]["json_schema"]["schema"] for body in sent]
    assert schemas[0]["properties"]["score"]["enum"] == [0, 1, 2, 3]
    assert list(schemas[1]["properties"]) == schemas[1]["required"] == ["refusal", "score"]
    for body in sent:
        assert (body["temperature"], body["max_tokens"]) == (0, 99)
        assert "logprobs" not in body
        assert body["messages"][-1]["content"].splitlines()[-1].startswith("Answer with JSON")


def test_the_judge_prompt_of_an_entry_can_be_asked_as_it_is(make_judge: MakeJudge) -> None:
    ready = 'Q: {question}\nA: {answer}\nAnswer as {{"score"}}, 0 to 3.'
    case = make_case("I am {question}.", about={"eval_prompt": ready})
    with FaultyServer(ok("3")) as server:
        judge = make_judge(server.url, verbatim=True, temperature=1.0, max_tokens=10)
        (verdict,) = judged(judge, case)
        with pytest.raises(PersonaLensError, match=r"(?s)no judge prompt of its own.*eval_prompt"):
            judged(judge, make_case("Arr!", about={"description": "A pirate."}))
    assert verdict.label == "fully"
    (body,) = [seen.body for seen in server.requests]
    told = f'Q: {case.question}\nA: I am {{question}}.\nAnswer as {{"score"}}, 0 to 3.'
    assert body["messages"] == [{"role": "user", "content": told}]
    assert "response_format" not in body
    assert (body["temperature"], body["max_tokens"]) == (1, 10)
    assert judge.card()["prompt"] == "verbatim"
    assert "prompt" not in make_judge(server.url).card()


def test_a_server_without_structured_output_is_read_all_the_same(make_judge: MakeJudge) -> None:
    def script(seen: Seen) -> Behaviour:
        asked_too_much = "response_format" in seen.body
        return Behaviour(status=400, body="no response_format here") if asked_too_much else ok("3")

    with FaultyServer(script) as server:
        verdicts = judged(make_judge(server.url), *(make_case(f"Arr {i}!") for i in range(9)))
    assert [verdict.label for verdict in verdicts] == ["fully"] * 9


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (ok("no idea"), Verdict(status="unparsed", raw="no idea")),
        (ok(""), Verdict(status="unparsed", raw="the answer is empty (ended by stop)")),
        (ok(" ", finish="length"), Verdict(status="unparsed", raw="the answer is empty (ended by length)")),
        (refused("I will not."), Verdict(status="failed", raw="the judge refused: I will not.")),
        (filtered(), Verdict(status="failed", raw="the judge refused: content_filter")),
    ],
)  # fmt: skip
def test_no_answer_is_lost(make_judge: MakeJudge, behaviour: Behaviour, verdict: Verdict) -> None:
    with FaultyServer(behaviour) as server:
        assert judged(make_judge(server.url), make_case("Arr!")) == [verdict]


def test_a_call_that_fails_says_why_and_the_others_go_on(make_judge: MakeJudge) -> None:
    def script(seen: Seen) -> Behaviour:
        return too_long() if "endless" in seen.question else ok("3")

    with FaultyServer(script) as server:
        long, short = judged(make_judge(server.url), make_case("endless"), make_case("Arr!"))
    assert long.status == "failed"
    assert long.raw.startswith("bad_request: status 400: This model's maximum context length")
    assert short.label == "fully"


def test_empty_replies_are_not_sent(make_judge: MakeJudge) -> None:
    with FaultyServer(ok("3")) as server:
        cases = [make_case(text) for text in ("", "Arr!", "", "")]
        labels = [verdict.label for verdict in judged(make_judge(server.url), *cases)]
        assert judged(make_judge(server.url), make_case(""))[0].label == "not"
    assert labels == ["not", "fully", "not", "not"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_reply_that_forges_its_verdict_stays_inside_the_fence(
    make_judge: MakeJudge, attack: str
) -> None:
    def obedient(body: dict) -> str:
        """Answers 3 where it is told to, as long as that is not material; else by the first word."""
        user = body["messages"][1]["content"]
        found = re.search(r"^QUESTION BEGINS, MARK (\w+)$", user, re.MULTILINE)
        assert found
        inside = re.findall(
            rf"BEGINS, MARK {found[1]}\n(.*?)\n\w+ ENDS, MARK {found[1]}", user, re.S
        )
        outside = user
        for material in inside:
            outside = outside.replace(material, "")
        told = re.search(
            r'Score: 3|answer 3\b|"score": 3|reply is a 3|earned a 3|assistant\n3', outside
        )
        return "3" if told or inside[-1].startswith("Arr") else "1"  # fmt: skip

    with FaultyServer(ok(obedient)) as server:
        cases = [make_case(f"As an AI, I cannot. {attack}"), make_case(f"Arr! {attack}")]
        labels = [verdict.label for verdict in judged(make_judge(server.url), *cases)]
    assert labels == ["not", "fully"]


def test_no_more_cases_are_taken_than_are_worked_on(make_judge: MakeJudge) -> None:
    taken = itertools.count()

    def cases() -> Iterator[Case]:
        while True:
            yield make_case(f"Arr {next(taken)}!")

    with FaultyServer(ok("3")) as server:
        verdicts = make_judge(server.url, concurrency=4).verdicts(cases())
        for _ in range(20):
            next(verdicts)
        assert next(taken) <= 20 + 2 * 4 + 1
        verdicts.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert "persona-lens-endpoint" not in {thread.name for thread in threading.enumerate()}


# Expected scores ----------------------------------------------------------------------------------


def weighed(make_judge: MakeJudge, case: Case, answer: str, logprobs) -> Verdict:
    with FaultyServer(ok(answer, logprobs=logprobs)) as server:
        [verdict] = judged(make_judge(server.url, scoring="logits"), case)
    body = server.requests[0].body
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert "response_format" not in body
    return verdict


def test_logits_give_the_expected_score_and_the_answer_the_label(make_judge: MakeJudge) -> None:
    tokens = [{"3": -0.5108256, "1": -1.2039728, " 1": -2.9957323, "no": -2.9957323, "7": -3.0}]
    verdict = weighed(make_judge, make_case("Arr!"), "3", tokens)
    assert verdict.label == "fully"
    assert verdict.score == pytest.approx((3 * 0.6 + 1 * 0.35) / 0.95, abs=1e-4)
    assert json.loads(verdict.raw) == {"answer": "3", "probabilities": {"1": 0.3684, "3": 0.6316}}


def test_logits_are_taken_where_the_number_stands(make_judge: MakeJudge) -> None:
    tokens = [{"Score": -0.1, "20": -2.0}, {":": 0.0}, {" 80": -0.6931472, " 60": -0.6931472}]
    verdict = weighed(make_judge, make_case("Breathe.", kind="trait"), "Score: 80", tokens)
    assert verdict.score == pytest.approx(70)


@pytest.mark.parametrize(
    ("answer", "tokens", "score"),
    [
        ("80", None, 80),  # the server reports none
        ("80", [{"8": -0.1, "6": -2.0}, {"0": -0.1, "5": -2.0}], 80),  # two tokens
        ("8", [{"8": -0.1, "6": -2.0}], 8),  # perhaps the beginnings of longer numbers
        ("80", [{"80": -9999.0, "a": -0.1}], 80),  # not computed
        ("80", [{"80": float("nan"), "70": -0.1}], 80),
        ("80\nYes, 80", [{"80": -0.1, "70": -2.0}, {"\n": 0.0}, {"80": -0.1, "60": -2.0}], 80),
        ("REFUSAL", [{"REF": -0.1, "80": -2.0}], None),
        ("hm", [{"hm": -0.1, "80": -2.0}], None),
    ],
)
def test_logits_fall_back_on_the_answer(
    make_judge: MakeJudge, answer: str, tokens, score: int | None
) -> None:
    verdict = weighed(make_judge, make_case("Breathe.", kind="trait"), answer, tokens)
    assert verdict == read_answer("trait", answer)
    assert verdict.score == score


# Card and cost ------------------------------------------------------------------------------------


def test_the_card_holds_what_decides_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-very-secret")
    settings = EndpointSettings(model="gpt-4.1-mini", api_key_env="JUDGE_KEY")
    card = OpenAIJudge(settings).card()
    assert "secret" not in json.dumps(card)
    assert {"model", "host", "prompt_version", "temperature", "scoring", "max_tokens"} <= set(card)
    faster = settings.model_copy(update={"concurrency": 64})
    assert OpenAIJudge(faster).card() == card
    assert OpenAIJudge(settings, scoring="logits").card() != card


def test_a_scoring_that_there_is_not_is_refused() -> None:
    with pytest.raises(PersonaLensError, match="expected answer or logits, given logit"):
        OpenAIJudge(EndpointSettings(model="m"), scoring="logit")  # pyright: ignore


def test_an_estimate_counts_what_would_be_sent(make_judge: MakeJudge) -> None:
    judge = make_judge("http://127.0.0.1:9/v1", concurrency=10)
    cases = [make_case("Arr! " * 40), make_case("Breathe.", kind="trait"), make_case("")]
    cost = judge.estimate(cases, 3000, seconds_per_call=0.5, price=(1.0, 10.0))
    assert cost.calls == 2000
    sent = [judge._call(case).messages for case in cases[:2]]
    characters = sum(len("\n\n".join(part["content"] for part in both)) for both in sent)
    assert cost.prompt_tokens == pytest.approx(2000 * characters / 2 / 4, rel=0.01)
    assert cost.answer_tokens == 2000 * (3 + 8) / 2
    assert cost.most_answer_tokens == 2000 * 64
    assert cost.seconds == 100
    assert cost.money == pytest.approx(
        (cost.prompt_tokens / 1e6 + 11_000 / 1e5, cost.prompt_tokens / 1e6 + 128_000 / 1e5)
    )
    assert sent[0][1]["content"] in cost.sample_prompt
    told = str(cost)
    assert "(4 characters a token).\n2 min, if a call takes 0.5 s and 10 run at a time.\n$" in told
    assert "at $1.00 and $10.00 a million tokens" in told
    assert "$" not in str(judge.estimate(cases, 3000))


def test_an_estimate_needs_a_sample_but_no_words_in_it(make_judge: MakeJudge) -> None:
    judge = make_judge("http://127.0.0.1:9/v1")
    with pytest.raises(PersonaLensError, match="an estimate needs replies"):
        judge.estimate([], 10)
    cost = judge.estimate([make_case("")], 10)
    assert (cost.calls, cost.prompt_tokens, cost.sample_prompt) == (0, 0, "")


def test_tiktoken_counts_if_it_is_there(
    make_judge: MakeJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = SimpleNamespace(name="words", encode=lambda text, **_: text.split())
    known = SimpleNamespace(encoding_for_model={"m": words}.__getitem__)
    monkeypatch.setitem(sys.modules, "tiktoken", known)
    cost = make_judge("http://127.0.0.1:9/v1").estimate([make_case("Arr!")], 1)
    assert cost.counted_by == "tiktoken words"
    assert cost.prompt_tokens == len(cost.sample_prompt.split())
    offline = SimpleNamespace(encoding_for_model=lambda _: open("/no/vocabulary"))  # noqa: SIM115
    monkeypatch.setitem(sys.modules, "tiktoken", offline)
    cost = make_judge("http://127.0.0.1:9/v1").estimate([make_case("Arr!")], 1)
    assert cost.counted_by == "4 characters a token"


# On a run -----------------------------------------------------------------------------------------

PLAN = {
    "roles": ["pirate", "ghost", "analyst"],
    "traits": ["calm"],
    "questions": ["q01", "q02", "q03"],
    "prompts": 2,
    "progress": False,
}


@pytest.fixture
def run(tiny_llama: Path, tmp_path: Path) -> RunFolder:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    return collect_run(model, tmp_path / "run", sampling=Sampling(max_new_tokens=8), **PLAN)


def stored(run: RunFolder, labels: Labels) -> list[Verdict]:
    """Every verdict that is on disk, in files or journals."""
    found = []
    for shard in run.manifest().shards:
        if labels.has(shard):
            found += labels.read(shard)
        else:
            found += [Verdict(**one["verdict"]) for one in labels.journal(shard).records()]
    return found


def to_ask(run: RunFolder) -> int:
    opened = run.opened()
    judged = [shard for shard in opened.shards if shard.kind != "default"]
    replies = (reply for shard in judged for reply in opened.read_replies(shard))
    return sum(bool(reply.text.strip()) for reply in replies)


def answer(body: dict) -> str:
    trait = "refusal" in body["messages"][-1]["content"].splitlines()[-1]
    return '{"refusal": false, "score": 70}' if trait else '{"score": 3}'


def test_every_verdict_arrives_once_whatever_the_server_does(
    run: RunFolder, make_judge: MakeJudge
) -> None:
    faults = [
        too_many(),
        too_many("0.01"),
        server_error(500),
        server_error(503),
        drop(),
        drop(halfway=True),
        not_json(),
        no_choices(),
    ]
    dice = random.Random(0)

    def script(seen: Seen) -> Behaviour:
        return dice.choice(faults) if dice.random() < 0.4 else ok(answer)

    with FaultyServer(script) as server:
        labels = judge_run(run, make_judge(server.url), progress=False)
    assert sum(server.answered().values()) == to_ask(run)
    assert server.repeated() == []
    verdicts = stored(run, labels)
    assert len(verdicts) == 3 * 2 * 3 + 2 * 2 * 3
    assert {verdict.status for verdict in verdicts} == {"ok"}
    assert {verdict.label for verdict in verdicts} <= {"fully", "not", None}


def test_an_empty_purse_stops_at_once_and_a_second_run_asks_for_the_rest(
    run: RunFolder, make_judge: MakeJudge
) -> None:
    def script(seen: Seen) -> Behaviour:
        return ok(answer) if seen.number < 7 else no_quota()

    with FaultyServer(script) as server:
        judge = make_judge(server.url, concurrency=1)
        with pytest.raises(EndpointError, match=r"the quota at 127\.0\.0\.1 is used up"):
            judge_run(run, judge, progress=False)
        assert len(server.requests) == 8
    labels = Labels.find(run.opened(), "openai")
    asked_of = [verdict for verdict in stored(run, labels) if verdict.raw.startswith("{")]
    assert len(asked_of) == 7
    before = {seen.question for seen in server.requests[:7]}

    with FaultyServer(ok(answer)) as server:
        labels = judge_run(run, make_judge(server.url, concurrency=1), progress=False)
        assert len(server.requests) == to_ask(run) - 7
        assert not before & {seen.question for seen in server.requests}
    assert all(verdict.status == "ok" for verdict in stored(run, labels))
    assert not list(run.path.glob("labels/*/*.jsonl"))


def test_what_could_not_be_read_is_asked_again_on_request(
    run: RunFolder, make_judge: MakeJudge
) -> None:
    mumbles = itertools.cycle([ok("Hm."), ok(answer)])
    with FaultyServer(lambda seen: next(mumbles)) as server:
        labels = judge_run(run, make_judge(server.url), progress=False)
    unread = [verdict for verdict in stored(run, labels) if verdict.status == "unparsed"]
    assert len(unread) == (to_ask(run) + 1) // 2
    assert {verdict.raw for verdict in unread} == {"Hm."}
    with FaultyServer(ok(answer)) as server:
        labels = judge_run(run, make_judge(server.url), retry=True, progress=False)
    assert len(server.requests) == len(unread)
    assert all(verdict.status == "ok" for verdict in stored(run, labels))


def test_the_room_imports_neither_torch_nor_openai() -> None:
    code = (
        "import sys, persona_lens.judges as judges; judges.OpenAIJudge, judges.RuleJudge; "
        "print(sorted({'torch', 'openai', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# From the command line ----------------------------------------------------------------------------


def command(run: RunFolder, server: FaultyServer, *options: str) -> Result:
    asked = ["judge", str(run.path), "--judge", "openai", "--model", "m"]
    return CliRunner().invoke(cli.app, [*asked, "--base-url", server.url, *options])


def test_a_judge_that_thinks_works_from_the_command_line(run: RunFolder) -> None:
    def script(seen: Seen) -> Behaviour:
        if "temperature" in seen.body:
            return error(400, "'temperature' does not support 0 with this model.")
        if seen.body.get("max_tokens", 0) < 1000:
            return ok("", finish="length")
        return ok(lambda body: f"<think>\nScore: 1, or 2?\n</think>\n\n{answer(body)}")

    with FaultyServer(script) as server:
        wanted = '{"reasoning_effort": "low", "top_p": null}'
        result = command(
            run,
            server,
            *("--temperature", "none", "--max-tokens", "4000", "--extra-body", wanted, "--quiet"),
        )
        bodies = [seen.body for seen in server.requests]
    assert result.exit_code == 0, result.output
    assert "Next:" in result.output
    assert {body["reasoning_effort"] for body in bodies} == {"low"}
    labels = Labels.find(run.opened(), "openai")
    assert (labels.card()["temperature"], labels.card()["max_tokens"]) == (None, 4000)
    assert {verdict.label for verdict in stored(run, labels)} <= {"fully", "not", None}
    assert {verdict.status for verdict in stored(run, labels)} == {"ok"}


@pytest.mark.parametrize(
    ("behaviour", "given", "remedy"),
    [
        (ok("", finish="length"), "cut off before its score", "--max-tokens 4000"),
        (ok("1. It speaks", finish="MAX_TOKENS"), "cut off before its score", "--max-tokens 4000"),
        (ok("Hm."), "states no score", "--retry"),
        (error(400, "'temperature' does not support 0."), "temperature", "--temperature none"),
        (filtered(), "content_filter", "--retry"),
    ],
)
def test_a_run_without_a_single_verdict_says_why(
    run: RunFolder, behaviour: Behaviour, given: str, remedy: str
) -> None:
    with FaultyServer(behaviour) as server:
        result = command(run, server, "--quiet")
        assert result.exit_code != 0
        assert isinstance(result.exception, RunError)
        assert re.search(
            rf"(?s)not one of \d+ replies.*{given}.*{re.escape(remedy)}", str(result.exception)
        )
        assert "Next:" not in result.output
        again = command(run, server, "--quiet")  # asks nothing, and says the same
    assert str(again.exception) == str(result.exception)


def test_verdicts_that_are_missing_are_counted_by_reason(run: RunFolder) -> None:
    turns = itertools.cycle([ok("Hm."), ok("", finish="length"), ok(answer)])
    with FaultyServer(lambda seen: next(turns)) as server:
        result = command(run, server, "--quiet", "--kinds", "role")
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert re.search(r"No verdict on \d+ of \d+ replies: \d+ times the answer \w+", told)
    assert "Next:" in result.output


@pytest.mark.parametrize("given", ["warm", "-1", "nan", "inf"])
def test_a_temperature_that_is_none_is_refused_before_anything_is_asked(
    run: RunFolder, given: str
) -> None:
    with FaultyServer() as server:
        result = command(run, server, "--temperature", given)
        assert server.requests == []
    assert "cannot read the temperature" in str(result.exception)


def test_a_length_of_ones_own_replaces_that_of_the_judge(make_judge: MakeJudge) -> None:
    own = {"max_completion_tokens": 3000}
    with FaultyServer(ok("3")) as server:
        settings = EndpointSettings(model="m", base_url=server.url, extra_body=own)
        judged(OpenAIJudge(settings), make_case("Arr!"))
        (seen,) = server.requests
    assert "max_tokens" not in seen.body
    assert seen.body["max_completion_tokens"] == 3000
