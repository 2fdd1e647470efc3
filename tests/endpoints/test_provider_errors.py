"""What providers say where they do not answer: an empty account, a rate, an unknown model, a bad key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from persona_lens.endpoints import EndpointSettings
from persona_lens.endpoints.faults import Fault, error_in_place_of_answer, status_fault
from persona_lens.endpoints.waits import told_wait

SETTINGS = EndpointSettings(model="some/model-7b", base_url="http://127.0.0.1:1/v1")


def meaning(fault: Fault) -> str:
    """A fault in one word; a stop by what is wrong."""
    if fault.then != "stop":
        return fault.then
    for word in ("quota", "no model", "API key", "forbids", "no chat completions", "asks to wait"):
        if word in fault.problem:
            return word
    raise AssertionError(fault.problem)


def error(message: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


def gemini(quota: str, delay: str) -> list[dict[str, Any]]:
    """As Gemini words both the limit of a minute and that of a day."""
    google = "type.googleapis.com/google.rpc."
    details = [
        {"@type": google + "QuotaFailure", "violations": [{"quotaId": quota, "quotaValue": "20"}]},
        {"@type": google + "RetryInfo", "retryDelay": delay},
    ]
    message = f"You exceeded your current quota, please check your plan. Please retry in {delay}."
    return [error(message, code=429, status="RESOURCE_EXHAUSTED", details=details)]


QUOTAS = {
    "openai": (429, error("You exceeded your current quota.", code="insufficient_quota")),
    "openai, hard limit": (400, error("Limit.", code="billing_hard_limit_reached")),
    "openai, inactive": (429, error("Your account is not active.", code="billing_not_active")),
    "anthropic": (400, error("Your credit balance is too low to access the API.", type="x")),
    "anthropic, limit": (400, error("You have reached your specified API usage limits.")),
    "openrouter": (402, error("Insufficient credits. Add more.", code=402)),
    "openrouter, dear": (402, error("This request requires more credits, or fewer max_tokens.")),
    "openrouter, key": (403, error("Key limit exceeded (total limit).", code=403)),
    "openrouter, day": (429, error("Rate limit exceeded: free-models-per-day. Add 10 credits.")),
    "together": (402, error("Credit limit exceeded, please upgrade.", type="credit_limit")),
    "groq, blocked": (400, error("Organization has reached its limit", code="blocked_api_access")),
    "gemini, day": (429, gemini("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "38s")),
    "gemini, none": (429, gemini("FreeTier", "38s")[0] | error("Quota exceeded, limit: 0")),
    "gemini, prepaid": (429, error("Your prepayment credits are depleted.")),
    "deepseek": (402, error("Insufficient Balance", code="invalid_request_error")),
    "moonshot": (429, error("Your account is suspended", type="exceeded_current_quota_error")),
    "zhipu": (429, error("余额不足或无可用资源包,请充值。", code="1113")),
    "zhipu, plan": (429, error("已达到 5 小时的使用上限", code="1308")),
    "dashscope": (400, {"code": "Arrearage", "message": "Access denied.", "request_id": "x"}),
    "dashscope, free": (403, error("Free tier only.", code="AllocationQuota.FreeTierOnly")),
    "volcengine": (403, error("The request failed", code="AccountOverdueError")),
    "siliconflow": (403, {"code": 30001, "message": "Sorry, your account balance is insufficient"}),
    "fireworks": (412, error("Account x is suspended, possibly due to a spending limit.")),
    "mistral, plan": (429, {"message": "Monthly token limit reached", "type": "x"}),
    "cohere, trial": (429, {"message": "Your Trial key is limited to 1000 API calls / month."}),
    "cerebras, day": (429, error("Tokens per day limit exceeded.", code="token_quota_exceeded")),
    "hugging face": (402, {"error": "You have exceeded your monthly included credits."}),
    "xai": (403, {"code": "x", "error": "Your team has either used all available credits or ..."}),
    "perplexity": (401, error("No.", type="insufficient_quota", code=401)),
    "one-api": (403, error("用户额度不足", type="new_api_error", code="insufficient_user_quota")),
    "bedrock": (429, {"message": "Too many tokens per day, please wait before trying again."}),
    "a wait of hours": (429, error("Too many requests. Please try again in 8h37m.")),
    "github": (429, error("Rate limit of 50 per 86400s exceeded. Please wait 41822 seconds.")),
    "mistral, inactive": (401, {"message": "Inactive subscription or usage limit reached"}),
    "moonshot, day": (429, error("request reached TPD rate limit, current: 9, limit: 9")),
    "vertex": (403, error("This API method requires billing to be enabled.")),
    "yandex": (429, error("Quota limit ai.textGeneration.count exceeded")),
    "litellm": (400, error("ExceededBudget: User=x over budget.", type="budget_exceeded")),
    "cloudflare": (429, {"errors": [{"message": "You have used up your daily free allocation"}]}),
    "azure, day": (429, error("exceeded token rate limit. Please retry after 86400 seconds.")),
    "german": (429, error("Ihr Guthaben ist aufgebraucht.")),
    "french": (429, error("Quota dépassé pour ce compte.")),
    "spanish": (403, error("Saldo insuficiente.")),
    "russian": (402, error("Недостаточно средств на балансе.")),
    "japanese": (429, error("残高が不足しています。")),
    "korean": (429, error("잔액이 부족합니다.")),
}

RATES = {
    "openai": (429, error("Rate limit reached: Limit 3, Used 3. Add a payment method."), None),
    "openai, day": (429, error("requests per day (RPD): Limit 200. Try again in 7m12s."), 432.0),
    "groq": (429, error("tokens per minute (TPM). Please try again in 1.5s.", code="x"), 1.5),
    "gemini, minute": (429, gemini("GenerateRequestsPerMinutePerProjectPerModel", "27s"), 27.0),
    "vertex": (429, error("Quota exceeded for requests_per_minute_per_project.", code=429), None),
    "vertex, shared": (429, error("Resource exhausted.", status="RESOURCE_EXHAUSTED"), None),
    "azure": (429, error("Exceeded rate limit. Please retry after 20 seconds.", code="429"), 20.0),
    "moonshot": (429, error("max organization RPM: 3, please try again after 1 seconds"), 1.0),
    "zhipu": (429, error("您的账户已达到速率限制，请您控制请求频率", code="1302"), None),
    "dashscope": (429, error("Requests rate limit exceeded.", code="Throttling.RateQuota"), None),
    "dashscope, tokens": (
        429,
        error("Allocated quota exceeded, please increase.", code="insufficient_quota"),
        None,
    ),
    "cohere, trial": (
        429,
        {"message": "Your Trial key is limited to 20 API calls / minute."},
        None,
    ),
    "cerebras": (429, error("Requests per minute exceeded", code="request_quota_exceeded"), None),
    "mistral": (429, {"message": "Requests rate limit exceeded"}, None),
    "openrouter": (
        429,
        error(
            "Provider returned error", metadata={"raw": "m is temporarily rate-limited upstream"}
        ),
        None,
    ),
    "anthropic, minute": (429, error("rate limit of 40,000 input tokens per minute"), None),
    "anthropic": (529, error("Overloaded", type="overloaded_error"), None),
    "llama.cpp": (503, error("Loading model", code=503, type="unavailable_error"), None),
    "chinese": (429, error("请求过于频繁，请在 20 秒后重试"), 20.0),
    "hugging face": (503, {"error": "The model is loading, try again in 20 seconds"}, 20.0),
    "a gateway": (504, error("Timed out after 60 seconds, try again."), None),
}

MODELS = {
    "openai": (404, error("The model `m` does not exist.", code="model_not_found")),
    "openai, id": (400, error("invalid model ID", type="invalid_request_error")),
    "openai, no chat": (404, error("This is not a chat model.", param="model")),
    "openai, param": (400, error("Not offered to you.", param="model")),
    "anthropic": (404, error("model: claude-x", type="not_found_error")),
    "openrouter": (400, error("some/model-7b is not a valid model ID", code=400)),
    "openrouter, gone": (404, error("No endpoints found for some/model-7b.", code=404)),
    "together": (404, error("Unable to access model x.", code="model_not_available")),
    "groq, gone": (400, error("`x` has been decommissioned", code="model_decommissioned")),
    "gemini": (404, [error("models/x is not found for API version v1main", code=404)]),
    "deepseek": (400, error("Model Not Exist", code="invalid_request_error")),
    "moonshot": (404, error("Not found the model x or Permission denied", type="x")),
    "zhipu": (400, error("模型不存在，请检查模型代码。", code="1211")),
    "mistral": (400, {"message": "Invalid model: x", "type": "invalid_model", "code": "1500"}),
    "fireworks": (404, error("Model not found, inaccessible, and/or not deployed", code="x")),
    "azure": (404, error("The API deployment does not exist.", code="DeploymentNotFound")),
    "volcengine": (404, error("No.", code="InvalidEndpointOrModel.NotFound")),
    "siliconflow": (400, {"code": 20012, "message": "Model does not exist.", "data": None}),
    "one-api": (503, error("当前分组下对于模型 x 无可用渠道", code="model_not_found")),
    "ollama": (404, {"error": 'model "x" not found, try pulling it first'}),
    "vllm": (404, {"object": "error", "message": "The model `x` does not exist.", "code": 404}),
    "litellm": (400, error("Invalid model name passed in model=x. Call `/v1/models`.")),
    "github": (400, error("Unknown model: x", code="unknown_model")),
    "bedrock": (400, {"message": "The provided model identifier is invalid."}),
    "databricks": (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "No such endpoint."}),
    "by name": (404, error("some/model-7b?")),
    "german": (404, error("Modell x wurde nicht gefunden.")),
    "french": (404, error("Le modèle x n'existe pas.")),
    "spanish": (400, error("El modelo x no existe.")),
    "russian": (404, error("Модель x не найдена.")),
    "japanese": (404, error("モデル x が見つかりません。")),
}

KEYS = {
    "openai": (401, error("Incorrect API key provided.", code="invalid_api_key")),
    "gemini": (400, [error("API key not valid.", details=[{"reason": "API_KEY_INVALID"}])]),
    "xai": (400, {"code": "x", "error": "Incorrect API key provided: xa***."}),
    "chinese": (403, error("无效的令牌")),
}

LEFT = {
    "max_tokens": (400, error("'max_tokens' is not supported with this model.", param="x")),
    "temperature": (400, error("'temperature' does not support 0 with this model.")),
    "logprobs": (400, error("You are not allowed to request logprobs from this model.")),
    "format": (400, error("Invalid parameter: 'json_schema' is not supported with this model.")),
    "template": (400, error("This model does not support system messages.")),
    "too large": (429, error("Request too large for m on tokens per min: Limit 9, Requested 12.")),
    "context": (400, error("maximum context length is 8 tokens", code="context_length_exceeded")),
    "moderation": (403, error("Your input was flagged.")),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_a_quota_that_is_used_up_stops_as_one(name: str) -> None:
    status, body = QUOTAS[name]
    fault = status_fault(status, body, {}, SETTINGS)
    assert meaning(fault) == "quota"
    assert "127.0.0.1" in fault.problem


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_waited_for_as_long_as_the_server_says(name: str) -> None:
    status, body, wait = RATES[name]
    fault = status_fault(status, body, {}, SETTINGS)
    assert (meaning(fault), fault.wait) == ("retry", wait)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_is_not_there_is_named(name: str) -> None:
    status, body = MODELS[name]
    fault = status_fault(status, body, {}, SETTINGS)
    assert meaning(fault) == "no model"
    assert "some/model-7b" in fault.problem


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_is_not_accepted_is_told_whatever_the_status(name: str) -> None:
    status, body = KEYS[name]
    assert meaning(status_fault(status, body, {}, SETTINGS)) == "API key"


@pytest.mark.parametrize("name", LEFT)
def test_what_is_about_one_request_stops_nothing(name: str) -> None:
    status, body = LEFT[name]
    assert meaning(status_fault(status, body, {}, SETTINGS)) == "leave"


@pytest.mark.parametrize(
    "body", ["404 page not found", {"detail": "Not Found"}, error("Invalid URL (POST /v1/chat)")]
)
def test_a_wrong_address_is_told_from_a_wrong_model(body: object) -> None:
    assert meaning(status_fault(404, body, {}, SETTINGS)) == "no chat completions"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "quota"),
        (error("Rate limit exceeded", code=429), "retry"),
        (error("no such model", code=404), "no model"),
        (error("Insufficient credits", code="402"), "quota"),
        (error("Something odd."), "plain"),
        ({"id": "x", "object": "chat.completion"}, "plain"),
        ("<html>Please sign in; insufficient balance</html>", "plain"),
    ],
)
def test_an_error_under_a_good_status_means_the_same(body: object, expected: str) -> None:
    plain = Fault("retry", "not a completion", "invalid_response")
    fault = error_in_place_of_answer(body, plain, SETTINGS)
    assert ("plain" if fault is plain else meaning(fault)) == expected


FAR = 10_000_000  # seconds: nobody notices how long it takes until a test begins
THEN = datetime.now(UTC) + timedelta(seconds=FAR)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "20"}, 20),
        ({"retry-after": "20s"}, 20),
        ({"retry-after": "30, 30"}, 30),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        # By the server's own clock, which may go otherwise than ours.
        (
            {
                "date": "Wed, 21 Oct 2015 07:28:00 GMT",
                "retry-after": "Wed, 21 Oct 2015 07:29:00 GMT",
            },
            60,
        ),
        ({"x-ratelimit-reset-requests": "1m30.5s", "x-ratelimit-remaining-requests": "0"}, 90.5),
        ({"ratelimit-reset": "17"}, 17),
        ({"retry-after": format_datetime(THEN, usegmt=True)}, FAR),
        ({"x-ratelimit-reset": str(int(THEN.timestamp() * 1000))}, FAR),
        ({"x-ratelimit-reset": str(int(THEN.timestamp()))}, FAR),
        ({"anthropic-ratelimit-requests-reset": THEN.isoformat()}, FAR),
    ],
)
def test_every_header_that_names_a_wait_is_read(headers: dict[str, str], seconds: float) -> None:
    assert told_wait(headers) == pytest.approx(seconds, rel=0.01 if seconds == FAR else 1e-9)


def test_limits_that_are_not_used_up_name_no_wait() -> None:
    headers = {"x-ratelimit-remaining-tokens": "12", "x-ratelimit-reset-tokens": "3m"}
    assert told_wait(headers) is None
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "8s"}
    assert told_wait({**headers, **used_up}) == 8
    assert status_fault(500, "", used_up, SETTINGS).wait is None  # sent along with every answer


def test_the_wait_of_a_server_asked_through_another_is_found() -> None:
    quoted = {"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "17"}}
    fault = status_fault(429, error("free-models-per-min", metadata=quoted), {}, SETTINGS)
    assert (fault.then, fault.wait) == ("retry", 17)


def test_how_long_a_wait_may_be_is_the_users_to_say() -> None:
    body, headers = error("Slow down."), {"retry-after": "7200"}
    assert meaning(status_fault(429, body, headers, SETTINGS)) == "quota"
    patient = SETTINGS.model_copy(update={"longest_pause": 10_000.0})
    assert status_fault(429, body, headers, patient).wait == 7200
    assert meaning(status_fault(503, body, headers, SETTINGS)) == "asks to wait"
