"""LoRA and other adapters of peft: found in a folder or on the hub, loaded, and told apart. peft is optional.

An adapter is a small set of weights beside those of a base model. Which of them act can be changed at any time
(`set_adapter`, `disable_adapter`, `merge_adapter`), so a module with adapters is run as it is, and what is
switched on is part of its fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from persona_lens.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER_CONFIG = "adapter_config.json"

_LAYERS = {"BaseTunerLayer", "AuxiliaryTrainingWrapper"}
_VIRTUAL_TOKENS = {
    *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"),
    *("CPT", "CARTRIDGE", "ADAPTION_PROMPT"),
}


@dataclass(frozen=True)
class Adapter:
    """An adapter that lies in a folder or on the hub.

    Attributes:
        location: The folder, or the name on the hub.
        base: The base model as the adapter names it: a path or a hub name.
        revision: Of the adapter.
        base_revision: Of the base model, if the adapter says so.
    """

    location: str
    base: str
    revision: str | None = None
    base_revision: str | None = None

    @property
    def name(self) -> str:
        """What it is called beside its base model."""
        path = Path(self.location)
        return path.resolve().name if path.is_dir() else self.location

    @classmethod
    def described_in(
        cls, config: str | Path, location: str | Path, revision: str | None = None
    ) -> Adapter:
        """The adapter whose `adapter_config.json` is `config`.

        Raises:
            ModelError: A damaged file, no base model in it, a kind of adapter that adds tokens, or no peft.
        """
        try:
            held = json.loads(Path(config).read_text("utf-8"))
            kind, base = held.get("peft_type"), held.get("base_model_name_or_path")
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(
                f"the adapter in {location} is damaged",
                expected=f"JSON in {ADAPTER_CONFIG}",
                given=str(error).splitlines()[0],
            ) from error
        _refuse_virtual_tokens(str(kind), f"the adapter {location}")
        if not isinstance(base, str) or not base:
            raise ModelError(
                f"{location} is an adapter that does not say of which base model",
                expected=f"base_model_name_or_path in {ADAPTER_CONFIG}",
                remedy="put it on its base with peft, and pass the PeftModel to PersonaModel.load",
            )
        if find_spec("peft") is None:
            raise ModelError(
                f"{location} is a {kind} adapter of {base}, and peft is not installed",
                expected="peft, which puts adapters on their base model",
                remedy='pip install "persona-lens[peft]"; or merge it into its base model where peft is, and '
                "load the merged folder",
            )
        return cls(str(location), base, revision, held.get("revision"))


def adapter_in_folder(folder: Path) -> Adapter | None:
    """The adapter in a folder, if one is there: beside a whole model, it acts on that one.

    Raises:
        ModelError: As `Adapter.described_in`.
    """
    config = folder / ADAPTER_CONFIG
    return Adapter.described_in(config, folder) if config.is_file() else None


def adapter_on_hub(name: str, revision: str | None) -> Adapter | None:
    """The adapter of that name on the hub, or in its cache, if it is one.

    Raises:
        ModelError: As `Adapter.described_in`.
    """
    from transformers.utils.peft_utils import find_adapter_config_file  # noqa: PLC0415

    try:
        config = find_adapter_config_file(name, revision=revision)
    except (OSError, ValueError):  # whoever opens the weights next says what is wrong with the name
        return None
    return None if config is None else Adapter.described_in(config, name, revision)


def put_on(module: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """Put an adapter on its base model, in place.

    Raises:
        ModelError: Its weights do not fit the base model, or cannot be read.
    """
    from peft import PeftModel  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

    try:
        whole = PeftModel.from_pretrained(module, adapter.location, revision=adapter.revision)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = next((line for line in str(error).splitlines()[::-1] if line.strip()), "")
        raise ModelError(
            f"the adapter {adapter.name} does not load on {adapter.base}: {reason.strip()}",
            remedy="check that this is the base model it was trained on",
        ) from error
    return without_wrapper(whole)


def is_peft_model(held: Any) -> bool:
    """Whether `held` is a PeftModel or a PeftMixedModel, told without importing peft."""
    return any(
        base.__name__ in ("PeftModel", "PeftMixedModel") and base.__module__.startswith("peft.")
        for base in type(held).__mro__
    )


def without_wrapper(held: Any) -> PreTrainedModel:
    """The transformers module inside a PeftModel; the adapters are in its layers.

    Raises:
        ModelError: Adapters that add tokens, or act on certain tokens only: they live in the wrapper.
    """
    for config in held.peft_config.values():
        kind = getattr(config.peft_type, "value", str(config.peft_type))
        _refuse_virtual_tokens(kind, "this PeftModel")
        if getattr(config, "alora_invocation_tokens", None):
            raise ModelError(
                "an activated LoRA acts from its invocation tokens on, which only its PeftModel can find",
                expected="adapters that act on every token",
            )
    return cast("PreTrainedModel", held.base_model.model)


def has_adapters(module: nn.Module) -> bool:
    """Whether any layer carries an adapter of peft."""
    return next(_layers(module), None) is not None


def adapter_settings(module: nn.Module) -> tuple[str, ...]:
    """What is switched on, layer by layer: weights alone do not tell."""
    return tuple(_setting(name, layer) for name, layer in _layers(module))


def active_adapters(module: nn.Module) -> list[str]:
    """Names of the adapters that act at some layer, merged ones included."""
    acting: set[str] = set()
    for _, layer in _layers(module):
        acting.update(layer.merged_adapters)
        if not layer.disable_adapters:
            acting.update(layer.active_adapters)
    return sorted(acting)


def _setting(name: str, layer: Any) -> str:
    scaling = getattr(layer, "scaling", {})
    on = [] if layer.disable_adapters else list(layer.active_adapters)
    factors = {adapter: scaling[adapter] for adapter in on if adapter in scaling}
    return f"{name}: on {on}, merged {sorted(layer.merged_adapters)}, scaling {factors}"


def _layers(module: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, part in module.named_modules():
        bases = type(part).__mro__
        if any(base.__name__ in _LAYERS and base.__module__.startswith("peft.") for base in bases):
            yield name, part


def _refuse_virtual_tokens(kind: str, what: str) -> None:
    if kind.upper() in _VIRTUAL_TOKENS:
        raise ModelError(
            f"{what} puts trained vectors in front of the text ({kind}), which are no tokens of any transcript",
            expected="an adapter in the layers, such as LoRA",
            remedy="use the base model, or an adapter of another kind",
        )
