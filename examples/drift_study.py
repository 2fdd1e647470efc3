"""Where conversations leave the Assistant, and whether a cap holds them (about half an hour on two cores).

    python examples/drift_study.py --out drift

Eighty scripts of four domains are played to the model without a plan, under a floor, and under floors along random
directions that change as many tokens; 208 everyday conversations are the calm ones. Every arm is read again by the
model as it is: a floor's own readings are flat because it holds them. Kill it: the same command continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.catalog import load_everyday, load_scripts, split_everyday
from persona_lens.conversations import Conversation, read_conversations
from persona_lens.drift import Trace, trace
from persona_lens.drift.forecast import Forecaster, truth_beside
from persona_lens.drift.monitor import Monitor
from persona_lens.drift.simulation import everyday, scripted, simulate
from persona_lens.drift.turns import TurnFinder
from persona_lens.interventions import Direction, Floor, Plan
from persona_lens.plots import (
    drift_curves,
    forecast_scores,
    forecast_truth,
    message_kinds,
    monitor_power,
    save_figure,
)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--space", default="smollm2-135m-instruct")
parser.add_argument("--turns", type=int, default=8)
parser.add_argument("--tokens", type=int, default=32, help="of a reply, at most")
parser.add_argument("--percentile", type=float, default=75)
parser.add_argument("--controls", type=int, default=2, help="random directions")
parser.add_argument(
    "--uses", type=int, default=26, help="kinds of everyday conversations, of 8 each"
)
parser.add_argument("--out", type=Path, default=Path("drift"))

MEASURED_ON = 40
"""Conversations on which the controls' thresholds are measured."""


def control(model: PersonaModel, floor: Plan, chats: list[Conversation], seed: int) -> Plan:
    """A floor along a random direction, at thresholds that lie above as many tokens of these replies."""
    operation = floor.steps[0].operation
    assert isinstance(operation, Floor)
    axis = operation.direction
    drawn = axis.random(seed)
    both = np.stack([axis.units, drawn.units], axis=1)
    texts = [
        text.transcript for chat in chats[:MEASURED_ON] for text in TurnFinder(model).texts(chat)
    ]
    read = model.projections(texts, both, layers=axis.layers)
    tokens = np.concatenate([each.values for each in read])
    below = (tokens[:, :, 0] < operation.thresholds).mean(axis=0)
    thresholds = [
        np.quantile(tokens[:, place, 1], share) for place, share in enumerate(below.tolist())
    ]
    named = Direction(f"random {seed}", axis.layers, drawn.values)
    return Plan.of(Floor(named, np.array(thresholds)))


def main() -> None:
    """Play, read, compare."""
    arguments = parser.parse_args()
    out = arguments.out
    model = PersonaModel.load(arguments.model)
    space = PersonaSpace.load(arguments.space)
    settings = {
        "turns": arguments.turns,
        "sampling": Sampling(max_new_tokens=arguments.tokens, temperature=0.7),
        "batch_size": 32,
    }
    casts = {
        "scripts": scripted(load_scripts()),
        "everyday": everyday(load_everyday()[: 8 * arguments.uses]),
    }
    for name, cast in casts.items():
        simulate(model, cast, out=out / name, **settings)
    said = read_conversations(out / "scripts" / "conversations.jsonl")
    floor = space.floor(percentile=arguments.percentile)
    plans = {"floor": floor}
    plans |= {
        f"random {seed}": control(model, floor, said, seed)
        for seed in range(1, arguments.controls + 1)
    }
    for name, plan in plans.items():
        simulate(model, casts["scripts"], plan=plan, plan_name=name, out=out / name, **settings)
    traces = {name: read(model, space, out, name) for name in (*casts, *plans)}
    source = f"{model.name}, residual stream after block {traces['scripts'].layers[0]}"
    report_curves(traces, out, list(plans), source)
    report_forecast(traces["scripts"], out, source)
    report_monitor(traces, out, source)


