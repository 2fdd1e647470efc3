"""Tells a quota that is used up, which no waiting mends, from a rate that a little waiting does.

Providers call both by the same names: OpenAI's "you exceeded your current quota" means an empty account, Gemini's
the limit of a minute or of a day, and a 429 stands for all three. What tells, in this order: the name of the
quota, its code, words about money, the period, and a wait that the server names.

Examples:
    >>> from persona_lens.endpoints.refusals import read_refusal
    >>> said = {"message": "You exceeded your current quota, see billing."}
    >>> is_used_up(read_refusal(429, said, {})), is_used_up(read_refusal(429, said, {"retry-after": "20"}))
    (True, False)
    >>> is_used_up(read_refusal(429, {"error": {"code": "1113", "message": "余额不足"}}, {}))
    True
"""

from __future__ import annotations

import re

from persona_lens.endpoints.refusals import Refusal

_PAYMENT_REQUIRED, _TOO_MANY = 402, 429

# fmt: off
_CODES = frozenset(
    {
        # OpenAI, and who speaks like it
        "billingdisabled", "budgetexceeded", "insufficientquota",
        "insufficientcredits", "insufficientcredit", "insufficientbalance",
        "insufficientfunds", "billinghardlimitreached", "billingnotactive", "billingerror",
        "billinglimitreached", "paymentrequired", "usagelimitreached", "usagelimitexceeded",
        "spendlimitreached", "spendlimitexceeded", "blockedapiaccess", "creditlimit", "creditlimitexceeded",
        "creditbalancetoolow", "creditsrequired", "quotaexhausted",
        # Moonshot, DashScope, Volcengine, Tencent
        "exceededcurrentquotaerror", "exceededcurrentquota", "arrearage", "prepaidbilloverdue",
        "postpaidbilloverdue", "commoditynotpurchased", "allocationquotafreetieronly",
        "accountoverdueerror", "accountoverdue", "setlimitexceeded", "failedoperationresourcepackexhausted",
        "failedoperationfreeresourcepackexhausted", "failedoperationservicestop",
        "failedoperationservicestoparrears",
        # one-api and other gateways, SiliconFlow, Novita
        "insufficientuserquota", "preconsumetokenquotafailed", "quotanotenough", "balancenotenough",
        "notenoughbalance", "insufficientaccountbalance", "noquota", "30001",
        # Zhipu: no money, the calls of a day, a plan's five hours, its end, its week or month
        "1113", "1304", "1308", "1309", "1310",
    }
)
# fmt: on
# DashScope sends `insufficient_quota` for the tokens of a minute as well.
_RATE_BY_NAME = re.compile(r"(?<!free )allocated quota exceeded", re.IGNORECASE)

