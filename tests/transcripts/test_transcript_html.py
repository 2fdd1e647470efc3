"""A transcript in a notebook: whole text, each token on its group's colour, and nothing that runs."""

from __future__ import annotations

import pickle
import re
from html import unescape

from tiny import tiny_tokenizer

from persona_lens.transcripts import TranscriptEncoder
from persona_lens.transcripts.html import MAX_TOKENS

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202e \x00 海 \"'&"


def spans(page: str) -> list[tuple[str, str]]:
    body = page.split('<div class="pl-text">')[1]
    return re.findall(r'<span class="pl-(\w+)" title="[^"]*">([^<]*)</span>', body)


def test_all_text_is_shown_once_in_the_colour_of_its_group() -> None:
    encoder = TranscriptEncoder(tiny_tokenizer())
    said = encoder.encode(
        [
            {"role": "system", "content": "Be a ghost."},
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "Boo 海!"},
        ]
    )
    shown = spans(said._repr_html_())
    by_group = {
        group: "".join(unescape(text) for its, text in shown if its == group)
        for group in ("system", "user", "assistant")
    }
    assert by_group == {"system": "Be a ghost.", "user": "Who are you?", "assistant": "Boo 海!"}
    assert "".join(unescape(text) for _, text in shown).replace("↵", "") == said.text
    assert repr(said).startswith(f"Transcript({len(said)} tokens: ")
    assert f"{int(said.mask('user').sum())} user" in repr(said)


def test_hostile_text_is_text() -> None:
    encoder = TranscriptEncoder(tiny_tokenizer())
    page = encoder.prompt([{"role": "user", "content": HOSTILE}])._repr_html_()
    assert not re.search(r"<(script|img)", page)
    assert "".join(text for group, text in spans(page) if group == "user").count("&lt;") == 3
    assert "\u202e" not in page
    assert "waits for a reply" in page


def test_replies_are_shown_behind_their_prompts_and_long_ones_are_cut() -> None:
    encoder = TranscriptEncoder(tiny_tokenizer())
    prompt = encoder.prompt([{"role": "user", "content": "Hi"}])
    whole = encoder.with_reply(prompt, encoder.plain_ids("x" * 2 * MAX_TOKENS))
    page = whole._repr_html_()
    assert f"… {len(whole) - MAX_TOKENS:,} tokens before these" in page
    assert {group for group, _ in spans(page)} == {"assistant"}
    assert page.count("<span") < 2 * MAX_TOKENS


def test_a_transcript_travels_without_its_tokenizer() -> None:
    said = TranscriptEncoder(tiny_tokenizer()).prompt([{"role": "user", "content": "Hi"}])
    there = pickle.loads(pickle.dumps(said))  # noqa: S301 - of this line
    assert there.decode is None
    assert there.ids.tolist() == said.ids.tolist()
    assert f"⟨{there.ids[0]}⟩" in there._repr_html_()
