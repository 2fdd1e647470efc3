"""Separability: identity and area under the ROC curve of every reply, against scikit-learn in a loop.

`persona_lens` measures identity, AUC and AUC of the probe, and with them every other metric, without nulls.
`with nulls` adds 20 shuffles and 20 random directions. `scikit-learn` does identity and AUC alone: for every layer
and split it fits `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)` and calls `roc_auc_score` for every
unit. It runs on the first layers and on evenly spaced splits only; its time is scaled up, and the title says so.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
from harness import add_rounds, heading, interleave, parser, requirement
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from persona_lens.separability import Replies, measure

N_PROMPTS, N_QUESTIONS = 5, 6


def synthetic(n_roles: int, n_traits: int, n_layers: int, d_model: int) -> Replies:
    """One reply to every question under every prompt, with a vector for every role and trait."""
    rng = np.random.default_rng(0)
    units = [("default", "default", "")] + [("role", f"role_{n}", "") for n in range(n_roles)]
    for number in range(n_traits):
        units += [("trait", f"trait_{number}", side) for side in ("positive", "negative")]
    unit, prompt, question = (
        axis.ravel() for axis in np.indices((len(units), N_PROMPTS, N_QUESTIONS))
    )
    vectors = rng.standard_normal((len(units), n_layers, d_model), dtype=np.float32)
    values = rng.standard_normal((len(unit), n_layers, d_model), dtype=np.float32)
    values += 0.2 * vectors[unit]
    kind, name, side = (np.array(column)[unit] for column in zip(*units, strict=True))
    return Replies(values, kind, name, side, prompt, question)


def ours(replies: Replies, n_draws: int) -> int:
    """All metrics; returns layers done."""
    measure(replies, n_shuffles=n_draws, n_random=n_draws)
    return len(replies.layers)


def scikit_learn(replies: Replies, n_layers: int, splits: list[tuple[int, int]]) -> int:
    """Identity and area of every unit at some layers in some splits; returns layers done."""
    classes = np.char.add(replies.unit, replies.side)
    for layer in range(n_layers):
        values = replies.values[:, layer]
        for prompt, question in splits:
            train = (replies.prompt != prompt) & (replies.question != question)
            test = (replies.prompt == prompt) & (replies.question == question)
            for kind in ("role", "trait"):
                mine = (replies.kind == kind) | ((replies.kind == "default") & (kind == "role"))
                probe = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
                probe.fit(values[mine & train], classes[mine & train])
                tested = mine & test & (replies.side != "negative") & (replies.kind != "default")
                scores = probe.decision_function(values[tested])
                own = np.searchsorted(probe.classes_, classes[tested])
                (scores < scores[np.arange(len(own)), own][:, None]).mean(axis=1)
                for name in np.unique(replies.unit[replies.kind == kind]):
                    plus = (replies.unit == name) & (replies.side != "negative")
                    minus = (replies.unit == name) & (replies.side == "negative")
                    if kind == "role":
                        minus = replies.kind == "default"
                    along = values[train & plus].mean(axis=0) - values[train & minus].mean(axis=0)
                    rows = test & (plus | minus)
                    roc_auc_score(plus[rows], values[rows] @ along)
    return n_layers


def main() -> None:
    """Compare."""
    options = parser(__doc__)
    add_rounds(options, 3)
    options.add_argument("--roles", type=int, default=275)
    options.add_argument("--traits", type=int, default=240)
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--width", type=int, default=576)
    options.add_argument("--loop-layers", type=int, default=1, help="done by scikit-learn")
    options.add_argument("--loop-splits", type=int, default=3, help="done by scikit-learn, of 30")
    args = options.parse_args()
    if args.quick:
        args.roles, args.traits, args.layers, args.width = 30, 20, 2, 64
    _report(args)


def _report(args: argparse.Namespace) -> None:
    replies = synthetic(args.roles, args.traits, args.layers, args.width)
    every = [(prompt, question) for prompt in range(N_PROMPTS) for question in range(N_QUESTIONS)]
    chosen = every[:: max(1, len(every) // args.loop_splits)][: args.loop_splits]
    heading(
        f"Separability of {len(replies.kind):,} replies, {args.layers} layers of {args.width}; scikit-learn on "
        f"{args.loop_layers} layer(s) and {len(chosen)} of {len(every)} splits, scaled up"
    )
    rates = interleave(
        {
            "persona_lens": partial(ours, replies, 0),
            "with nulls": partial(ours, replies, 20),
            "scikit-learn": partial(scikit_learn, replies, args.loop_layers, chosen),
        },
        args.rounds,
    )
    # A loop over all splits takes as many times longer.
    share = len(chosen) / len(every)
    rounds = dict(rates.rounds)
    rounds["scikit-learn"] = [rate * share for rate in rounds["scikit-learn"]]
    scaled = type(rates)({name: [60 * rate for rate in found] for name, found in rounds.items()})
    print(
        scaled.table("layers x 1/60", "scikit-learn").replace(
            "layers x 1/60 a second", "layers a minute"
        )
    )
    print()
    requirement(
        "`persona_lens` over `scikit-learn`", scaled.ratio("persona_lens", "scikit-learn"), 20.0
    )


if __name__ == "__main__":
    main()
