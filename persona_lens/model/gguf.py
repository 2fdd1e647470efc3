"""GGUF files as ordinary model folders: converted once, then loaded in a tenth of a second.

Transformers can read a GGUF file directly, but three things stand in the way of using it so:

* it parses the file several times in pure Python, so that every load costs 10 to 20 seconds;
* the model it returns refuses to be saved, because it still counts as quantized;
* it ignores how some vocabularies split text (`tokenizer.ggml.pre`), so that in SmolLM2 every
  numbered list comes out in other tokens than those the model was trained on.

`convert_gguf` reads the file with the parse remembered, de-quantises to float32 (Q4 values are not
exact in half precision), sets the tokenizer right and writes `config.json`, safetensors and
tokenizer files. `gguf_cached_folder` does it once per file and remembers. Both write beside the
target and rename at the end, so a folder is there in full or not at all. Tensors that the model has
no place for are used or refused (`persona_lens.model.gguf_tensors`). What a user must know of the
text is kept in the folder and said at every load.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persona_lens.contents import check_content
from persona_lens.errors import ModelError, PersonaLensWarning, first_line
from persona_lens.model.cache import (
    Stages,
    appearing,
    build_once,
    cache_root,
    disk_guard,
)
from persona_lens.model.gguf_tensors import recorded_places, replaced, use_all_tensors

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


# What is to be said whenever the converted folder is loaded.
_WARNINGS = "persona_lens_warnings.json"
_TOKENIZER_MARGIN = 64 * 2**20
# llama.cpp's names for vocabularies that read every digit alone and then split as GPT-2 does.
_DIGITS_ALONE = {"smollm", "starcoder", "refact", "command-r"}
_SPLIT_AS_GPT2 = {"default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe"}
_END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
_reading = threading.RLock()


def convert_gguf(
    path: str | Path, out_dir: str | Path, *, fix_tokenizer: bool = True, quiet: bool = False
) -> Path:
    """Write the model in a `.gguf` file as a folder that `from_pretrained` opens.

    Args:
        path: The GGUF file, of any architecture transformers can read.
        out_dir: Folder to write; it must not exist yet, or be empty. It appears when complete.
        fix_tokenizer: Split text as `tokenizer.ggml.pre` asks, where transformers does not.
        quiet: Say nothing on standard error.

    Returns:
        `out_dir`, with `config.json`, `model.safetensors` in float32 and the tokenizer's files.

    Raises:
        ModelError: The file is missing, damaged, split in shards or of an unsupported
            architecture, weights are missing in it or of no use to the model, `out_dir` is in
            use, or the disk is full.

    ```python
    folder = convert_gguf("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2")
    model = AutoModelForCausalLM.from_pretrained(folder)
    ```
    """
    path, out_dir = Path(path).expanduser(), Path(out_dir).expanduser()
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ModelError(
            "the folder to convert into is in use",
            expected="a new or empty folder",
            given=out_dir,
            remedy="name another folder, or empty this one",
        )
    with Stages(path.name, quiet=quiet) as stages, _parsed_once():
        stages("reading")
        needed = float32_bytes(path)
        with disk_guard(out_dir.parent, needed, ModelError):
            stages("converting to float32")
            write_model_folder(path, out_dir, fix_tokenizer=fix_tokenizer)
    repeat_warnings(out_dir)
    return out_dir


def gguf_cached_folder(
    path: str | Path, *, cache_dir: str | Path | None = None, quiet: bool = False
) -> Path:
    """Return the converted folder of your own `.gguf` file, converting it on the first call.

    The cache entry belongs to the file's absolute path. When the file's size or modification time
    has changed, or the entry is damaged, it is converted again.

    Args:
        path: The GGUF file.
        cache_dir: Where to keep the result; see `cache_root`.
        quiet: Say nothing on standard error.

    Raises:
        ModelError: As `convert_gguf`.

    ```python
    folder = gguf_cached_folder("~/models/qwen2.5-0.5b-instruct-q8_0.gguf")  # seconds
    folder = gguf_cached_folder("~/models/qwen2.5-0.5b-instruct-q8_0.gguf")  # no time
    ```
    """
    path = Path(path).expanduser().resolve()
    _require_gguf(path)
    stat = path.stat()
    source = {
        "gguf": str(path),
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "tensors": "all used",  # conversions from before this was checked are made again
    }
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    folder = cache_root(cache_dir) / "gguf" / f"{path.stem}-{digest}"

    def build(work: Path, stages: Stages) -> Path:
        with _parsed_once():
            stages("reading")
            with disk_guard(folder.parent, float32_bytes(path), ModelError):
                stages("converting to float32")
                return write_model_folder(path, work / "folder")

    build_once(folder, build, source=source, error=ModelError, quiet=quiet)
    repeat_warnings(folder)
    return folder


def repeat_warnings(folder: Path) -> None:
    """Warn of what was found when the GGUF file of a converted folder was read, if anything."""
    file = folder / _WARNINGS
    if file.is_file():
        for said in json.loads(file.read_text(encoding="utf-8")):
            warnings.warn(said, PersonaLensWarning, stacklevel=3)


def write_model_folder(path: Path, out_dir: Path, *, fix_tokenizer: bool = True) -> Path:
    """Do the work of `convert_gguf`, leaving progress and errors of the disk to the caller."""
    _require_gguf(path)
    with _parsed_once():
        fields = _open(path).fields
        model, tokenizer = _load(path)
        doubt = None
        if fix_tokenizer:
            pre = fields.get("tokenizer.ggml.pre")
            named = None if pre is None else bytes(pre.parts[-1]).decode("utf-8")
            doubt = _set_pre_tokenizer(tokenizer, named)
        _set_ends(model, fields)
        _forget_origin(model, tokenizer)
        with appearing(out_dir) as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
            if doubt:
                (partial / _WARNINGS).write_text(json.dumps([doubt]) + "\n", encoding="utf-8")
    return out_dir


def float32_bytes(path: Path) -> int:
    """Return about how many bytes the converted folder of a GGUF file takes."""
    _require_gguf(path)
    return 4 * sum(int(tensor.n_elements) for tensor in _open(path).tensors) + _TOKENIZER_MARGIN


def _require_gguf(path: Path) -> None:
    if not path.is_file():
        raise ModelError("no such GGUF file", given=path, remedy="check the path")
    check_content(path, ModelError)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{path} is not a GGUF file", expected="first bytes b'GGUF'", given=repr(magic)
        )
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", path.name):
        raise ModelError(
            f"{path.name} is one shard of a split GGUF file",
            expected="the whole model in one file",
            remedy="join the shards first: llama-gguf-split --merge FIRST_SHARD OUTPUT",
        )


def _open(path: Path) -> GGUFReader:
    import gguf  # noqa: PLC0415  late, so that listing models stays quick

    try:
        return gguf.GGUFReader(str(path))
    except (ValueError, IndexError, KeyError, OverflowError) as problem:
        raise ModelError(
            f"{path.name} is damaged or cut short: {first_line(problem)}",
            remedy="download the file again",
        ) from problem


def _load(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    import torch  # noqa: PLC0415  late, so that listing models needs no torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    where, name = str(path.parent), path.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
        with recorded_places() as places:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                where,
                gguf_file=name,
                dtype=torch.float32,
                output_loading_info=True,
                **_ask_for_plain_weights(),
            )
    except (ValueError, KeyError, NotImplementedError) as problem:
        raise ModelError(
            f"transformers cannot read {name}: {first_line(problem)}",
            expected="a causal language model of an architecture transformers reads from GGUF",
            remedy="use the model's safetensors folder instead, or a newer transformers",
        ) from problem
    model, report = loaded
    if report["missing_keys"]:
        raise ModelError(
            f"{name} does not hold all the weights of {type(model).__name__}",
            expected="every weight in the file",
            given="none for " + ", ".join(sorted(report["missing_keys"])[:5]),
            remedy="use the model's safetensors folder instead",
        )
    use_all_tensors(model, _open(path).tensors, places, report["unexpected_keys"], name)
    return model, tokenizer


def _ask_for_plain_weights() -> dict[str, Any]:
    """Keep newer versions of transformers from leaving the weights packed in blocks."""
    try:
        from transformers import GgufConfig  # noqa: PLC0415
    except ImportError:  # older versions unpack always
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}


def _forget_origin(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Drop what marks the model as quantized, and names that lead nowhere from the new folder."""
    attributes: dict[str, Any] = model.__dict__
    for name in ("hf_quantizer", "is_quantized", "quantization_method"):
        attributes.pop(name, None)
    for name in ("quantization_config", "_model_name_or_path"):
        model.config.__dict__.pop(name, None)
    for name in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)
    # GGUF states the context length with the model only; the hub states it with the tokenizer too.
    tokenizer.model_max_length = min(
        tokenizer.model_max_length, model.config.max_position_embeddings
    )