_MONEY = re.compile(
    r"insufficient[\w ]{0,20}? (?:balance|credit|fund)|not enough (?:balance|credit|fund|money)"
    r"|(?:balance|credits?|credit limit|funds|quota) (?:is|are|was|has been) (?:insufficient|too low|not enough"
    r"|exhausted|depleted|used up)|(?:out of|no|requires? more|used all available|purchase more) credits?\b"
    r"|credits? (?:limit exceeded|(?:are |have |is |has )?(?:been )?(?:depleted|exhausted|expired|used up))"
    r"|credit balance|included credits|billing (?:hard )?limit|spend(?:ing)? limit|payment (?:is )?required"
    r"|\bkey limit exceeded|\b(?:in arrears|arrearage|overdue|unpaid)\b|in good standing|top up your"
    r"|requires billing|over budget|exceeded[\w' ]{0,30} budget|budget (?:has been |is )?exceeded"
    r"|account[^.]{0,80}\b(?:suspended|not active|inactive)\b|reached your[\w ]{0,20} usage limits?"
    r"|usage limit reached|free (?:tier|quota|allocat\w+|allowance)[^.]{0,40}(?:exhausted|used up|exceeded)"
    r"|used up your[^.]{0,40}free|trial[^.]{0,60}/ ?month|limit: 0\b"
    r"|guthaben[^.]{0,40}(?:aufgebraucht|erschöpft|nicht aus|unzureichend)|nicht genügend guthaben"
    r"|(?:solde|crédits?)[^.]{0,20}(?:insuffisant|épuisé)|(?:saldo|créditos?|cr[eé]dito)[^.]{0,20}"
    r"(?:insuficiente|insufficiente|agotad|esgotad|esaurit)|yetersiz bakiye|bakiye(?:niz)? yetersiz"
    r"|недостаточно средств|(?:баланс|средств)[^.]{0,30}(?:исчерпан|закончил|недостаточ)"
    r"|(?:số dư|tài khoản) không đủ|niewystarczające środki"
    r"|余额(?:已)?(?:不足|不够|用完|耗尽|为零)|餘額不足|欠费|欠費|充值|额度(?:已)?(?:不足|用尽|用完|耗尽|用光)|額度不足"
    r"|资源包|套餐(?:已)?(?:到期|过期)|残高(?:が)?不足|クレジット(?:が|の)?(?:残高)?(?:が)?(?:不足|なくな)"
    r"|잔액(?:이|\s)*부족|크레딧(?:이|\s)*(?:부족|소진|모두)",
    re.IGNORECASE,
)
# Not just "quota" or "billing": texts about ordinary rates speak of both.
_QUOTA = re.compile(
    r"exceeded your[\w ]{0,30} quota|quota(?: has been| is| was| limit [\w.-]+)?"
    r" (?:exceeded|exhausted|used up|reached)"
    r"|(?:contingent|kontingent|quota|cuota|cota)[^.]{0,30}(?:überschritten|aufgebraucht|erschöpft|dépass|épuis"
    r"|excedid|superad|agotad|esgotad|superat|esaurit)|квота[^.]{0,20}(?:превышен|исчерпан)|лимит исчерпан"
    r"|配额(?:已)?(?:不足|用尽|用完|超|耗尽)|(?:クォータ|利用枠|上限)[^。]{0,12}(?:超え|超過|達し)"
    r"|할당량[^.]{0,12}(?:초과|소진)",
    re.IGNORECASE,
)
_SHORT_PERIOD = re.compile(
    r"per[\s_-]?(?:min|sec)|/ ?(?:min|sec|s\b)|\b[rt]p[ms]\b|\bqps\b|concurren"
    r"|每分钟|每秒|并发|频率|毎分|毎秒|1分|분당|초당|pro minute|par minute|por minuto|al minuto|в минуту",
    re.IGNORECASE,
)
_LONG_PERIOD = re.compile(
    r"per[\s_-]?(?:day|hour|week|month)|/ ?(?:day|hour|week|month)\b|\b[rt]p[dh]\b"
    r"|\b(?:daily|hourly|weekly|monthly)\b|\bper 86400"
    r"|每[日天周月]|当日|今日|一日|1日|일일|하루|täglich|pro tag|par jour|por d[ií]a|al giorno|в день|в сутки",
    re.IGNORECASE,
)


def is_used_up(refusal: Refusal) -> bool:
    """Whether a quota is used up, so that asking again soon is useless."""
    message = refusal.message
    if refusal.quotas:
        return any(_LONG_PERIOD.search(name) for name in refusal.quotas) or bool(
            re.search(r"limit: 0\b", message)
        )
    if _RATE_BY_NAME.search(message) or any(
        code.startswith("throttlingrate") for code in refusal.codes
    ):
        return False
    if refusal.status == _PAYMENT_REQUIRED or refusal.codes & _CODES or _MONEY.search(message):
        return True
    period = _period(message)
    # A server that says when to come back means a rate, even if it calls it a quota.
    if period == "short" or refusal.wait is not None:
        return False
    return bool(_QUOTA.search(message)) or (refusal.status == _TOO_MANY and period == "long")


def _period(message: str) -> str:
    """Whether the limit is one of a minute or less ("short"), of an hour or more ("long"), or does not say (""):
    the first that is spoken of, for advice may follow about another."""
    short, long = _SHORT_PERIOD.search(message), _LONG_PERIOD.search(message)
    if short and long:
        return "short" if short.start() < long.start() else "long"
    return "short" if short else "long" if long else ""
