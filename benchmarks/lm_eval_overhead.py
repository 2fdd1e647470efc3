"""lm-evaluation-harness: what our model class costs beside its own `HFLM`, with no plan and with a floor.

The same texts are scored by both around the same module, and the same prompts are answered. A floor acts on eight
layers, with its receipt.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from harness import add_model_options, add_rounds, heading, interleave, parser, requirement
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from workload import MODEL, role_prompts

from persona_lens import PersonaModel, PersonaSpace
from persona_lens.catalog.neutral import load_neutral
from persona_lens.harnesses.lm_eval import PersonaLM

LAYERS = range(18, 26)
BATCH = 16


def main() -> None:
    """A table for scoring, and one for writing."""
    options = parser(__doc__)
    add_rounds(options, 3)
    add_model_options(options)
    options.add_argument("--items", type=int, default=32, help="default: 32")
    options.add_argument("--new-tokens", type=int, default=48, help="default: 48")
    args = options.parse_args()
    if args.quick:
        args.items, args.new_tokens = 4, 8
    model = PersonaModel.load(MODEL, dtype=args.dtype, device=args.device)
    floor = PersonaSpace.load(MODEL).floor(percentile=75, layers=LAYERS)
    module: Any = model.held.backend.module
    plain: Any = HFLM  # its registration with lm-eval hides its arguments
    lms = {
        "HFLM": plain(pretrained=module, tokenizer=model.tokenizer, batch_size=BATCH),
        "PersonaLM": PersonaLM(model, batch_size=BATCH, progress=False),
        "PersonaLM, floor on 8 layers": PersonaLM(model, floor, batch_size=BATCH, progress=False),
    }
    heading(f"lm-eval on {args.items} items with {model}")
    prompts = [prompt.text for prompt in role_prompts(model, args.items)]
    answers = [exchange.answer for exchange in load_neutral()][: args.items]
    texts = list(zip(prompts, answers, strict=False))
    until = {"until": ["\u0000"], "max_gen_toks": args.new_tokens, "do_sample": False}
    work = {
        "Scoring": ("loglikelihood", texts, len("".join(answers))),
        "Writing": ("generate_until", [(text, dict(until)) for text in prompts], None),
    }
    for title, (kind, arguments, size) in work.items():
        rates = interleave(
            {name: partial(_run, lm, kind, arguments, size) for name, lm in lms.items()},
            args.rounds,
        )
        print(f"{title}\n\n{rates.table('characters', over='HFLM')}\n")
        for name, least in (("PersonaLM", 0.95), ("PersonaLM, floor on 8 layers", 0.9)):
            requirement(f"{title}: `{name}` over `HFLM`", rates.ratio(name, "HFLM"), least)
        print()


def _run(lm: Any, kind: str, arguments: list[tuple], size: int | None) -> int:
    """Characters scored, or written."""
    requests = [
        Instance(request_type=kind, doc={}, arguments=given, idx=place)  # pyright: ignore[reportArgumentType]
        for place, given in enumerate(arguments)
    ]
    found = getattr(lm, kind)(requests, disable_tqdm=True)
    return max(1, sum(map(len, found))) if size is None else size


if __name__ == "__main__":
    main()
