"""GGUF files as ordinary model folders: converted once, then loaded in a tenth of a second.

Transformers can read a GGUF file directly, but three things stand in the way of using it so:

* it parses the file several times in pure Python, so that every load costs 10 to 20 seconds;
* the model it returns refuses to be saved, because it still counts as quantized;
* it ignores how some vocabularies split text (`tokenizer.ggml.pre`), so that in SmolLM2 every
  numbered list comes out in other tokens than those the model was trained on.

`convert_gguf` reads the file with the parse remembered, de-quantises to float32 (Q4 values are not
exact in half precision), sets the tokenizer right and writes `config.json`, safetensors and
tokenizer files. `gguf_cached_folder` does it once per file and remembers. Both write beside the
target and rename at the end, so a folder is there in full or not at all.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_dir
from rich.console import Console
from rich.filesize import decimal
from rich.text import Text
from safetensors import SafetensorError

from persona_lens.errors import ModelError

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

CACHE_VARIABLE = "PERSONA_LENS_CACHE"
MARKER = "persona_lens_source.json"
# Raised whenever a conversion would come out differently, so that older caches are made again.
CONVERSION = 1

_TOKENIZER_MARGIN = 64 * 2**20
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
_DISK_CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}
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
            architecture, weights are missing in it, `out_dir` is in use, or the disk is full.

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
    source = {"gguf": str(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    folder = cache_root(cache_dir) / "gguf" / f"{path.stem}-{digest}"

    def build(work: Path, stages: Stages) -> Path:
        with _parsed_once():
            stages("reading")
            with disk_guard(folder.parent, float32_bytes(path), ModelError):
                stages("converting to float32")
                return write_model_folder(path, work / "folder")

    return build_once(folder, build, source=source, error=ModelError, quiet=quiet)


def cache_root(cache_dir: str | Path | None = None) -> Path:
    """Return the folder under which converted models are kept.

    That is `cache_dir` if given, else the environment variable `PERSONA_LENS_CACHE`, else the
    system's place for caches. Nothing is created.

    Examples:
        >>> cache_root("models-here").name
        'models-here'
    """
    chosen = cache_dir or os.environ.get(CACHE_VARIABLE) or user_cache_dir("persona-lens")
    return Path(chosen).expanduser().absolute()


# --- reading and writing ------------------------------------------------------------------------


def write_model_folder(path: Path, out_dir: Path, *, fix_tokenizer: bool = True) -> Path:
    """Do the work of `convert_gguf`, leaving progress and errors of the disk to the caller."""
    _require_gguf(path)
    with _parsed_once():
        fields = _open(path).fields
        model, tokenizer = _load(path)
        if fix_tokenizer:
            _set_pre_tokenizer(tokenizer, _text(fields, "tokenizer.ggml.pre"))
        _set_ends(model, fields)
        _forget_origin(model, tokenizer)
        with _appearing(out_dir) as partial:
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
    return out_dir


def float32_bytes(path: Path) -> int:
    """Return about how many bytes the converted folder of a GGUF file takes."""
    _require_gguf(path)
    return 4 * sum(int(tensor.n_elements) for tensor in _open(path).tensors) + _TOKENIZER_MARGIN


def _require_gguf(path: Path) -> None:
    if not path.is_file():
        raise ModelError("no such GGUF file", given=path, remedy="check the path")
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
            f"{path.name} is damaged or cut short: {_first_line(problem)}",
            remedy="download the file again",
        ) from problem


def _load(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    import torch  # noqa: PLC0415  late, so that listing models needs no torch
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    where, name = str(path.parent), path.name
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            where,
            gguf_file=name,
            dtype=torch.float32,
            output_loading_info=True,
            **_ask_for_plain_weights(),
        )
    except (ValueError, KeyError, NotImplementedError) as problem:
        raise ModelError(
            f"transformers cannot read {name}: {_first_line(problem)}",
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


def _set_pre_tokenizer(tokenizer: PreTrainedTokenizerFast, pre: str | None) -> None:
    """Split text before BPE as llama.cpp's name `pre` asks."""
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
        warnings.warn(
            f"the GGUF file splits text as {pre!r}, which is not known here: text is split as "
            "GPT-2 does, so some tokens may differ from those the model was trained on",
            stacklevel=2,
        )


def _set_ends(model: PreTrainedModel, fields: Mapping[str, Any]) -> None:
    """Stop generation at the end of a turn also, where the file names such a token.

    The config that transformers makes holds only the end of the text.
    """
    keys = [f"tokenizer.ggml.{key}" for key in _END_KEYS]
    ends = {int(fields[key].parts[-1][0]) for key in keys if key in fields}
    if len(ends) > 1 and model.generation_config is not None:
        model.generation_config.eos_token_id = sorted(ends)


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    return bytes(fields[key].parts[-1]).decode("utf-8") if key in fields else None


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]


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
            stack.enter_context(_replaced(gguf, name, remembered))
        # Two bars of transformers' own would write across ours.
        if hasattr(legacy, "tqdm"):
            stack.enter_context(_replaced(legacy, "tqdm", lambda items, **_: items))
        if hf_logging.is_progress_bar_enabled():
            stack.callback(hf_logging.enable_progress_bar)
            hf_logging.disable_progress_bar()
        yield


@contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


# --- folders that are there in full or not at all ----------------------------------------------


