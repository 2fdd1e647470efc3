"""Drift and base completions: conversations of several turns, and text that a base model goes on with."""

from __future__ import annotations

from collections import defaultdict

from persona_lens.catalog import load_everyday, load_scripts
from persona_lens.catalog.schema import Script
from persona_lens.conversations import read_conversations
from persona_lens.drift import trace
from persona_lens.drift.forecast import Forecaster
from persona_lens.drift.simulation import everyday, scripted, simulate
from persona_lens.drift.trace import Trace
from persona_lens.evals.category_rubrics import category_judge
from persona_lens.evals.completions import completions as base_completions
from persona_lens.evals.conditions import UNTOUCHED, Pushes, steered
from persona_lens.evals.transfer import transferred
from persona_lens.paper.behaviour_stages import not_capped
from persona_lens.paper.stage import Stage
from persona_lens.paper.study import Study
from persona_lens.rollouts.sampling import Sampling

PLAIN, CAPPED = "plain", "capped"
BATCH = 32
DRAWS = 200
COMPLETION_TOKENS = 40


def drift(study: Study) -> str:
    """Scripted conversations of four domains, without a cap and with the recommended one (sections 4.1 and 6)."""
    users = scripted(scripts(study))
    if study.preset.everyday:
        users += everyday(load_everyday()[: 8 * study.preset.everyday])
    floor = study.space.floor(percentile=study.preset.percentiles[0], layers=study.capped_layers[0])
    for name, plan in ((PLAIN, None), (CAPPED, floor)):
        simulate(
            study.model,
            users,
            turns=study.preset.turns,
            sampling=study.sampling(),
            plan=plan,
            plan_name=name if plan is not None else None,
            out=study.out / "drift" / name,
            batch_size=BATCH,
            progress=study.progress,
        )
        folder = study.out / "drift" / "traces" / name
        if not (folder / "trace.json").is_file():
            said = read_conversations(study.out / "drift" / name / "conversations.jsonl")
            found = trace(
                study.space,
                study.model,
                said,
                layers=[study.layer],
                directions=["axis"],
                progress=study.progress,
            )
            found.save(folder)
    return f"{len(users)} conversations, twice, up to {study.preset.turns} replies each"


def forecasting(study: Study) -> str:
    """What the user's message tells of the next reply (section 4.2)."""
    plain = traced(study, PLAIN)
    domains = [each for each in plain.turns["domain"].unique() if each != "everyday"]
    forecaster = Forecaster(
        permutations=study.preset.permutations,
        draws=max(study.preset.draws, DRAWS),
        progress=study.progress,
    ).fit(plain.select(domain=domains).wide(), directions=["axis"])
    forecaster.save(study.out / "forecast")
    return f"{len(forecaster.rows_):,} replies; {forecaster.question('axis').sentence}"


def completions(study: Study) -> str:
    """What the base model says its job is, pushed along the axis (section 3.2.2)."""
    assert study.base is not None, "refused without one"
    preset, base = study.preset, study.base
    layer = base.n_layers // 2
    pushes: Pushes
    if study.base_space is not None:
        pushes, how = study.base_space, "along the axis it read itself"
    else:
        pushes, how = transferred(study.space, base, layers=[layer]), "along the axis of its tune"
    judges = None if study.judge is None else [category_judge(study.judge)]
    asked = base_completions(
        "paper",
        judges=judges,
        read_by=base,
        sampling=Sampling(temperature=1.0, max_new_tokens=COMPLETION_TOKENS),
    )
    conditions = [
        UNTOUCHED,
        *steered(pushes, "assistant", preset.strengths, layers=[layer], controls=preset.controls),
    ]
    found = study.evaluated(
        "completions",
        asked,
        conditions,
        model=base,
        samples=preset.completions,
        batch_size=max(preset.batch, len(conditions) * preset.completions),
        engine=None,
        served=None,
    )
    return f"{found.replies.drop_duplicates(['item', 'condition', 'sample']).shape[0]:,} completions {how}"


def scripts(study: Study) -> list[Script]:
    """As many conversations of each domain as the preset says, users taking turns."""
    by_user: dict[tuple[str, str], list[Script]] = defaultdict(list)
    for script in load_scripts():
        by_user[script.domain, script.user].append(script)
    users: dict[str, list[list[Script]]] = defaultdict(list)
    for (domain, _), theirs in by_user.items():
        users[domain].append(theirs)
    found = []
    for theirs in users.values():
        most = max(map(len, theirs))
        in_turn = [each[place] for place in range(most) for each in theirs if place < len(each)]
        found += in_turn[: study.preset.scripts]
    return found


def traced(study: Study, name: str) -> Trace:
    """The clean reading of one arm."""
    return Trace.load(study.out / "drift" / "traces" / name)


def _no_base(study: Study) -> str | None:
    if study.base is None:
        return "no base model is known; name it with --base"
    if study.base_space is None and study.base.d_model != study.space.table.d_model:
        return (
            f"{study.base.name} is {study.base.d_model} wide and the space {study.space.table.d_model}: "
            "no axis fits it that it has not read itself (see the stage of the base model)"
        )
    return None


STAGES = (
    Stage("drift", "Drift", drift, not_capped, ("spaces",)),
    Stage("forecast", "Forecast of drift", forecasting, needs=("drift",)),
    Stage("completions", "Completions of the base model", completions, _no_base, ("spaces",)),
)
