"""Tells an unknown model from an address that is wrong and from a setting that a model does not take.

Examples:
    >>> from persona_lens.endpoints.refusals import read_refusal
    >>> is_unknown_model(read_refusal(400, {"error": "Model 'x' not found, try pulling it first"}, {}), "x")
    True
    >>> is_unknown_model(read_refusal(400, {"error": "'max_tokens' is not supported with this model"}, {}), "x")
    False
"""

from __future__ import annotations

import re

from persona_lens.endpoints.refusals import Refusal

_NOT_FOUND = 404
_REFUSING = {400, 403, 404, 410, 422}
# fmt: off
_CODES = frozenset(
    {
        "endpointnotfound", "modelnotfound", "modelnotfounderror", "modelnotavailable", "modelnotexist",
        "modelnotexists", "modelnotexisterror", "unknownmodel", "invalidmodel", "invalidmodelid",
        "invalidmodelname", "modelnotsupported", "unavailablemodel", "nosuchmodel", "modeldecommissioned",
        "modeldeprecated", "modelnotopen", "deploymentnotfound", "invalidendpointormodelnotfound",
        # Zhipu, SiliconFlow
        "1211", "20012",
    }
)
# fmt: on
# Codes that a gateway sends with 503 where none of its channels has the model.
_CODES_OF_ANY_STATUS = frozenset({"modelnotfound"})
_TEXT = re.compile(
    r"\bmodels?\b.{0,160}?(?:\b(?:does|do|did)(?: not|n['’]t) exist|\bnot exist|\bnot found|\bno access"
    r"|\bnot have access|\bunknown|\b(?:is|are|was) (?:currently )?not (?:available|deployed|loaded|accessible"
    r"|activated|enabled|served)|\b(?:been|is|was) (?:decommissioned|deprecated|retired|shut ?down|discontinued"
    r"|disabled)|\bno longer (?:available|supported|served))"
    r"|(?:unknown|unrecogni[sz]ed|invalid|non-?existent) model\b(?!['’]s)(?! ?-?(?:param|output|response|input"
    r"|config|argument|type|option|setting|format|behavio))"
    r"|\bmodel (?:identifier|name|id)\b.{0,60}? is (?:invalid|unknown)|\bno such model"
    r"|\bno model (?:named|called|with)"
    r"|(?:could|can) ?n[o'’]t find (?:the |any |a )?model|cannot find (?:the |any |a )?model|not found the model"
    r"|unable to access (?:the )?(?:non-serverless )?model|(?:no|not have) access to (?:the )?model"
    r"|not (?:activated|enabled) the model|not a valid model|not a chat model|no endpoints found for"
    r"|unexpected model name|^model: \S+$|not supported by any provider"
    r"|模型.{0,80}?(?:不存在|未找到|找不到|无效|已?下线|未开通|不可用|没有权限|无权)"
    r"|(?:不存在|找不到|未找到|无效|未知)(?:的|该)?模型|无可用渠道"
    r"|モデル.{0,80}?(?:存在しま|存在しない|見つかりま|見つからない|無効)"
    r"|모델.{0,80}?(?:존재하지|찾을 수 없|유효하지)"
    r"|\bmodell?\b.{0,80}?(?:existiert nicht|nicht gefunden|unbekannt|nicht verfügbar)|unbekanntes modell"
    r"|\bmodèle.{0,80}?(?:n['’]existe pas|introuvable|inconnu|non trouvé|pas disponible)"
    r"|\bmodel[oe]\w*.{0,80}?(?:no existe|no (?:se )?(?:ha )?(?:sido )?encontr|não existe|não (?:foi )?encontrad"
    r"|non esiste|non (?:è stato )?trovat|inexistente|desconocid|desconhecid|sconosciut)"
    r"|модел[ьи].{0,80}?не (?:найден|существует|доступн)|неизвестн\w+ модел"
    r"|\bmodel.{0,80}?(?:bulunamad|mevcut değil|nie istnieje|nie został|không tồn tại|bestaat niet|finns inte)"
    r"|mô hình.{0,80}?không (?:tồn tại|tìm thấy)",
    re.IGNORECASE,
)


def is_unknown_model(refusal: Refusal, model: str) -> bool:
    """Whether the server has no such model, or none for this key.

    Args:
        refusal: What it said.
        model: The name it was asked for.
    """
    if refusal.codes & _CODES_OF_ANY_STATUS:
        return True
    if refusal.status not in _REFUSING:
        return False
    # One answer out of many may be about the model as well as about a field: that is then named.
    if refusal.param and refusal.param != "model":
        return False
    return bool(
        refusal.codes & _CODES
        or refusal.param == "model"
        or _TEXT.search(refusal.message)
        or (refusal.status == _NOT_FOUND and _names(refusal.message, model))
    )


def _names(message: str, model: str) -> bool:
    """Whether the message speaks of the model by its name; a name of one or two letters has to be quoted."""
    name = re.escape(model)
    found = rf"""["'`]{name}["'`]""" if len(model) < 3 else rf"(?<![\w-]){name}(?![\w-])"
    return bool(re.search(found, message))
