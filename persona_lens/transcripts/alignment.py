"""From text to tokens: which slot owns which token, checked by decoding back.

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
from persona_lens.transcripts.groups import Group, Transcript
from persona_lens.transcripts.layout import Layout
from persona_lens.transcripts.rendering import Span, locate
from persona_lens.transcripts.template import ChatTemplate
from persona_lens.transcripts.tokens import TokenReader
from persona_lens.transcripts.validation import short

NOBODY = -1


def transcribe(
    layout: Layout, template: ChatTemplate, reader: TokenReader, *, generating: bool
) -> Transcript:
    """Render a conversation, tokenise it once, and give every token the group that its characters are of.

    Args:
        layout: The conversation, from ``lay_out``.
        template: Renders it.
        reader: Tokenises it.
        generating: Whether the generation prompt comes behind it.

    Raises:
        TranscriptError: The template refuses the messages, a group cannot be proved, or the first message begins
            with a second BOS.
    """
    text, spans = locate(layout, lambda messages: template.render(messages, prompt=generating))
    ids, offsets = reader.encode(text)
    special = np.isin(ids, list(reader.special_ids))
    starts, ends = tile(text, offsets)
    owners = assign(text, starts, ends, spans, special)

    def name(owner: int) -> str:
        if owner == NOBODY:
            return "the template"
        slot = layout.slots[owner]
        return f"group {slot.group.value!r} of message {slot.message}"

    check(
        text,
        ids,
        starts,
        ends,
        owners,
        decode=reader.decode,
        normalize=reader.normalize,
        name=name,
    )
    skip = _doubled_bos(ids, owners, reader)
    groups = np.where(special, Group.SPECIAL.code, Group.TEMPLATE.code).astype(np.int8)
    turns = np.full(len(ids), -1, dtype=np.int64)
    for owner, slot in enumerate(layout.slots):
        groups[owners == owner] = slot.group.code
        turns[owners == owner] = slot.turn
    roles = [role for role, _ in layout.messages]
    return Transcript(
        ids=ids[skip:],
        groups=groups[skip:],
        turns=turns[skip:],
        text=text[starts[skip] :] if skip else text,
        user_turns=roles.count("user"),
        assistant_turns=roles.count("assistant"),
        generating=generating,
        decode=reader.decode,
    )


def _doubled_bos(
    ids: Int[np.ndarray, " n_tokens"], owners: Int[np.ndarray, " n_tokens"], reader: TokenReader
) -> int:
    """How many BOS tokens at the start are one too many."""
    bos = reader.tokenizer.bos_token_id
    skip = 0
    while bos is not None and (ids[skip : skip + 2] == bos).sum() == 2:
        if owners[skip + 1] != NOBODY:
            raise TranscriptError(
                "the first message begins with a second BOS token",
                expected="at most one BOS at the start",
                given=f"{reader.tokenizer.bos_token!r} twice",
                remedy="remove it from the message",
            )
        skip += 1
    return skip


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
