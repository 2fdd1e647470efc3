"""The marks that models put around their thoughts: one table, and what a tokenizer or a template adds to it.

A family of models that thinks between other marks needs one line in ``KNOWN``; most need none, because their
tokenizer or their template declares the marks: as a pair of tokens with a telling name, or by what the template
writes around ``reasoning_content``.

Examples:
    >>> Notation.of(["<hidden_reasoning>", "</hidden_reasoning>", "<|im_end|>"], "").pairs[0]
    ThoughtMarks(opens='<hidden_reasoning>', closes='</hidden_reasoning>')
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

from persona_lens.errors import TranscriptError
from persona_lens.transcripts.channels import lead_in_channels


class ThoughtMarks(NamedTuple):
    """What stands before and behind a thought; white space inside a mark stands for any, or none."""

    opens: str
    closes: str


KNOWN = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("<thinking>", "</thinking>"),
    ThoughtMarks("<thought>", "</thought>"),
    ThoughtMarks("<Thought>", "</Thought>"),
    ThoughtMarks("<reasoning>", "</reasoning>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("<longcat_think>", "</longcat_think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("<|begin_of_thought|>", "<|end_of_thought|>"),
    ThoughtMarks("<|inner_prefix|>", "<|inner_suffix|>"),
    ThoughtMarks("<|channel>thought", "<channel|>"),
    ThoughtMarks("◁think▷", "◁/think▷"),
)
"""Marks that mean a thought wherever a reply begins with them (channels have a module of their own)."""

WORDED = (
    ThoughtMarks("Here is my thought process:", "Here is my response:"),
    ThoughtMarks("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]"),
)
"""Marks in plain words: in force only where the template itself has them (Granite 3.2, Apriel)."""

ANSWER = (
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<response>", "</response>"),
    ("<answer>", "</answer>"),
    ("[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"),
)
"""Wrappers that some of these families put around the answer behind a thought."""

CHANNEL_TOKENS = (
    *("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"),
)  # fmt: skip
"""Tokens of the harmony format (gpt-oss), whose replies are messages in channels."""

_TELLING = re.compile(
    r"think|thought|reason|ponder|reflect|inner|scratch_?pad|monologue|\bcot\b", re.IGNORECASE
)
_MARK_LIKE = re.compile(r"<[^<>\s'\"{}%]{2,40}>|\[/?[A-Z_]{4,30}\]|◁[^◁▷\s]{2,30}▷")
_COUNTERPARTS = (
    ("begin", "end"),
    ("start", "end"),
    ("open", "close"),
    ("prefix", "suffix"),
    ("bot", "eot"),
)


@dataclass(frozen=True)
class Notation:
    """How one model writes thoughts.

    Attributes:
        pairs: Marks in force, those the model declares first.
        ids: Marks that are one token, with its id. Spelled out in other tokens, such a mark is only mentioned.
        controls: Marks that are special tokens: they mean a thought in the middle of a reply, too.
        goes_on: Ids of tokens that may end a thought and not the reply, though they look like the end of a turn.
        channels: Replies are messages in channels (harmony).
    """

    pairs: tuple[ThoughtMarks, ...] = KNOWN
    ids: Mapping[str, int] = field(default_factory=dict)
    controls: frozenset[str] = frozenset()
    goes_on: frozenset[int] = frozenset()
    channels: bool = False

    @classmethod
    def of(
        cls,
        tokens: Iterable[str] | Mapping[str, int],
        template: str,
        *,
        special: Iterable[str] = (),
        render: Callable[[list[dict[str, str]]], str] | None = None,
    ) -> Notation:
        """What a tokenizer and a template declare, beside the table.

        Args:
            tokens: Texts of the tokenizer's added tokens, with their ids if they are known.
            template: Source of the chat template.
            special: Those of the tokens that are special.
            render: A finished conversation to text, to see what the template writes around
                ``reasoning_content``; raises ``TranscriptError`` where it refuses.
        """
        ids = dict(tokens) if isinstance(tokens, Mapping) else dict.fromkeys(tokens, -1)
        channels = {"<|channel|>", "<|message|>"} <= ids.keys()
        named = _named_pairs({*ids, *_MARK_LIKE.findall(template)})
        worded = [pair for pair in WORDED if any(mark in template for mark in pair)]
        written = None if render is None or channels else _written_pair(render)
        declared = [*named, *worded]
        if written is not None and not any(
            written.closes.startswith(p.closes) for p in (*declared, *KNOWN)
        ):
            declared.append(written)
        pairs = tuple(dict.fromkeys((*declared, *KNOWN)))
        marks = {mark for pair in (*pairs, *ANSWER) for mark in pair}
        marks |= set(CHANNEL_TOKENS) if channels else set()
        between = "" if written is None else written.closes
        between += "<|end|>" if channels else ""
        parts = {token for token in ids if token and token in between}
        known = {mark: ids[mark] for mark in marks | parts if ids.get(mark, -1) >= 0}
        return cls(
            pairs,
            known,
            controls=frozenset(marks.intersection(special)),
            goes_on=frozenset(ids[token] for token in parts),
            channels=channels,
        )

    @cached_property
    def token_ids(self) -> frozenset[int]:
        """Ids of tokens that are marks, or a part of one."""
        return frozenset(self.ids.values())

    @cached_property
    def opener(self) -> re.Pattern[str]:
        """Any mark that opens a thought."""
        return _any_of(pair.opens for pair in self.pairs)

    @cached_property
    def closer(self) -> re.Pattern[str]:
        """Any mark that closes one."""
        return _any_of(pair.closes for pair in self.pairs)

    def closer_of(self, opened: str) -> re.Pattern[str]:
        """The marks that close what ``opened`` has opened."""
        same = _squeezed(opened)
        return _any_of(pair.closes for pair in self.pairs if _squeezed(pair.opens) == same)

    def lead(self, tail: str) -> str:
        """What a model writes between its prompt and an answer without a thought.

        Args:
            tail: The text of the prompt behind its last message.

        Examples:
            >>> Notation().lead("<|im_start|>assistant\\n<think>\\n"), Notation().lead("<|im_start|>assistant\\n")
            ('</think>\\n\\n', '')
        """
        if self.channels:
            return lead_in_channels(tail)
        opened = self.opened_by(tail)
        if opened is None:
            return ""
        same = _squeezed(opened)
        return next(f"{p.closes}\n\n" for p in self.pairs if _squeezed(p.opens) == same)

    def opened_by(self, tail: str) -> str | None:
        """The mark that a prompt leaves open; None if its last mark closes a thought, or there is none.

        Args:
            tail: The text of the prompt behind its last message.

        Examples:
            >>> Notation().opened_by("<|im_start|>assistant\\n<think>\\n")
            '<think>'
            >>> Notation().opened_by("<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n") is None
            True
        """
        opens = list(self.opener.finditer(tail))
        closes = [found.end() for found in self.closer.finditer(tail)]
        if not opens or (closes and closes[-1] > opens[-1].start()):
            return None
        return opens[-1][0]


def _any_of(marks: Iterable[str]) -> re.Pattern[str]:
    """One pattern for some marks, the longest first; white space in them is free."""
    longest_first = sorted(set(marks), key=lambda mark: (-len(mark), mark))
    flexible = (r"\s*".join(map(re.escape, mark.split())) for mark in longest_first)
    return re.compile("|".join(flexible) or r"(?!)")


def _squeezed(mark: str) -> str:
    return "".join(mark.split())


def _named_pairs(candidates: Iterable[str]) -> list[ThoughtMarks]:
    """Pairs of marks whose names say that a thought stands between them."""
    found, there = [], set(candidates)
    for mark in sorted(there):
        if _TELLING.search(mark):
            partner = next((other for other in _counterparts(mark) if other in there), None)
            if partner is not None:
                found.append(ThoughtMarks(mark, partner))
    return found


def _counterparts(mark: str) -> list[str]:
    """What would close a thought that this mark opens."""
    inside = re.match(r"^(<\|?|\[|◁)(?=[^/|])", mark)
    if inside is None:
        return []
    bracket, name = inside[0], mark[inside.end() :]
    found = [f"{bracket}/{name}"]
    if bracket == "<|":
        found.append(f"</|{name}")
    for first, last in _COUNTERPARTS:
        for case in (str, str.upper, str.capitalize):
            word = re.compile(
                rf"(?<![A-Za-z]){case(first)}(?![A-Za-z])|(?<=_){case(first)}(?=_|\b)"
            )
            if word.search(mark):
                found.append(word.sub(case(last), mark))
    return found


_ASKED, _THOUGHT, _ANSWERED = "\ue0000\ue000", "\ue0001\ue000", "\ue0002\ue000"


def _written_pair(render: Callable[[list[dict[str, str]]], str]) -> ThoughtMarks | None:
    """What a template writes before and behind ``reasoning_content``, if it writes that at all."""
    user = {"role": "user", "content": _ASKED}
    said = {"role": "assistant", "content": _ANSWERED}
    try:
        thinking = render([user, {**said, "reasoning_content": _THOUGHT}])
        plain = render([user, said])
    except TranscriptError:
        return None
    head, found, behind = thinking.partition(_THOUGHT)
    closes, answered, _ = behind.partition(_ANSWERED)
    if not (found and answered and closes.strip()):
        return None
    pairs = zip(head, plain.partition(_ANSWERED)[0], strict=False)
    shared = "".join(left for left, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    begun = max(shared.rfind("<"), shared.rfind("["))
    if begun >= 0 and not re.search(r"[>\]]", shared[begun:]):
        shared = shared[:begun]  # both go on with a mark, and the marks begin alike
    opens = head.removeprefix(shared).strip()
    return ThoughtMarks(opens, closes.strip()) if opens else None
