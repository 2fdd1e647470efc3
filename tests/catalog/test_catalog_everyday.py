"""The everyday conversations: as many as promised, no two alike, ordinary; and halves that stay."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest
from pydantic import ValidationError

from persona_lens.catalog import EverydayChat, load_everyday, load_scripts, split_everyday
from persona_lens.catalog.similarity import search_vectors, search_words, words
from persona_lens.errors import CatalogError
from persona_lens.model.text_embedding import TokenEmbedder

OTHER_SET = re.compile(
    r"\b(AI|A\.I\.|chat ?bots?|language models?|artificial intelligence|conscious\w*|sentien\w*"
    r"|pretend\w*|role-?play\w*|personas?|act as|in the (voice|style) of|you are an?"
    r"|you're an? (robot|machine|bot)|imagine (that )?you|are you (an?|human|real|alive|sure you)"
    r"|do you (ever )?(feel|like|love|want|dream|get bored|remember me)"
    r"|your (own )?(feelings?|name|soul|creators?|training|opinion of yourself)"
    r"|suicid\w*|kill myself|hopeless about|lonely|grief|panic attack)\b",
    re.IGNORECASE,
)
OF_A_REPLY = re.compile(
    r"\b(you('ve| have)? (just )?(said|gave|wrote|mentioned|suggested|listed|told me)"
    r"|your (\w+ )?(answer|suggestion|reply|version|plan|idea|draft|list|option|example|point)s?"
    r"|the (first|second|third|last|other) (option|paragraph|suggestion|version|point))\b",
    re.IGNORECASE,
)
PERSONAL = re.compile(r"@|https?:|www\.|\+?\d[\d -]{7,}\d")
HALVES = {
    "calibration": "21160c8bdbbd1c09",
    "test": "7cd6994199fbfd23",
}
"""SHA-256 of each half; a change here means that thresholds set before it are void."""

TEA = {"id": "tea", "use": "cooking", "messages": ["how long does tea draw", "and green tea?"]}


def digest(chats: tuple[EverydayChat, ...]) -> str:
    text = json.dumps([chat.model_dump() for chat in chats], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def all_messages() -> tuple[list[str], list[int]]:
    chats = load_everyday()
    texts = [message for chat in chats for message in chat.messages]
    return texts, [index for index, chat in enumerate(chats) for _ in chat.messages]


def test_there_are_eight_of_each_of_26_uses():
    chats = load_everyday()
    uses = Counter(chat.use for chat in chats)
    assert len(chats) == 208
    assert len(uses) == 26
    assert set(uses.values()) == {8}


def test_ids_are_their_own_and_no_use_is_called_like_one():
    ids = [chat.id for chat in load_everyday()]
    assert len(set(ids)) == len(ids)
    assert not {*ids, "all"} & {chat.use for chat in load_everyday()}


def test_each_has_ten_messages_of_3_to_40_words():
    for chat in load_everyday():
        assert len(chat.messages) == 10, chat.id
        for message in chat.messages:
            assert 3 <= len(message.split()) <= 40, (chat.id, message)
            assert message == message.strip(), (chat.id, message)


def test_no_two_messages_are_the_same_or_share_their_words():
    texts, owners = all_messages()
    same = [
        text for text, count in Counter(tuple(words(text)) for text in texts).items() if count > 1
    ]
    assert not same
    found = search_words(texts, owners, (0.45, 0.45))
    assert not [(texts[pair.first], texts[pair.second], pair.score) for pair in found.pairs]


@pytest.mark.embedded
def test_no_two_messages_mean_the_same(embedder: TokenEmbedder):
    texts, owners = all_messages()
    # To token embeddings all numbers and formulas are much alike.
    worded = [re.sub(r"\S*[\d^/+*=]\S*", " ", text) for text in texts]
    found = search_vectors(embedder(worded), owners, (0.75, 0.75))
    assert not [(texts[pair.first], texts[pair.second], pair.score) for pair in found.pairs]


def test_none_is_taken_from_the_drift_scripts():
    own, _ = all_messages()
    texts = own + [message for script in load_scripts() for message in script.messages]
    # The two sets are compared with each other only.
    sides = [int(index >= len(own)) for index in range(len(texts))]
    found = search_words(texts, range(len(texts)), (0.5, 0.5), exempt=sides)
    assert not [(texts[pair.first], texts[pair.second], pair.score) for pair in found.pairs]


def test_no_opening_is_a_template():
    """People begin alike now and then (`how do I`), but no four words begin one message in a hundred."""
    texts, _ = all_messages()
    openings = Counter(tuple(words(text)[:4]) for text in texts)
    assert openings.most_common(1)[0][1] <= len(texts) // 100


def test_first_messages_have_something_in_them():
    """A conversation that begins with `help` could be any; what it is about shows from the start."""
    for chat in load_everyday():
        assert len(chat.messages[0].split()) >= 5, chat.id


def test_nothing_belongs_to_the_drift_scripts():
    texts, _ = all_messages()
    assert not [text for text in texts if OTHER_SET.search(text)]


def test_no_message_refers_to_what_a_reply_said():
    texts, _ = all_messages()
    assert not [text for text in texts if OF_A_REPLY.search(text)]


def test_few_conversations_end_with_a_list():
    """Many ask for a list in the end, as people do; most must not, or turn ten would be a kind of its own."""
    lasts = [chat.messages[-1] for chat in load_everyday()]
    asking = [
        text for text in lasts if re.search(r"\b(list|table|plan|sheet|schedule|page)\b", text)
    ]
    assert len(asking) < len(lasts) / 5


def test_no_addresses_numbers_or_links():
    texts, _ = all_messages()
    assert not [text for text in texts if PERSONAL.search(text)]


def test_people_write_differently():
    """Some with capitals and full stops, some without either; some at length, most briefly."""
    texts, _ = all_messages()
    lower = sum(text[0].islower() for text in texts) / len(texts)
    lengths = sorted(len(text.split()) for text in texts)
    assert 0.3 < lower < 0.6
    assert lengths[len(lengths) // 10] <= 7
    assert lengths[-len(lengths) // 10] >= 20


def test_the_halves_are_disjoint_and_balanced():
    chats = load_everyday()
    calibration, test = split_everyday(chats)
    assert not set(calibration) & set(test)
    assert set(calibration) | set(test) == set(chats)
    for half in (calibration, test):
        assert set(Counter(chat.use for chat in half).values()) == {4}
        assert [chat for chat in chats if chat in half] == list(half)


def test_the_halves_stay_what_they_are():
    calibration, test = split_everyday(load_everyday())
    assert {"calibration": digest(calibration), "test": digest(test)} == HALVES


def test_a_packaged_one_keeps_its_half_in_any_company():
    whole = set(split_everyday(load_everyday())[1])
    some = load_everyday()[::3]
    assert set(split_everyday(some[::-1])[1]) == whole & set(some)
    mixed = load_everyday([*some, TEA, {**TEA, "id": "coffee"}])
    calibration, test = split_everyday(mixed)
    assert set(test) & set(some) == whole & set(some)
    own = [half for half in (calibration, test) for chat in half if chat.id in ("tea", "coffee")]
    assert own == [calibration, test]


def test_your_own_are_split_alike_in_any_order():
    own = load_everyday([{**TEA, "id": f"tea_{n}", "use": f"use_{n % 3}"} for n in range(12)])
    calibration, test = split_everyday(own)
    assert [set(half) for half in split_everyday(own[::-1])] == [set(calibration), set(test)]
    for half in (calibration, test):
        assert Counter(chat.use for chat in half) == {"use_0": 2, "use_1": 2, "use_2": 2}


def test_one_half_alone_is_no_split():
    test = split_everyday(load_everyday())[1]
    for chats, lacking in ((test, "calibration"), (test[:0], "test")):
        with pytest.raises(CatalogError, match=f"left for the {lacking} half"):
            split_everyday(chats)


def test_a_use_an_id_and_both():
    assert [chat.use for chat in load_everyday("pets")] == ["pets"] * 8
    chosen = load_everyday(["flat_pancakes", "pets"])
    assert [chat.id for chat in chosen][:2] == ["flat_pancakes", load_everyday("pets")[0].id]
    assert load_everyday(chosen) == chosen
    assert load_everyday(None) == ()


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_your_own_file(tmp_path, suffix):
    entries = [TEA, {**TEA, "id": "coffee"}]
    lines = "\n".join(json.dumps(entry) for entry in entries)
    path = tmp_path / f"mine{suffix}"
    path.write_text(lines if suffix == ".jsonl" else json.dumps(entries), "utf-8")
    assert load_everyday(path) == load_everyday(str(path)) == load_everyday(entries)


def test_a_written_chat_is_read_again(tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_text("\n".join(chat.model_dump_json() for chat in load_everyday()), "utf-8")
    assert load_everyday(path) == load_everyday()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("coking", "did you mean cooking"),
        ("flat_pancake", "did you mean flat_pancakes"),
        ("xyzzy", "the uses are cooking, "),
        (["pets", "pets"], "'.*' is given twice: by everyday, entry .0. .pets. and by"),
        ({**TEA, "messages": []}, "'tea', field messages: is empty\n[^$]*at least one message"),
        ({**TEA, "messages": ["  "]}, r"field messages\[0\]"),
        ({**TEA, "messages": [3]}, r"field messages\[0\].*string"),
        ({**TEA, "messages": "one long text"}, "write messages as a list"),
        ({**TEA, "id": "Tea Time"}, "field id"),
        ({**TEA, "replies": []}, "field replies"),
        ({"id": "tea", "messages": ["a"]}, "a conversation has the fields id, use, messages"),
        (7, "is not a conversation\n.*given int 7"),
    ],
)
def test_mistakes_are_told(spec, told):
    with pytest.raises(CatalogError, match=told):
        load_everyday(spec)


def test_files_that_are_none_are_told(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "tea", "use": "cooking", "messages": ["a b c"]}\n"tea"\n', "utf-8")
    with pytest.raises(CatalogError, match=r"line 2: is not a conversation"):
        load_everyday(path)
    with pytest.raises(CatalogError, match=r"cannot be read"):
        load_everyday(tmp_path / "absent.json")
    with pytest.raises(CatalogError, match=r"expected a file with one of the endings \.json, "):
        load_everyday(tmp_path / "mine.csv")


def test_a_chat_cannot_be_changed():
    chat = load_everyday()[0]
    with pytest.raises(ValidationError, match="frozen"):
        chat.id = "other"
