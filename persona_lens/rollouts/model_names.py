"""What a model is told its name is, where a default prompt says `{model_name}`."""

from __future__ import annotations

from pathlib import Path

FAMILIES = ("Gemma", "Qwen", "Llama", "Mistral")
"""Families that answer to one name whatever the size, in the order they are looked for."""


def short_name(model: str, *, always: bool = False) -> str:
    """The family's name for models of those families, else the name the model was loaded by.

    Args:
        model: Hub name, path or name of a served model; of a path only the last part is looked at.
        always: Shorten other names too, to what comes before the first hyphen, as the paper's code does.

    Source: released code of "The Assistant Axis", which tells Qwen 3 32B that it is Qwen.

    Examples:
        >>> short_name("Qwen/Qwen3-32B"), short_name("meta-llama/Llama-3.3-70B-Instruct")
        ('Qwen', 'Llama')
        >>> short_name("smollm2-135m-instruct"), short_name("allenai/OLMo-2-7B", always=True)
        ('smollm2-135m-instruct', 'OLMo')
    """
    last = Path(model).name or model
    for family in FAMILIES:
        if family.lower() in last.lower():
            return family
    return last.split("-")[0] if always else model
