"""Where a judge's answer states its score; a number anywhere else is one of its reasons.

The places: a JSON object at the beginning or the end of the answer, the whole answer, a line that names the score
("Score: 2"), a number alone on the first or the last line, a first line that explains its number ("3 - in role
throughout"), a last sentence that gives it ("I would give this reply a 2."). All that is stated has to agree.

Examples:
    >>> stated("Score: 2/3", top=3), stated("**3**", top=3), stated("I give it a 1.", top=3)
    (2, 3, 1)
    >>> stated("1. It speaks as the captain.\\n2. It never says it is an AI.", top=3) is None
    True
    >>> stated("Two reasons: it has 2 ships, and 1 crew.\\n\\n3", top=3)
    3
    >>> stated("Score: 2\\n\\nOn reflection, score: 3", top=3), stated("Score: 2-3", top=3)
    (None, None)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, Literal

REFUSAL: Final = "REFUSAL"
Stated = int | Literal["REFUSAL"]

_VALUE = (
    r"(?P<value>REFUSAL|\d{1,3}(?:\.0+)?)(?![.,]?\d)"
    r"(?:\s*(?:/|out of|of|von|sur|de)\s*(?P<top>\d+)(?:\.0+)?)?\s*(?:%|points?\b|punkte\b|分|点|점)?"
)
_LABEL = (
    r"(?:(?:my|the|this|your|final|overall|total|reply|response|role|trait)\s+){0,3}"
    r"(?:score|rating|grade|verdict|answer|result|judge?ment"
    r"|punktzahl|bewertung|wertung|ergebnis|antwort|évaluation|réponse"
    r"|puntuaci[oó]n|puntaje|calificaci[oó]n|respuesta|pontua[cç][aã]o|resposta|nota"
    r"|punteggio|voto|valutazione|risposta|оценка|балл|ответ"
    r"|(?:最终|最終)?(?:评分|得分|分数|评价|評分|分數|答案|スコア|評価|点数|得点|回答|答え)|점수|평가|답변|답)"
)
# "Score for the pirate:", but not "Score of criterion 1:" nor a sentence about the score.
_ABOUT = r"(?:\s*\([^()\d]*\))?(?:\s+(?:for|of|on|out of)\b[^:=\d.;]{0,60})?(?:\s*\([^()\d]*\))?"
_IS = r"\s*(?::|：|=|＝|→|[-=]>|\s[-–—]\s|\bis\b:?|是|为|為|は)\s*"
_BARE = re.compile(rf"\s*{_VALUE}\s*[.!。]?\s*", re.IGNORECASE)
_ALONE = re.compile(
    rf"\s*{_VALUE}\s*", re.IGNORECASE
)  # with a full stop it may be an item of a list
_LABELLED = re.compile(
    rf"\s*(?:(?:\d{{1,2}}[.)]|[-•])\s+)?{_LABEL}{_ABOUT}(?:{_IS}|\s+){_VALUE}(?P<rest>$|\s*[.!,;)(。，；（].*|\s+[-–—]\s.*"
    r"|\s+(?:because|since|as)\b.*)",
    re.IGNORECASE,
)
_SPOKEN_OF = re.compile(
    r"\b(?:score|rating|grade|verdict|answer)\b\s*(?:\([^()]*\)\s*)?"
    r"(?::|=|\bis\b|\bof\b|\b(?:would|should) be\b)\s*"
    rf"(?:an?\s+)?{_VALUE}(?![\w.,]*\d)",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(
    rf"\s*{_VALUE}(?P<rest>\s*[,;:(：，；（].*|\s+[-–—]\s.*|[–—].*)", re.IGNORECASE
)
_SUBJECT = r"(?:it|this|that|the|reply|response|answer|role-?play|performance)"
_GIVES = (
    r"(?:i|we)(?:['’]d|['’]ll| would| will)?(?: therefore| thus)? (?:give|gave|rate|score|grade|assign|award)"
    rf"(?:\s+{_SUBJECT})*(?:\s+(?:as|at|with))?"
)
_GETS = rf"(?:{_SUBJECT}\s+)+(?:clearly |thus |therefore )?(?:deserves|earns|merits|gets|receives|scores)"
_IS_CALLED = (
    r"(?:the|my)(?: final| overall)? (?:score|rating|answer|verdict) (?:is|would be|should be)"
)
_SENTENCE = re.compile(
    r"(?:^|\n|[.;!?]\s+|,\s*(?:but|so|and|hence|thus|therefore)\s+)\s*"
    r"(?:(?:so|but|and|overall|hence|thus|therefore|in conclusion)\b,?\s*)?"
    r"(?:on (?:a|the) scale(?: of| from)?\s*,?\s*)?"
    rf"(?:{_GIVES}|{_GETS}|{_IS_CALLED})"
    rf":?\s+(?:an?\s+)?(?:(?:score|rating) of\s+)?{_VALUE}\s*[.!]?\s*$",
    re.IGNORECASE,
)
# What is quoted is somebody else's; a quoted number alone is just how some write a number.
_QUOTED = re.compile(
    r'"[^"\n]*[^"\d\s/.%\n][^"\n]*"|“[^”\n]*[^”\d\s/.%\n][^”\n]*”|«[^»\n]*[^»\d\s/.%\n][^»\n]*»'
    r"|`[^`\n]*[^`\d\s/.%\n][^`\n]*`"
)
_RANGE = re.compile(
    r"(?<![\d.])\d+\s*(?:-|–|—|~|〜|\bto\b|\bthrough\b|\bbis\b|\bà\b|\ba\b|\baté\b|到|至|から)\s*\d+(?![\d.])"
)
_DRESSING = re.compile(
    r"```\w*|</?(?:score|rating|answer|verdict|final|result)>|<\|[^<>|\n]{1,40}\|>|</s>|[*_`$\[\]\"“”«»]",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^\s*(?:#+|>(?=\s))\s*", re.MULTILINE)
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_NUMBERED = re.compile(r"\s*[(#>*-]*\s*(?P<number>\d{1,3})\s*[.):、-]\s*\S")
_OTHER_NUMBER = re.compile(r"(?<![\w.,])\d{1,3}(?![\w.,]*\d)(?!\s+[^\W\d])")
_FENCE = re.compile(r"^\s*```\w*\s*|\s*```\s*$")
_LOOSE_SCORE = re.compile(
    r"[\"']?\bscore[\"']?\s*:\s*[\"']?([^\"',{}\s]+)[\"']?\s*[,}]", re.IGNORECASE
)
_SCORE_KEYS = ("score", "rating", "grade", "verdict", "answer")
_YES = (True, "true", "yes")


def stated(text: str, *, top: int, cut: bool = False) -> Stated | None:
    """The score that an answer states, or None where it states none, several, or one off the scale.

    Args:
        text: The answer, without thoughts.
        top: End of the scale, which begins at 0.
        cut: Whether the answer was cut off. What its last words state may then have gone on.
    """
    found = list(_all_stated(_BOXED.sub(r"\1", text).strip(), cut=cut))
    values: set[Stated | None] = {_on_scale(value, of, top) for value, of in found}
    return values.pop() if len(values) == 1 else None


_Found = tuple[str, str | None]


def _all_stated(text: str, *, cut: bool) -> Iterator[_Found]:
    """Every value that is stated, as it is written, with the end of the scale where that is beside it."""
    whole = _BARE.fullmatch(_plain(text.strip("\"'`“”")))
    if whole:
        if not cut:
            yield whole["value"], whole["top"]
        return
    outer, inner, rest = _objects(_FENCE.sub("", text))
    found = [value for fields in outer for value in _of_object(fields)]
    yield from found
    words = _plain(_QUOTED.sub(" ", rest))
    found_in_words = list(_in_words([line for line in words.splitlines() if line.strip()], cut=cut))
    yield from found_in_words
    if found or found_in_words:  # what is only spoken of states nothing, but it may contradict
        yield from (value for fields in inner for value in _of_object(fields))
        yield from ((mention["value"], mention["top"]) for mention in _SPOKEN_OF.finditer(words))


def _plain(text: str) -> str:
    """Text without marks of emphasis, fences and headings, and without ranges such as that of the scale."""
    return _RANGE.sub(" ", _HEADING.sub("", _DRESSING.sub("", text)))


# Objects ------------------------------------------------------------------------------------------


def _objects(text: str) -> tuple[list[Any], list[Any], str]:
    """The objects at the beginning and the end of a text, those between, and the text without any."""
    outer, inner, rest, at = [], [], [], 0
    while (start := text.find("{", at)) >= 0:
        fields, end = _object_at(text, start)
        rest.append(text[at:start])
        at = max(end, start + 1)
        if fields is not None:
            at_an_end = not text[:start].strip(" \n`[") or not text[end:].strip(" \n`].")
            (outer if at_an_end else inner).append(fields)
    return outer, inner, "".join([*rest, text[at:]])


def _object_at(text: str, start: int) -> tuple[Any, int]:
    """The object that begins there, as fields or as its text where it is not quite JSON, and where it ends."""
    try:
        return json.JSONDecoder(object_pairs_hook=list).raw_decode(text, start)
    except (ValueError, RecursionError):
        end = text.find("}", start) + 1
        return (text[start:end], end) if end else (None, start)


def _of_object(fields: Any) -> Iterator[_Found]:
    """What an object says of the score: its own fields before those of objects within it."""
    if isinstance(fields, str):
        for value in _LOOSE_SCORE.findall(fields):
            yield _of_field(value)
        return
    pairs = [pair for pair in fields if isinstance(pair, tuple)]
    own = [(str(name).strip().lower(), value) for name, value in pairs]
    refusals = [value for name, value in own if name == "refusal"]
    if any(value in _YES or str(value).lower() in _YES for value in refusals):
        yield REFUSAL, None
        return
    for key in _SCORE_KEYS:
        values = [v for name, v in own if name == key and not isinstance(v, list)]
        if values:
            yield from map(_of_field, values)
            return
    for _, value in own:
        if isinstance(value, list):
            yield from _of_object(value)


def _of_field(value: Any) -> _Found:
    found = None if isinstance(value, bool) else _BARE.fullmatch(str(value))
    return (found["value"], found["top"]) if found else ("", None)


# Words --------------------------------------------------------------------------------------------


def _in_words(lines: list[str], *, cut: bool) -> Iterator[_Found]:
    listed = [int(found["number"]) for found in map(_NUMBERED.match, lines) if found]
    for line in lines[: len(lines) - cut]:
        labelled = _LABELLED.fullmatch(line)
        if labelled:
            yield _unhedged(labelled)
    if not lines:
        return
    first = _ALONE.fullmatch(lines[0])
    explained = _EXPLAINED.fullmatch(lines[0])
    if first and len(lines) > 1:
        yield first["value"], first["top"]
    elif explained and not cut and len(listed) <= 1:
        yield _unhedged(explained)
    if cut:
        return
    last = _ALONE.fullmatch(lines[-1])
    if last and len(lines) > 1 and last["value"] not in {str(number + 1) for number in listed[-1:]}:
        yield last["value"], last["top"]
    named = _LABELLED.fullmatch(" ".join(lines[-2:])) if last and len(lines) > 1 else None
    if named:
        yield named["value"], named["top"]
    sentence = _SENTENCE.search("\n".join(lines))
    if sentence:
        yield sentence["value"], sentence["top"]


def _unhedged(found: re.Match[str]) -> _Found:
    """The value, unless another number follows that may be meant instead ("2, or even 3")."""
    if _OTHER_NUMBER.search(found["rest"]):
        return "", None
    return found["value"], found["top"]


def _on_scale(value: str, of: str | None, top: int) -> Stated | None:
    if value.upper() == REFUSAL:
        return "REFUSAL"
    if not value or (of is not None and int(of) != top):
        return None
    number = int(value.partition(".")[0])
    return number if number <= top else None
