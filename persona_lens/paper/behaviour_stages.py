"""Steering, capping, rules, harm and price: the stages that ask the model while something acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from persona_lens.catalog import load_roles
from persona_lens.catalog.identity import load_identity_questions, load_identity_roles
from persona_lens.evals.conditions import UNTOUCHED, Condition, capped, steered
from persona_lens.evals.harm.brought import brought
from persona_lens.evals.harm.rubrics import harm_judge
from persona_lens.evals.price.play import play as role_play
from persona_lens.evals.price.together import price as price_items
from persona_lens.evals.rules.asked import rules as house_rules
from persona_lens.evals.susceptibility import nearest_roles, speaker_judges, susceptibility
from persona_lens.paper.stage import Stage
from persona_lens.paper.study import Study

HARM_TOKENS = 256


def steering(study: Study) -> str:
    """Who speaks when the model is pushed along the axis and along random directions (section 3.2.1)."""
    preset = study.preset
    asked = susceptibility(
        _near(study),
        prompts=preset.prompts,
        questions=[each.id for each in load_identity_questions()[: preset.questions]],
        judge=None if study.judge is None else speaker_judges(study.judge),
        max_new_tokens=preset.reply,
    )
    conditions = [
        UNTOUCHED,
        *steered(
            study.space,
            "assistant",
            preset.strengths,
            layers=[study.layer],
            controls=preset.controls,
        ),
    ]
    found = study.evaluated("steering", asked, conditions, **study.placing())
    return _counted(found.replies)


def capping(study: Study) -> str:
    """Whether personas are still played under caps at several layers and percentiles (section 5.1)."""
    asked = role_play(study.model, study.preset.personas)
    found = study.evaluated(
        "capping", asked, caps(study), sampling=study.sampling(), **study.placing()
    )
    return _counted(found.replies)


def rules(study: Study) -> str:
    """Whether house rules are broken under personas, with and without caps."""
    asked = house_rules(first=study.preset.rules)
    found = study.evaluated(
        "rules", asked, caps(study), sampling=study.sampling(), **study.placing()
    )
    return _counted(found.replies)


def price(study: Study) -> str:
    """What caps cost in instructions, word problems and forms (section 5.2)."""
    asked = price_items(first=study.preset.price)
    found = study.evaluated(
        "price",
        asked,
        caps(study),
        sampling=study.sampling(study.preset.long_reply, temperature=0.0),
    )
    return _counted(found.replies)


def harm(study: Study) -> str:
    """The requests that the user brings, with personas and without, under the recommended cap."""
    assert study.items is not None, "refused without them"
    asked = brought(
        study.items,
        personas=None if _brings_personas(study) else [each.name for each in load_roles()],
        each=1,
        first=study.preset.harmful,
        judge=None if study.judge is None else harm_judge(study.judge, "paper"),
    )
    found = study.evaluated(
        "harm",
        asked,
        caps(study, recommended=True),
        sampling=study.sampling(HARM_TOKENS),
        **study.placing(),
    )
    return _counted(found.replies)


def caps(study: Study, *, recommended: bool = False) -> list[Condition]:
    """Nothing, and every cap with its controls; the recommended one alone, if asked for.

    Names tell percentile and layers, so that caps of several ranges can stand side by side. Controls are matched
    once for all stages.
    """
    preset = study.preset
    if not study.caps:
        study.caps = [  # whole or not at all: a stage must not take half of them for all
            UNTOUCHED,
            *(
                each
                for percentile in preset.percentiles
                for layers in study.capped_layers
                for each in _cap(study, percentile, layers)
            ),
        ]
    return study.caps[: 2 + 2 * preset.controls] if recommended else list(study.caps)


def _cap(study: Study, percentile: float, layers: Sequence[int]) -> list[Condition]:
    where = f"layers {layers[0]}-{layers[-1]}"
    found = capped(
        study.model,
        study.space,
        percentile=percentile,
        layers=layers,
        controls=study.preset.controls,
    )
    return [
        replace(
            each,
            name=f"{each.name} {where}",
            series=f"{each.series} {where}",
            control_of=each.control_of and f"{each.control_of} {where}",
        )
        for each in found
    ]


def _near(study: Study) -> list[str]:
    """Roles near the Assistant as the paper chooses them; the first of the catalogue where the space has none."""
    wanted = study.preset.roles
    held = {study.space.table.names[row] for row in study.space.table.axis_rows()}
    known = [role.name for role in load_identity_roles()]
    there = sum(name in held for name in known)
    if there >= wanted:
        return list(nearest_roles(study.space, wanted, layer=study.layer))
    return known[:wanted]


def _brings_personas(study: Study) -> bool:
    from persona_lens.evals.harm.reading import read_behaviours  # noqa: PLC0415

    return any(each.system for each in read_behaviours(study.items))


def _counted(replies) -> str:
    cells = replies.drop_duplicates(["item", "condition", "sample"])
    return (
        f"{len(cells):,} replies: {cells['item'].nunique():,} items under "
        f"{cells['condition'].nunique()} conditions"
    )


def not_steered(study: Study) -> str | None:
    """Why pushes cannot be measured in residual norms; None if they can."""
    if study.without_template:
        return study.without_template
    if study.space.token_calibration_ is None:
        return (
            "the space is not calibrated on tokens, so a push has no unit: space.calibrate(model)"
        )
    return None


def not_capped(study: Study) -> str | None:
    """Why no threshold is known; None if one is."""
    reason = not_steered(study)
    if reason is None and study.space.calibration_ is None:
        return "the space knows no distribution of replies, so there is no threshold for a cap"
    return reason


def no_items(study: Study) -> str | None:
    """Why harm is not measured; None if it is."""
    if study.items is None:
        return "requests with harm in them are no part of this package: bring them with --items"
    return not_capped(study)


STAGES = (
    Stage("steering", "Steering: who speaks", steering, not_steered, ("spaces",)),
    Stage("capping", "Capping: personas still played", capping, not_capped, ("spaces",)),
    Stage("rules", "Rules under a persona", rules, not_capped, ("spaces",)),
    Stage("harm", "Harmful requests", harm, no_items, ("spaces",)),
    Stage("price", "The price of a cap", price, not_capped, ("spaces",)),
)
