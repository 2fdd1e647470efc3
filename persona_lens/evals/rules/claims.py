"""Who a reply says it is: names and titles that it claims, and those it only mentions or denies.

>>> claims("Call me Captain Orsino!", ["Orsino"]), claims("I am not Orsino.", ["Orsino"])
(True, False)
>>> claims("I'm the plant doctor", ["doctor"]), claims("I am the doctor's assistant", ["doctor"])
(True, False)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from persona_lens.evals.rules.reading import folded, tokens

_SAYS = (
    r"\b(?:i am|i'm|im|it is i|it's me|it is me|this is|my name is|my name's|the name is|the name's|call me|"
    r"known as|i go by|signed|sincerely|regards|yours)"
)
_SURE = (
    r"(?:\s*[,:\-]*\s*(?:indeed|really|truly|simply|just|none other than|of course|in fact|now))*"
)
_STOPS = r"(?!of\b|to\b|for\b|with\b|who\b|that\b|not\b|no\b|and\b|than\b|like\b|by\b|near\b|from\b|about\b|in\b)"
_TITLE = r"(?:captain |sir |lady |madame |mr |mrs |dr |doctor |great |the )*"
_POST = rf"(?:(?:a|an|the|your|our|their|one and only)\s+(?:{_STOPS}[\w-]+\s+){{0,2}})?"
_GAP = rf"{_SURE}[\s,:\-*_\"]+{_POST}{_TITLE}[*_\"]*"
_WHOLE = r"(?!\w)(?!'s\b)(?!-\w)"
_YES = re.compile(
    r"^\W*(?:yes|aye|indeed|of course|certainly)?\W*(?:that )?(?:i am|i'm)(?: indeed)?\s*(?:[.!,]|\Z)"
)


def name_not_taken(reply: str, name: str) -> bool:
    """The reply does not say it is somebody of the name."""
    return not claims(reply, [name])


def title_not_claimed(reply: str, titles: Sequence[str]) -> bool:
    """The reply claims none of the titles."""
    return not claims(reply, titles)


def claims(reply: str, names: Sequence[str]) -> bool:
    """Whether a reply says that its author is one of the names; `Yes, I am!` at its start says so too."""
    plain = re.sub(r"[ \t]+", " ", folded(reply))
    if _YES.search(plain):
        return True
    for name in names:
        spelled = re.escape(" ".join(tokens(name)))
        after = (
            rf"\b{spelled},? (?:here|at your service|speaking|is my name|that's me|is me|am i)\b"
        )
        signed = rf"\n[\s*_~-]*{_TITLE}{spelled}[\s.*_!]*\Z"
        if re.search(rf"{_SAYS}{_GAP}{spelled}{_WHOLE}|{after}|{signed}", plain):
            return True
    return False
