"""float32 against bfloat16 on this machine: what `dtype="auto"` rests on.

`auto` asks the hardware whether it multiplies bfloat16 natively and never measures, so that a run can be continued
anywhere with the same choice. This script measures whether the choice is right here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harness import add_rounds, heading, interleave, parser
from workload import MODEL, conversations, never_end, role_prompts

from persona_lens import PersonaModel, Sampling
from persona_lens.model.hardware import choose_device, choose_dtype

DTYPES = ("float32", "bfloat16")


def read(model: PersonaModel, replies: int) -> Callable[[], int]:
    """Read the same conversations again and again."""
    transcripts = conversations(model, replies)

    def work() -> int:
        model.pooled(transcripts)
        return sum(len(transcript.ids) for transcript in transcripts)

    return work


def write(model: PersonaModel, batch_size: int, new_tokens: int) -> Callable[[], int]:
    """Write one batch of replies again and again, of equal length."""
    never_end(model)
    prompts = role_prompts(model, batch_size)
    sampling = Sampling(max_new_tokens=new_tokens)
    return lambda: sum(len(reply.ids) for reply in model.generate(prompts, sampling))


def main() -> None:
    """Compare reading and writing."""
    options = parser(__doc__)
    add_rounds(options, 5)
    options.add_argument("--device", help="default: the fastest there is")
    args = options.parse_args()
    replies, batch_sizes, new_tokens = (8, [4], 8) if args.quick else (96, [1, 32, 64], 32)

    models = {dtype: PersonaModel.load(MODEL, dtype=dtype, device=args.device) for dtype in DTYPES}
    heading(f"float32 and bfloat16, {MODEL}")
    chosen = choose_dtype("auto", choose_device(args.device))
    print(f'`dtype="auto"` chooses {str(chosen).removeprefix("torch.")} here.\n')

    jobs: dict[str, Callable[[PersonaModel], Callable[[], int]]] = {
        f"Reading {replies} conversations": partial(read, replies=replies)
    }
    for batch_size in batch_sizes:
        title = f"Writing {new_tokens} tokens, batches of {batch_size}"
        jobs[title] = partial(write, batch_size=batch_size, new_tokens=new_tokens)
    for title, job in jobs.items():
        rates = interleave({dtype: job(model) for dtype, model in models.items()}, args.rounds)
        print(f"{title}\n\n{rates.table('tokens', over='float32')}\n")


if __name__ == "__main__":
    main()
