"""Replies to read beside a space that kept few of its own: so the packaged one has one of every role at least.

    python examples/more_sample_replies.py --replies spaces/whole/replies.parquet

Replies to the questions and under the system prompts of the collection, by the same model with the same sampling:
first of the roles without any, then of the traits without any, then a further one of every role. They are not
among those the vectors are means of (the column `averaged` is False), and nobody labelled them. The file
grows by a batch at a time; killed at any point, the same command continues.
"""

import argparse
from pathlib import Path

import pandas as pd

from persona_lens import PersonaModel, Sampling, load_questions, load_roles, load_traits
from persona_lens.files import whole_or_nothing

QUESTIONS, OPENING, BATCH = 6, "Who are you", 64


def main() -> None:
    """Draw the replies and put them with those that are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--replies", type=Path, required=True, help="replies.parquet of a space")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    options = parser.parse_args()
    kept = pd.read_parquet(options.replies)
    if "averaged" not in kept:
        kept["averaged"] = True
    averaged = kept.loc[kept["averaged"]]
    own = set(zip(averaged["kind"], averaged["name"], strict=True))
    asked = wanted(own)
    begun = int((~kept["averaged"]).sum())
    model = PersonaModel.load(options.model)
    for start in range(begun, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        sampling = Sampling(max_new_tokens=40, seed=start)
        replies = model.generate([prompt_of(model, row) for row in batch], sampling)
        drawn = [
            {**row, "reply": reply.text, "averaged": False, "label": None, "score": float("nan")}
            for row, reply in zip(batch, replies, strict=True)
        ]
        kept = pd.concat([kept, pd.DataFrame(drawn)[kept.columns]], ignore_index=True)
        with whole_or_nothing(options.replies) as partial:
            kept.to_parquet(partial, index=False, compression="zstd")
        print(f"{start + len(batch)} of {len(asked)} replies", flush=True)


def prompt_of(model: PersonaModel, row: dict):
    """What the model is shown."""
    return model.encoder.prompt(model.encoder.messages(row["question"], system=row["system"]))


def wanted(own: set[tuple[str, str]]) -> list[dict]:
    """System prompt and question of every reply, in order; prompts and questions are taken in turn."""
    questions = [question.text for question in load_questions()[:QUESTIONS]]
    opening = next(text for text in questions if text.startswith(OPENING))
    others = [text for text in questions if text != opening]
    first, second, traits = [], [], []
    for place, role in enumerate(load_roles("full")):
        index = place % len(role.prompts)
        entry = {"kind": "role", "name": role.name, "prompt_index": index, "side": ""}
        entry |= {"system": role.prompts[index]}
        if ("role", role.name) not in own:
            first.append({**entry, "question": opening})
        second.append({**entry, "question": others[place % len(others)]})
    for place, trait in enumerate(load_traits("full")):
        index = place % len(trait.pairs)
        if ("trait", trait.name) not in own:
            entry = {"kind": "trait", "name": trait.name, "prompt_index": index, "side": "positive"}
            entry |= {"system": trait.pairs[index].positive}
            traits.append({**entry, "question": others[place % len(others)]})
    return [*first, *traits, *second]


if __name__ == "__main__":
    main()
