"""Converting GGUF files, on a tiny Llama written here and read back by an independent oracle."""

import errno
import json
import shutil
import warnings
from collections import namedtuple
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from persona_lens import PersonaModel
from persona_lens.errors import ModelError, PersonaLensWarning
from persona_lens.model import cache
from persona_lens.model import gguf as module
from persona_lens.model.cache import MARKER, cache_root
from persona_lens.model.gguf import convert_gguf, gguf_cached_folder
from persona_lens.model.gguf_tensors import use_all_tensors

WIDTH, HEADS, KV_HEADS, HIDDEN = 64, 4, 2, 96
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{% endfor %}"
SHAPES = {
    "blk.0.attn_norm.weight": (WIDTH,),
    "blk.0.attn_q.weight": (WIDTH, WIDTH),
    "blk.0.attn_k.weight": (WIDTH // HEADS * KV_HEADS, WIDTH),
    "blk.0.attn_v.weight": (WIDTH // HEADS * KV_HEADS, WIDTH),
    "blk.0.attn_output.weight": (WIDTH, WIDTH),
    "blk.0.ffn_norm.weight": (WIDTH,),
    "blk.0.ffn_gate.weight": (HIDDEN, WIDTH),
    "blk.0.ffn_up.weight": (HIDDEN, WIDTH),
    "blk.0.ffn_down.weight": (WIDTH, HIDDEN),
    "output_norm.weight": (WIDTH,),
}


def write_tiny_gguf(
    path, *, pre="smollm", architecture="llama", leave_out=(), end_of_turn=None, further=None
):
    """Write a one-block Llama: Q4_1 matrices, a byte vocabulary, merges of newlines and of 12."""
    tokens = [*SPECIALS, *bytes_to_unicode().values(), "ĊĊ", "12"]
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in SPECIALS else 1 for token in tokens])
    writer.add_token_merges(["Ċ Ċ", "1 2"])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    if end_of_turn is not None:
        writer.add_eot_token_id(end_of_turn)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)
    for name, shape in {"token_embd.weight": (len(tokens), WIDTH), **SHAPES}.items():
        if name in leave_out:
            continue
        weights = random.normal(scale=0.1, size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, weights)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
    for name, weights in (further or {}).items():
        writer.add_tensor(name, np.asarray(weights, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return convert_gguf(tiny, tmp_path_factory.mktemp("out") / "tiny", quiet=True)


def by_hand(path: Path) -> dict[str, np.ndarray]:
    """De-quantise every tensor and undo llama.cpp's interleaving of query and key rows."""
    weights = {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(str(path)).tensors
    }
    for name, heads in (("blk.0.attn_q.weight", HEADS), ("blk.0.attn_k.weight", KV_HEADS)):
        rows, size = weights[name], WIDTH // HEADS
        order = [
            head * size + 2 * pair + half
            for head in range(heads)
            for half in range(2)
            for pair in range(size // 2)
        ]
        weights[name] = rows[order]
    return weights


HF_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "blk.0.attn_norm.weight": "model.layers.0.input_layernorm.weight",
    "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
    "blk.0.attn_k.weight": "model.layers.0.self_attn.k_proj.weight",
    "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
    "blk.0.attn_output.weight": "model.layers.0.self_attn.o_proj.weight",
    "blk.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight",
    "blk.0.ffn_gate.weight": "model.layers.0.mlp.gate_proj.weight",
    "blk.0.ffn_up.weight": "model.layers.0.mlp.up_proj.weight",
    "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
}


def test_weights_equal_the_dequantised_tensors_bit_for_bit(tiny, folder):
    expected = by_hand(tiny)
    with safe_open(str(folder / "model.safetensors"), "np") as stored:
        assert set(stored.keys()) == {HF_NAMES[name] for name in expected}
        for name, weights in expected.items():
            given = stored.get_tensor(HF_NAMES[name])
            assert given.dtype == np.float32
            np.testing.assert_array_equal(given, weights, err_msg=name)


def test_the_folder_computes_what_the_direct_load_computes(tiny, folder):
    direct = AutoModelForCausalLM.from_pretrained(
        str(tiny.parent), gguf_file=tiny.name, dtype=torch.float32
    )
    converted = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, 40, 50, 60]])
    with torch.no_grad():
        torch.testing.assert_close(converted(ids).logits, direct(ids).logits, rtol=0, atol=0)
    assert converted.lm_head.weight is converted.model.embed_tokens.weight


