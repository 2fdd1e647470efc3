"""The receipt in a notebook: what is shaded, what is shown as text, and that nothing breaks out of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import shared_model

from persona_lens import Sampling
from persona_lens.interventions import Add, Ceil, Direction, Plan, Receipt
from persona_lens.interventions.html import MAX_ROWS, MAX_TOKENS, receipt_html
from persona_lens.interventions.touched import TouchedTokens
from persona_lens.transcripts.pieces import pieces, visible

DIRECTION = Direction("ghost", (0, 1), np.eye(2, 16))
PLAN = Plan.of(Add(DIRECTION, lengths=1.0), Ceil(DIRECTION, thresholds=9.0).at([1]))


def bytes_of(ids: Sequence[int]) -> str:
    """A tokenizer with a token for each byte."""
    return bytes(ids).decode("utf-8", errors="replace")


class Page(HTMLParser):
    """Tokens of a page as `(text, style, title, class)`, its other text, and whether its tags match."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tokens: list[dict[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if "title" in given:
            self.tokens.append({"text": "", **given})
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            return
        self.text += data
        if self.tokens and "span" in self.open:
            self.tokens[-1]["text"] += data


def page_of(rows: Sequence[TouchedTokens], plan: Plan = PLAN) -> Page:
    receipt = Receipt(plan, detail=True, decode=bytes_of)
    receipt.take(rows)
    return Page(receipt_html(receipt))


def touched(text: str, change: Sequence[Sequence[float]], row: int = 0) -> TouchedTokens:
    ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)
    return TouchedTokens(row, ids, np.array(change, dtype=np.float32).reshape(3, len(ids)))


def alpha(token: dict[str, str]) -> float:
    found = re.search(r"rgba\(\d+, \d+, \d+, ([\d.]+)\)", token.get("style", ""))
    return float(found[1]) if found else 0.0


nan = np.nan


def test_the_more_a_token_was_changed_the_darker_it_is() -> None:
    change = [[nan, 0.0, 0.1, 0.0, nan], [nan, 0.0, 0.0, 0.4, nan], [nan, nan, 0.2, nan, 0.8]]
    tokens = page_of([touched("abcde", change)]).tokens
    assert [token["text"] for token in tokens] == list("abcde")
    shades = [alpha(token) for token in tokens]
    assert shades[0] == shades[1] == 0
    assert 0 < shades[2] < shades[3] < shades[4] < 1
    # Chosen and left alone is told from not chosen.
    assert ["pl-idle" in token.get("class", "") for token in tokens] == [False, True, *[False] * 3]


def test_a_token_says_what_each_operation_did_to_it() -> None:
    change = [[nan, 0.1, 0.3], [nan, 0.2, 0.0], [nan, nan, 0.05]]
    titles = [token["title"] for token in page_of([touched("abc", change)]).tokens]
    assert titles == [
        "token 97\nnot chosen",
        "token 98\nadd ghost: 20.0% at layer 1",
        "token 99\nadd ghost: 30.0% at layer 0\nceil ghost: 5.0%",
    ]


def test_characters_of_several_tokens_stay_whole() -> None:
    text = "é海👩‍🚀!"
    n_tokens = len(text.encode())
    change = np.full((3, n_tokens), nan)
    change[0, 2:5] = [0.1, 0.5, 0.2]  # the three bytes of the second character
    tokens = page_of([touched(text, change.tolist())]).tokens
    assert "".join(token["text"] for token in tokens) == text
    assert [token["text"] for token in tokens][:2] == ["é", "海"]
    assert tokens[1]["title"] == "token 230, 181, 183\nadd ghost: 50.0% at layer 0"


def test_bytes_that_are_no_text_are_shown_as_numbers() -> None:
    ids = np.array([0x61, 0xFF, 0xE6, 0x62, 0xE6])
    row = TouchedTokens(0, ids, np.full((3, 5), 0.1, dtype=np.float32))
    texts = [token["text"] for token in page_of([row]).tokens]
    assert texts == ["a", "⟨255⟩", "⟨230⟩", "b", "⟨230⟩"]


def test_without_a_tokenizer_ids_are_shown() -> None:
    receipt = Receipt(PLAN, detail=True)
    receipt.take([touched("ab", [[0.1, 0.1]] * 3)])
    assert [token["text"] for token in Page(receipt_html(receipt)).tokens] == ["⟨97⟩", "⟨98⟩"]


def test_white_space_and_special_tokens_can_be_seen() -> None:
    assert visible("a\n\n\tb\r\x1b") == "a↵\n↵\n⇥b␍␛"
    assert visible("\u202eevil\u200d") == "⟨U+202E⟩evil\u200d"
    words = ["<|im_end|>", "a<b", "[INST]", " ok"]
    receipt = Receipt(PLAN, detail=True, decode=lambda ids: "".join(words[i] for i in ids))
    receipt.take([TouchedTokens(0, np.arange(4), np.full((3, 4), nan, dtype=np.float32))])
    tokens = Page(receipt_html(receipt)).tokens
    assert [token["text"] for token in tokens] == words
    assert ["pl-mark" in token.get("class", "") for token in tokens] == [True, False, True, False]


