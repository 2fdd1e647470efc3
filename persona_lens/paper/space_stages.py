"""Roles, traits, judge, space, sweep, comparison with other models: the stages that hold no conversation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from persona_lens.analysis.comparison import compare
from persona_lens.analysis.sweep import sweep
from persona_lens.errors import RunError, first_line
from persona_lens.judges import LikelihoodJudge
from persona_lens.judges.openai_judge import OpenAIJudge
from persona_lens.paper.stage import Stage
from persona_lens.paper.study import BASE_RUN, BASE_SPACE, RUN, SPACE, Study
from persona_lens.rollouts.plan import n_requests
from persona_lens.runs.collecting import collect_plan
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.folder import RunFolder
from persona_lens.runs.vectors import vector_table
from persona_lens.space import Space

COMPONENTS = 3


def roles(study: Study) -> str:
    """Every role, and the default Assistant."""
    return _collected(study, traits=False)


def traits(study: Study) -> str:
    """Both sides of every trait, added to the same run."""
    return _collected(study, traits=True)


def judge(study: Study) -> str:
    """Which replies play their role."""
    if study.given is not None:
        return "the space that was given is as its judge has left it"
    judging = LikelihoodJudge(study.model) if study.judge is None else OpenAIJudge(study.judge)
    labels = judge_run(study.run, judging, progress=study.progress)
    return f"labelled by {labels.key}"


def spaces(study: Study) -> str:
    """The vectors, fitted at every layer and calibrated."""
    if study.given is not None:
        return f"used as it is: {study.given}"
    space, told = _fitted(study, study.run)
    space.calibrate(study.model, progress=study.progress).save(study.out / SPACE)
    return f"{space}; {told}"


def sweeping(study: Study) -> str:
    """Every metric layer by layer."""
    space = study.space
    layers = sorted({*space.layers_[:: study.preset.every], study.layer, space.layers_[-1]})
    found = sweep(space, layers=layers, n_draws=study.preset.draws, progress=study.progress)
    found.save(study.out / "sweep")
    left_out = found.card["left_out"]
    lacking = f"; left out: {', '.join(left_out)}" if left_out else ""
    return f"{found.frame['metric'].nunique()} metrics at {len(layers)} layers{lacking}"


def comparison(study: Study) -> str:
    """The same replies as the base model reads them."""
    assert study.base is not None, "refused without one"
    run = collect_plan(
        study.model,
        study.out / RUN,
        study.preset.collection,
        reader=study.base,
        fork=study.out / BASE_RUN,
        progress=study.progress,
    )
    own, told = _fitted(study, run)
    own.calibrate(study.base, progress=study.progress).save(study.out / BASE_SPACE)
    found = compare(
        study.space,
        own,
        layers=[study.layer],
        cosines=study.space.table.d_model == own.table.d_model,
        n_components=COMPONENTS,
        n_draws=study.preset.draws,
        progress=study.progress,
    )
    found.save(study.out / "comparison")
    return f"{study.base.name} has read {found.card['shared']['role']} roles; {told}"


def other_models(study: Study) -> str:
    """The arrangement of the roles beside that of other models."""
    for name, other in study.others.items():
        found = compare(
            study.space,
            other,
            layers=[study.layer],
            n_components=COMPONENTS,
            n_draws=study.preset.draws,
            progress=study.progress,
        )
        found.save(beside(study.out, name))
    return f"beside {', '.join(study.others)}"


def beside(out: Path, name: str) -> Path:
    """Where the comparison with another model lies."""
    return out / "others" / "".join(each if each.isalnum() else "-" for each in name)


def _collected(study: Study, *, traits: bool) -> str:
    if study.given is not None:
        return f"not collected: the space that was given has them ({study.given.model_name})"
    plan = study.preset.collection
    if not traits:
        plan = replace(plan, traits=None)
    folder = collect_plan(
        None if study.engine is not None else study.model,
        study.out / RUN,
        plan,
        engine=study.engine,
        served=study.served,
        progress=study.progress,
    )
    return f"{n_requests(folder.opened().shards):,} replies"


def _fitted(study: Study, run: RunFolder) -> tuple[Space, str]:
    """The space of a run: of replies fully in role, or of all where too few of them are."""
    preset = study.preset
    try:
        table = vector_table(run, judge="", min_count=preset.min_count)
        told = "of replies fully in role, those somewhat in role in PCA as well"
        if len(table.axis_rows()) < COMPONENTS:
            raise RunError(f"only {len(table.axis_rows())} roles are played fully")
    except RunError as error:
        table = vector_table(run)
        told = f"of all replies, played or not: {first_line(error)}"
    return Space(table, run=run.path, n_resamples=max(preset.draws, 50)).fit(progress=False), told


def _no_template(study: Study) -> str | None:
    if study.given is None and study.without_template:
        return f"{study.without_template}; a space that is there can be given: --space"
    return None


def _no_base(study: Study) -> str | None:
    if study.base is None:
        return "no base model is known; name it with --base"
    if study.given is not None:
        return "a space was given, and the base model must read the replies of a run: leave --space out"
    return None


def _no_others(study: Study) -> str | None:
    return None if study.others else "no space of another model is given; name one with --other"


STAGES = (
    Stage("roles", "Roles", roles, _no_template),
    Stage("traits", "Traits", traits, _no_template, ("roles",)),
    Stage("judge", "Judge", judge, needs=("roles", "traits")),
    Stage("spaces", "Space", spaces, needs=("roles", "traits")),
    Stage("sweep", "Layer by layer", sweeping, needs=("spaces",)),
    Stage("comparison", "Base model", comparison, _no_base, ("spaces",)),
    Stage("others", "Other models", other_models, _no_others, ("spaces",)),
)
