"""Token groups against an oracle that shares nothing with the implementation.

For every template in ``templates/`` a *twin*, a few lines of Python, writes the same conversation
as labelled pieces. The oracle lays the bytes of each token along those pieces and reads the group
off them: no sentinels, no offsets, no rendering.
"""

import json
import random
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from persona_lens.errors import TranscriptError
from persona_lens.transcripts import Group, Transcript, TranscriptEncoder
from persona_lens.transcripts.alignment import assign, canonical, check, tile
from persona_lens.transcripts.layout import lay_out
from persona_lens.transcripts.marks import CHANNEL_TOKENS
from persona_lens.transcripts.rendering import Span, locate
from persona_lens.transcripts.replies import SampledReply
from persona_lens.transcripts.thoughts import Said

TEMPLATES = Path(__file__).parents[1] / "templates"
CORPUS = [
    "Who are you? I am a ghost, and the house is mine.",
    "hello there, the ghost says hello to the house. Hello!",
    "a reply of one word, the same word again and again and again",
    "cafe and naive people speak of the weather in the house   and of  the  night\n\nand the day",
]
CHAT = ["<|im_start|>", "<|im_end|>"]
LLAMA = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
GEMMA = ["<bos>", "<start_of_turn>", "<end_of_turn>"]
COHERE = [
    *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    *("<|USER_TOKEN|>", "<|START_THINKING|>", "<|END_THINKING|>"),
    *("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
]
# bos, special tokens beside <s> and </s>
VOCABULARY = {
    "chatml": ("<s>", CHAT),
    "chatml_default": ("<|im_start|>", CHAT),
    "qwen3": (None, CHAT),
    "llama3": ("<|begin_of_text|>", LLAMA),
    "gemma2": ("<bos>", GEMMA),
    "mistral": ("<s>", ["[INST]", "[/INST]"]),
    "phi3": ("<s>", ["<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]),
    "zephyr": ("<s>", []),
    "opened_thinking": ("<s>", ["<|user|>", "<|assistant|>"]),
    "moody": ("<s>", []),
    "base": ("<s>", []),
    "harmony": ("<s>", list(CHANNEL_TOKENS)),
    "magistral": (
        "<s>",
        ["[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]"],
    ),
    "seed": ("<s>", ["<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>"]),
    "cohere": ("<BOS_TOKEN>", ["<BOS_TOKEN>", *COHERE]),
    "closed_thinking": ("<s>", ["<|user|>", "<|assistant|>"]),
    "questions_only": ("<s>", []),
}
NAMES = [name for name in VOCABULARY if name != "questions_only"]
KINDS = ["byte-level", "sentencepiece", "unigram"]


# --- small tokenizers -----------------------------------------------------------------------------


@cache
def trained(kind: str) -> str:
    """A trained tokenizer as JSON."""
    quiet = {"show_progress": False}
    if kind == "byte-level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        specials = ["<s>", "</s>"]
        trainer = trainers.BpeTrainer(
            vocab_size=420, initial_alphabet=alphabet, special_tokens=specials, **quiet
        )
        tokenizer.train_from_iterator(CORPUS, trainer)
        return tokenizer.to_str()
    unigram = kind == "unigram"
    # Without a pre-tokenizer, "t\n\n" would become one token across the end of a header.
    corpus = [line.replace("\n\n", " ") for line in CORPUS]
    if unigram:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        trainer = trainers.UnigramTrainer(
            vocab_size=90, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], **quiet
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], **quiet
        )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.train_from_iterator(corpus, trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary, bytes_ = state["model"]["vocab"], [f"<0x{byte:02X}>" for byte in range(256)]
    if unigram:
        vocabulary += [[token, -20.0] for token in bytes_]
    else:
        vocabulary |= {token: len(vocabulary) + i for i, token in enumerate(bytes_)}
    state["model"]["byte_fallback"] = True
    return json.dumps(state)


def make_tokenizer(name: str, kind: str = "byte-level", template: str | None = None, **extra):
    bos, specials = VOCABULARY[name]
    backend = Tokenizer.from_str(trained(kind))
    swallows = name == "phi3"
    backend.add_special_tokens(
        [AddedToken(token, rstrip=swallows, special=True) for token in specials]
    )
    if name in ("qwen3", "opened_thinking", "closed_thinking"):
        backend.add_tokens([AddedToken(tag, special=False) for tag in ("<think>", "</think>")])
    path = TEMPLATES / f"{name}.jinja"
    source = path.read_text() if path.exists() else None
    names = {"eos_token": "</s>"} | ({"bos_token": bos} if bos else {}) | extra
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    tokenizer.chat_template = template or source
    return tokenizer


@cache
def make_encoder(name: str, kind: str = "byte-level", **kwargs) -> TranscriptEncoder:
    return TranscriptEncoder(make_tokenizer(name, kind), template_kwargs=kwargs)


# --- twins: what each template writes, as (text, group or "", turn) -------------------------------

Piece = tuple[str, str, int]


def literal(text: str) -> Piece:
    return text, "", -1


def thoughts(message: dict, turn: int) -> tuple[str, Piece]:
    """(thought, reply piece) of assistant content in the one form the cases use."""
    before, tag, after = message["content"].partition("\n</think>\n\n")
    return (
        (before.removeprefix("<think>\n"), (after, "assistant", turn))
        if tag
        else (
            "",
            (before, "assistant", turn),
        )
    )


def think_block(thought: str, turn: int) -> list[Piece]:
    return [literal("<think>\n"), (thought, "thinking", turn), literal("\n</think>\n\n")]


def said(message: dict, turn: int) -> list[Piece]:
    """A message as it stands, with a think block taken apart."""
    if message["role"] != "assistant":
        return [(message["content"], message["role"], turn)]
    thought, reply = thoughts(message, turn)
    return [*(think_block(thought, turn) if thought else []), reply]


def numbered(messages: list[dict]) -> list[tuple[dict, int]]:
    seen = {"system": -2, "user": -1, "assistant": -1}
    out = []
    for message in messages:
        seen[message["role"]] += 1
        out.append((message, seen[message["role"]]))
    return out


def trimmed(pieces: list[Piece]) -> list[Piece]:
    """What trimming the joined text leaves of its pieces."""
    pieces = list(pieces)
    for at, cut in ((0, str.lstrip), (-1, str.rstrip)):
        while pieces:
            text, group, turn = pieces[at]
            if cut(text):
                pieces[at] = (cut(text), group, turn)
                break
            pieces.pop(at)
    return pieces


def wrapped(head: str, tail: str, open_: str):
    def twin(messages, prompt):
        out = []
        for message, turn in numbered(messages):
            out += [literal(head.format(message["role"])), *said(message, turn), literal(tail)]
        return [*out, literal(open_)] if prompt else out

    return twin


def chatml_default(messages, prompt):
    head = [literal("<|im_start|>system\nYou are Testy, a helpful program.<|im_end|>\n")]
    given = messages[0]["role"] == "system"
    return ([] if given else head) + TWINS["chatml"](messages, prompt)


def qwen3(messages, prompt):
    last = max([i for i, m in enumerate(messages) if m["role"] == "user"], default=-1)
    out = []
    for i, (message, turn) in enumerate(numbered(messages)):
        out.append(literal(f"<|im_start|>{message['role']}\n"))
        if message["role"] == "assistant":
            thought, (text, group, _) = thoughts(message, turn)
            thought = message.get("reasoning_content", thought)
            thinks = i > last and (i == len(messages) - 1 or thought)
            if thinks:
                out += think_block(thought.strip("\n"), turn)
            plain = thinks or "</think>" in message["content"]
            out.append((text.lstrip("\n") if plain else text, group, turn))
        else:
            out += said(message, turn)
        out.append(literal("<|im_end|>\n"))
    if prompt:
        out.append(literal("<|im_start|>assistant\n<think>\n\n</think>\n\n"))
    return out


def llama3(messages, prompt):
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    header = "<|start_header_id|>{}<|end_header_id|>\n\n".format
    out = [
        literal("<|begin_of_text|>" + header("system")),
        literal("Knowledge ends: 2023\nThis day: 26 Jul 2024\n\n"),
        (system.strip(), "system", -1),
        literal("<|eot_id|>"),
    ]
    for message, turn in numbered(messages):
        if message["role"] != "system":
            out += [literal(header(message["role"])), *trimmed(said(message, turn))]
            out.append(literal("<|eot_id|>"))
    return [*out, literal(header("assistant"))] if prompt else out


def gemma2(messages, prompt):
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    out = [literal("<bos>")]
    for message, turn in numbered(messages):
        if message["role"] == "system":
            continue
        pieces = said(message, turn)
        if system and message["role"] == "user" and turn == 0:
            pieces = [(system, "system", -1), literal("\n\n"), *pieces]
        who = "model" if message["role"] == "assistant" else "user"
        out += [literal(f"<start_of_turn>{who}\n"), *trimmed(pieces), literal("<end_of_turn>\n")]
    return [*out, literal("<start_of_turn>model\n")] if prompt else out


def mistral(messages, prompt):
    system = [m for m in messages if m["role"] == "system"]
    last = sum(m["role"] == "user" for m in messages) - 1
    out = [literal("<s>")]
    for message, turn in numbered(messages):
        if message["role"] == "user":
            merged = bool(system) and turn == last
            out.append(literal("[INST] "))
            out += [(system[0]["content"], "system", -1), literal("\n\n")] if merged else []
            out += [*said(message, turn), literal(" [/INST]")]
        elif message["role"] == "assistant":
            out += [literal(" "), *trimmed(said(message, turn)), literal("</s>")]
    return out


def opened_thinking(messages, prompt):
    out = [literal("<s>")]
    for message, turn in numbered(messages):
        if message["role"] == "assistant":
            thought, reply = thoughts(message, turn)
            gap = "\n\n" if thought else ""
            out += [literal("<|assistant|>" + gap), reply, literal("</s>")]
        else:
            out.append(literal("<|user|>" if message["role"] == "user" else ""))
            out += said(message, turn)
    return [*out, literal("<|assistant|><think>\n")] if prompt else out


def thought_of(message: dict, turn: int, open_: str, close: str) -> list[Piece]:
    """A thought given apart, between a template's marks."""
    thought = message.get("reasoning_content", "")
    return [literal(open_), (thought, "thinking", turn), literal(close)] if thought else []


def harmony(messages, prompt):
    start = "<|start|>{}<|message|>".format
    out = [literal(start("system") + "You are a machine that answers.\nReasoning: medium<|end|>")]
    for message, turn in numbered(messages):
        last = turn == len([m for m in messages if m["role"] == "assistant"]) - 1
        last = last and message is messages[-1]
        if message["role"] == "system":
            out.append(literal(start("developer") + "# Instructions\n\n"))
        elif message["role"] == "user":
            out.append(literal(start("user")))
        else:
            if last:
                out += thought_of(message, turn, start("assistant<|channel|>analysis"), "<|end|>")
            out.append(literal(start("assistant<|channel|>final")))
        out += [*said(message, turn), literal("<|return|>" if last else "<|end|>")]
    return [*out, literal("<|start|>assistant")] if prompt else out


def magistral(messages, prompt):
    around = {
        "system": ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        "user": ("[INST]", "[/INST]"),
        "assistant": ("", "</s>"),
    }
    out = [literal("<s>")]
    for message, turn in numbered(messages):
        before, after = around[message["role"]]
        out.append(literal(before))
        out += thought_of(message, turn, "[THINK]", "[/THINK]")
        out += [*said(message, turn), literal(after)]
    return out


def seed(messages, prompt):
    out = []
    for message, turn in numbered(messages):
        out.append(literal(f"<seed:bos>{message['role']}\n"))
        out += thought_of(message, turn, "<seed:think>", "</seed:think>")
        out += [*said(message, turn), literal("<seed:eos>")]
    return [*out, literal("<seed:bos>assistant\n")] if prompt else out


def cohere(messages, prompt):
    start, empty = "<|START_OF_TURN_TOKEN|>", "<|START_THINKING|><|END_THINKING|>"
    out = [literal("<BOS_TOKEN>")]
    for message, turn in numbered(messages):
        if message["role"] == "assistant":
            out.append(literal(start + "<|CHATBOT_TOKEN|>"))
            thought = thought_of(message, turn, "<|START_THINKING|>", "<|END_THINKING|>")
            out += [*(thought or [literal(empty)]), literal("<|START_RESPONSE|>")]
            out += [*said(message, turn), literal("<|END_RESPONSE|><|END_OF_TURN_TOKEN|>")]
        else:
            out.append(literal(f"{start}<|{message['role'].upper()}_TOKEN|>"))
            out += [*said(message, turn), literal("<|END_OF_TURN_TOKEN|>")]
    return [*out, literal(f"{start}<|CHATBOT_TOKEN|>{empty}")] if prompt else out


def closed_thinking(messages, prompt):
    out = [literal("<s>")]
    for message, turn in numbered(messages):
        if message["role"] == "assistant":
            thought, reply = thoughts(message, turn)
            gap = "\n\n" if thought else ""
            out += [literal("<|assistant|></think>" + gap), reply, literal("</s>")]
        else:
            out.append(literal("<|user|>" if message["role"] == "user" else ""))
            out += said(message, turn)
    return [*out, literal("<|assistant|></think>")] if prompt else out


def moody(messages, prompt):
    out = []
    for message, turn in numbered(messages):
        length = " (long)" if len(message["content"]) > 12 else ""
        out += [literal(f"[{message['role']}{length}]\n"), *said(message, turn), literal("\n")]
    return [*out, literal("[assistant]\n")] if prompt else out


def base(messages, prompt):
    out = []
    for message, turn in numbered(messages):
        if message["role"] == "system" and not message["content"]:
            continue
        head = "" if message["role"] == "system" else message["role"].capitalize() + ":"
        space = " " if head and message["content"] else ""
        gap = "\n\n" if out else ""
        out += [literal(gap + head + space), *said(message, turn)]
    return [*out, literal("\n\nAssistant:")] if prompt else out


TWINS = {
    "chatml": wrapped("<|im_start|>{}\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    "chatml_default": chatml_default,
    "qwen3": qwen3,
    "llama3": llama3,
    "gemma2": gemma2,
    "mistral": mistral,
    "phi3": wrapped("<|{}|>\n", "<|end|>\n", "<|assistant|>\n"),
    "zephyr": wrapped("<|{}|>\n", "</s>\n", "<|assistant|>\n"),
    "opened_thinking": opened_thinking,
    "moody": moody,
    "base": base,
    "harmony": harmony,
    "magistral": magistral,
    "seed": seed,
    "cohere": cohere,
    "closed_thinking": closed_thinking,
}


# --- the oracle -----------------------------------------------------------------------------------


@cache
def byte_of() -> dict[str, int]:
    """GPT-2's letters for bytes: printable Latin-1 stands for itself, the rest from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


def oracle(tokenizer, pieces: list[Piece], ids) -> tuple[list[str], list[int]]:
    """Group and turn of each byte-level token, from its bytes alone."""
    text = "".join(text for text, _, _ in pieces)
    data = text.encode()
    owner_of_byte = [piece for piece in pieces for _ in piece[0].encode()]
    groups, turns, at = [], [], 0
    for index in map(int, ids):
        added = tokenizer.added_tokens_decoder.get(index)
        token = tokenizer.convert_ids_to_tokens(index)
        raw = token.encode() if added else bytes(byte_of()[letter] for letter in token)
        assert data.startswith(raw, at), (raw, data[at : at + 20])
        end = at + len(raw)
        while added and added.rstrip and data[end : end + 1].isspace():
            end += 1
        owners = [owner_of_byte[k] for k in range(at, end) if owner_of_byte[k][1]]
        visible = [owner_of_byte[k] for k in range(at, end) if not data[k : k + 1].isspace()]
        letters = [owner for owner in visible if owner[1]]
        special = added is not None and added.special
        if letters:
            owner = letters[0]
        elif owners and not (special and visible):
            owner = owners[0]
        else:
            owner = ("", "special" if special else "template", -1)
        groups.append(owner[1])
        turns.append(owner[2])
        at = end
    assert at == len(data)
    return groups, turns


def names_of(transcript: Transcript) -> list[str]:
    return [Group.of_code(code).value for code in transcript.groups.tolist()]


def user(content: str) -> dict:
    return {"role": "user", "content": content}


def assistant(content: str, **more) -> dict:
    return {"role": "assistant", "content": content, **more}


def system(content: str) -> dict:
    return {"role": "system", "content": content}


THOUGHT = "<think>\nIt wants\n\na greeting.\n</think>\n\nHello!"
CASES = {
    "one question": [user("Who are you?")],
    "with system": [system("You are a ghost."), user("Who are you?"), assistant("A ghost.")],
    "repeated": [user("the same"), assistant("the same")] * 3,
    "same system": [system("hello"), user("hello"), assistant("hello")],
    "empty reply": [user("hello"), assistant(""), user("hello again"), assistant("a")],
    "empty question": [system("You are a ghost."), user(""), assistant("hello")],
    "empty system": [system(""), user("hello"), assistant("hello")],
    "spaces": [system("  be kind \n"), user("  hello  "), assistant("  hello  "), user(" a ")],
    "newlines": [user("\n\nhello\n"), assistant("hello\n\n"), user("\nhello"), assistant("a\n b")],
    "white space only": [user(" \n"), assistant("\n\n"), user("  "), assistant(" ")],
    "unicode": [
        user("👩‍🚀 你好 — cafe\u0301"),
        assistant("naïve ☕\u00a0 ありがとう 🎉🎉"),
        user("é👻"),
    ],
    "special text": [
        user("<|im_end|>\n<|im_start|>system\n<s>[INST]<end_of_turn><|end|></s><|eot_id|>"),
        assistant("</s>"),
        user("<bos> hello <|im_end|>"),
    ],
    "literal headers": [
        user("hello\n\nAssistant: hello [assistant]\n<|user|>\nhello"),
        assistant("x"),
    ],
    "one token": [user("a"), assistant("the"), user("a"), assistant(".")],
    "thinking": [user("hello"), assistant(THOUGHT)],
    "thinking twice": [user("hello"), assistant(THOUGHT), user("again"), assistant(THOUGHT)],
    "long": [system("be a ghost")]
    + [turn for k in range(40) for turn in (user(f"hello {k} " * 9), assistant("the night " * k))],
}


# --- groups ---------------------------------------------------------------------------------------


def compare(name: str, messages: list[dict], *, prompt: bool) -> None:
    encoder = make_encoder(name)
    transcript = (encoder.prompt if prompt else encoder.encode)(messages)
    pieces = TWINS[name](messages, prompt)
    assert transcript.text == "".join(text for text, _, _ in pieces)
    groups, turns = oracle(encoder.tokenizer, pieces, transcript.ids)
    assert names_of(transcript) == groups
    assert transcript.turns.tolist() == turns


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_every_token_has_the_group_its_bytes_say(name, case):
    messages = CASES[case]
    compare(name, messages, prompt=False)
    if messages[-1]["role"] == "user":
        compare(name, messages, prompt=True)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_groups_decode_to_the_messages(name, kind, case):
    messages = CASES[case]
    encoder = make_encoder(name, kind)
    transcript = encoder.encode(messages)
    decode = encoder.tokenizer.backend_tokenizer.decode
    pieces = TWINS[name](messages, False)
    expected: dict[tuple[str, int], str] = {}
    for text, group, turn in pieces:
        expected[group, turn] = expected.get((group, turn), "") + text
    for (group, turn), text in expected.items():
        if group:
            mask = transcript.mask(group, None if group == "system" else turn)
            decoded = decode(transcript.ids[mask].tolist(), skip_special_tokens=False)
            assert canonical(decoded) == canonical(text)
    whole = decode(transcript.ids.tolist(), skip_special_tokens=False)
    assert canonical(whole) == canonical("".join(text for text, _, _ in pieces))
    held = set(zip(names_of(transcript), transcript.turns.tolist(), strict=True))
    assert held <= {*expected, ("template", -1), ("special", -1)}


WORDS = [
    "hello",
    " the",
    "ghost",
    " ",
    "\n",
    "\n\n",
    "  ",
    "a",
    "👻",
    "é",
    "e\u0301",
    "你",
    ".",
    ":",
    ">",
]
WORDS += ["<|im_end|>", "</s>", "<bos>", "[INST]", "User:", "<|end|>", "<|user|>", "]", "\t"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", NAMES)
def test_random_conversations(name, seed):
    rng = random.Random(f"{name}{seed}")

    def text() -> str:
        return "".join(rng.choices(WORDS, k=rng.choice([0, 1, 1, 2, 3, 8])))

    for _ in range(8):
        messages = [system(text())] if rng.random() < 0.5 else []
        for _ in range(rng.randint(1, 4)):
            messages += [user(text()), assistant(text())]
        compare(name, messages, prompt=False)
        compare(name, messages[:-1], prompt=True)


def test_reasoning_content_is_thinking():
    messages = [user("hello"), assistant("Hello!", reasoning_content="\nIt greets.\n")]
    compare("qwen3", messages, prompt=False)
    transcript = make_encoder("qwen3").encode(messages)
    assert transcript.mask("thinking", -1).sum() > 0
    blank = [user("hello"), assistant("Hello!", reasoning_content="\n")]
    assert not make_encoder("qwen3").encode(blank).mask("thinking").any()


@pytest.mark.parametrize("name", ["harmony", "magistral", "seed", "cohere"])
def test_a_thought_given_apart_stands_between_the_marks_of_the_template(name):
    messages = [user("hello"), assistant("Hello!", reasoning_content="It greets.")]
    compare(name, messages, prompt=False)
    transcript = make_encoder(name).encode(messages)
    decode = make_encoder(name).tokenizer.decode
    assert decode(transcript.ids[transcript.mask("thinking", -1)]) == "It greets."
    assert decode(transcript.ids[transcript.mask("assistant", -1)]) == "Hello!"


@pytest.mark.parametrize(
    ("content", "thinking", "reply"),
    [
        ("<think>a ghost</think>the night", "a ghost", "the night"),
        ("  <think> a ghost", "a ghost", ""),
        ("a ghost</think> the night", "a ghost", "the night"),
        ("<think>a</think> there\n<think>\nthe\n</think>\n\nhello", "athe", "therehello"),
        ("hello <think>a</think> there", "", "hello <think>a</think> there"),
        ("<think></think>", "", ""),
        ("<think>\n\n</think>\n\nhello", "", "hello"),
    ],
)
def test_think_tags_split_assistant_content(content, thinking, reply):
    encoder = make_encoder("chatml")
    transcript = encoder.encode([user("<think>not this</think>"), assistant(content)])
    decode = encoder.tokenizer.decode
    assert canonical(decode(transcript.ids[transcript.mask("thinking")])) == canonical(thinking)
    assert canonical(decode(transcript.ids[transcript.mask("assistant")])) == canonical(reply)
    assert decode(transcript.ids[transcript.mask("user")]) == "<think>not this</think>"


# --- prompts and replies --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "opened_thinking"])
def test_prompt_is_a_prefix_and_a_reply_continues_it(name, kind):
    encoder = make_encoder(name, kind)
    first = [system("be a ghost"), user("hello"), assistant("the night"), user("Who are you?")]
    prompt, whole = encoder.prompt(first), encoder.encode([*first, assistant("A ghost.")])
    size = len(prompt)
    assert whole.ids[:size].tolist() == prompt.ids.tolist()
    assert names_of(whole)[:size] == names_of(prompt)
    last = size + int(np.flatnonzero(whole.mask("assistant", -1)[size:])[-1]) + 1
    ended = len(whole) > last and int(whole.ids[last]) in encoder.special_ids
    reply = whole.ids[size : last + ended].tolist()

    replied = encoder.with_reply(prompt, reply)
    assert replied.ids.tolist() == whole.ids[: len(replied)].tolist()
    assert canonical(whole.text).startswith(canonical(replied.text))
    if kind == "byte-level":
        assert whole.text.startswith(replied.text)
    # A space the template writes before the reply is, once sampled, part of the reply.
    sampled = [*zip(names_of(replied), replied.turns.tolist(), strict=True)]
    written = [*zip(names_of(whole), whole.turns.tolist(), strict=True)]
    while written[size] == ("template", -1):
        assert not encoder.tokenizer.decode([whole.ids[size]]).strip()
        assert sampled[size] == ("assistant", 1)
        written[size], size = sampled[size], size + 1
    # White space behind a mark is structure once it is sampled, and so without a turn.
    for place, found in enumerate(sampled):
        blank = not encoder.tokenizer.decode([whole.ids[place]]).strip()
        assert found == written[place] or (blank and found == ("template", -1))
    assert replied.mask("assistant", -1).tolist() == replied.mask("assistant", 1).tolist()
    assert (replied.user_turns, replied.assistant_turns, replied.generating) == (2, 2, False)
    assert prompt.assistant_turns == 1


def test_sampled_ids_are_never_tokenised_again():
    encoder = make_encoder("chatml")
    prompt = encoder.prompt([user("hello")])
    spelled = [encoder.tokenizer.convert_tokens_to_ids(letter) for letter in "hello"]
    end = encoder.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert encoder.tokenizer.encode("hello", add_special_tokens=False) != spelled
    transcript = encoder.with_reply(prompt, np.array([*spelled, end, spelled[0], end, end]))
    assert transcript.ids[len(prompt) :].tolist() == [*spelled, end, spelled[0], end, end]
    assert names_of(transcript)[len(prompt) :] == ["assistant"] * 7 + ["special"] * 2
    assert transcript.text == prompt.text + "hello<|im_end|>h<|im_end|><|im_end|>"


# what each family samples behind its prompt: thought, answer, and what ends the turn
SAMPLED = {
    "qwen3": "<think>\nHm.\n</think>\n\nBoo!<|im_end|>",
    "harmony": "<|channel|>analysis<|message|>Hm.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Boo!<|return|>",
    "magistral": "[THINK]Hm.[/THINK]Boo!</s>",
    "seed": "<seed:think>Hm.</seed:think>Boo!<seed:eos>",
    "cohere": "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Boo!<|END_RESPONSE|>"
    "<|END_OF_TURN_TOKEN|>",
    "opened_thinking": "Hm.\n</think>\n\nBoo!</s>",
    "closed_thinking": "<think>Hm.</think>Boo!</s>",
    "chatml": "<think>\nHm.\n</think>\n\nBoo!<|im_end|>",
}


@pytest.mark.parametrize("name", SAMPLED)
def test_a_sampled_thought_is_no_part_of_the_answer_in_any_family(name):
    encoder = make_encoder(name)
    prompt = encoder.prompt([user("hello")])
    ids = encoder.tokenizer.encode(SAMPLED[name], add_special_tokens=False)
    whole = encoder.with_reply(prompt, ids)
    decode = encoder.tokenizer.decode
    assert decode(whole.ids[whole.mask("assistant", -1)]) == "Boo!"
    assert decode(whole.ids[whole.mask("thinking", -1)]) == "Hm."
    assert set(names_of(whole)[len(prompt) :]) <= {"assistant", "thinking", "template", "special"}
    assert encoder.said(prompt, ids) == Said("Boo!", "whole")
    assert encoder.said_text(prompt, SAMPLED[name].removesuffix("</s>")).answer == "Boo!"


@pytest.mark.parametrize("name", SAMPLED)
def test_a_thought_that_was_cut_is_no_answer_in_any_family(name):
    encoder = make_encoder(name)
    prompt = encoder.prompt([user("hello")])
    text = SAMPLED[name].partition("Hm.")[0] + "Hm"
    ids = encoder.tokenizer.encode(text, add_special_tokens=False)
    whole = encoder.with_reply(prompt, ids)
    assert not whole.mask("assistant", -1).any()
    assert encoder.tokenizer.decode(whole.ids[whole.mask("thinking", -1)]) == "Hm"
    assert encoder.said(prompt, ids) == Said("", "cut") == encoder.said_text(prompt, text)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "opened_thinking"])
@pytest.mark.parametrize("text", ["Some write <think> first.", "`</think>` ends it.", "Boo!"])
def test_an_answer_that_speaks_of_thoughts_is_all_answer_in_any_family(name, text):
    encoder = make_encoder(name)
    prompt = encoder.prompt([user("hello")])
    lead = "<|channel|>final<|message|>" if name == "harmony" else ""
    ids = encoder.tokenizer.encode(lead + text, add_special_tokens=False)
    whole = encoder.with_reply(prompt, ids)
    assert encoder.tokenizer.decode(whole.ids[whole.mask("assistant", -1)]) == text
    assert encoder.said(prompt, ids) == Said(text)
    assert not encoder.opens_thought(prompt)


@pytest.mark.parametrize(
    ("name", "variables", "opened", "lead"),
    [
        ("opened_thinking", {}, True, "</think>\n\n"),
        ("closed_thinking", {}, False, ""),
        ("closed_thinking", {"thinking": True}, True, "</think>\n\n"),
        ("qwen3", {}, False, ""),
        ("qwen3", {"enable_thinking": True}, False, ""),
        ("seed", {"thinking_budget": 0}, False, ""),
        ("cohere", {"reasoning": True}, False, ""),
        ("harmony", {}, False, "<|channel|>final<|message|>"),
        ("chatml", {}, False, ""),
    ],
)
def test_what_a_prompt_leaves_to_be_written_before_an_answer(name, variables, opened, lead):
    encoder = make_encoder(name, **variables)
    prompt = encoder.prompt([user("hello")])
    assert encoder.opens_thought(prompt) == opened
    assert encoder.tokenizer.decode(encoder.lead_ids(prompt)) == lead
    answer = encoder.tokenizer.encode("Boo!", add_special_tokens=False)
    whole = encoder.with_reply(prompt, [*encoder.lead_ids(prompt), *answer])
    assert encoder.tokenizer.decode(whole.ids[whole.mask("assistant", -1)]) == "Boo!"


def test_the_text_of_a_reply_keeps_special_tokens_only_where_they_mark_thoughts():
    for name, text, kept in [
        ("magistral", "[THINK]Hm.[/THINK]Boo![INST]", "[THINK]Hm.[/THINK]Boo!"),
        ("chatml", "Boo!<|im_start|> Hm", "Boo! Hm"),
        ("phi3", "Boo!<|end|>Hm", "Boo!Hm"),
    ]:
        encoder = make_encoder(name)
        ids = encoder.tokenizer.encode(text, add_special_tokens=False)
        assert encoder.text_of(ids) == kept


def test_a_template_without_answers_still_asks_and_is_answered():
    encoder = TranscriptEncoder(make_tokenizer("questions_only"))
    prompt = encoder.prompt(encoder.messages("Who are you?", system="Be a ghost."))
    assert prompt.text == "USER:\nBe a ghost.\n\nWho are you?\nASSISTANT:\n"
    assert encoder.end_of_turn_id is None
    ids = encoder.tokenizer.encode("Boo!", add_special_tokens=False)
    whole = encoder.with_reply(prompt, ids)
    assert encoder.tokenizer.decode(whole.ids[whole.mask("assistant", -1)]) == "Boo!"
    with pytest.raises(TranscriptError, match="drops the assistant text of message 1"):
        encoder.encode([user("a"), assistant("b")])


def test_end_ids_add_to_the_special_ids():
    encoder = make_encoder("chatml")
    prompt = encoder.prompt([user("hello")])
    dot, end = encoder.tokenizer.convert_tokens_to_ids([".", "<|im_end|>"])
    assert names_of(encoder.with_reply(prompt, [dot, end]))[-2:] == ["assistant", "special"]
    with_dot = encoder.with_reply(prompt, [dot, end], end_ids=[dot])
    assert names_of(with_dot)[-2:] == ["special", "special"]


def test_an_empty_reply_is_a_turn_without_tokens():
    encoder = make_encoder("chatml")
    prompt = encoder.prompt([user("hello")])
    transcript = encoder.with_reply(prompt, [])
    assert len(transcript) == len(prompt)
    assert not transcript.mask("assistant", -1).any()
    assert transcript.assistant_turns == 1


def test_sampled_thinking_has_the_groups_of_rendered_thinking():
    encoder = make_encoder("qwen3", enable_thinking=True)
    prompt = encoder.prompt([user("hello")])
    assert prompt.text.endswith("<|im_start|>assistant\n")
    whole = encoder.encode([user("hello"), assistant(THOUGHT)])
    replied = encoder.with_reply(prompt, whole.ids[len(prompt) : -1])  # up to <|im_end|>
    assert names_of(replied) == names_of(whole)[:-1]
    assert replied.turns.tolist() == whole.turns[:-1].tolist()
    assert {"thinking", "assistant"} <= set(names_of(replied))


def test_a_prompt_that_opens_the_think_block_makes_the_reply_start_with_thinking():
    encoder = make_encoder("opened_thinking")
    prompt = encoder.prompt([user("hello")])
    ids = encoder.tokenizer.encode("hm\n</think>\n\nHello!</s>", add_special_tokens=False)
    groups = names_of(encoder.with_reply(prompt, ids))[len(prompt) :]
    assert list(dict.fromkeys(groups)) == ["thinking", "template", "assistant", "special"]
    endless = encoder.tokenizer.encode("hm hm", add_special_tokens=False)
    assert set(names_of(encoder.with_reply(prompt, endless))[len(prompt) :]) == {"thinking"}


@pytest.mark.parametrize(
    ("words", "opened", "expected"),
    [
        (["A", " ghost"], False, "aa"),
        (["<think>", "Hm", "</think>", "\n\n", "Yes"], False, "xtxxa"),
        (["<", "think", ">", "\n", "Hm", "\n", "</", "think", ">", "Yes"], False, "xxxxtxxxxa"),
        (["<", "think", ">Hm</", "think", ">Yes"], False, "xxtxa"),
        (["So", " <think>", " it", " says"], False, "aaaa"),
        (["Hm", "</think>", "Yes"], False, "txa"),
        (["Hm", "</think>", "Yes"], True, "txa"),
        (["Hm"], True, "t"),
        (["<think>", "Hm", " hm"], False, "xtt"),
        (["<think>", "A", "</think>", "<think>", "B", "</think>", "C"], False, "xtxxtxa"),
        (
            ["<think>", "A", "</think>", "B", "\n", "<think>", "\n", "C\n", "</think>", "\n", "D"],
            False,
            "xtxaxxxtxxa",
        ),
        (["<think>", "A", "</think>", "B", "<think>", "C"], False, "xtxaaa"),
        ([], False, ""),
    ],
)
def test_reply_groups(words, opened, expected):
    reply = SampledReply(
        range(len(words)),
        lambda ids: "".join(words[i] for i in ids),
        opened="<think>" if opened else None,
    )
    letters = {Group.ASSISTANT: "a", Group.THINKING: "t", Group.TEMPLATE: "x"}
    assert "".join(letters[group] for group in reply.groups()) == expected


def test_a_first_space_of_a_sentencepiece_reply_is_kept_in_the_text():
    encoder = make_encoder("mistral", "unigram")
    prompt = encoder.prompt([user("hello")])
    ids = [encoder.tokenizer.convert_tokens_to_ids(token) for token in ("▁", "a")]
    assert encoder.with_reply(prompt, ids).text == prompt.text + " a"


# --- system texts, defaults, days -----------------------------------------------------------------

# supports a system message, injects one of its own, renders when the system text is empty
HABITS = {
    "chatml": (True, False, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
    "chatml_default": (
        True,
        True,
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    ),
    "qwen3": (
        True,
        False,
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    "llama3": (
        True,
        True,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nKnowledge ends: 2023\n"
        "This day: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "gemma2": (False, False, "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"),
    "mistral": (True, False, "<s>[INST] Hi [/INST]"),
    "phi3": (True, False, "<|user|>\nHi<|end|>\n<|assistant|>\n"),
    "zephyr": (True, False, "<|user|>\nHi</s>\n<|assistant|>\n"),
    "opened_thinking": (True, False, "<s><|user|>Hi<|assistant|><think>\n"),
    "moody": (True, False, "[user]\nHi\n[assistant]\n"),
    "base": (True, False, "User: Hi\n\nAssistant:"),
    "harmony": (
        True,
        True,
        "<|start|>system<|message|>You are a machine that answers.\nReasoning: medium<|end|>"
        "<|start|>user<|message|>Hi<|end|><|start|>assistant",
    ),
    "magistral": (True, False, "<s>[INST]Hi[/INST]"),
    "seed": (True, False, "<seed:bos>user\nHi<seed:eos><seed:bos>assistant\n"),
    "cohere": (
        True,
        False,
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_THINKING|><|END_THINKING|>",
    ),
    "closed_thinking": (True, False, "<s><|user|>Hi<|assistant|></think>"),
}
INJECTED = {
    "llama3": "Knowledge ends: 2023\nThis day: 26 Jul 2024",
    "harmony": "You are a machine that answers.\nReasoning: medium",
}


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_system_text_is_truly_empty(name):
    encoder = make_encoder(name)
    supports, injects, text = HABITS[name]
    assert (encoder.supports_system, encoder.injects_system) == (supports, injects)
    assert encoder.prompt(encoder.messages("Hi")).text == text
    assert encoder.injected_text == INJECTED.get(name, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_system_text_is_a_group_of_its_own(name):
    encoder = make_encoder(name)
    transcript = encoder.prompt(encoder.messages("Hi", system="Be a ghost."))
    decoded = encoder.tokenizer.decode(transcript.ids[transcript.mask("system")])
    assert decoded == "Be a ghost."
    assert set(transcript.turns[transcript.mask(Group.SYSTEM)]) == {-1}


def test_without_a_system_role_the_first_user_message_carries_the_text():
    encoder = make_encoder("gemma2")
    messages = [*encoder.messages("Hi", system="Be a ghost."), assistant("Boo!"), user("Hi")]
    assert encoder.fold_system(messages) == [
        user("Be a ghost.\n\nHi"),
        assistant("Boo!"),
        user("Hi"),
    ]
    assert make_encoder("chatml").fold_system(messages) == messages
    with pytest.raises(TranscriptError, match="no user message to hold"):
        encoder.encode([system("Be a ghost."), assistant("Boo!")])


def test_a_template_that_silently_drops_system_texts_counts_as_without_them():
    template = (
        "{% for m in messages if m.role != 'system' %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    )
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    assert not encoder.supports_system
    assert encoder.encode([system("Boo."), user("Hi")]).text == "[user] Boo.\n\nHi "


def test_single_turn_templates_are_probed_too():
    template = (
        "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}"
        "{% if messages[0].role != 'system' %}You are here to help. {% endif %}"
        "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
    )
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    assert encoder.injects_system
    # An empty system message costs a header here, which is less than the text it keeps away.
    assert encoder.encode(encoder.messages("Hi")).text == "[system]  [user] Hi "


@pytest.mark.parametrize(
    ("kwargs", "day"),
    [({}, "26 Jul 2024"), ({"date_string": "01 Jan 2030"}, "01 Jan 2030")],
)
def test_prompts_do_not_change_from_day_to_day(kwargs, day):
    encoder = TranscriptEncoder(make_tokenizer("llama3"), template_kwargs=kwargs)
    assert f"This day: {day}\n" in encoder.prompt([user("Hi")]).text


def test_a_template_that_asks_the_clock_always_gets_the_same_day():
    template = (
        "\n  {% set day = strftime_now('%A %d %B %Y, %Y-%m-%d') %}{{ day }}: "
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    encoder = TranscriptEncoder(make_tokenizer("llama3"), chat_template=template)
    assert encoder.encode([user("Hi")]).text == "\nFriday 26 July 2024, 2024-07-26: Hi"


def test_thinking_is_off_unless_asked_for():
    asked = make_encoder("qwen3", enable_thinking=True).prompt([user("Hi")]).text
    assert make_encoder("qwen3").prompt([user("Hi")]).text == asked + "<think>\n\n</think>\n\n"


def test_template_hash_covers_template_variables_and_special_tokens():
    def hash_of(name="chatml", *, extra=None, **kwargs):
        return TranscriptEncoder(make_tokenizer(name, **(extra or {})), **kwargs).template_hash

    same = hash_of("qwen3")
    assert same == hash_of("qwen3")
    assert len(same) == 16
    others = [
        hash_of(chat_template="{{ messages[0].content }}"),
        hash_of("qwen3", template_kwargs={"enable_thinking": True}),
        hash_of("qwen3", extra={"pad_token": "</s>"}),
    ]
    assert len({same, *others}) == 4


# --- BOS ------------------------------------------------------------------------------------------


def starting_bos(encoder, transcript) -> int:
    bos = encoder.tokenizer.bos_token_id
    return next((k for k, index in enumerate(transcript.ids) if index != bos), len(transcript))


def add_post_processor(tokenizer):
    bos = tokenizer.bos_token
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.bos_token_id)]
    )
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "qwen3"])
def test_never_more_than_one_bos(name, kind):
    encoder = TranscriptEncoder(add_post_processor(make_tokenizer(name, kind)))
    for messages in (encoder.messages("Hi"), encoder.messages("Hi", system="Boo.")):
        written = name in (
            "chatml_default",
            "llama3",
            "gemma2",
            "mistral",
            "opened_thinking",
            "base",
            "magistral",
            "cohere",
            "closed_thinking",
        )
        assert starting_bos(encoder, encoder.prompt(messages)) == written


def test_a_bos_that_recurs_at_every_turn_is_left_alone():
    encoder = make_encoder("chatml_default")
    transcript = encoder.encode([user("a"), assistant("a"), user("a")])
    assert (transcript.ids == encoder.tokenizer.bos_token_id).sum() == 4


def test_a_bos_doubled_by_the_template_is_dropped():
    template = "{{ bos_token }}{{ bos_token }}{{ bos_token }}[user] {{ messages[0].content }}"
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    transcript = encoder.encode([user("Hi")])
    assert starting_bos(encoder, transcript) == 1
    assert transcript.text == "<s>[user] Hi"
    assert encoder.tokenizer.decode(transcript.ids[transcript.mask("user")]) == "Hi"


def test_a_bos_doubled_by_a_message_is_an_error():
    template = "{{ bos_token }}{{ messages[0].content }}"
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    assert starting_bos(encoder, encoder.encode([user("Hi <s>")])) == 1
    with pytest.raises(TranscriptError, match="second BOS"):
        encoder.encode([user("<s> Hi")])


def test_the_plain_template_writes_bos_where_the_tokenizer_does():
    plain = TranscriptEncoder(make_tokenizer("base"))
    with_bos = TranscriptEncoder(add_post_processor(make_tokenizer("base")))
    messages = [system("Be a ghost."), user("Hi"), assistant("Boo!"), user("Hi")]
    text = "Be a ghost.\n\nUser: Hi\n\nAssistant: Boo!\n\nUser: Hi\n\nAssistant:"
    assert plain.prompt(messages).text == text
    assert with_bos.prompt(messages).text == "<s>" + text
    asked = TranscriptEncoder(make_tokenizer("base"), template_kwargs={"bos_token": "<s>"})
    assert asked.prompt(messages).text == "<s>" + text


# --- the tokenizer stays as it is -----------------------------------------------------------------


@pytest.mark.parametrize("state", ["as loaded", "truncating and padding"])
def test_the_tokenizer_is_never_changed(state):
    tokenizer = make_tokenizer("chatml")
    backend = tokenizer.backend_tokenizer
    if state != "as loaded":
        backend.enable_truncation(3)
        backend.enable_padding(length=200)
        backend.encode_special_tokens = True
    before = (
        backend.to_str(),
        backend.encode_special_tokens,
        repr(tokenizer),
        dict(vars(tokenizer)),
    )
    encoder = TranscriptEncoder(tokenizer)
    transcript = encoder.prompt(CASES["repeated"][:3])
    encoder.with_reply(transcript, [5, 6])
    after = (
        backend.to_str(),
        backend.encode_special_tokens,
        repr(tokenizer),
        dict(vars(tokenizer)),
    )
    assert before == after
    assert (
        transcript.ids.tolist() == make_encoder("chatml").prompt(CASES["repeated"][:3]).ids.tolist()
    )


def test_the_module_needs_neither_torch_nor_transformers(tmp_path):
    import subprocess
    import sys

    code = (
        "import sys, persona_lens.transcripts as t; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# --- templates that make a proof hard or impossible -----------------------------------------------


def test_text_that_depends_on_one_message_is_proved_message_by_message():
    # The first message decides about all others, which no skeleton with sentinels can show.
    template = (
        "{% set loud = messages[0].content == 'loud' %}{% for m in messages %}"
        "[{{ m.role }}{{ '!!!' if loud and not loop.first }}] {{ m.content }} {% endfor %}"
    )
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    transcript = encoder.encode([user("quiet"), assistant("a"), user("a")])
    assert transcript.text == "[user] quiet [assistant] a [user] a "
    with pytest.raises(
        TranscriptError, match=r"(?s)cannot prove .* user text of message 0.*given 'loud'"
    ):
        encoder.encode([user("loud"), assistant("a"), user("a")])


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        ("m.content ~ m.content if m.content | length > 3 and 'h' in m.content", "drops"),
        ("'hello hello' if m.content == 'hello' else m.content", "text around it changes"),
        ("raise_exception('no') if m.content[0] > 'z' else m.content", "text around it changes"),
        ("'' if m.role == 'assistant' else m.content", "drops the assistant text of message 1"),
        ("'' if m.content | length > 4 else m.content", "text around it changes"),
    ],
)
def test_what_cannot_be_proved_is_an_error(expression, match):
    layout = lay_out([user("hello"), assistant("hello")])
    tokenizer = make_tokenizer("chatml")

    def render(messages):
        template = "{% for m in messages %}[" + "{{ " + expression + " }}]{% endfor %}"
        try:
            return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
        except Exception as error:
            raise TranscriptError("no") from error

    with pytest.raises(TranscriptError, match=match):
        locate(layout, render)


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("m.content | upper", ["THE GHOST", "IS NOT"]),
        ("m.content | replace(' ', '_')", ["the_ghost", "is_not"]),
        ("('!' if m.content | length > 8 else '') ~ m.content", ["the ghost", "is not"]),
    ],
)
def test_text_that_the_template_changes_is_found_where_it_stands(expression, written):
    template = "{% for m in messages %}[{{ " + expression + " }}] {% endfor %}"
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    transcript = encoder.encode([user("the ghost"), assistant("is not")])
    for group, text in zip(("user", "assistant"), written, strict=True):
        assert encoder.tokenizer.decode(transcript.ids[transcript.mask(group, 0)]) == text


def test_a_message_rendered_twice_has_both_places():
    layout = lay_out([user("hello")])
    text, spans = locate(layout, lambda messages: "{0} and {0}".format(messages[0]["content"]))
    assert (text, spans) == ("hello and hello", [Span(0, 5, 0), Span(10, 15, 0)])


def test_two_messages_in_one_place_are_an_error():
    def render(messages):
        return "[" + next((m["content"] for m in messages if m["content"] != "aa"), "aa") + "]"

    with pytest.raises(TranscriptError, match="overlaps that of another message"):
        locate(lay_out([user("aa"), assistant("aa")]), render)


def test_trimmed_text_is_found_between_brackets():
    def render(messages):
        said = messages[0]["content"]
        return f"[{'!' if len(said) > 8 else ''} {said.strip()} ]"

    found = locate(lay_out([user(" the ghost\n")]), render)
    assert found == ("[! the ghost ]", [Span(3, 12, 0)])


def test_where_trimming_is_ambiguous_the_earlier_message_keeps_its_white_space():
    layout = lay_out([user("a\n"), assistant("\nb")])
    found = locate(
        layout,
        lambda messages: (
            "a\nb"
            if len(messages[0]["content"]) == 2
            else "".join(message["content"] for message in messages)
        ),
    )
    assert found == ("a\nb", [Span(0, 2, 0), Span(2, 3, 1)])


def test_a_skeleton_that_fits_only_the_start_of_the_text_is_not_believed():
    def render(messages):
        return messages[0]["content"] + ("?" if messages[0]["content"] == "a\n" else "")

    with pytest.raises(TranscriptError, match="text around it changes"):
        locate(lay_out([user("a\n")]), render)


def test_many_ways_to_trim_are_not_tried_twice():
    def render(messages):
        text = "".join(message["content"] for message in messages)
        return text if text.strip() else text + "?"

    # Two ways for each message: 2^200 paths if the search forgot where it has been.
    assert locate(lay_out([user("\n")] * 200), render) == ("\n" * 200 + "?", [])


def test_text_before_a_closing_think_tag_may_be_dropped():
    talk = [user("a"), assistant("one</think> two</think> three"), user("a"), assistant("b")]
    for name in ("qwen3", "opened_thinking"):
        encoder = make_encoder(name)
        transcript = encoder.encode(talk)
        decoded = encoder.tokenizer.decode(transcript.ids[transcript.mask("assistant", 0)])
        assert decoded.strip() == "three"
    for limit in (25, 26, 27, 28):  # lengths that marks of either kind cross or do not
        moody_ = (
            f"{{% for m in messages %}}[{{{{ '!' if m.content | length > {limit} }}}}"
            "{{ m.content.split('</think>')[-1] }}] {% endfor %}"
        )
        encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=moody_)
        transcript = encoder.encode(talk)
        assert transcript.text == "[a] [! three] [a] [b] "
        assert encoder.tokenizer.decode(transcript.ids[transcript.mask("assistant", 0)]) == "three"
    kept = make_encoder("chatml").encode(talk)
    decode = make_encoder("chatml").tokenizer.decode
    assert decode(kept.ids[kept.mask("assistant", 0)]) == "two</think> three"
    assert decode(kept.ids[kept.mask("thinking", 0)]) == "one"


def test_text_the_template_writes_is_checked_too():
    backend = Tokenizer(models.WordLevel({"hello": 0, "<unk>": 1}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    encoder = TranscriptEncoder(tokenizer, chat_template="header {{ messages[0].content }}")
    with pytest.raises(
        TranscriptError, match=r"(?s)tokens of the template do not.*'header'.*<unk>"
    ):
        encoder.encode([user("hello")])


def test_repr_tells_template_and_habits():
    encoder = make_encoder("gemma2")
    assert encoder.template_hash in repr(encoder)
    assert "supports_system=False" in repr(encoder)


def test_messages_may_hold_private_use_characters():
    compare("chatml", [user("\ue0000\ue000 \ue001"), assistant("\ue0001\ue000")], prompt=False)
    everything = "".join(map(chr, range(0xE000, 0xF900)))
    with pytest.raises(TranscriptError, match="private-use"):
        make_encoder("chatml").encode([user(everything)])


def test_one_token_for_two_messages_is_an_error():
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    encoder = TranscriptEncoder(make_tokenizer("chatml"), chat_template=template)
    with pytest.raises(TranscriptError, match=r"(?s)two messages.*token 'hello'"):
        encoder.encode([user("hel"), assistant("lo")])
    apart = encoder.encode([user("hello"), assistant(" hello")])
    assert names_of(apart) == ["user", "assistant"]


def test_white_space_between_messages_goes_to_the_one_with_letters():
    spans = [Span(0, 2, 0), Span(2, 4, 1)]
    plain = np.zeros(1, dtype=bool)
    whole = np.array([0]), np.array([4])
    assert assign("a  b"[:2] + "\n\n", *whole, spans, plain).tolist() == [0]
    assert assign("\n\n b", *whole, spans, plain).tolist() == [1]
    assert assign("\n\n\n\n", *whole, spans, plain).tolist() == [0]
    assert assign("t\n\n\n", *whole, [Span(2, 4, 1)], plain).tolist() == [1]
    assert assign("t\n\n\n", *whole, [Span(2, 2, 0)], plain).tolist() == [-1]
    assert assign("t\n\n\n", *whole, [Span(2, 4, 1)], ~plain).tolist() == [-1]


def test_tile_mends_offsets():
    starts, ends = tile("a   b", [(0, 1), (4, 4), (4, 5)])
    assert (starts.tolist(), ends.tolist()) == ([0, 1, 4], [1, 4, 5])
    starts, ends = tile("x\né>", [(0, 1), *[(1, 4)] * 4])  # four bytes that claim three letters
    assert (starts.tolist(), ends.tolist()) == ([0, 1, 2, 2, 3], [1, 2, 3, 3, 4])
    starts, ends = tile("ab", [(0, 0), (0, 2), (2, 2)])
    assert (starts.tolist(), ends.tolist()) == ([0, 0, 2], [1, 2, 2])


def test_trimmed_offsets_give_the_same_groups():
    tokenizer = make_tokenizer("chatml")
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    messages = [user("  hello   the ghost  "), assistant("    "), user("a    "), assistant(" a")]
    trimmed_ = TranscriptEncoder(tokenizer).encode(messages)
    plain = make_encoder("chatml").encode(messages)
    assert trimmed_.ids.tolist() == plain.ids.tolist()
    assert trimmed_.groups.tolist() == plain.groups.tolist()


# --- the check itself -----------------------------------------------------------------------------


def run_check(text, tokens, bounds, owners=None):
    starts, ends = np.array([b[0] for b in bounds]), np.array([b[1] for b in bounds])
    check(
        text,
        np.arange(len(tokens)),
        starts,
        ends,
        np.array(owners or [0] * len(tokens)),
        decode=lambda ids: "".join(tokens[i] for i in ids),
        normalize=str.lower,
        name=lambda owner: f"slot {owner}",
    )


def test_check_passes_what_is_right_and_stops_what_is_not():
    run_check("Hi cafe\u0301", ["Hi", "▁café"], [(0, 2), (2, 8)])
    run_check("HELLO", ["hello"], [(0, 5)])  # the tokenizer's own normaliser lowers it
    with pytest.raises(TranscriptError, match=r"(?s)slot 1 do not decode.*expected 'b', given 'c'"):
        run_check("ab", ["a", "c"], [(0, 1), (1, 2)], [0, 1])
    with pytest.raises(TranscriptError, match="leaves text out"):
        run_check("abc", ["a", "c"], [(0, 1), (2, 3)])
    with pytest.raises(TranscriptError, match="leaves text out"):
        run_check("ab", ["a"], [(0, 1)])


def test_text_the_tokenizer_cannot_represent_is_named():
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        [*CORPUS, "[user]"], trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    encoder = TranscriptEncoder(tokenizer, chat_template="[user] {{ messages[0].content }}")
    assert encoder.encode([user("hello")]).mask("user").any()
    with pytest.raises(TranscriptError, match=r"(?s)group 'user' of message 0.*given .*<unk>"):
        encoder.encode([user("hello 你")])


# --- errors and masks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([], "no messages"),
        ("hello", "no messages"),
        ([{"content": "hello"}], "message 0 has no known role"),
        ([user("a"), {"role": "human", "content": "b"}], "message 1 has no known role"),
        (["hello"], "message 0 has no known role"),
        ([user("a"), system("b")], "message 1 is a system message"),
        ([system("a"), system("b")], "message 1 is a system message"),
        ([{"role": "user"}], r"(?s)content of message 0 is not text.*NoneType"),
        ([{"role": "user", "content": [{"type": "text"}]}], "content of message 0 is not text"),
        ([user("a"), assistant("b", reasoning_content=3)], "reasoning_content of message 1"),
        ([user("a") | {"reasoning_content": "b"}], "fields that cannot be traced"),
        ([user("a") | {"name": "b"}], "fields that cannot be traced"),
        ([user("\ud800")], "not valid Unicode"),
        ([user("a"), user("b")], r"(?s)refuses these messages.*take turns"),
        ([user("a"), assistant("b")], "a prompt must end with the user"),
    ],
)
def test_malformed_conversations(messages, match):
    with pytest.raises(TranscriptError, match=match):
        make_encoder("gemma2").prompt(messages)


@pytest.mark.parametrize("ids", [[[1, 2]], [-1], [0.5], ["a"]])
def test_malformed_replies(ids):
    encoder = make_encoder("chatml")
    with pytest.raises(TranscriptError, match="not token ids"):
        encoder.with_reply(encoder.prompt([user("a")]), ids)


def test_a_reply_needs_a_prompt():
    encoder = make_encoder("chatml")
    for finished in (
        encoder.encode([user("a")]),
        encoder.with_reply(encoder.prompt([user("a")]), [5]),
    ):
        with pytest.raises(TranscriptError, match="not waiting for a reply"):
            encoder.with_reply(finished, [5])


def test_unusable_tokenizers_and_templates():
    with pytest.raises(TranscriptError, match=r"(?s)no character offsets.*use_fast"):
        TranscriptEncoder(SimpleNamespace(is_fast=False))
    with pytest.raises(TranscriptError, match="renders no user message"):
        TranscriptEncoder(make_tokenizer("chatml"), chat_template="hello")
    with pytest.raises(TranscriptError, match=r"(?s)refuses these messages.*never"):
        TranscriptEncoder(make_tokenizer("chatml"), chat_template="{{ raise_exception('never') }}")


def test_tokenizers_with_several_templates():
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = {
        "a": "[a] {{ messages[0].content }}",
        "b": "{{ messages[0].content }}",
    }
    assert TranscriptEncoder(tokenizer, chat_template="a").encode([user("Hi")]).text == "[a] Hi"
    with pytest.raises(TranscriptError, match=r"(?s)several chat templates.*\['a', 'b'\]"):
        TranscriptEncoder(tokenizer)


def test_masks():
    transcript = make_encoder("chatml").encode(CASES["repeated"])
    total = sum(transcript.mask(group).astype(int) for group in Group)
    assert total.tolist() == [1] * len(transcript)
    for group in ("user", "assistant"):
        by_turn = [transcript.mask(group, turn) for turn in range(3)]
        assert np.array_equal(
            sum(m.astype(int) for m in by_turn), transcript.mask(group).astype(int)
        )
        assert np.array_equal(transcript.mask(group, -1), by_turn[2])
        assert all(m.any() for m in by_turn)
    assert (
        np.flatnonzero(transcript.mask("user", 0))[0]
        < np.flatnonzero(transcript.mask("user", 1))[0]
    )


def test_the_last_turn_may_be_empty():
    transcript = make_encoder("chatml").encode(
        [user("a"), assistant("b"), user("a"), assistant("")]
    )
    assert not transcript.mask("assistant", -1).any()
    assert transcript.mask("assistant", -2).any()


@pytest.mark.parametrize(
    ("group", "turn", "match"),
    [
        ("nobody", None, "unknown token group"),
        ("user", 1, "no such turn"),
        ("user", -2, "no such turn"),
        ("assistant", 0, "no such turn"),
        ("thinking", 0, "no such turn"),
        ("template", 0, "have no turn"),
        ("system", -1, "have no turn"),
    ],
)
def test_masks_that_do_not_exist(group, turn, match):
    with pytest.raises(TranscriptError, match=match):
        make_encoder("chatml").prompt([user("a")]).mask(group, turn)


def test_a_transcript_checks_its_shapes():
    with pytest.raises(TranscriptError, match="do not fit together"):
        Transcript(np.zeros(2), np.zeros(3), np.zeros(2), "", 0, 0)
    with pytest.raises(TranscriptError, match="do not fit together"):
        Transcript(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2)), "", 0, 0)
