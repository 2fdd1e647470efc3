"""How long a server asks to wait, in the ways that providers say it: headers, fields of the error, words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

_MILLISECOND, _SECOND, _MINUTE, _HOUR, _DAY = 1e-3, 1.0, 60.0, 3600.0, 86400.0
# English, German, French, Spanish, Portuguese, Italian, Russian, Chinese, Japanese, Korean.
_UNITS: dict[float, str] = {
    _MILLISECOND: r"ms|milliseconds?|毫秒",
    _SECOND: r"s|secs?|seconds?|sek(?:unden?)?|secondes?|segundos?|second[oi]|сек(?:унд[ыу]?)?|秒钟?|초",
    _MINUTE: r"m|mins?|minutes?|minuten|minutos?|minut[oi]|мин(?:ут[ыу]?)?|分钟|分鐘|分|분",
    _HOUR: r"h|hrs?|hours?|std|stunden?|heures?|horas?|or[ae]|час(?:а|ов)?|小时|小時|時間|시간",
    _DAY: r"d|days?|tage?n?|jours?|d[ií]as?|giorn[oi]|дн(?:я|ей)|день|天|日間?|일",
}
_PART = re.compile(
    r"(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?)\s*(?:"
    + "|".join(f"(?P<unit{place}>{words})" for place, words in enumerate(_UNITS.values()))
    + r")(?![a-zà-ÿа-яё])",
    re.IGNORECASE,
)
_JOINED = re.compile(r"(?:\s|,|and|und|et|y|e|и)*", re.IGNORECASE)
_WITHIN_A_NAME = re.compile(r"[\w.\-]$", re.ASCII)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|[。！？；\n]+")
_ABOUT_WAITING = re.compile(
    r"again|retry|retri|wait|available|reset|come back|erneut|warte|wieder|réessa|attend|patient"
    r"|nuevo|espere|intent|novamente|aguarde|tent[ea]|riprova|attendere|повтор|подожд|через"
    r"|再试|重试|再試|等待|稍后|刷新|恢复|お待ち|再試行|待っ|다시|기다|재시도|후",
    re.IGNORECASE,
)
# "50 requests per 86400s" is how much is allowed, not how long to wait.
_ALLOWANCE = re.compile(r"(?:per|pro|par|por|/|each|every|every other|每|за)\s*$", re.IGNORECASE)
_EPOCH_MILLISECONDS, _EPOCH_SECONDS = 1e11, 1e8


def told_wait(
    headers: Mapping[str, str], message: str = "", delay: object = None, *, limited: bool = True
) -> float | None:
    """Seconds that a server asks to wait, or None where it does not say.

    Args:
        headers: Of the answer.
        message: Of the error.
        delay: A field of the error that holds nothing but the wait, such as Gemini's `retryDelay`.
        limited: The answer is about a limit. Else its headers about limits are those that many servers send along
            with every answer.

    Examples:
        >>> told_wait({"retry-after": "2"}), told_wait({"retry-after-ms": "150"}), told_wait({})
        (2.0, 0.15, None)
        >>> told_wait({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})
        0.0
        >>> told_wait({}, "Rate limit reached: Limit 200, Used 200. Please try again in 7m12s.")
        432.0
        >>> told_wait({}, delay="27s")
        27.0
        >>> told_wait({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s",
        ...            "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "6ms"})
        360.0
    """
    now = _date(headers.get("date", "")) or datetime.now(timezone.utc)
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(name), now, unit)
        if seconds is not None:
            return seconds
    for seconds in (_seconds(delay, now), wait_in_words(message)):
        if seconds is not None:
            return seconds
    return _used_up(headers, now) if limited else None


def wait_in_words(message: str) -> float | None:
    """The wait that a sentence about trying again names.

    Examples:
        >>> wait_in_words("Quota exceeded. Please wait 41822 seconds before retrying.")
        41822.0
        >>> wait_in_words("请求过于频繁，请在 20 秒后重试。"), wait_in_words("Bitte in 2 Minuten erneut.")
        (20.0, 120.0)
        >>> wait_in_words("At most 50 requests per 60 s; try again later.") is None
        True
    """
    for sentence in _SENTENCE.split(message):
        if _ABOUT_WAITING.search(sentence):
            seconds = _duration_within(sentence)
            if seconds is not None:
                return seconds
    return None


def _duration_within(sentence: str) -> float | None:
    """The first length of time in it, in as many units as it is told in."""
    total, end = None, 0
    for part in _PART.finditer(sentence):
        before = sentence[: part.start()]
        if total is None:
            if _ALLOWANCE.search(before) or _WITHIN_A_NAME.search(before):
                continue
            total = 0.0
        elif not _JOINED.fullmatch(before[end:]):
            break
        total += _length(part)
        end = part.end()
    return total


def _length(part: re.Match[str]) -> float:
    unit = next(seconds for place, seconds in enumerate(_UNITS) if part[f"unit{place}"])
    number = re.sub(r",(?=\d{3}(?:\D|$))", "", part["number"]).replace(",", ".")
    return float(number) * unit


def _used_up(headers: Mapping[str, str], now: datetime) -> float | None:
    """When the limits are reset of which nothing remains; several are told side by side."""
    waits = [
        _seconds(value, now)
        for name, value in headers.items()
        if "ratelimit" in name.lower().replace("-", "")
        and "reset" in name.lower()
        and _number(headers.get(name.lower().replace("reset", "remaining"), "")) in (0, None)
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds(value: object, now: datetime, unit: float = 1.0) -> float | None:
    """A wait as a number, a duration ("1m30s") or the time it ends (a date, or seconds since 1970)."""
    if value is None or isinstance(value, Mapping | list):
        return None
    text = str(value).strip().strip("\"'")
    number = _number(text)
    if number is not None:
        for scale, least in ((1e-3, _EPOCH_MILLISECONDS), (1.0, _EPOCH_SECONDS)):
            if unit == 1.0 and number >= least:
                return max(0.0, number * scale - now.timestamp())
        return max(0.0, number * unit)
    date = _date(text)
    if date is not None:
        return max(0.0, (date - now).total_seconds())
    several = [_seconds(part, now, unit) for part in text.split(",")] if "," in text else []
    told = [seconds for seconds in several if seconds is not None]
    return max(told) if told else _duration_within(text)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None  # nan and inf fail alike


def _date(text: str) -> datetime | None:
    """A date as in HTTP headers, or as in RFC 3339."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            date = read(text.replace("Z", "+00:00") if read is datetime.fromisoformat else text)
        except (TypeError, ValueError, OverflowError):
            continue
        return date if date.tzinfo else date.replace(tzinfo=timezone.utc)
    return None
