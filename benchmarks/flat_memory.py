"""Memory of a collection as the number of replies grows: it should stay flat.

A small random Llama model plays 20 roles; more system prompts make more replies, never more vectors. `collect` is
`collect_run`, `aggregate` is `vector_table` and `fit`, each in a process of its own for every size. A peak leaves
out the pages of libraries and other files, and is the smallest of some repeats, as the allocator only ever adds.
The slope is the growth between the smallest and the largest size. To compare: what the mean residuals of one reply
weigh, and what all residuals of its tokens weigh.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from harness import MIB, Cost, cost_apart, heading, markdown, parser, report_cost
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from persona_lens import PersonaModel, PersonaSpace, Sampling
from persona_lens.model.loading import quiet_transformers
from persona_lens.runs import collect_run

SIZES, QUICK_SIZES = [1000, 5000, 20000], [200, 400]
ROLES, QUESTIONS, NEW_TOKENS = 20, 10, 8
N_LAYERS, D_MODEL = 4, 256
STAGES = ("collect", "aggregate")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_model(folder: Path) -> None:
    """A random model that is wide enough for kept residuals to show, and a tokenizer of single bytes."""
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    backend.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", additional_special_tokens=special
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=D_MODEL,
        intermediate_size=2 * D_MODEL,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=4,
        eos_token_id=vocabulary["<|im_end|>"],
        bos_token_id=None,
    )
    with quiet_transformers():
        LlamaForCausalLM(config).save_pretrained(folder)


def collect(folder: Path, replies: int) -> None:
    """One default prompt and 20 roles; the number of system prompts makes the number of replies."""
    prompts = _prompts(replies)
    roles = [
        {
            "name": f"role_{chr(97 + role)}",
            "prompts": [f"Role {role}, {i}." for i in range(prompts)],
        }
        for role in range(ROLES)
    ]
    collect_run(
        PersonaModel.load(folder / "model", device="cpu", dtype="float32"),
        folder / f"run-{replies}",
        roles=roles,
        traits=None,
        questions=[f"Question {number}?" for number in range(QUESTIONS)],
        defaults=["Be yourself."],
        default_samples=1,
        sampling=Sampling(max_new_tokens=NEW_TOKENS),
        progress=False,
    )


def aggregate(folder: Path, replies: int) -> None:
    """Vectors, axis, components and calibration."""
    PersonaSpace.from_run(folder / f"run-{replies}").fit()


def main() -> None:
    """Measure every size, then the slope."""
    options = parser(__doc__)
    options.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options.add_argument("--repeats", type=int, default=3, help="default: 3")
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the parent process
    args = options.parse_args()
    if args.only:
        _run_one(args.only, args.folder)
        return
    sizes, repeats = (QUICK_SIZES, 1) if args.quick else (args.sizes, args.repeats)
    heading(f"Memory of a collection, {N_LAYERS} layers of {D_MODEL} dimensions")
    measured = [_measure(sizes) for _ in range(repeats)]
    best = {
        key: min((costs[key] for costs in measured), key=lambda cost: cost.own)
        for key in measured[0]
    }
    counts = [_replies(size) for size in sizes]
    _print_table(sizes, counts, best)
    _print_slopes(sizes, counts, best)


def _measure(sizes: Sequence[int]) -> dict[tuple[str, int], Cost]:
    with tempfile.TemporaryDirectory() as name:
        save_model(Path(name) / "model")
        return {
            (stage, size): cost_apart(__file__, f"{stage}-{size}", ["--folder", name])
            for size in sizes
            for stage in STAGES
        }


def _run_one(variant: str, folder: Path) -> None:
    stage, size = variant.split("-")
    run = {"collect": collect, "aggregate": aggregate}[stage]
    # A small run first: libraries and thread pools are no part of what grows. Its folder belongs to this process.
    with tempfile.TemporaryDirectory() as name:
        small = Path(name)
        (small / "model").symlink_to(folder / "model")
        collect(small, ROLES * QUESTIONS)
        run(small, ROLES * QUESTIONS)
    report_cost(partial(run, folder, int(size)))


def _replies(size: int) -> int:
    """Replies of a collection of about `size`, those of the default Assistant included."""
    return QUESTIONS * (ROLES * _prompts(size) + 1)


def _prompts(size: int) -> int:
    return size // (ROLES * QUESTIONS)


def _print_table(
    sizes: Sequence[int], counts: Sequence[int], costs: dict[tuple[str, int], Cost]
) -> None:
    rows = [
        (
            f"{count:,}",
            *(f"{costs[stage, size].own / MIB:,.1f}" for stage in STAGES),
            *(f"{costs[stage, size].seconds:.0f}" for stage in STAGES),
        )
        for size, count in zip(sizes, counts, strict=True)
    ]
    columns = ("peak MiB", "seconds")
    header = ("replies", *(f"{stage}, {column}" for column in columns for stage in STAGES))
    print(markdown(header, rows), end="\n\n")


def _print_slopes(
    sizes: Sequence[int], counts: Sequence[int], costs: dict[tuple[str, int], Cost]
) -> None:
    for stage in STAGES:
        growth = costs[stage, sizes[-1]].own - costs[stage, sizes[0]].own
        print(f"- {stage}: {growth / (counts[-1] - counts[0]):,.0f} bytes per reply")
    means = N_LAYERS * D_MODEL * 4
    print(f"- to compare, mean residuals: {means:,} bytes per reply")
    print(f"- to compare, residuals of all its tokens: {means * NEW_TOKENS:,} bytes per reply")


if __name__ == "__main__":
    main()
