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
from persona_lens.catalog import load_everyday, load_scripts
from persona_lens.conversations import Conversation, read_conversations
from persona_lens.drift import Trace, trace
from persona_lens.drift.simulation import everyday, scripted, simulate
from persona_lens.interventions import Direction, Floor, Plan
from persona_lens.plots import drift_curves, save_figure

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--space", default="smollm2-135m-instruct")
parser.add_argument("--turns", type=int, default=8)
parser.add_argument("--tokens", type=int, default=32, help="of a reply, at most")
parser.add_argument("--percentile", type=float, default=75)
parser.add_argument("--controls", type=int, default=2, help="random directions")
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
        model.encoder.encode([*model.encoder.messages(chat.users[0]), *chat.as_dicts()[1:2]])
        for chat in chats[:MEASURED_ON]
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
    casts = {"scripts": scripted(load_scripts()), "everyday": everyday(load_everyday())}
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
    report(traces, out, list(plans), source=f"{model.name}, layer {traces['scripts'].layers[0]}")


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


def report(traces: dict[str, Trace], out: Path, plans: list[str], source: str) -> None:
    """Curves by domain and condition, and the drop of each domain against everyday talk."""
    curves = pd.concat(
        [
            traces["scripts"].curves("domain").assign(condition="no plan"),
            traces["everyday"].curves("domain").assign(condition="no plan"),
            *(traces[name].curves("domain").assign(condition=name) for name in plans),
        ]
    )
    curves.to_csv(out / "curves.csv", index=False)
    plain = curves.loc[curves["condition"] == "no plan"].drop(columns="condition")
    save_figure(drift_curves(plain, source=source), out / "domains.html")
    both = curves.loc[curves["condition"].isin(["no plan", "floor"])]
    save_figure(drift_curves(both, source=source), out / "capped.html")
    shown = curves.loc[curves["turn"].isin([0, curves["turn"].max()])]
    print(shown.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
