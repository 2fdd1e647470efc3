"""Checks of tokens: BOS, and token groups that decode back to what was said."""

from __future__ import annotations

import unicodedata

from persona_lens.verify.outcomes import Finding, Measure, NotApplicable
from persona_lens.verify.registry import check
from persona_lens.verify.subject import Subject


@check(
    "bos",
    title="at most one BOS at the start",
    meaning="prompts begin in a way the model was never trained on; pass a chat_template that writes one BOS",
)
def one_bos(subject: Subject) -> Finding:
    """Count the BOS tokens each conversation begins with, finished or waiting for a reply."""
    bos = subject.model.tokenizer.bos_token_id
    if bos is None:
        raise NotApplicable("the tokenizer has no BOS")
    counts = []
    for transcript in (*subject.transcripts, *subject.prompts):
        others = (transcript.ids != bos).nonzero()[0]
        counts.append(int(others[0]) if len(others) else len(transcript))
    return Finding(
        [Measure("at the start", max(counts), "BOS tokens", at_most=1)],
        note=f"{len(counts)} conversations",
    )


@check(
    "groups",
    title="token groups decode to what was said",
    meaning="means and interventions would be of other tokens than asked for; use the tokenizer that belongs to "
    "the model, or another chat_template",
)
def groups_decode(subject: Subject) -> Finding:
    """Decode the tokens of every message and compare, but for white space, case and Unicode composition."""
    tokenizer = subject.model.tokenizer
    wrong, seen = [], 0
    for messages, transcript in zip(subject.conversations, subject.transcripts, strict=True):
        turns = {"user": 0, "assistant": 0}
        for message in messages:
            role, content = message["role"], message["content"]
            turn = turns.get(role)
            if turn is not None:
                turns[role] += 1
            found = tokenizer.decode(transcript.ids[transcript.mask(role, turn)])
            seen += bool(content)
            if _plain(str(found)) != _plain(content):
                wrong.append(f"{role} {content!r} decodes to {found!r}")
    return Finding(
        [
            Measure("wrong", len(wrong), "messages", at_most=0),
            Measure("compared", seen, "messages", at_least=1),
        ],
        note="; ".join(wrong[:2]),
    )


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