def build_once(
    folder: Path,
    build: Callable[[Path, Stages], Path],
    *,
    source: Mapping[str, object],
    error: type[ModelError],
    about: Mapping[str, object] | None = None,
    quiet: bool = False,
) -> Path:
    """Return `folder` if it is whole and was made from `source`; otherwise make it so.

    `build(work, stages)` fills a folder somewhere under `work` and returns it. One process builds
    at a time; others wait. What killed builds left behind is removed by the next build. The marker
    records `source`, which must match for the folder to be used, and `about`, which need not.
    """
    if damage(folder, source) is None:
        return folder
    with Stages(folder.name, quiet=quiet) as stages, disk_guard(folder.parent, 0, error):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, stages):
            wrong = damage(folder, source)
            if wrong is None:  # another process has built it while this one waited
                return folder
            if folder.exists():
                stages.say(f"{folder} cannot be used ({wrong}); building it again")
            for left in folder.parent.glob(f".{folder.name}.work-*"):
                shutil.rmtree(left, ignore_errors=True)
            _build_and_move(folder, build, {"source": source, "about": about}, stages)
        stages.say(f"ready in {folder} ({decimal(folder_bytes(folder))}, {stages.seconds:.0f} s)")
    return folder


def damage(folder: Path, source: Mapping[str, object]) -> str | None:
    """Return why `folder` cannot be used as the conversion of `source`, or None if it can."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if marker["conversion"] != CONVERSION:
            return "made by another version of Persona Lens"
        if marker["source"] != source:
            return "made from another file"
        for name, size in marker["files"].items():
            given = (folder / name).stat().st_size
            if given != size:
                return f"{name} has {given} bytes, not {size}"
    except FileNotFoundError as problem:
        return f"{Path(problem.filename).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError, NotADirectoryError):
        return f"{MARKER} cannot be read"
    return None


def folder_bytes(folder: Path) -> int:
    """Return the bytes that the files of a folder take, 0 if there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # pip moves its files while they are counted
                total += os.stat(os.path.join(place, name)).st_size
    return total


@contextmanager
def disk_guard(where: Path, needed: int, error: type[ModelError]) -> Iterator[None]:
    """Check that `needed` bytes are free, and put failures of the disk into plain words."""
    remedy = f"free some space, or write to another disk (for the cache, set {CACHE_VARIABLE})"
    try:
        free = shutil.disk_usage(_existing(where)).free
        if free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except (OSError, SafetensorError) as problem:
        number = _error_number(problem)
        if number in _DISK_FULL:
            free = shutil.disk_usage(_existing(where)).free
            raise error(
                f"the disk is full at {where}",
                expected=f"about {decimal(needed)} free" if needed else None,
                given=f"{decimal(free)} free",
                remedy=remedy,
            ) from problem
        if number in _DISK_CLOSED:
            raise error(
                f"cannot write at {where}: {_first_line(problem)}",
                remedy=f"write where you may (for the cache, set {CACHE_VARIABLE})",
            ) from problem
        raise


def _error_number(problem: BaseException) -> int | None:
    if isinstance(problem, OSError):
        return problem.errno
    found = re.search(r"os error (\d+)", str(problem))  # how safetensors reports it
    return int(found[1]) if found else None


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _build_and_move(
    folder: Path,
    build: Callable[[Path, Stages], Path],
    record: Mapping[str, object],
    stages: Stages,
) -> None:
    work = folder.with_name(f".{folder.name}.work-{uuid.uuid4().hex[:8]}")
    work.mkdir()
    try:
        built = build(work, stages)
        _write_marker(built, record)
        _flush(built)
        if folder.exists():
            os.replace(folder, work / "replaced")
        os.replace(built, folder)
        _flush_listing(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_marker(folder: Path, record: Mapping[str, object]) -> None:
    files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())}
    versions = {name: metadata.version(name) for name in ("gguf", "torch", "transformers")}
    marker = {
        **record,
        "conversion": CONVERSION,
        "files": files,
        "versions": versions,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Give a folder beside `folder` to fill, which takes its name once it is on the disk."""
    partial = folder.with_name(f".{folder.name}.partial-{uuid.uuid4().hex[:8]}")
    partial.mkdir(parents=True)
    try:
        yield partial
        _flush(partial)
        if folder.exists():  # Windows does not rename onto a folder, be it empty
            folder.rmdir()
        os.replace(partial, folder)
        _flush_listing(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Bring a folder's files to the disk, readable to those who may read `config.json`."""
    config = folder / "config.json"
    for file in folder.iterdir():
        if config.exists():  # safetensors writes for the owner only, which a shared cache forbids
            shutil.copymode(config, file)
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())
    _flush_listing(folder)


def _flush_listing(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _locked(folder: Path, stages: Stages) -> Iterator[None]:
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        stages("waiting for another process that is building it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class Stages:
    """Progress on standard error: a spinner in a terminal, a line per stage elsewhere.

    Examples:
        >>> with Stages("smollm2", quiet=True) as stages:
        ...     stages("converting")
    """

    def __init__(self, title: str, *, quiet: bool = False) -> None:
        self._title = title
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._status = self._console.status(Text(title))
        self._begun = time.monotonic()

    def __enter__(self) -> Stages:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, stage: str) -> None:
        """Begin a stage."""
        if self._console.is_terminal:
            self.update(stage)
        else:
            self.say(stage)

    def update(self, detail: str) -> None:
        """Change the spinner's text; shown in a terminal only."""
        self._status.update(Text(f"{self._title}: {detail}"))

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(Text(f"{self._title}: {text}"), soft_wrap=True)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun
