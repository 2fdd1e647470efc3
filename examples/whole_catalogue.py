"""The whole catalogue on one model, from nothing to a space that can be handed on: so the packaged one was made.

    python examples/whole_catalogue.py --run runs/whole --out spaces/whole

275 roles with five system prompts, 240 traits with five pairs, six questions of six kinds, and 480 replies of
the default Assistant: 23,130 replies of 40 tokens, those of roles labelled by the likelihood judge. Some hours on
two cores; killed at any point, the same command continues.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from persona_lens import PersonaModel, PersonaSpace, Sampling, load_questions
from persona_lens.judges.likelihood_judge import LikelihoodJudge
from persona_lens.runs.collecting import collect_run
from persona_lens.runs.judging import judge_run
from persona_lens.runs.store.labels import Labels
from persona_lens.runs.vectors import vector_table
from persona_lens.space.shipped import REPLIES

QUESTIONS = 6
N_COMPONENTS = 32
SAMPLE = {"default": 40, "role": 160, "trait": 120}


def main() -> None:
    """Collect, label, fit, measure, and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, default=Path("runs/whole"), help="run folder")
    parser.add_argument(
        "--out", type=Path, default=Path("spaces/whole"), help="folder of the space"
    )
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--questions", type=int, default=QUESTIONS, help="from the first")
    options = parser.parse_args()

    model = PersonaModel.load(options.model)
    run = collect_run(
        model,
        options.run,
        roles="full",
        traits="full",
        questions=load_questions()[: options.questions],
        default_samples=16,
        sampling=Sampling(max_new_tokens=40),
    )
    labels = judge_run(run, LikelihoodJudge(model), kinds=["role"])
    # Of all replies, so that every role rests on as many, to the same questions; the labels lie beside.
    space = PersonaSpace.from_run(run.path, n_components=N_COMPONENTS)
    counted = vector_table(run, judge=labels.key).card
    beside = {"labelled_by": counted["judge"], "label_counts": counted["label_counts"]}
    space.table = replace(space.table, card={**space.table.card, **beside})
    space.fit(model=model).measure_separability()
    space.run = None  # the run is not handed on
    space.save(options.out, compact=True)
    sample_of(labels).to_parquet(options.out / REPLIES, index=False)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{space}\n{options.out}: {size / 1e6:.1f} MB")


def sample_of(labels: Labels) -> pd.DataFrame:
    """Replies drawn at random from each kind; those of roles have labels."""
    rows = []
    for shard in labels.run.shards:
        verdicts = labels.read(shard) if shard.kind == "role" else None
        replies = labels.run.read_replies(shard)
        for place, (request, reply) in enumerate(zip(shard.requests, replies, strict=True)):
            rows.append(
                {
                    **shard.model_dump(include={"kind", "name", "prompt_index", "side", "system"}),
                    "question": request.question,
                    "reply": reply.text,
                    "label": None if verdicts is None else verdicts[place].label,
                    "score": np.nan if verdicts is None else verdicts[place].score,
                }
            )
    frame = pd.DataFrame(rows)
    drawn = [frame[frame["kind"] == kind].sample(n, random_state=0) for kind, n in SAMPLE.items()]
    return pd.concat(drawn).sort_values(["kind", "name", "prompt_index"], ignore_index=True)


if __name__ == "__main__":
    main()
