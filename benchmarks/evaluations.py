"""Evaluations: all conditions of an item in one batch, against a run for each condition.

The same items are answered as they are, under pushes of several strengths and under their random controls: either
in one call of `evaluate`, where a row of the batch has its own plan, or in a call for each condition. No token
ends a reply, so that both make the same number of tokens.
"""

from __future__ import annotations

import argparse
from functools import partial

from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from workload import MODEL, never_end

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.evals.conditions import UNTOUCHED, Condition, steered
from persona_lens.evals.evaluation import evaluate
from persona_lens.evals.price import instructions

STRENGTHS = (-0.2, -0.1, 0.1, 0.2)
AT_LEAST = 3.0


def main() -> None:
    """Compare rates."""
    options = parser(__doc__)
    add_rounds(options, 3)
    add_model_options(options)
    options.add_argument("--items", type=int, default=4, help="default: 4")
    options.add_argument("--new-tokens", type=int, default=48, help="default: 48")
    args = options.parse_args()
    if args.quick:
        args.items, args.new_tokens = 2, 8
    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    space = PersonaSpace.load(MODEL)
    conditions = [UNTOUCHED, *steered(space, "assistant", STRENGTHS, controls=2)]
    heading(f"{args.items} items under {len(conditions)} conditions with {model}")
    together = partial(_asked, model, args, [conditions])
    apart = partial(_asked, model, args, [[condition] for condition in conditions])
    rates = interleave({"one batch": together, "a run a condition": apart}, args.rounds)
    print(rates.table("reply tokens", over="a run a condition"), end="\n\n")
    requirement(
        "`one batch` over `a run a condition`",
        rates.ratio("one batch", "a run a condition"),
        AT_LEAST,
    )


def _asked(model: PersonaModel, args: argparse.Namespace, groups: list[list[Condition]]) -> int:
    evaluation = instructions(first=args.items)
    sampling = Sampling(temperature=0, max_new_tokens=args.new_tokens)
    tokens = 0
    for group in groups:
        result = evaluate(evaluation, model, group, sampling=sampling, progress=False)
        some = result.replies.drop_duplicates(["item", "condition", "sample"])
        tokens += int(some["tokens"].sum())
    return tokens


if __name__ == "__main__":
    main()
