"""What touching the attention sink costs (about two minutes on two cores).

    make demo
    python examples/sink.py demo/space --out demo/steering

Kill it: the same command continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals import sink_experiment
from persona_lens.plots import save_figures, sinks

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("space", type=Path)
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--out", type=Path, default=Path("steering"))
arguments = parser.parse_args()

model = PersonaModel.load(arguments.model)
space = PersonaSpace.load(arguments.space)
print(f"sinks of {model.name}: {model.sinks}")
frame = sink_experiment(model, space, out=arguments.out / "pieces")

frame.to_csv(arguments.out / "sinks.csv", index=False)
save_figures({arguments.out / "sinks": sinks(frame, source=model.name)})
shown = ["direction", "operation", "layer", "kl_spared", "kl_touched", "ratio"]
print(frame[shown].to_string(index=False, float_format="%.3g"))