def _set_pre_tokenizer(tokenizer: PreTrainedTokenizerFast, pre: str | None) -> str | None:
    """Split text before BPE as llama.cpp's name `pre` asks; return what a user must know if unsure."""
    from tokenizers import pre_tokenizers as split  # noqa: PLC0415

    if pre in _DIGITS_ALONE:
        tokenizer.backend_tokenizer.pre_tokenizer = split.Sequence(
            [
                split.Digits(individual_digits=True),
                split.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    elif (
        pre is not None
        and pre not in _SPLIT_AS_GPT2
        and isinstance(tokenizer.backend_tokenizer.pre_tokenizer, split.ByteLevel)
    ):
        return (
            f"the GGUF file splits text as {pre!r}, which is not known here: text is split as "
            "GPT-2 does, so some tokens may differ from those the model was trained on"
        )
    return None


def _set_ends(model: PreTrainedModel, fields: Mapping[str, Any]) -> None:
    """Stop generation at the end of a turn also, where the file names such a token.

    The config that transformers makes holds only the end of the text.
    """
    keys = [f"tokenizer.ggml.{key}" for key in _END_KEYS]
    ends = {int(fields[key].parts[-1][0]) for key in keys if key in fields}
    if len(ends) > 1 and model.generation_config is not None:
        model.generation_config.eos_token_id = sorted(ends)


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Remember parses and name maps inside the block: 3 to 4 times as fast, the same weights."""
    import gguf  # noqa: PLC0415  late, as above
    from transformers.utils import logging as hf_logging  # noqa: PLC0415

    try:
        import transformers.modeling_gguf_pytorch_utils as legacy  # noqa: PLC0415
    except ImportError:  # on its way out of transformers
        legacy = None

    with _reading, ExitStack() as stack:
        for name in ("GGUFReader", "get_tensor_name_map"):
            remembered = functools.lru_cache(maxsize=None)(getattr(gguf, name))
            stack.enter_context(replaced(gguf, name, remembered))
        # Two bars of transformers' own would write across ours.
        if hasattr(legacy, "tqdm"):
            stack.enter_context(replaced(legacy, "tqdm", lambda items, **_: items))
        if hf_logging.is_progress_bar_enabled():
            stack.callback(hf_logging.enable_progress_bar)
            hf_logging.disable_progress_bar()
        yield