def test_config_keeps_ids_and_drops_the_quantizer(folder):
    config = json.loads((folder / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    assert config["dtype"] == "float32"
    assert config["max_position_embeddings"] == 128
    assert not {"quantization_config", "_model_name_or_path"} & set(config)


def test_tokenizer_reads_digits_alone_and_keeps_template_and_specials(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("12") == ["1", "2"]
    assert tokenizer.tokenize(":\n\n1.") == [":", "ĊĊ", "1", "."]
    assert tokenizer.encode("<|im_start|>a<|im_end|>", add_special_tokens=False)[0] == 1
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.model_max_length == 128
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)


def test_tokenizer_can_be_left_as_transformers_reads_it(tiny, tmp_path):
    raw = convert_gguf(tiny, tmp_path / "raw", fix_tokenizer=False, quiet=True)
    assert AutoTokenizer.from_pretrained(raw).tokenize("12") == ["12"]


@pytest.mark.parametrize("pre", ["gpt-2", "default"])
def test_vocabularies_that_split_as_gpt2_are_left_alone(tmp_path, pre):
    path = write_tiny_gguf(tmp_path / "plain.gguf", pre=pre)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the GGUF file splits")
        converted = convert_gguf(path, tmp_path / "out", quiet=True)
    assert AutoTokenizer.from_pretrained(converted).tokenize("12") == ["12"]


def test_an_unknown_way_to_split_is_named(tmp_path):
    path = write_tiny_gguf(tmp_path / "odd.gguf", pre="marzipan")
    with pytest.warns(UserWarning, match="splits text as 'marzipan'"):
        convert_gguf(path, tmp_path / "out", quiet=True)


def test_the_warning_reaches_whoever_loads_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONA_LENS_CACHE", str(tmp_path / "cache"))
    path = write_tiny_gguf(tmp_path / "odd.gguf", pre="marzipan")
    with pytest.warns(PersonaLensWarning, match="splits text as 'marzipan'"):
        PersonaModel.load(path, dtype="float32")
    with pytest.warns(PersonaLensWarning, match="splits text as 'marzipan'"):  # from the cache
        PersonaModel.load(path, dtype="float32")
    with pytest.warns(PersonaLensWarning, match="splits text as 'marzipan'"):
        PersonaModel.load(gguf_cached_folder(path), dtype="float32")


def test_the_end_of_a_turn_stops_generation_too(tmp_path):
    path = write_tiny_gguf(tmp_path / "turns.gguf", end_of_turn=0)
    converted = convert_gguf(path, tmp_path / "out", quiet=True)
    assert AutoModelForCausalLM.from_pretrained(converted).generation_config.eos_token_id == [0, 2]


def test_gguf_is_as_before_after_a_conversion_and_after_a_failure(tiny, tmp_path, monkeypatch):
    before = (gguf.GGUFReader, gguf.get_tensor_name_map)
    convert_gguf(tiny, tmp_path / "good", quiet=True)
    assert before == (gguf.GGUFReader, gguf.get_tensor_name_map)
    monkeypatch.setattr(module, "_load", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert_gguf(tiny, tmp_path / "bad", quiet=True)
    assert before == (gguf.GGUFReader, gguf.get_tensor_name_map)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["good"]


def test_the_file_is_parsed_once(tiny, tmp_path, monkeypatch):
    parsed = []

    class Counting(gguf.GGUFReader):
        def __init__(self, *args):
            parsed.append(args)
            super().__init__(*args)

    monkeypatch.setattr(gguf, "GGUFReader", Counting)
    convert_gguf(tiny, tmp_path / "out", quiet=True)
    assert len(parsed) == 1


def test_files_are_as_readable_as_the_config(folder):
    modes = {file.name: file.stat().st_mode for file in folder.iterdir()}
    assert set(modes.values()) == {modes["config.json"]}


# --- what can be wrong with the file ------------------------------------------------------------


def fails(path, out, match):
    with pytest.raises(ModelError, match=match):
        convert_gguf(path, out, quiet=True)
    assert not out.exists()
    assert not [file for file in out.parent.iterdir() if file.name.startswith(f".{out.name}")]


def test_a_missing_file(tmp_path):
    fails(tmp_path / "none.gguf", tmp_path / "out", "no such GGUF file")


def test_another_kind_of_file(tmp_path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>")
    fails(path, tmp_path / "out", r"not a GGUF file\n.*b'<htm'")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_cut_short(tiny, tmp_path, kept):
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny.read_bytes()[: int(tiny.stat().st_size * kept)])
    fails(path, tmp_path / "out", "damaged or cut short")


def test_a_shard(tiny, tmp_path):
    path = tmp_path / "big-00001-of-00003.gguf"
    shutil.copy(tiny, path)
    fails(path, tmp_path / "out", "llama-gguf-split --merge")


def test_an_architecture_transformers_does_not_read(tmp_path):
    path = write_tiny_gguf(tmp_path / "odd.gguf", architecture="rwkv6")
    fails(path, tmp_path / "out", "transformers cannot read odd.gguf")


def test_weights_that_are_missing_are_never_invented(tmp_path):
    path = write_tiny_gguf(tmp_path / "holes.gguf", leave_out={"blk.0.ffn_up.weight"})
    fails(path, tmp_path / "out", r"given none for model\.layers\.0\.mlp\.up_proj\.weight")


def test_a_folder_in_use_is_not_overwritten(tiny, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ModelError, match="new or empty folder"):
        convert_gguf(tiny, tmp_path, quiet=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_too_little_space_is_said_before_the_work(tiny, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 90, 10))
    fails(tiny, tmp_path / "out", r"disk is full at .*\n.*MB free, given 10 bytes free")


def test_a_disk_that_may_not_be_written(tiny, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(module, "appearing", refuse)
    fails(tiny, tmp_path / "out", "cannot write at .*Permission denied")


# --- tensors beside those of the architecture ----------------------------------------------------

IDS = torch.tensor([[1, 40, 50, 60, 70, 80]])


def logits(folder):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder)(IDS).logits


def llama3_factors(factor):
    """Divisors of the rotary frequencies, from the published rule: base 10000, context 8192, 1 and 4."""
    size = WIDTH // HEADS
    waves = 2 * np.pi * 10000.0 ** (np.arange(0, size, 2) / size)
    kept = np.clip((8192 / waves - 1) / (4 - 1), 0, 1)
    return 1 / ((1 - kept) / factor + kept)


@pytest.mark.parametrize("factor", [8, 32])
def test_rotary_factors_of_llama3_are_used(tmp_path, folder, factor):
    factors = llama3_factors(factor)
    path = write_tiny_gguf(tmp_path / "long.gguf", further={"rope_freqs.weight": factors})
    converted = convert_gguf(path, tmp_path / "out", quiet=True)
    expected = AutoModelForCausalLM.from_pretrained(folder)
    plain = expected.model.rotary_emb.inv_freq.clone()
    expected.model.rotary_emb.inv_freq = plain / torch.tensor(factors, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(logits(converted), expected(IDS).logits)
    given = AutoModelForCausalLM.from_pretrained(converted).model.rotary_emb.inv_freq
    torch.testing.assert_close(given, expected.model.rotary_emb.inv_freq)
    assert not torch.allclose(given, plain, rtol=0.1, atol=0)


def test_rotary_factors_of_one_change_nothing(tmp_path, folder):
    ones = {"rope_freqs.weight": np.ones(WIDTH // HEADS // 2)}
    path = write_tiny_gguf(tmp_path / "ones.gguf", further=ones)
    converted = convert_gguf(path, tmp_path / "out", quiet=True)
    torch.testing.assert_close(logits(converted), logits(folder), rtol=0, atol=0)


def test_an_output_matrix_of_its_own_is_used(tmp_path, folder):
    own = np.random.default_rng(1).normal(size=(261, WIDTH)).astype(np.float32)
    path = write_tiny_gguf(tmp_path / "own.gguf", further={"output.weight": own})
    converted = convert_gguf(path, tmp_path / "out", quiet=True)
    plain = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        expected = plain.model(IDS).last_hidden_state @ torch.tensor(own).T
    torch.testing.assert_close(logits(converted), expected)


def test_an_output_matrix_that_the_architecture_ties_is_untied(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    own, embedding = np.full((261, WIDTH), 2, np.float32), np.ones((261, WIDTH), np.float32)
    kind = gguf.GGMLQuantizationType.F32
    read = namedtuple("read", "name data tensor_type")
    names = {"output.weight": own, "token_embd.weight": embedding}
    tensors = [read(name, values, kind) for name, values in names.items()]
    use_all_tensors(model, tensors, {name: name for name in names}, [], "tied.gguf")
    assert not model.config.tie_word_embeddings
    np.testing.assert_array_equal(model.lm_head.weight.numpy(), own)
    assert not np.array_equal(model.model.embed_tokens.weight.detach().numpy(), own)


@pytest.mark.parametrize(
    "name",
    [
        "rope_freqs.weight",
        "blk.0.attn_q.bias",
        "blk.0.ffn_down.bias",
        "blk.0.attn_q_norm.weight",
        "blk.0.attn_sub_norm.weight",
        "blk.0.ffn_gate_inp.weight",
        "blk.0.ffn_up_exps.weight",
        "blk.1.attn_norm.weight",
        "blk.0.attn_q.scale",
        "token_embd_norm.weight",
        "per_layer_token_embd.weight",
        "output.bias",
        "something.of.tomorrow",
    ],
)
def test_a_tensor_without_a_place_is_refused_by_name(tmp_path, name):
    path = write_tiny_gguf(tmp_path / "more.gguf", further={name: np.linspace(2, 3, 8)})
    fails(path, tmp_path / "out", rf"no place for\n.*{name}.*\n.*safetensors")


def test_a_conversion_from_before_tensors_were_checked_is_made_again(tiny, tmp_path, capsys):
    folder = gguf_cached_folder(tiny, cache_dir=tmp_path, quiet=True)
    marker = json.loads((folder / MARKER).read_text())
    del marker["source"]["tensors"]
    (folder / MARKER).write_text(json.dumps(marker))
    gguf_cached_folder(tiny, cache_dir=tmp_path)
    assert "another version of Persona Lens" in capsys.readouterr().err


# --- the cache ----------------------------------------------------------------------------------


def test_a_users_file_is_converted_once(tiny, tmp_path, monkeypatch, capsys):
    first = gguf_cached_folder(tiny, cache_dir=tmp_path)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "tiny" in shown.err
    assert "converting to float32" in shown.err
    monkeypatch.setattr(module, "write_model_folder", lambda *args, **kwargs: 1 / 0)
    assert gguf_cached_folder(tiny, cache_dir=tmp_path) == first
    assert capsys.readouterr().err == ""
    assert first.parent == tmp_path / "gguf"
    AutoModelForCausalLM.from_pretrained(first)


def test_a_changed_file_is_converted_again(tiny, tmp_path, capsys):
    path = tmp_path / "own.gguf"
    shutil.copy(tiny, path)
    first = gguf_cached_folder(path, cache_dir=tmp_path / "cache", quiet=True)
    write_tiny_gguf(path, pre="gpt-2")
    again = gguf_cached_folder(path, cache_dir=tmp_path / "cache")
    assert "made from another file" in capsys.readouterr().err
    assert again == first
    assert AutoTokenizer.from_pretrained(again).tokenize("12") == ["12"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"half"), "has 4 bytes"),
        (lambda folder: (folder / MARKER).write_text("{"), f"{MARKER} cannot be read"),
        (lambda folder: (folder / MARKER).write_text("[]"), f"{MARKER} cannot be read"),
        (lambda folder: (folder / MARKER).unlink(), f"{MARKER} is missing"),
    ],
)
def test_a_damaged_entry_is_made_again_and_said(tiny, tmp_path, capsys, harm, said):
    folder = gguf_cached_folder(tiny, cache_dir=tmp_path, quiet=True)
    harm(folder)
    gguf_cached_folder(tiny, cache_dir=tmp_path)
    assert said in capsys.readouterr().err
    AutoModelForCausalLM.from_pretrained(folder)


def test_an_entry_of_an_older_conversion_is_made_again(tiny, tmp_path, capsys, monkeypatch):
    gguf_cached_folder(tiny, cache_dir=tmp_path, quiet=True)
    monkeypatch.setattr(cache, "CONVERSION", cache.CONVERSION + 1)
    gguf_cached_folder(tiny, cache_dir=tmp_path)
    assert "another version of Persona Lens" in capsys.readouterr().err


def test_cache_root_follows_argument_then_variable_then_system(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONA_LENS_CACHE", str(tmp_path / "variable"))
    assert cache_root() == tmp_path / "variable"
    assert cache_root(tmp_path / "argument") == tmp_path / "argument"
    monkeypatch.delenv("PERSONA_LENS_CACHE")
    assert cache_root().name == "persona-lens"
