"""Dose-response of the Assistant Axis, against random directions.

    make demo
    python examples/dose_response.py demo/space --out demo/steering

Kill it: the same command continues.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.evals import dose_response
from persona_lens.plots import dose_response as figure
from persona_lens.plots import save_figures

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("space", type=Path)
parser.add_argument("--model", default="smollm2-135m-instruct")
parser.add_argument("--out", type=Path, default=Path("steering"))
arguments = parser.parse_args()

model = PersonaModel.load(arguments.model)
space = PersonaSpace.load(arguments.space)
result = dose_response(model, space, out=arguments.out / "pieces")

result.measures.to_csv(arguments.out / "dose_measures.csv", index=False)
result.fits.to_csv(arguments.out / "dose_fits.csv", index=False)
result.evaluated.replies.to_csv(arguments.out / "dose_replies.csv", index=False)
drawn = figure(result.measures, result.curves, source=f"{model.name}, layer {model.n_layers // 2}")
save_figures({arguments.out / "dose_response": drawn})
print(result.fits.drop(columns=["control"]).to_string(index=False, float_format="%.3g"))
