"""From whatever a user names or holds to a model and a tokenizer: embedded name, folder, `.gguf` file, hub name,
or an object of transformers or TransformerLens.

`random:NAME` is the architecture and tokenizer of NAME with random weights, a control for whatever the text alone
would give; `random:NAME:1` draws others.

Loading installs nothing, runs no foreign code unless `trust_remote_code=True`, and says which dtype it chose.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError

from persona_lens.contents import check_contents
from persona_lens.errors import ModelError, PersonaLensWarning
from persona_lens.model.adapters import (
    Adapter,
    active_adapters,
    adapter_in_folder,
    adapter_on_hub,
    has_adapters,
    put_on,
)
from persona_lens.model.embedded import EMBEDDED, embedded_folder
from persona_lens.model.gguf import gguf_cached_folder, repeat_warnings
from persona_lens.model.gguf_tensors import replaced
from persona_lens.model.held_module import HeldModule, plain_module
from persona_lens.model.hooked_backend import HookedBackend, is_hooked_transformer
from persona_lens.model.hub import hub_within_reach
from persona_lens.model.twin import keep_scale

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RANDOM = "random:"


@dataclass(frozen=True)
class Source:
    """Where a model comes from: the name it is known by, and what transformers is to open.

    `random_seed` is set where only the architecture and the tokenizer are wanted, `adapter` where one acts on the
    model at `location`.
    """

    name: str
    location: str
    revision: str | None = None
    on_hub: bool = False
    random_seed: int | None = None
    adapter: Adapter | None = None

    @property
    def hub_revision(self) -> str | None:
        """The revision to ask the hub for; elsewhere it is only a label."""
        return self.revision if self.on_hub else None


def resolve_source(source: str | Path, revision: str | None = None) -> Source:
    """Find out what `source` names; embedded models are fetched and converted on first use.

    Raises:
        ModelError: A path that does not exist, a folder without `config.json`, or an adapter that needs peft or
            whose base model is not found.
        DownloadError: Embedded weights could not be fetched.

    Examples:
        >>> resolve_source("random:smollm2-135m-instruct:7").random_seed
        7
    """
    text = str(source)
    if text.startswith(RANDOM):
        trained, seed = _named_with_seed(text.removeprefix(RANDOM))
        found = resolve_source(trained, revision)
        return replace(found, name=f"{RANDOM}{found.name}:{seed}", random_seed=seed)
    if text in EMBEDDED:
        return Source(text, str(embedded_folder(text)), f"{EMBEDDED[text].wheels[0].version}")
    path = Path(text).expanduser()
    if path.suffix == ".gguf":
        return _gguf_file(path)
    if path.is_dir():
        return _folder(path)
    if isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise ModelError("no such model folder", expected="an existing folder", given=source)
    with hub_within_reach():
        adapter = adapter_on_hub(text, revision)
    return Source(text, text, revision, on_hub=True) if adapter is None else _adapted(adapter)


def _gguf_file(path: Path) -> Source:
    if not path.is_file():
        raise ModelError("no such GGUF file", expected="a file", given=path)
    return Source(path.stem, str(gguf_cached_folder(path)))


def _folder(path: Path) -> Source:
    check_contents(path, (".json", ".safetensors", ".bin", ".model"), ModelError)
    adapter = adapter_in_folder(path)
    if adapter is not None:
        return _adapted(adapter)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"no model in {path}",
            expected="a folder with config.json",
            given=sorted(item.name for item in path.iterdir())[:8] or "an empty folder",
        )
    repeat_warnings(path)
    return Source(path.resolve().name, str(path))


def _adapted(adapter: Adapter) -> Source:
    """The base model of an adapter, with the adapter; a whole model in the same folder is its base."""
    folder = Path(adapter.location)
    if (folder / "config.json").is_file():
        base = Source(folder.resolve().name, str(folder))
    else:
        try:
            base = resolve_source(adapter.base, adapter.base_revision)
        except ModelError as error:
            raise _no_base(adapter, error) from error
    if base.adapter is not None:
        raise ModelError(
            f"the base model of {adapter.name} is an adapter itself: {adapter.base}",
            expected="one adapter on a whole model",
            remedy="merge the first into its base model, or pass the PeftModel",
        )
    return replace(base, name=f"{base.name}+{adapter.name}", adapter=adapter)


def _no_base(adapter: Adapter, error: Exception) -> ModelError:
    return ModelError(
        f"the base model of the adapter {adapter.name} is not found: {adapter.base}",
        given=str(error).splitlines()[0],
        remedy="put it where the adapter looks for it, or put the adapter on it yourself with peft and pass the "
        "PeftModel to PersonaModel.load",
    )


def _named_with_seed(text: str) -> tuple[str, int]:
    """The name and the seed after its last colon, 0 by default."""
    name, colon, seed = text.rpartition(":")
    return (name, int(seed)) if colon and seed.isdecimal() else (text, 0)


def load_weights(
    source: Source,
    *,
    dtype: torch.dtype,
    device: torch.device | None,
    device_map: Any,
    trust_remote_code: bool,
) -> PreTrainedModel:
    """Open the weights with transformers, on `device` or spread by `device_map`.

    Raises:
        ModelError: Nothing loadable there, or random weights were to be spread.
    """
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415

    place = {"revision": source.hub_revision, "trust_remote_code": trust_remote_code}
    try:
        if source.random_seed is None:
            with _within_reach(source):
                module = AutoModelForCausalLM.from_pretrained(
                    source.location, dtype=dtype, device_map=device_map, **place
                )
            if source.adapter is not None and not has_adapters(module):
                module = put_on(module, source.adapter)
        elif device_map is not None:
            raise ModelError("random weights are not spread over devices", remedy="give a device")
        else:
            with _within_reach(source):
                config = AutoConfig.from_pretrained(source.location, **place)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(source.random_seed)
                module = AutoModelForCausalLM.from_config(
                    config, dtype=dtype, trust_remote_code=trust_remote_code
                )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        if source.adapter is not None:
            raise _no_base(source.adapter, error) from error
        raise _unreadable(source, error) from error
    module.eval()
    keep_scale(module)
    return module if device is None else module.to(device)  # pyright: ignore[reportArgumentType]


def load_tokenizer(source: Source, *, trust_remote_code: bool) -> PreTrainedTokenizerBase:
    """Open the tokenizer that belongs to `source`; an adapter may have brought its own."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    adapter = source.adapter
    if adapter is not None:
        with suppress(OSError, ValueError, KeyError):
            return AutoTokenizer.from_pretrained(
                adapter.location, revision=adapter.revision, trust_remote_code=trust_remote_code
            )
    try:
        with _within_reach(source):
            return AutoTokenizer.from_pretrained(
                source.location,
                revision=source.hub_revision,
                trust_remote_code=trust_remote_code,
            )
    except (OSError, ValueError) as error:
        raise _unreadable(source, error) from error


