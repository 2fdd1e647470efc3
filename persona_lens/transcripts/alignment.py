"""From characters to tokens: which slot owns which token, checked by decoding back.

A token that straddles a border belongs to the message it touches, never to the template: in
``"Assistant: Yes"`` the token ``" Yes"`` carries the reply. Added tokens that swallow neighbouring
white space (Phi-3's ``<|end|>``) stay special.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Bool, Int

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.rendering import Span
from persona_lens.transcripts.validation import short

NOBODY = -1


def tile(
    text: str, offsets: Sequence[tuple[int, int]]
) -> tuple[Int[np.ndarray, " n_tokens"], Int[np.ndarray, " n_tokens"]]:
    """Start and end character of every token, none of zero width where text is left for it.

    Byte-level tokenizers may trim spaces off their offsets, so that a token made of spaces alone
    has no width; it gets back the gap before it. A token that stands for no character at all (the
    "▁" that sentencepiece puts first) goes with the character that follows. Unigram's byte tokens
    all claim the whole stretch of unknown characters; each gets its own.

    Examples:
        >>> tile("a  b", [(0, 1), (3, 3), (3, 4)])
        (array([0, 1, 3]), array([1, 3, 4]))
    """
    starts, ends, reached = [], [], 0
    for first, last in _single_bytes(text, offsets):
        start, end = first, last
        if start == end and start > reached:
            start = reached
        elif start == end:
            end = min(start + 1, len(text))
        starts.append(start)
        ends.append(end)
        reached = max(reached, last)
    return np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64)


def _single_bytes(text: str, offsets: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Offsets, where byte tokens that all claim one stretch get the character of their byte."""
    for (start, end), members in groupby(offsets):
        count = sum(1 for _ in members)
        byte_of = [at for at in range(start, end) for _ in text[at].encode()]
        if count > 1 and count == len(byte_of):
            yield from ((at, at + 1) for at in byte_of)
        else:
            yield from [(start, end)] * count


def assign(
    text: str,
    starts: Int[np.ndarray, " n_tokens"],
    ends: Int[np.ndarray, " n_tokens"],
    spans: Sequence[Span],
    special: Bool[np.ndarray, " n_tokens"],
) -> Int[np.ndarray, " n_tokens"]:
    """The slot that owns each token, ``NOBODY`` for template and special tokens.

    Raises:
        TranscriptError: One token holds letters of two messages.

    Examples:
        >>> assign("User: hi", np.array([0, 4, 5]), np.array([4, 5, 8]), [Span(6, 8, 0)],
        ...        np.array([False, False, False]))
        array([-1, -1,  0])
    """
    owners = np.full(len(starts), NOBODY, dtype=np.int64)
    first = 0
    for token, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        while first < len(spans) and spans[first].end <= start:
            first += 1
        touched: list[tuple[int, bool]] = []
        for span in spans[first:]:
            if span.start >= end:
                break
            shared = text[max(start, span.start) : min(end, span.end)]
            if shared:
                touched.append((span.slot, bool(shared.strip())))
        solid = [slot for slot, has_letters in touched if has_letters]
        if len(solid) > 1:
            raise TranscriptError(
                "one token holds the text of two messages",
                expected="a template with text or a special token between messages",
                given=f"the token {short(text[start:end])}",
                remedy="pass a chat_template that separates the messages",
            )
        if solid:
            owners[token] = solid[0]
        elif touched and (not special[token] or not text[start:end].strip()):
            owners[token] = touched[0][0]
    return owners


def check(
    text: str,
    ids: Int[np.ndarray, " n_tokens"],
    starts: Int[np.ndarray, " n_tokens"],
    ends: Int[np.ndarray, " n_tokens"],
    owners: Int[np.ndarray, " n_tokens"],
    *,
    decode: Callable[[list[int]], str],
    normalize: Callable[[str], str],
    name: Callable[[int], str],
) -> None:
    """Decode every run of tokens with one owner back, and compare with the text it stands for.

    White space and Unicode composition (NFKC) are let go: sentencepiece drops a first space, some
    tokenizers normalise.

    Args:
        decode: Token ids to text, special tokens kept.
        normalize: The tokenizer's own normaliser.
        name: A slot index to words for the error, ``NOBODY`` included.

    Raises:
        TranscriptError: The tokenizer lost text, or a run does not decode to its text.
    """
    reached = 0
    for start, end in [*zip(starts.tolist(), ends.tolist(), strict=True), (len(text), len(text))]:
        if text[reached:start].strip():
            raise TranscriptError(
                "the tokenizer leaves text out",
                expected="a token for every visible character",
                given=f"none for {short(text[reached:start])}",
                remedy="use the tokenizer that belongs to the model",
            )
        reached = max(reached, end)
    for owner, run in _runs(owners):
        wanted = text[starts[run].min() : ends[run].max()]
        decoded = decode(ids[run].tolist())
        if canonical(decoded) not in (canonical(wanted), canonical(normalize(wanted))):
            raise TranscriptError(
                f"the tokens of {name(owner)} do not decode to their text",
                expected=short(wanted),
                given=short(decoded),
                remedy="the tokenizer cannot represent this text (unknown characters?), or its "
                "offsets are wrong: use the tokenizer that belongs to the model",
            )


def canonical(text: str) -> str:
    """Text without white space, in Unicode form NFKC; "▁" counts as a space.

    Examples:
        >>> canonical("▁cafe\\u0301 \\n") == "café"
        True
    """
    return "".join(unicodedata.normalize("NFKC", text).replace("▁", " ").split())


def _runs(owners: Int[np.ndarray, " n_tokens"]) -> Iterator[tuple[int, slice]]:
    at = 0
    for owner, members in groupby(owners.tolist()):
        length = sum(1 for _ in members)
        yield owner, slice(at, at + length)
        at += length
