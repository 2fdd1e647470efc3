"""What people hand to a model instead of transcripts: text, messages, ids; and the call that makes transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from persona_lens.errors import ModelError
from persona_lens.transcripts import Transcript

Wanted = Literal["prompt", "encode"]
"""The method of the encoder that makes what is wanted: a prompt to be answered, or a finished conversation."""

_EXAMPLES = {
    "prompt": 'model.encoder.prompt([{"role": "user", "content": "Who are you?"}])',
    "encode": 'model.encoder.encode([{"role": "user", ...}, {"role": "assistant", ...}])',
}


def check_transcripts(given: object, wanted: Wanted) -> None:
    """Refuse what is no sequence of transcripts.

    Args:
        given: A user's argument.
        wanted: How the encoder makes such transcripts.

    Raises:
        ModelError: It is text, messages, ids, a single transcript, or anything else.

    Examples:
        >>> check_transcripts(["Who are you?"], "prompt")
        Traceback (most recent call last):
            ...
        persona_lens.errors.ModelError: these are no transcripts
          expected a list of model.encoder.prompt([{"role": "user", "content": "Who are you?"}]), given text
          model.encoder.prompt(model.encoder.messages(text)) for each, or model.chat(text) for one
    """
    if isinstance(given, Transcript):
        raise _refusal("a single transcript", wanted, "put it into a list: [transcript]")
    items = [given] if isinstance(given, str | Mapping) or not _is_listed(given) else given
    for item in items:  # pyright: ignore[reportGeneralTypeIssues]
        if not isinstance(item, Transcript):
            what, remedy = _what(item, wanted)
            raise _refusal(what, wanted, remedy)


def check_waiting(prompts: Sequence[Transcript]) -> None:
    """Refuse finished conversations.

    Raises:
        ModelError: A transcript does not wait for a reply.
    """
    if not all(prompt.generating for prompt in prompts):
        raise ModelError(
            "a transcript does not wait for a reply",
            expected="transcripts from encoder.prompt(...)",
        )


def check_message(message: object, system: object) -> None:
    """Refuse what `chat` cannot take for a message.

    Raises:
        ModelError: It is no text.
    """
    for name, given in (("message", message), ("system prompt", system)):
        if isinstance(given, str):
            continue
        messages = isinstance(given, Mapping) or _is_messages(given)
        raise ModelError(
            f"the {name} is no text",
            expected="one text; chat asks one question",
            given="messages" if messages else type(given).__name__,
            remedy="of a whole conversation: model.generate([model.encoder.prompt(messages)])[0].text"
            if name == "message"
            else 'leave it out, or give ""',
        )


def _refusal(given: str, wanted: Wanted, remedy: str | None) -> ModelError:
    return ModelError(
        "these are no transcripts",
        expected=f"a list of {_EXAMPLES[wanted]}",
        given=given,
        remedy=remedy,
    )


def _what(item: object, wanted: Wanted) -> tuple[str, str | None]:
    """What an item is, and how to make a transcript of it."""
    if isinstance(item, str):
        remedy = {
            "prompt": "model.encoder.prompt(model.encoder.messages(text)) for each, or model.chat(text) for one",
            "encode": "text does not say whose it is: give messages that end with the assistant's",
        }
        return "text", remedy[wanted]
    if isinstance(item, Mapping):
        return "messages", f"[model.encoder.{wanted}(messages)]"
    if _is_messages(item):
        return "lists of messages", f"[model.encoder.{wanted}(each) for each in conversations]"
    if isinstance(item, int | np.integer) or _is_listed(item):
        return "token ids", "ids alone do not say which token is whose; encode the messages"
    return type(item).__name__, None


def _is_messages(given: object) -> bool:
    return isinstance(given, Sequence) and bool(given) and isinstance(given[0], Mapping)


def _is_listed(given: object) -> bool:
    """A sequence of whatever sort; arrays and tensors are no `Sequence`."""
    return isinstance(given, Sequence) or (hasattr(given, "__len__") and hasattr(given, "__iter__"))
