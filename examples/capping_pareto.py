"""What capping buys and what it costs, across layers and percentiles.

    make demo
    python examples/capping_pareto.py demo/space --out demo/steering

Kill it: the same command continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals import capping_sweep
from persona_lens.plots import pareto, save_figures

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("space", type=Path)
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--out", type=Path, default=Path("steering"))
arguments = parser.parse_args()

model = PersonaModel.load(arguments.model)
space = PersonaSpace.load(arguments.space)
caps = capping_sweep(model, space, out=arguments.out / "pieces")

caps.to_csv(arguments.out / "capping.csv", index=False)
save_figures({arguments.out / "capping_pareto": pareto(caps, source=model.name)})
shown = ["direction", "layers", "percentile", "adoption", "kl", "engagement"]
print(caps[shown].to_string(index=False, float_format="%.3g"))