def read(model: PersonaModel, space: PersonaSpace, out: Path, name: str) -> Trace:
    """The clean reading of an arm, made once."""
    folder = out / "traces" / name
    if (folder / "trace.json").is_file():
        return Trace.load(folder)
    chats = read_conversations(out / name / "conversations.jsonl")
    found = trace(
        space,
        model,
        chats,
        layers=[model.n_layers // 2, 2 * model.n_layers // 3],
        directions=["axis", "pc1"],
    )
    found.save(folder)
    return found


def report_curves(traces: dict[str, Trace], out: Path, plans: list[str], source: str) -> None:
    """Curves by domain and condition."""
    told = {"no plan": traces["scripts"], **{name: traces[name] for name in plans}}
    curves = pd.concat(
        [
            traces["everyday"].curves("domain").assign(condition="no plan"),
            *(found.curves("domain").assign(condition=name) for name, found in told.items()),
        ]
    )
    curves.to_csv(out / "curves.csv", index=False)
    plain = curves.loc[curves["condition"] == "no plan"].drop(columns="condition")
    save_figure(drift_curves(plain, source=source), out / "domains.html")
    both = curves.loc[
        curves["condition"].isin(["no plan", "floor"]) & (curves["group"] != "everyday")
    ]
    save_figure(drift_curves(both, source=source), out / "capped.html")
    print(curves.to_string(index=False, float_format="%.2f"))
    moved = pd.concat(
        [
            found.motion().assign(condition=name)
            for name, found in {**told, "everyday": traces["everyday"]}.items()
        ]
    )
    means = moved.pivot_table(index="condition", values=["path", "largest_jump", "net", "slope"])
    print(means.to_string(float_format="%.2f"))


def report_forecast(scripts: Trace, out: Path, source: str) -> None:
    """What the message tells of the next reply, held out three ways."""
    forecaster = Forecaster(permutations=50, draws=500).fit(
        scripts.wide(), directions=list(scripts.directions)
    )
    forecaster.save(out / "forecaster")
    forecaster.scores_.to_csv(out / "forecast.csv", index=False)
    shown = [
        "direction",
        "target",
        "predictor",
        "split",
        "r2",
        "low",
        "high",
        "null_95",
        "r2_in_sample",
        "q",
    ]
    print(forecaster.scores_[shown].to_string(index=False, float_format="%.3f"))
    print(forecaster.question("axis").sentence, *forecaster.notes_, sep="\n")
    kinds = forecaster.explain("axis").kinds
    print(kinds.to_string(index=False, max_colwidth=60, float_format="%.2f"))
    figures = {
        "forecast": forecast_scores(forecaster.scores_, source=source),
        "truth": forecast_truth(truth_beside(forecaster), by="domain", source=source),
        "kinds": message_kinds(kinds, source=source),
    }
    for name, figure in figures.items():
        save_figure(figure, out / f"{name}.html")


def report_monitor(traces: dict[str, Trace], out: Path, source: str) -> None:
    """Calibrated on half of the everyday conversations, tried on the other half and on scripts that drift."""
    calibration, test = split_everyday(load_everyday())
    calm = traces["everyday"].select(conversation=[chat.id for chat in calibration])
    held_out = traces["everyday"].select(conversation=[chat.id for chat in test])
    drifting = traces["scripts"].select(domain=["therapy", "philosophy"])
    for rate in (0.05, 0.1):
        monitor = Monitor.calibrate(
            calm, "lowest", false_alarms=rate, layer=calm.layers[0], directions=["axis"]
        )
        measured = monitor.measure(held_out, drifting=drifting)
        measured.to_csv(out / f"monitor_{rate}.csv", index=False)
        print(monitor, measured.to_string(index=False, float_format="%.3f"), sep="\n")
        save_figure(monitor_power(measured, source=source), out / f"monitor_{rate}.html")


if __name__ == "__main__":
    main()
