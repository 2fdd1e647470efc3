"""Traits against personas, layer by layer: sweep, emergence, reconstruction, and the same of an untrained reader.

    python examples/layer_by_layer.py --out layers
    python examples/layer_by_layer.py --space spaces/mine --control spaces/untrained --other spaces/gemma

Tables as Parquet, figures as HTML, and as PNG where there is a browser. About three minutes on two cores for the
packaged space. A control is the space of a run that another reader has read:

    persona-lens collect --run runs/mine --fork runs/untrained --reader random:smollm2-135m-instruct ...
"""

import argparse
from pathlib import Path

from persona_lens import PersonaSpace
from persona_lens.analysis.comparison import compare
from persona_lens.analysis.composition import trait_view
from persona_lens.plots import (
    can_export_images,
    emergence,
    layer_similarity,
    reconstruction_layers,
    save_figures,
    trait_heatmap,
)
from persona_lens.separability import lead

SHOWN = ["identity", "auc_probe", "reliability", "fisher", "participation_ratio", "roles_in_traits"]


def main() -> None:
    """Measure, print, and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="smollm2-135m-instruct", help="folder or packaged name")
    parser.add_argument("--control", help="space of an untrained reader")
    parser.add_argument(
        "--paired",
        help="space of the control's replies as the model reads them; --space by default",
    )
    parser.add_argument("--other", help="space to compare with")
    parser.add_argument("--layer", type=int, default=20, help="of the reconstruction figure")
    parser.add_argument("--out", type=Path, default=Path("layers"))
    options = parser.parse_args()
    out: Path = options.out
    space = PersonaSpace.load(options.space)

    found = space.sweep()
    found.save(out / "sweep")
    controls = {}
    if options.control:
        control = PersonaSpace.load(options.control).sweep()
        control.save(out / "control")
        controls["random weights"] = control
        print("Untrained:", control.emergence_of_mean().to_string(index=False), sep="\n")
        paired = PersonaSpace.load(options.paired or options.space).separability_
        if paired is not None and control.separability is not None:
            for metric in ("identity", "reliability", "auc_probe"):
                ahead = lead(paired, control.separability, metric)
                ahead.to_parquet(out / f"lead_{metric}.parquet", index=False)
                clear = ahead.loc[ahead["low"] > 0].groupby("kind")["layer"].agg(list)
                print(f"\n{metric}, ahead of the untrained at layers:", clear.to_string(), sep="\n")
    for metric in ("identity", "reliability"):
        print(
            f"\n{metric}, mean curves:",
            found.emergence_of_mean(metric).to_string(index=False),
            sep="\n",
        )
    print("\nsingle units:", found.emergence_by_kind().to_string(index=False), sep="\n")
    model = str(found.card["model"])
    figures = {
        "layer_sweep": found.plot(controls=controls, metrics=SHOWN),
        "emergence": emergence(found.emergence(), source=model),
        "trait_heatmap": trait_heatmap(trait_view(space), source=model),
    }

    rebuilt = space.reconstruct(methods=("omp",))
    rebuilt.save(out / "reconstruction")
    gain = rebuilt.gain().query("layer == @options.layer and k in (1, 5, 20)")
    print("\ntraits minus matched random directions:", gain.to_string(index=False), sep="\n")
    figures["reconstruction"] = rebuilt.plot(layer=options.layer)
    figures["reconstruction_layers"] = reconstruction_layers(rebuilt.frame, k=5, source=model)

    if options.other:
        comparison = compare(space, PersonaSpace.load(options.other))
        comparison.save(out / "comparison")
        print(comparison)
        figures["comparison"] = comparison.plot()
        figures["comparison_roles"] = comparison.scatter(depth=1.0)
        figures["layer_similarity"] = layer_similarity(comparison.similarity)

    kinds = (".html", ".png") if can_export_images() else (".html",)
    save_figures({out / f"{name}{kind}": fig for name, fig in figures.items() for kind in kinds})


if __name__ == "__main__":
    main()
