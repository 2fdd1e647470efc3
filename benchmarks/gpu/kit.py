"""What the scripts of this folder share: options, a table that loses no row, models of random weights.

A script ends within `--minutes`, whatever the machine: what there was no time for stands in the table as not run.
What a machine lacks (memory, flash attention, a second device) is a row as well. The table is written anew after
every row, so that a script that is stopped leaves what it has measured.

Nothing here needs a network: shapes are those of published configurations, weights are drawn, the tokenizer is
made on the spot.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from harness import Rates, Ratio, heading_text, interleave, markdown, timed  # noqa: E402
from tiny import tiny_tokenizer  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

from persona_lens import PersonaModel, Sampling, Transcript  # noqa: E402
from persona_lens.interventions import Direction, Floor, Plan  # noqa: E402

__all__ = [
    "Rates",
    "Ratio",
    "interleave",
    "markdown",
    "timed",
    "tiny_tokenizer",
]  # those of the harness, found through here

GIB = 2**30
LIBRARIES = ("torch", "transformers", "persona-lens", "accelerate", "ray", "flash-attn", "numpy")
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
NO_TOKEN = 2**31 - 1  # beyond any vocabulary, so that no reply ends


def options(doc: str | None) -> argparse.ArgumentParser:
    """What every script can be told."""
    found = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--toy", action="store_true", help="tiny shapes, to see that it runs")
    found.add_argument("--out", type=Path, help="write the table to this file too")
    found.add_argument("--device", help="default: cuda where there is one, else cpu")
    found.add_argument("--minutes", type=float, default=7.0, help="no row begins later; default: 7")
    found.add_argument("--rounds", type=int, help="default: 5, of toys 1")
    return found


class Report:
    """One Markdown table.

    Args:
        title: Above it.
        header: Its columns; the last one is for notes.
        given: What `options` made of the command line.
    """

    def __init__(self, title: str, header: Sequence[str], given: argparse.Namespace) -> None:
        self.device = torch.device(given.device or _fastest())
        self.rows: list[Sequence[object]] = []
        self._title = title + (" (toy shapes)" if given.toy else "")
        self._header, self._out = header, given.out
        self._started, self._seconds = time.monotonic(), 60 * given.minutes
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()

    @contextmanager
    def part(self, *names: object) -> Iterator[None]:
        """Whatever goes wrong inside becomes a row under these names, and the next part runs."""
        _let_go(self.device)
        problem = None
        try:
            yield
        except torch.OutOfMemoryError:
            problem = "out of memory"
        except Exception as error:  # noqa: BLE001 - a table with a hole is worth more than none
            problem = in_a_cell(error)
        if problem is not None:  # the error is gone by now, and with it what it held
            self.add(*names, *[""] * (len(self._header) - len(names) - 1), problem)
        _let_go(self.device)

    def refuse_late(self) -> None:
        """Where a part begins.

        Raises:
            TimeoutError: There is no time left for it, which `part` makes a row of.
        """
        if time.monotonic() - self._started > self._seconds:
            raise TimeoutError(f"not run: {self._seconds / 60:g} minutes were up")

    def add(self, *cells: object) -> None:
        """A row; the file has it at once."""
        self.rows.append(cells)
        if self._out is not None:
            self._out.parent.mkdir(parents=True, exist_ok=True)
            self._out.write_text(str(self) + "\n")

    def extend(self, rows: Iterable[Sequence[object]]) -> None:
        """Several rows."""
        for row in rows:
            self.add(*row)

    def __str__(self) -> str:
        device = f"device {self.device}"
        if self.device.type == "cuda":
            device = f"device {torch.cuda.get_device_name(self.device)}"
        there = [name for name in LIBRARIES if find_spec(name.replace("-", "_")) is not None]
        heading = heading_text(self._title, there)
        return f"{heading}; {device}\n\n{markdown(self._header, self.rows)}"


def in_a_cell(error: BaseException) -> str:
    """The first line of an error, as a table can hold it."""
    lines = str(error).strip().splitlines() or [""]
    text = f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__
    text = lines[0] if isinstance(error, TimeoutError) else text
    return text.replace("|", "/")[:160]


def memory_there(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Callable[[], str]]:
    """The highest allocation on a GPU since then, in GiB; nothing is told elsewhere."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    yield (
        lambda: (
            f"{torch.cuda.max_memory_allocated(device) / GIB:.1f}" if device.type == "cuda" else ""
        )
    )


def random_module(
    kind: str,
    shape: dict[str, object],
    *,
    dtype: torch.dtype,
    device: torch.device,
    attention: str | None = None,
) -> PreTrainedModel:
    """A causal language model of random weights, made where it is to run; always the same ones.

    Args:
        kind: Its model type in transformers.
        shape: Arguments of its configuration.
        dtype: Of the weights.
        device: Where.
        attention: As transformers calls it; by default what it takes for this kind.
    """
    tokenizer = tiny_tokenizer()
    ids = {name: getattr(tokenizer, name) for name in SPECIAL}
    config = AutoConfig.for_model(kind, **{"vocab_size": len(tokenizer), **ids, **shape})
    torch.manual_seed(0)
    with torch.device(device):
        module = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention
        )
    module.config.architectures = [type(module).__name__]
    return module.eval().to(device)


def persona_model(name: str, module: PreTrainedModel, *, ends: bool = False) -> PersonaModel:
    """The module as the package holds it; needs no TransformerLens.

    Args:
        name: For tables.
        module: Random, so nothing it writes means anything.
        ends: Whether replies may end before they are as long as they may be.
    """
    model = PersonaModel(name, tiny_tokenizer(), module=module)
    if not ends:
        model.end_ids = (NO_TOKEN,)
    return model


def prompts(model: PersonaModel, count: int, tokens: int) -> list[Transcript]:
    """As many prompts of about so many tokens each, all of one length."""
    encoder = model.encoder
    return [
        encoder.prompt(encoder.messages(f"{number:>{tokens}}".replace(" ", "a")))
        for number in range(count)
    ]


def greedy(new_tokens: int) -> Sampling:
    """Replies of so many tokens. What a random model would draw has no nucleus to speak of."""
    return Sampling(temperature=0, max_new_tokens=new_tokens)


def floors(model: PersonaModel, count: int) -> Plan:
    """Floors at zero on random directions at the uppermost layers: about half of the tokens are lifted."""
    layers = tuple(range(model.n_layers))[-count:]
    values = torch.randn((len(layers), model.d_model), generator=torch.Generator().manual_seed(0))
    return Plan.of(Floor(Direction("random", layers, values.numpy()), np.zeros(len(layers))))


def _fastest() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _let_go(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
