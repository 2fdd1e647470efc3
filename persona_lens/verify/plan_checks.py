"""Checks of what a plan does to the residual stream at the layer it acts on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from persona_lens.interventions import (
    Ablate,
    Add,
    Band,
    Ceil,
    Floor,
    Gate,
    Operation,
    Plan,
    Rotate,
    Set,
)
from persona_lens.rollouts.sampling import Sampling
from persona_lens.verify.outcomes import Finding, Measure
from persona_lens.verify.reading import (
    Reading,
    largest_difference,
    read,
    relative_difference,
    row_of,
)
from persona_lens.verify.registry import check
from persona_lens.verify.subject import Subject

Residuals = Float[np.ndarray, "token d_model"]

_SPOKEN = ("user", "assistant")
"""Groups the plans act on here, so that there are tokens to be left alone: template and special ones, pads."""

_ANGLE = 0.2  # radians


@dataclass(frozen=True)
class _Case:
    """An operation, and what it should make of residuals along a unit vector, written anew in float64."""

    operation: Operation
    expected: Callable[[Residuals, np.ndarray], Residuals]


def cases(subject: Subject, layer: int) -> list[_Case]:
    """Every operation at one layer, with numbers that make it act on some tokens."""
    places = subject.places(*_SPOKEN)
    v = subject.direction.at([layer])
    middle = subject.threshold(layer, places)
    spread = float(subject.projections(layer, places).std())
    low, high, long = middle - spread / 4, middle + spread / 4, 2 * spread

    def along(
        change: Callable[[np.ndarray], np.ndarray],
    ) -> Callable[[Residuals, np.ndarray], Residuals]:
        return lambda h, unit: h + change(h @ unit)[:, None] * unit

    push = Add(v, lengths=np.array([long]))
    return [
        _Case(push, along(lambda p: np.full_like(p, long))),
        _Case(Ablate(v), along(lambda p: -p)),
        _Case(Set(v, targets=np.array([high])), along(lambda p: high - p)),
        _Case(Floor(v, thresholds=np.array([middle])), along(lambda p: np.maximum(middle, p) - p)),
        _Case(Ceil(v, thresholds=np.array([middle])), along(lambda p: np.minimum(middle, p) - p)),
        _Case(
            Band(v, low=np.array([low]), high=np.array([high])),
            along(lambda p: np.clip(p, low, high) - p),
        ),
        _Case(Rotate(v, radians=np.array([_ANGLE])), _turned),
        _Case(Gate(v, np.array([middle]), push), along(lambda p: np.where(p > middle, long, 0.0))),
    ]


def _turned(h: Residuals, unit: np.ndarray) -> Residuals:
    """`h` turned towards `unit` by the angle; never beyond, which no token here comes near."""
    p = (h @ unit)[:, None]
    across = h - p * unit
    norm = np.linalg.norm(h, axis=1, keepdims=True)
    angle = np.arccos(np.clip(p / norm, -1, 1)) - _ANGLE
    return norm * (
        np.cos(angle) * unit
        + np.sin(angle) * across / np.linalg.norm(across, axis=1, keepdims=True)
    )


@check(
    "zero-strength",
    title="strength 0 changes nothing",
    meaning="the mere presence of a plan changes results, so an effect cannot be told from an artefact",
)
def zero_strength(subject: Subject) -> Finding:
    """All operations at once, at strength 0: the residuals to the bit, and greedy replies."""
    model = subject.model
    plan = Plan(())
    for layer in subject.layers:
        plan = plan + Plan.of(*(case.operation for case in cases(subject, layer)))
    nothing = read(model, subject.transcripts, 0.0 * plan)
    at_full = read(model, subject.transcripts, plan)
    moved = relative_difference(at_full, subject.baseline, leaving_out=model.sinks)
    assert nothing.receipt is not None
    measures = [
        Measure(
            "difference",
            largest_difference(nothing, subject.baseline),
            "",
            at_most=4 * subject.noise,
        ),
        Measure("seen", int(nothing.receipt.frame()["seen"].min()), "tokens", at_least=1),
        Measure("at strength 1", moved, "of the residual", at_least=0.01),
    ]
    # A model that is not repeatable may well answer the same prompt in two ways.
    if subject.noise == 0 and subject.steers_replies:
        greedy = Sampling(temperature=0, max_new_tokens=8)
        before = [reply.ids.tolist() for reply in model.generate(subject.prompts, greedy)]
        with model.intervene(0.0 * plan):
            after = [reply.ids.tolist() for reply in model.generate(subject.prompts, greedy)]
        differing = sum(one != other for one, other in zip(before, after, strict=True))
        measures.insert(1, Measure("other replies", differing, "", at_most=0))
    return Finding(measures, note=f"{len(plan)} operations at layers {list(subject.layers)}")


@check(
    "operations",
    title="every operation does what its formula says",
    meaning="interventions move the residual stream to where they should not; do not trust them on this model",
)
def operations(subject: Subject) -> Finding:
    """Each operation at the middle layer, against its formula in float64, and all other positions, pads too."""
    layer, places = subject.middle, subject.places(*_SPOKEN)
    unit = subject.direction.units[layer]
    h = subject.baseline.by_layer[layer].double().numpy()[places]
    errors, changed, beside = {}, [], 0.0
    for case in cases(subject, layer):
        plan = Plan.of(case.operation).where(*_SPOKEN)
        found = read(subject.model, subject.transcripts, plan, layers=[layer])
        expected = case.expected(h, unit)
        gap = np.linalg.norm(found.by_layer[layer].double().numpy()[places] - expected, axis=1)
        scale = np.maximum(np.linalg.norm(h, axis=1), np.linalg.norm(expected, axis=1))
        errors[case.operation.name] = float((gap / scale).max())
        changed.append(int((np.abs(expected - h).max(axis=1) > 0).sum()))
        beside = float(np.maximum(beside, largest_difference(found, _at(subject, layer), ~places)))
    worst = max(errors, key=lambda name: np.nan_to_num(errors[name], nan=np.inf))
    return Finding(
        [
            Measure("error", errors[worst], "of the norm", at_most=subject.tolerances.rounding),
            Measure("beside", beside, "", at_most=4 * subject.noise),
            Measure("moved by each", min(changed), "tokens", at_least=1),
        ],
        note=f"{', '.join(errors)} at layer {layer}; largest error: {worst}",
    )


@check(
    "floor",
    title="a floor holds on every token it touches, and on no other",
    meaning="capped activations are not where the cap says, or tokens are capped that should not be",
)
def floor_holds(subject: Subject) -> Finding:
    """Projections measured behind the floor, in the model's dtype; positions beside it, pads too, to the bit."""
    places = subject.places(*_SPOKEN)
    short, beside, miscounted = [], 0.0, 0.0
    engaged, notes, gap_before = [], [], []
    for layer in subject.layers:
        threshold = subject.threshold(layer, places)
        floor = Floor(subject.direction.at([layer]), thresholds=np.array([threshold]))
        plan = Plan.of(floor).where(*_SPOKEN)
        found = read(subject.model, subject.transcripts, plan, layers=[layer])
        assert found.receipt is not None
        told = found.receipt.frame()
        norms = subject.norms(layer, places, found)
        after = subject.projections(layer, places, found)
        short.append(float(((threshold - after) / norms).max()))
        gap_before.append(float(((threshold - subject.projections(layer, places)) / norms).max()))
        beside = float(np.maximum(beside, largest_difference(found, _at(subject, layer), ~places)))
        miscounted += abs(told["seen"].sum() - places.sum())
        engaged.append(int((subject.projections(layer, places) < threshold).sum()))
        miscounted += abs(told["changed"].sum() - engaged[-1])
        notes.append(f"layer {layer}: {after.min():.4g} for a floor at {threshold:.4g}")
    limit = subject.tolerances.rounding
    return Finding(
        [
            Measure("short of the floor", max(short), "of the norm", at_most=limit),
            Measure("without it", min(gap_before), "of the norm", at_least=2 * limit),
            Measure("beside", beside, "", at_most=4 * subject.noise),
            Measure("lifted", min(engaged), f"of {int(places.sum())} tokens", at_least=1),
            Measure("miscounted in the receipt", miscounted, "tokens", at_most=0),
        ],
        note="lowest projection at " + "; at ".join(notes),
    )


@check(
    "row-strengths",
    title="one strength a row acts on its row only",
    meaning="rows of a batch are steered by each other's strengths; steer one strength at a time",
)
def row_strengths(subject: Subject) -> Finding:
    """A batch with strengths 0, a half and 1, against each row alone with its own."""
    model, limits = subject.model, subject.tolerances
    strengths = (0.0, 0.5, 1.0)
    push = float(np.median(subject.norms(subject.middle, subject.places())))
    plan = Plan.of(Add(subject.direction.at([subject.middle]), lengths=np.array([push])))
    batch = read(model, subject.transcripts, plan * strengths)
    gaps, effects = [], []
    for row, strength in enumerate(strengths):
        found = row_of(batch, row)
        alone = read(model, [subject.transcripts[row]], strength * plan)
        gaps.append(relative_difference(found, alone, leaving_out=model.sinks))
        effects.append(
            relative_difference(found, row_of(subject.baseline, row), leaving_out=model.sinks)
        )
    return Finding(
        [
            Measure("difference", float(np.max(gaps)), "of the residual", at_most=limits.residual),
            Measure(
                "moved", float(np.min(effects[1:])), "of the residual", at_least=2 * limits.residual
            ),
        ]
    )


def _at(subject: Subject, layer: int) -> Reading:
    """The baseline at one layer."""
    return Reading({layer: subject.baseline.by_layer[layer]}, subject.baseline.present)
