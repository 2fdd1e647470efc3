"""The likelihood judge: thresholds with the stated false-positive rate, and roles told from the Assistant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from persona_lens import PersonaModel, RunFolder, Sampling
from persona_lens.errors import RunError
from persona_lens.judges import Case
from persona_lens.judges.likelihood_judge import LikelihoodJudge
from persona_lens.judges.null_thresholds import NullThresholds
from persona_lens.rollouts.plan import Request, Shard
from persona_lens.rollouts.reply import Reply
from persona_lens.runs import collect_run
from persona_lens.runs.judging import judge_run
from persona_lens.transcripts import PLAIN_TEMPLATE

RATES = {"fully": 0.01, "somewhat": 0.1}


def scores_of(n_roles: int, each: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Default replies whose scores lie elsewhere, and spread otherwise, for every role."""
    rng = np.random.default_rng(seed)
    names, scores = [], []
    for role in range(n_roles):
        names += [f"role_{role}"] * each
        scores.append(rng.normal(rng.normal(), np.exp(rng.normal(0, 0.3)), size=each))
    return names, np.concatenate(scores)


def test_new_default_replies_pass_at_the_stated_rate() -> None:
    """Thresholds from a few scores of each of many roles, tried on new scores of the same roles."""
    passed = {label: [] for label in RATES}
    for seed in range(20):
        names, scores = scores_of(40, 60, seed)
        known = np.arange(len(names)) % 60 < 10
        found = NullThresholds.of_scores(
            [name for name, is_known in zip(names, known, strict=True) if is_known],
            scores[known],
            RATES,
        )
        for label in RATES:
            limits = np.array([found.thresholds[name][label] for name in names])
            passed[label].append((scores > limits)[~known].mean())
    assert np.mean(passed["somewhat"]) == pytest.approx(0.1, abs=0.02)
    assert np.mean(passed["fully"]) == pytest.approx(0.01, abs=0.006)


def test_the_held_out_rate_is_reported_with_its_interval() -> None:
    names, scores = scores_of(40, 20, 0)
    found = NullThresholds.of_scores(names, scores, RATES)
    for label, rate in RATES.items():
        entry = found.held_out[label]
        assert entry["low"] <= rate <= entry["high"]
        assert entry["count"] == 800
    assert NullThresholds.from_dict(found.as_dict()) == found


def test_too_few_default_replies_are_refused() -> None:
    with pytest.raises(RunError, match=r"(?s)too few default replies.*given 1 for 'ghost'"):
        NullThresholds.of_scores(["pirate"] * 5 + ["ghost"], np.arange(6.0), RATES)


