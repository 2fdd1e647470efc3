"""A role of your own among six others: where does a lighthouse keeper lie?

    python examples/own_role.py

Takes about a minute on two cores. With so few replies the order is a first look, no more.
"""

from pathlib import Path

from persona_lens import PersonaModel, PersonaSpace, Sampling

KEEPER = {
    "name": "lighthouse_keeper",
    "group": "human",
    "description": "Keeps a light at sea and talks to nobody for weeks",
    "prompts": [
        "You keep a lighthouse on a rock far from land and have spoken to nobody for a month."
    ],
}


def main(run: Path = Path("runs/own_role")) -> None:
    """Collect (or continue), fit, and show where the keeper lies."""
    model = PersonaModel.load("smollm2-135m-instruct")
    space = PersonaSpace.collect(
        model,
        run=run,
        roles=["assistant", "analyst", "reviewer", "pirate", "ghost", "wanderer", KEEPER],
        traits=["dramatic", "factual"],
        questions=["q01", "q03", "q05", "q06"],
        prompts=1,
        default_samples=2,
        sampling=Sampling(max_new_tokens=32),
    ).fit()
    print(space.ranking(layer=20)[["name", "replies", "projection", "low", "high"]].to_string())
    print(space.nearest("lighthouse_keeper", layer=20, kind=None).to_string())


if __name__ == "__main__":
    main()
