"""Is a role the sum of a few traits? Steer with the sum, and see whether the role's likelihood rises.

    python examples/composed_steering.py smollm2-135m-instruct --roles pirate ghost poet detective --layer 15

Kill it: the same command continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.analysis.composition import explain
from persona_lens.evals import composed_steering
from persona_lens.plots import composed_steering as composed_figure
from persona_lens.plots import save_figure

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("space", help="folder, or the name of a packaged space")
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--roles", nargs="+", default=["pirate", "ghost", "poet", "detective"])
parser.add_argument("--layer", type=int, help="the middle one by default")
parser.add_argument("--traits", type=int, default=5, help="traits of a composition")
parser.add_argument("--out", type=Path, default=Path("composed"))
arguments = parser.parse_args()

model = PersonaModel.load(arguments.model)
space = PersonaSpace.load(arguments.space)
layer = model.n_layers // 2 if arguments.layer is None else arguments.layer
for role in arguments.roles:
    found = explain(space, role, layer, k=arguments.traits)
    print(f"\n{role}\n{found.to_string(index=False, float_format='%.3g')}")

result = composed_steering(
    model, space, arguments.roles, layer, k=arguments.traits, out=arguments.out / "pieces"
)
for name in ("replies", "effects", "contrasts"):
    getattr(result, name).to_parquet(arguments.out / f"composed_{name}.parquet", index=False)
for frame in (result.effects, result.contrasts):
    print(f"\n{frame.to_string(index=False, float_format='%.3g')}")

figure = composed_figure(
    result.effects.assign(role=f"{len(arguments.roles)} roles"),
    measure="mean log-likelihood ratio of the role, in nats a token, minus that without steering",
    source=f"{model.name}, layer {layer}",
)
save_figure(figure, arguments.out / "composed_steering.html")
