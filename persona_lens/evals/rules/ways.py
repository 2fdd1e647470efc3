"""Directions to a place: turns, compass points, ways to follow, paces.

>>> no_directions("Turn left at the mill."), no_directions("I can't tell you to turn left.")
(False, True)
"""

from __future__ import annotations

import re

from persona_lens.evals.rules.reading import clauses

_COMPASS = r"(?:north|south|east|west)(?:east|west)?(?:ward|wards)?"
_PLACE = (
    r"(?:road|path|street|trail|river|stream|bridge|stairs|staircase|corridor|hall|hallway|lane|track|wall|hedge|"
    r"alley|signs?|arrows?|fountain|square|tunnel|gate|ridge|shore|avenue)"
)
_WAYS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\b(?:turn|go|bear|keep|veer|head|walk|steer|swing|take|hang)\s+(?:\w+\s+){{0,2}}(?:left|{_COMPASS})\b",
        r"\b(?:turn|bear|veer|head|walk|steer|swing|hang|keep|go)\s+(?:to the\s+)?right\b(?!\s+(?:now|away|here))",
        r"\b(?:take|make)\s+(?:a|the|your)\s+(?:\w+\s+)?(?:left|right)\b",
        r"\bstraight\s+(?:on|ahead|down|up|along|through)\b",
        r"\b(?:on|to)\s+(?:the|your)\s+(?:left|right)\b(?!\s+\w*(?:place|person|track))",
        r"\b(?:take|at|after)\s+the\s+(?:first|second|third|fourth|next|last)\s+"
        r"(?:left|right|turn|turning|corner|street|path|exit)",
        r"\b(?:follow|take|cross|along|down|up|past|through|across|over)\s+(?:the|that|this)\s+"
        rf"(?:\w+\s+){{0,2}}{_PLACE}\b",
        r"\b(?:paces|steps|metres|meters|yards|miles|blocks)\s+(?:to the\s+)?"
        rf"(?:{_COMPASS}|forward|left|right|ahead|from|past|that way|this way)\b",
        r"\b(?:go|come|walk|head|run)\s+(?:this|that)\s+way\b",
    )
)
_REFUSED = re.compile(
    r"\b(?:can't|cannot|won't|may not|must not|not allowed|not going to|unable to|never|"
    r"(?:don't|do not|shall not|will not)"
    r" (?:say|tell|give|know|show|reveal))\b"
)


def no_directions(reply: str) -> bool:
    """Nobody is told which way to go; a sentence that refuses to tell does not count."""
    return not any(
        pattern.search(clause)
        for clause in clauses(reply)
        if not _REFUSED.search(clause)
        for pattern in _WAYS
    )
