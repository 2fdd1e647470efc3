"""A whole collection, labelled, against its reply generation alone.

`generation alone` samples every reply of the plan in the same units, with the same seeds, and does nothing else.
`collect` reads all layers, notes log-probabilities and writes the run; `collect and judge` also calibrates the
likelihood judge and labels the run. All write the same replies, so tokens a second compare directly.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from workload import MODEL

from persona_lens import PersonaModel, RunFolder, Sampling, load_questions
from persona_lens.catalog import load_defaults, load_roles, load_traits
from persona_lens.judges import LikelihoodJudge
from persona_lens.rollouts import plan_shards, work_units
from persona_lens.runs import collect_run
from persona_lens.runs.engines.worker import unit_seed
from persona_lens.runs.judging import judge_run

ROLES = ("analyst", "tutor", "pirate", "widow", "ghost", "tree")
TRAITS = ("calm", "dramatic")


@dataclass(frozen=True)
class Collecting:
    """The same plan, done in part and as a whole; each returns the tokens it has written."""

    model: PersonaModel
    sampling: Sampling
    questions: int
    prompts: int
    batch_size: int

    def generation_alone(self) -> int:
        """Replies and nothing else."""
        shards = plan_shards(
            load_roles(list(ROLES)),
            load_traits(list(TRAITS)),
            load_questions()[: self.questions],
            load_defaults(),
            model_name=self.model.name,
            prompts=self.prompts,
        )
        encoder, tokens = self.model.encoder, 0
        for unit in work_units(shards, self.batch_size):
            prompts = [
                encoder.prompt(encoder.messages(request.question, system=shard.system))
                for shard in unit
                for request in shard.requests
            ]
            seed = unit_seed(unit, self.sampling.seed)
            replies = self.model.generate(
                prompts,
                self.sampling.model_copy(update={"seed": seed}),
                batch_size=self.batch_size,
            )
            tokens += sum(len(reply.ids) for reply in replies)
        return tokens

    def collect(self) -> int:
        """A run with all layers read."""
        return self._collected(judged=False)

    def collect_and_judge(self) -> int:
        """A run with all layers read, labelled by the likelihood judge."""
        return self._collected(judged=True)

    def _collected(self, *, judged: bool) -> int:
        folder = Path(tempfile.mkdtemp(prefix="persona-lens-"))
        try:
            run: RunFolder = collect_run(
                self.model,
                folder / "run",
                roles=list(ROLES),
                traits=list(TRAITS),
                questions=load_questions()[: self.questions],
                prompts=self.prompts,
                default_samples=1,
                sampling=self.sampling,
                batch_size=self.batch_size,
                progress=False,
            )
            if judged:
                judge_run(run, LikelihoodJudge(self.model), progress=False)
            return sum(len(row["reply_ids"]) for row in run.replies().to_list())
        finally:
            shutil.rmtree(folder)


def main() -> None:
    """Compare rates."""
    options = parser(__doc__)
    add_rounds(options, 3)
    add_model_options(options)
    options.add_argument("--new-tokens", type=int, default=128, help="default: 128")
    args: argparse.Namespace = options.parse_args()
    questions, prompts = (2, 1) if args.quick else (12, 2)
    new_tokens = 12 if args.quick else args.new_tokens
    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    work = Collecting(model, Sampling(max_new_tokens=new_tokens), questions, prompts, 64)
    heading(f"A collection with replies of up to {new_tokens} tokens by {model}")
    rates = interleave(
        {
            "generation alone": work.generation_alone,
            "collect": work.collect,
            "collect and judge": work.collect_and_judge,
        },
        args.rounds,
    )
    print(rates.table("reply tokens", over="generation alone"), end="\n\n")
    for name in ("collect", "collect and judge"):
        requirement(
            f"`{name}` over `generation alone`", rates.ratio(name, "generation alone"), 0.85
        )


if __name__ == "__main__":
    main()
