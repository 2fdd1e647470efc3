"""What the benchmarks let a model read and write: the prompts and questions of the core catalogue."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from persona_lens import load_questions, load_roles
from persona_lens.model.embedded import embedded_folder
from persona_lens.model.loading import quiet_transformers

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from persona_lens import PersonaModel, Transcript

MODEL = "smollm2-135m-instruct"

_NO_TOKEN = 2**31 - 1  # beyond any vocabulary


def role_prompts(model: PersonaModel, count: int) -> list[Transcript]:
    """Prompts as a collection has them: a role's system prompt and a question."""
    roles, questions = load_roles(), load_questions()
    encoder = model.encoder
    pairs = islice(zip(cycle(roles), cycle(questions), strict=False), count)
    return [
        encoder.prompt(
            encoder.messages(question.text, system=role.prompts[index % len(role.prompts)])
        )
        for index, (role, question) in enumerate(pairs)
    ]


def conversations(
    model: PersonaModel, count: int, *, shortest: int = 40, longest: int = 400
) -> list[Transcript]:
    """Whole conversations of `shortest` to `longest` tokens, evenly spread, in random order.

    The replies are sentences of the catalogue cut to length, so that their tokens are those of real text.
    """
    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.linspace(shortest, longest, count).round().astype(int))
    text = " ".join(prompt for role in load_roles() for prompt in role.prompts)
    tokens = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    finished = []
    for index, (question, length) in enumerate(zip(cycle(load_questions()), lengths, strict=False)):
        prompt = model.encoder.prompt(model.encoder.messages(question.text))
        start = 97 * index % (len(tokens) - longest)  # another place in the text for every reply
        reply = tokens[start : start + max(1, length - len(prompt.ids))]
        finished.append(model.encoder.with_reply(prompt, reply))
    return finished


def plain_model(model: PersonaModel) -> PreTrainedModel:
    """The same weights as `model`, loaded by transformers alone, with its default (sdpa) attention."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    with quiet_transformers():
        module = AutoModelForCausalLM.from_pretrained(embedded_folder(MODEL), dtype=model.dtype)
    return module.eval().to(model.device)  # pyright: ignore[reportArgumentType]


def never_end(model: PersonaModel) -> None:
    """Let no token end a reply, so that all replies have the same length and all variants the same work."""
    model.end_ids = (_NO_TOKEN,)


def only_words(model: PersonaModel) -> None:
    """Let no special token be drawn: a reply with one inside is read again, which replies that end never are."""
    special = sorted(set(model.tokenizer.all_special_ids))

    def silence(_module: nn.Module, _args: tuple, logits: Tensor) -> Tensor:
        logits[..., special] = -torch.inf
        return logits

    head = cast("PreTrainedModel", model.held.backend.module).get_output_embeddings()
    cast("nn.Module", head).register_forward_hook(silence)