def test_rates_in_the_wrong_order_are_refused(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    with pytest.raises(RunError, match="false-positive rates"):
        LikelihoodJudge(model, somewhat=0.01, fully=0.1)


def case(kind: str, side: str, system: str, opposite: str, reply: Reply) -> Case:
    request = Request(question_id="q", question="Who are you?")
    shard = Shard.model_validate(
        {
            "kind": kind,
            "name": "it",
            "prompt_index": 0,
            "side": side,
            "system": system,
            "requests": (request,),
        }
    )
    return Case(shard, 0, reply, opposite=opposite)


def test_scores_are_the_ratios_they_say_they_are(tiny_llama: Path) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    judge = LikelihoodJudge(model, max_tokens=5)
    text = "Arr, the sea!"
    ids = np.array(model.tokenizer(text, add_special_tokens=False)["input_ids"])
    encoder = model.encoder

    def log_probs(system: str) -> np.ndarray:
        prompt = encoder.prompt(encoder.messages("Who are you?", system=system))
        return model.log_probs([prompt], [ids])[0][:5].astype(np.float64)

    role = case("role", "", "You are a pirate.", "", Reply(ids=ids, text=text))
    without_ids = case("role", "", "You are a pirate.", "", Reply(np.array([], dtype=int), text))
    noted = Reply(ids=ids, text=text, log_probs=log_probs("You are a pirate.").astype(np.float32))
    positive = case("trait", "positive", "Be calm.", "Be wild.", Reply(ids=ids, text=text))
    negative = case("trait", "negative", "Be wild.", "Be calm.", Reply(ids=ids, text=text))
    empty = case("role", "", "You are a pirate.", "", Reply(ids=np.array([], dtype=int), text=""))
    cases = [
        role,
        without_ids,
        case("role", "", "You are a pirate.", "", noted),
        positive,
        negative,
        empty,
    ]
    judge.restore(NullThresholds({"it": {"fully": 9.0, "somewhat": -9.0}}, RATES, {}, 0).as_dict())
    verdicts = [verdict for _, verdict in judge.verdicts(cases)]
    ratio = (log_probs("You are a pirate.") - log_probs("")).mean()
    for verdict in verdicts[:3]:
        assert verdict.score == pytest.approx(ratio, abs=1e-4)
        assert verdict.label == "somewhat"
    posterior = 100 / (1 + np.exp(-(log_probs("Be calm.") - log_probs("Be wild.")).sum()))
    assert verdicts[3].score == pytest.approx(posterior, abs=0.01)
    assert verdicts[4].score == pytest.approx(posterior, abs=0.01)
    assert (verdicts[5].status, verdicts[5].label) == ("ok", "not")


def test_a_reply_known_by_its_text_is_scored_as_the_tokens_behind_its_prompt(
    tiny_llama: Path,
) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32", chat_template=PLAIN_TEMPLATE)
    ids = np.array(model.tokenizer(" Aye.")["input_ids"], dtype=np.int64)
    by_ids = case("role", "", "Be a pirate.", "", Reply(ids=ids, text=" Aye."))
    by_text = case("role", "", "Be a pirate.", "", Reply(ids=ids[:0], text="Aye."))
    judge = LikelihoodJudge(model)
    known, found = judge._ratios([by_ids, by_text], own_known=False)
    assert known == pytest.approx(found, rel=1e-6)


def test_without_thresholds_it_says_nothing(tiny_llama: Path) -> None:
    judge = LikelihoodJudge(PersonaModel.load(tiny_llama, dtype="float32"))
    with pytest.raises(RunError, match=r"(?s)no thresholds yet.*judge_run"):
        next(judge.verdicts([]))


def test_added_roles_are_calibrated_and_the_others_labelled_anew(
    tiny_llama: Path, tmp_path: Path
) -> None:
    model = PersonaModel.load(tiny_llama, dtype="float32")
    plan = {
        "traits": None,
        "questions": ["q01", "q02", "q03"],
        "prompts": 2,
        "sampling": Sampling(max_new_tokens=6),
        "progress": False,
    }
    roles = ["pirate", "ghost", "analyst"]
    run = collect_run(model, tmp_path / "run", roles=roles, **plan)
    first = judge_run(run, LikelihoodJudge(model), progress=False).calibration()
    collect_run(model, run.path, roles=[*roles, "poet"], **plan)
    labels = judge_run(run, LikelihoodJudge(model), progress=False)
    calibration = labels.calibration()
    assert first is not None
    assert calibration is not None
    assert set(calibration["thresholds"]) - set(first["thresholds"]) == {"poet"}
    assert all(labels.has(shard) for shard in labels.run.shards if shard.kind == "role")


@pytest.mark.embedded
def test_the_real_model_tells_played_roles_from_assistant_like_ones(
    smol: PersonaModel, small_run: Path
) -> None:
    """Ghosts and pirates leave the default further behind than analysts and reviewers do."""
    labels = judge_run(RunFolder(small_run), LikelihoodJudge(smol, nulls=4), progress=False)
    manifest = labels.run.manifest
    shares: dict[str, list[bool]] = {"assistant": [], "played": []}
    for shard in manifest.shards:
        if shard.kind == "role":
            group = manifest.about[f"role-{shard.name}"]["group"]
            found = [verdict.label == "fully" for verdict in labels.read(shard)]
            shares["assistant" if group == "assistant" else "played"] += found
    assert np.mean(shares["played"]) > np.mean(shares["assistant"]) + 0.1
    scores = {"positive": [], "negative": []}
    for shard in manifest.shards:
        if shard.kind == "trait":
            scores[shard.side] += [verdict.score for verdict in labels.read(shard)]
    assert np.mean(scores["positive"]) > np.mean(scores["negative"]) + 25