def test_nothing_breaks_out_of_the_page() -> None:
    evil = '</span><script>alert(\'1\')</script>"onload="x" &amp;'
    named = Direction(evil, (0, 1), np.eye(2, 16))
    plan = Plan.of(Add(named, lengths=1.0, unit=evil), Ceil(named, thresholds=9.0).at([1]))
    change = np.full((3, len(evil)), 0.2)
    receipt = Receipt(plan, detail=True, decode=bytes_of)
    receipt.take([touched(evil, change.tolist())])
    html = receipt_html(receipt)
    assert "<script" not in html
    page = Page(html)
    assert "".join(token["text"] for token in page.tokens) == evil
    assert evil in page.text
    assert all(set(token) <= {"text", "class", "style", "title"} for token in page.tokens)


def test_colours_are_laid_over_those_of_the_notebook() -> None:
    receipt = Receipt(PLAN, detail=True, decode=bytes_of)
    receipt.take([touched("ab", [[0.1, 0.3]] * 3)])
    html = receipt_html(receipt)
    assert not re.search(r"(?<![-\w])color:(?! inherit)", html)
    backgrounds = re.findall(r"background: ?([^;}\"]*)", html)
    assert backgrounds
    assert all(
        value.startswith(("none", "rgba(", "linear-gradient(to right, rgba("))
        for value in backgrounds
    )


def test_many_rows_and_long_rows_are_cut() -> None:
    page = page_of([touched("ab", [[0.1, 0.1]] * 3, row) for row in range(MAX_ROWS + 7)])
    assert len(page.tokens) == 2 * MAX_ROWS
    assert f"row {MAX_ROWS - 1}" in page.text
    assert f"row {MAX_ROWS}" not in page.text
    assert "and 7 more" in page.text
    text = "a" * 10 + "b" * MAX_TOKENS
    page = page_of([touched(text, np.full((3, len(text)), 0.1).tolist())])
    assert [token["text"] for token in page.tokens] == [
        "b"
    ] * MAX_TOKENS  # the end, where the reply is
    assert "10 tokens before this" in page.text


def test_rows_of_several_calls_are_told_apart() -> None:
    receipt = Receipt(PLAN, detail=True, decode=bytes_of)
    for rows in ((1,), (0,), (0, 1)):  # two batches of a call, then another call
        receipt.take([touched("ab", [[0.1, 0.1]] * 3, row) for row in rows])
    text = Page(receipt_html(receipt)).text
    assert re.findall(r"call \d, row \d", text) == [
        *("call 1, row 0", "call 1, row 1", "call 2, row 0", "call 2, row 1")
    ]


def test_the_whole_page_of_a_real_receipt() -> None:
    model = shared_model("llama")
    prompts = [
        model.encoder.prompt([{"role": "user", "content": text}]) for text in ("Sea 海?\nYes", "No")
    ]
    with model.intervene(PLAN.where("user"), detail=True) as receipt:
        assert "nothing ran under it yet" in Page(receipt._repr_html_()).text
        replies = model.generate(prompts, Sampling(temperature=0, max_new_tokens=8))
    page = Page(receipt._repr_html_())
    assert re.search(r"1\s*add ghost\s*unit raw; strength 1\s*0-1\s*user\s*100%", page.text)
    for number in (1, 2):
        assert receipt.sentence(number, receipt.frame()) in page.text
    assert page.text.count("ceil ghost") == 2  # in the summary, and at its one layer
    hot = "".join(token["text"] for token in page.tokens if alpha(token))
    assert hot == "Sea 海?↵\nYesNo"
    # Without detail there are tables only.
    with model.intervene(PLAN) as plain:
        model.generate(prompts, Sampling(temperature=0, max_new_tokens=2))
    assert Page(plain._repr_html_()).tokens == []
    assert replies


def test_pages_of_nothing() -> None:
    assert "operation" in Page(receipt_html(Receipt(Plan(())))).text
    page = page_of([touched("ab", [[nan, nan]] * 3)])
    assert "no token was changed" in page.text
    assert page_of([TouchedTokens(0, np.zeros(0, int), np.zeros((3, 0), np.float32))]).tokens == []


@settings(deadline=None, derandomize=True)
@given(st.text(max_size=40))
def test_pieces_of_a_text_are_the_text(text: str) -> None:
    text = text.encode("utf-8", errors="ignore").decode().replace("\ufffd", "")
    found = pieces(list(text.encode()), bytes_of)
    assert "".join(piece.text or "" for piece in found) == text
    assert [piece.text for piece in found] == list(text)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 255), max_size=40))
def test_pieces_of_anything_cover_it_once(ids: list[int]) -> None:
    found = pieces(ids, bytes_of)
    assert [place for piece in found for place in range(piece.start, piece.stop)] == list(
        range(len(ids))
    )
    assert not any("\ufffd" in (piece.text or "") for piece in found)


def test_spaces_between_words_of_a_sentencepiece_tokenizer_are_kept() -> None:
    words = ["▁Who", "▁are", "▁you", "?"]

    def decode(ids: list[int]) -> str:
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    assert [piece.text for piece in pieces(range(4), decode)] == ["Who", " are", " you", "?"]
