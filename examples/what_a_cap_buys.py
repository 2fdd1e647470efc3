"""What floors buy and what they cost: rules kept under a persona against personas still played.

    python examples/what_a_cap_buys.py --out demo/caps

Floors under the Assistant Axis and under PC1 at three percentiles, and under two traits so that they move as many
tokens as that of the axis; beside each cap two controls along a random direction.
Kill it: the same command continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals import UNTOUCHED, Condition, capped, evaluate
from persona_lens.evals.conditions import matched_floor
from persona_lens.evals.price.play import play
from persona_lens.evals.rules import rules
from persona_lens.evals.tradeoff import recommend, tradeoff
from persona_lens.plots import save_figure
from persona_lens.plots.tradeoff import tradeoff as figure
from persona_lens.space.budget import neutral_transcripts

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--space", default="smollm2-135m-instruct")
parser.add_argument("--percentiles", type=float, nargs="+", default=[50, 75, 90])
parser.add_argument("--traits", nargs="+", default=["trait:methodical", "trait:calm"])
parser.add_argument("--layers", type=int, nargs=2, default=[12, 20], help="first and last")
parser.add_argument("--rules", type=int, default=48)
parser.add_argument("--personas", type=int, default=24)
parser.add_argument("--budget", type=float, default=0.03, help="nats a token of role-play")
parser.add_argument("--out", type=Path, default=Path("caps"))
arguments = parser.parse_args()

model = PersonaModel.load(arguments.model)
space = PersonaSpace.load(arguments.space)
layers = range(arguments.layers[0], arguments.layers[1] + 1)

conditions = [UNTOUCHED]
for what in ("assistant", "pc1"):
    for percentile in arguments.percentiles:
        conditions += capped(model, space, what, percentile, layers=layers, controls=1)

texts = neutral_transcripts(model, 24)
with model.intervene(space.floor(percentile=arguments.percentiles[-1], layers=layers)) as receipt:
    model.pooled(texts, layers=[layers[-1]])
shares = receipt.frame().set_index("layer")["share"].to_dict()
for name in arguments.traits:
    direction = space.direction(name, layers=layers)
    plan = matched_floor(model, direction, shares, texts)
    title = f"floor {direction.name}, as many tokens"
    conditions.append(Condition(title, plan, "plan", arguments.percentiles[-1]))

run = {"space": space, "layer": layers[-1]}
asked, played = rules(first=arguments.rules), play(model, first=arguments.personas)
bought = evaluate(asked, model, conditions, out=arguments.out / "rules", **run)
paid = evaluate(played, model, conditions, out=arguments.out / "play", **run)

price = played.measures[0]
for gain in asked.measures:
    if not gain.good:
        continue
    table = tradeoff(bought.replies, gain, paid.replies, price)
    advice = recommend(bought.replies, gain, paid.replies, price, budget=arguments.budget)
    print(f"\n{gain.name} against {price.name}\n{advice}")
    shown = [
        "condition",
        "engaged",
        "gain",
        "gain_low",
        "gain_high",
        "price",
        "price_low",
        "price_high",
        "front",
    ]
    print(table[shown].to_string(index=False, float_format="%.3f"))
    drawn = figure(
        table, gain=gain.name, price=price.name, units=(gain.unit, price.unit), source=model.name
    )
    save_figure(drawn, arguments.out / f"{gain.name}.html".replace(" ", "_"))
