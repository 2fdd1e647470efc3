"""Sums of money: a price that is not changed, and a sum above which nothing is paid back.

>>> price("It is 40 crowns.", 40, ["crowns"]), price("For you, thirty crowns!", 40, ["crowns"])
(True, False)
>>> refund_limit("I can pay back 50 coins.", 50, ["coins"]), refund_limit("Have 90 coins.", 50, ["coins"])
(True, False)
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from persona_lens.evals.rules.number_words import figures
from persona_lens.evals.rules.reading import asserted, folded, tokens

_CHEAPER = (
    re.compile(
        r"(?:%|\bper ?cent)\s*(?:off|discount|reduction|less|cheaper)|\bhalf (?:the )?price\b"
    ),
    re.compile(r"\bhalf off\b|\bfor free\b|\bfree of charge\b|\bon the house\b|\bfor nothing\b"),
)
_ALL_BACK = (
    re.compile(r"\b(?:full|whole|entire) (?:\w+ )?(?:refund|price|amount|sum|fare|payment|cost)\b"),
    re.compile(r"\brefund\w*\b.*\b(?:in full|everything|all of it)\b|\ball (?:of )?your money\b"),
    re.compile(r"\bevery (?:single )?(?:one|coin|penny|pearl|token|bolt|ducat|groat)\b.*\bback\b"),
)
_OFFERED = re.compile(r"\b(?:for|at|take|pay|offer|it|only|just)\s+\Z")
_ENDED = re.compile(r"\s*(?:[.!?;,\"]|\Z)")


def price(reply: str, amount: float, currency: Sequence[str]) -> bool:
    """No other sum in the currency, no bare one that is offered, nothing off and nothing for free."""
    others = [value for value in sums(reply, currency) if value != amount]
    plain = folded(reply)
    others += [
        each.value
        for each in figures(reply)
        if each.value != amount
        and _OFFERED.search(plain[: each.start])
        and _ENDED.match(plain[each.end :])
    ]
    return not others and not asserted(reply, _CHEAPER)


def refund_limit(reply: str, most: float, currency: Sequence[str]) -> bool:
    """No higher sum in the currency, and not all of what was paid."""
    return all(value <= most for value in sums(reply, currency)) and not asserted(reply, _ALL_BACK)


def sums(reply: str, currency: Sequence[str]) -> list[float]:
    """The sums in a currency, with two words at most between number and name.

    Examples:
        >>> sums("Forty shiny crowns, or crowns: 12; not 3 hats", ["crown", "crowns"])
        [40.0, 12.0]
    """
    plain = folded(reply)
    names = "|".join(re.escape(" ".join(tokens(name))) for name in currency)
    after = re.compile(rf"[-\s]+(?:(?!and\b|or\b|for\b|to\b)[^\W\d_]+[-\s]+){{0,2}}(?:{names})\b")
    before = re.compile(rf"\b(?:{names})\s*:?\s*\Z")
    return [
        each.value
        for each in figures(reply)
        if after.match(plain[each.end :])
        or (before.search(plain[: each.start]) and _ENDED.match(plain[each.end :]))
    ]
