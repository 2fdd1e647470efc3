"""What stands in a message and was not said: hidden tags, and thoughts before an answer.

Examples:
    >>> without_tags("I see. <STATE>bored</STATE> Go on.", ["STATE"])
    ('I see. Go on.', 1)
    >>> without_thought("<think>Easy.</think>\\n\\nIt is 4.")
    ('It is 4.', 1)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from persona_lens.conversations.report import Refused

_THOUGHTS = (
    *((f"<{name}>", f"</{name}>") for name in ("think", "thinking", "thought", "reasoning")),
    ("[THINK]", "[/THINK]"),
)
_CLOSED = re.compile(r"</think(?:ing)?>", re.IGNORECASE)
_SUSPECT = re.compile(r"<([A-Z][A-Z0-9_]{3,})\b[^<>]*>.*?</\1\s*>", re.DOTALL)


def without_tags(text: str, names: Sequence[str]) -> tuple[str, int]:
    """The text without these tags and what they hold, and how many there were.

    Large and small letters are the same; tags may stand within one another, and have attributes. Of the blanks
    around a tag that is taken out, those behind it go too.

    Raises:
        Refused: A tag is opened and not closed, or the other way round: what is hidden cannot be told.
    """
    found = 0
    for name in names:
        text, count = _without_tag(text, name)
        found += count
    return (text.strip() if found else text), found


def _without_tag(text: str, name: str) -> tuple[str, int]:
    kept, depth, found, begun = [], 0, 0, 0
    for mark in re.finditer(rf"<(/?){re.escape(name)}(?:\s[^<>]*?)?(/?)>", text, re.IGNORECASE):
        closes, alone = bool(mark[1]), bool(mark[2])
        if closes and not depth:
            raise _unbalanced(name, f"</{name}> is not opened", mark.start())
        if not closes and not depth:
            kept.append(text[begun : mark.start()])
        depth += 0 if alone else -1 if closes else 1
        if depth:
            continue
        found += 1
        begun = mark.end()
        if not kept[-1] or kept[-1][-1].isspace():
            begun += len(text[begun:]) - len(text[begun:].lstrip())
    if depth:
        raise _unbalanced(name, f"<{name}> is not closed", text.lower().rfind(f"<{name.lower()}"))
    return "".join((*kept, text[begun:])), found


def _unbalanced(name: str, problem: str, position: int) -> Refused:
    return Refused(
        "hidden tag without its other half",
        problem,
        expected=f"<{name}> and </{name}> in one message",
        given=f"half of it, at character {position}",
        remedy="mend the message, or read it with no hidden_tags",
    )


def suspects(text: str) -> set[str]:
    """Names of tags in capitals that hold something, as simulators leave them in what the user says.

    Examples:
        >>> suspects("<INTERNAL_STATE>tired</INTERNAL_STATE> Hi"), suspects("x < y and <b>z</b>")
        ({'INTERNAL_STATE'}, set())
    """
    return {found[1] for found in _SUSPECT.finditer(text)} if "</" in text else set()


def without_thought(text: str) -> tuple[str, int]:
    """The answer behind the thoughts that a reply begins with, and how many there were.

    A thought that is not closed was cut, so there is no answer behind it. A thought that is closed and not opened
    was opened by the template.
    """
    found = 0
    while True:
        head = text.lstrip()
        small = head[:12].lower()
        for opens, closes in _THOUGHTS:
            if small.startswith(opens.lower()):
                end = head.lower().find(closes.lower())
                text = "" if end < 0 else head[end + len(closes) :]
                found += 1
                break
        else:
            break
    end = None if found else _CLOSED.search(text)
    if end and "<think" not in text[: end.start()].lower():
        return text[end.end() :].lstrip(), 1
    return (text.lstrip() if found else text), found
