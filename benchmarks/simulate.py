"""Simulated conversations: keys and values kept from turn to turn, against reading everything anew for each turn.

Both variants are `simulate` with scripted users of the catalogue in one batch, greedy, with pooling at one layer;
no token ends a reply, so that both do the same number of steps. Replies have to be the same, token by token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from workload import MODEL, never_end

from persona_lens import PersonaModel, Sampling
from persona_lens.catalog import load_scripts
from persona_lens.drift.simulation import ScriptedUser, Simulated, scripted, simulate

AT_LEAST = 1.5


@dataclass(frozen=True)
class Chatting:
    """The ways to have the same conversations; each returns the reply tokens it has made."""

    model: PersonaModel
    users: Sequence[ScriptedUser]
    turns: int
    new_tokens: int

    def had(self, *, cached: bool) -> Simulated:
        """The conversations."""
        return simulate(
            self.model,
            self.users,
            turns=self.turns,
            sampling=Sampling(temperature=0, max_new_tokens=self.new_tokens),
            layers=[self.model.n_layers // 2],
            batch_size=len(self.users),
            cached=cached,
            progress=False,
        )

    def tokens(self, *, cached: bool) -> int:
        """Of all replies."""
        return int(self.had(cached=cached).frame["tokens"].sum())


def main() -> None:
    """See that replies are the same, then compare rates."""
    options = parser(__doc__)
    add_rounds(options, 5)
    add_model_options(options)
    options.add_argument("--conversations", type=int, default=16, help="default: 16")
    options.add_argument("--turns", type=int, default=10, help="default: 10")
    options.add_argument("--new-tokens", type=int, default=24, help="default: 24")
    args = options.parse_args()
    if args.quick:
        args.conversations, args.turns, args.new_tokens = 4, 8, 8

    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    never_end(model)
    users = scripted(load_scripts("all"))[:: max(1, 80 // args.conversations)]
    chatting = Chatting(model, users[: args.conversations], args.turns, args.new_tokens)
    heading(
        f"{len(chatting.users)} conversations of {args.turns} turns, replies of {args.new_tokens} tokens, "
        f"with {model}"
    )
    kept, reread = (chatting.had(cached=cached) for cached in (True, False))
    same = (kept.frame["ids"] == reread.frame["ids"]).mean()
    longest = int(kept.frame["prompt_tokens"].max())
    print(f"- {kept.conversations[0].about['cache']}; prompts of up to {longest:,} tokens")
    print(
        f"- {'met' if same == 1 else 'MISSED'}: the same replies: {same:.1%} of {len(kept.frame)}"
    )
    rates = interleave(
        {
            "kept from turn to turn": partial(chatting.tokens, cached=True),
            "read anew": partial(chatting.tokens, cached=False),
        },
        args.rounds,
    )
    print(f"\n{rates.table('reply tokens', over='read anew')}\n")
    requirement(
        "`kept from turn to turn` over `read anew`",
        rates.ratio("kept from turn to turn", "read anew"),
        AT_LEAST,
    )


if __name__ == "__main__":
    main()
