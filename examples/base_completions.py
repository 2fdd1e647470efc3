"""What a base model says of itself, pushed along an axis that it read itself (about ten minutes on two cores).

    python examples/base_completions.py --out demo/completions

SmolLM2-135M-Instruct plays a few roles, the base model gemma-3-270m reads its replies, and completes "My job is
to" and the like under its own axis and under random directions. Kill it: the same command continues. The paper has
models of 27 and 70 billion parameters, 400 completions and the roles of a whole catalogue; so little as here says
whether it runs, and how wide the intervals are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.evals.category_labels import CategoryJudge
from persona_lens.evals.completion_shares import shares
from persona_lens.evals.completion_trends import trends
from persona_lens.evals.completions import completions
from persona_lens.evals.conditions import UNTOUCHED, steered
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.labelling_error import labelling_error
from persona_lens.evals.transfer import transferred
from persona_lens.plots import save_figures
from persona_lens.plots.completions import completions as figure

ROLES = [
    "assistant",
    "analyst",
    "reviewer",
    "consultant",
    "pirate",
    "ghost",
    "wanderer",
    "bard",
    "jester",
    "hermit",
]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("completions"))
parser.add_argument("--prefills", default="paper")
parser.add_argument("--samples", type=int, default=20)
parser.add_argument("--strengths", default="-0.1,0.1")
parser.add_argument("--controls", type=int, default=2)
parser.add_argument("--tokens", type=int, default=24)


def own_space(base: PersonaModel, run: Path) -> PersonaSpace:
    """Replies of SmolLM2 as the base model reads them."""
    with_template = PersonaModel.load("smollm2-135m-instruct")
    return PersonaSpace.collect(
        with_template,
        reader=base,
        run=run,
        roles=ROLES,
        traits=None,
        questions=["q01", "q03", "q05", "q06"],
        prompts=1,
        default_samples=2,
        sampling=Sampling(max_new_tokens=32),
    ).fit()


def main() -> None:
    """Collect, complete, label, and save frames and figures."""
    given = parser.parse_args()
    base = PersonaModel.load("gemma-3-270m")
    space = own_space(base, given.out / "run")
    print(transferred(space, base).report())

    strengths = [float(each) for each in given.strengths.split(",")]
    conditions = [UNTOUCHED, *steered(space, "assistant", strengths, controls=given.controls)]
    result = evaluate(
        completions(
            given.prefills,
            read_by=base,
            sampling=Sampling(temperature=1.0, max_new_tokens=given.tokens),
        ),
        base,
        conditions,
        samples=given.samples,
        batch_size=len(conditions) * given.samples,
        out=given.out / "completions",
    )

    nats = result.measures.loc[result.measures["unit"] == "nats"]
    print(
        nats[["condition", "value", "low", "high", "n"]].to_string(index=False, float_format="%.2f")
    )
    error = labelling_error(CategoryJudge())
    table, found = shares(result.replies, error), trends(result.replies)
    error.summary.to_csv(given.out / "labels.csv", index=False)
    table.to_csv(given.out / "shares.csv", index=False)
    found.to_csv(given.out / "trends.csv", index=False)
    print(error.summary.to_string(index=False, float_format="%.2f"))
    columns = [
        "family",
        "category",
        "slope",
        "low",
        "high",
        "p",
        "p_fdr",
        "p_controls_fdr",
        "as_steep",
        "found",
    ]
    print(found[columns].to_string(index=False, float_format="%.3g"))

    source = f"{base.name}, layer {base.n_layers // 2}, its own reading of SmolLM2's replies"
    families = dict.fromkeys(table["family"])
    save_figures(
        {
            given.out / f"completions_{family}": figure(
                table, found, family=family, labels=error.said_of(family), source=source
            )
            for family in families
        }
    )


if __name__ == "__main__":
    main()