def _within_reach(source: Source) -> AbstractContextManager[None]:
    return hub_within_reach() if source.on_hub else nullcontext()


def _unreadable(source: Source, error: Exception) -> ModelError:
    twins = [name for name, model in EMBEDDED.items() if model.hub_id == source.name]
    remedy = (
        f"without a hub, the embedded copy loads offline: {twins[0]!r}"
        if twins
        else f"check the name, or use an embedded model: {', '.join(EMBEDDED)}"
    )
    reason = str(error).strip().splitlines()[0]
    return ModelError(f"cannot load {source.name!r}: {reason}", remedy=remedy)


def wrapped(held: Any, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    """Arguments of a `PersonaModel` that holds an object of the user's.

    Raises:
        ModelError: It is no model, or no tokenizer belongs to it.
    """
    from transformer_lens.model_bridge import TransformerBridge  # noqa: PLC0415
    from transformers import PreTrainedModel  # noqa: PLC0415

    if is_hooked_transformer(held):
        hooked, name = HookedBackend(held), held.cfg.model_name
        tokenizer = tokenizer or _find_tokenizer(held.cfg.tokenizer_name, name)
        return {"name": name, "tokenizer": tokenizer, "hooked": hooked}
    if isinstance(held, TransformerBridge):
        return {**_named_with_tokenizer(held.original_model, tokenizer), "bridge": held}
    module = plain_module(held)
    if not isinstance(module, PreTrainedModel):
        raise ModelError(
            "cannot wrap this object",
            expected="a name, a path, a transformers PreTrainedModel, a PeftModel, a TransformerBridge or a "
            "HookedTransformer",
            given=type(held).__name__,
        )
    return {**_named_with_tokenizer(module, tokenizer), "module": HeldModule(module)}


def _named_with_tokenizer(module: Any, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    source = module.config.name_or_path
    name = source or type(module).__name__
    tokenizer = tokenizer or _find_tokenizer(source, name)
    return {"name": "+".join([name, *active_adapters(module)]), "tokenizer": tokenizer}


def _find_tokenizer(source: str | None, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer as published: the one TransformerLens holds is rewritten to add BOS."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(source or "")
    except (OSError, ValueError) as error:
        raise ModelError(f"no tokenizer found for {name!r}", remedy="pass tokenizer=...") from error


@contextmanager
def nothing_installed() -> Iterator[None]:
    """Keep TransformerLens from running pip: it installs torchvision when a multimodal processor cannot load.

    That install can replace the user's torch by another build, so it is switched off while a bridge is built.
    """
    from transformer_lens.model_bridge.sources.transformers import helpers  # noqa: PLC0415

    with ExitStack() as stack:
        if hasattr(helpers, "_ensure_torchvision"):
            stack.enter_context(replaced(helpers, "_ensure_torchvision", lambda: False))
        yield


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence load-time chatter of transformers (weight progress bars, advice) and restore the user's settings.

    Our own warnings reach the user, through the filters that are set outside.
    """
    from transformers.utils import logging as hf_logging  # noqa: PLC0415

    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    ours: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            ours = [each for each in caught if issubclass(each.category, PersonaLensWarning)]
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
    for each in ours:
        warnings.warn(each.message, stacklevel=4)
