"""Bodies that are wrong in more than a hundred ways, and what each is to be told."""

from __future__ import annotations

import httpx

HI = [{"role": "user", "content": "Hi"}]
CHAT = {"model": "tiny", "messages": HI}
TEXT = {"model": "tiny", "prompt": "Hi"}


def chat(**more):
    return {**CHAT, **more}


def said(*messages):
    return {"model": "tiny", "messages": list(messages)}


RAW: list[tuple[bytes, str | None, str | None]] = [
    (raw, None, None)
    for raw in (
        b"", b" ", b"{", b"[]", b"null", b"3", b'"hi"', b"{'model': 'tiny'}", b'{"model": "tiny",}',
        b"\xff\xfe", b'{"model": "\xff"}', b"[" * 100_000, b'{"a":' * 50_000, b"NaN", b'{"temperature": NaN}',
        b'{"temperature": Infinity}', b"\x00", b"model=tiny", b'{"model": "tiny"} x',
    )
]  # fmt: skip

BODIES: list[tuple[object, str | None, str | None]] = [
    ({}, "model", "missing_required_parameter"),
    ({"model": "tiny"}, "messages", "missing_required_parameter"),
    ({"messages": HI}, "model", "missing_required_parameter"),
    (chat(model=3), "model", "invalid_type"),
    (chat(model=None), "model", "invalid_type"),
    (chat(model=""), "model", None),
    (chat(model="gpt-4o"), "model", "model_not_found"),
    (chat(model="../../etc/passwd"), "model", "model_not_found"),
    (chat(messages=None), "messages", "invalid_type"),
    (chat(messages="Hi"), "messages", "invalid_type"),
    (chat(messages={}), "messages", "invalid_type"),
    (chat(messages=[]), "messages", None),
    (chat(messages=[None]), "messages[0]", "invalid_type"),
    (chat(messages=["Hi"]), "messages[0]", "invalid_type"),
    (chat(messages=[{}]), "messages[0].role", "missing_required_parameter"),
    (chat(messages=HI * 1001), "messages", None),
    (said({"role": "usr", "content": "Hi"}), "messages[0].role", None),
    (said({"role": 3, "content": "Hi"}), "messages[0].role", None),
    (said({"role": "user"}), "messages[0]", None),
    (said({"role": "user", "content": None}), "messages[0]", None),
    (said({"role": "user", "content": 3}), None, None),
    (said({"role": "user", "content": {"text": "Hi"}}), None, None),
    (said({"role": "user", "content": [3]}), None, None),
    (said({"role": "user", "content": [{"text": "Hi"}]}), None, None),
    (said({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}), None, None),
    (said({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}), None, None),
    (said({"role": "user", "content": [{"type": "file", "file": {}}]}), None, None),
    (said({"role": "user", "content": "\ud800"}), None, None),
    (said({"role": "assistant", "content": "Hi"}), "messages", None),
    (said(*HI, {"role": "assistant", "content": "Hi"}), "messages", None),
    (said({"role": "system", "content": "Hi"}), "messages", None),
    (said(*HI, {"role": "system", "content": "Be"}, *HI), "messages", None),
    (said(*HI, {"role": "tool", "content": "3", "tool_call_id": "a"}), "messages[1]", None),
    (said(*HI, {"role": "function", "name": "f", "content": "3"}), "messages[1]", None),
    (said(*HI, {"role": "assistant", "content": None, "tool_calls": [{}]}, *HI), "messages[1]", None),
    (chat(temperature="hot"), "temperature", "invalid_type"),
    (chat(temperature="0.5"), "temperature", "invalid_type"),
    (chat(temperature=True), "temperature", "invalid_type"),
    (chat(temperature=-0.1), "temperature", "invalid_value"),
    (chat(temperature=2.1), "temperature", "invalid_value"),
    (chat(temperature=1e-9), "temperature", "invalid_value"),
    (chat(temperature=[1]), "temperature", "invalid_type"),
    (chat(top_p=0), "top_p", "invalid_value"),
    (chat(top_p=1.1), "top_p", "invalid_value"),
    (chat(top_p="1"), "top_p", "invalid_type"),
    (chat(max_tokens=0), "max_tokens", "invalid_value"),
    (chat(max_tokens=-3), "max_tokens", "invalid_value"),
    (chat(max_tokens=1.5), "max_tokens", "invalid_type"),
    (chat(max_tokens="9"), "max_tokens", "invalid_type"),
    (chat(max_tokens=5000), "max_tokens", "invalid_value"),
    (chat(max_tokens=511), "messages", "context_length_exceeded"),
    (chat(max_tokens=10**30), "max_tokens", None),
    (chat(max_completion_tokens=0), "max_completion_tokens", "invalid_value"),
    (chat(max_completion_tokens=5000), "max_completion_tokens", "invalid_value"),
    (chat(max_tokens=3, max_completion_tokens=4), None, None),
    (chat(messages=[{"role": "user", "content": "x" * 600}]), "messages", "context_length_exceeded"),
    (chat(n=0), "n", "invalid_value"),
    (chat(n=-1), "n", "invalid_value"),
    (chat(n=1.5), "n", "invalid_type"),
    (chat(n=17), "n", "invalid_value"),
    (chat(n=10**20), "n", None),
    (chat(seed="a"), "seed", "invalid_type"),
    (chat(seed=1.5), "seed", "invalid_type"),
    (chat(seed=2**70), "seed", None),
    (chat(stop=3), None, None),
    (chat(stop=[3]), None, None),
    (chat(stop=""), None, None),
    (chat(stop=[""]), None, None),
    (chat(stop=["x"] * 17), None, None),
    (chat(stop={"a": 1}), None, None),
    (chat(stream="yes"), "stream", "invalid_type"),
    (chat(stream=1), "stream", "invalid_type"),
    (chat(stream_options={"include_usage": True}), None, None),
    (chat(stream=True, stream_options={"usage": True}), "stream_options.usage", "unknown_parameter"),
    (chat(stream=True, stream_options=[]), "stream_options", "invalid_type"),
    (chat(logprobs=5), "logprobs", "invalid_type"),
    (chat(logprobs=True, top_logprobs=21), "top_logprobs", "invalid_value"),
    (chat(logprobs=True, top_logprobs=-1), "top_logprobs", "invalid_value"),
    (chat(top_logprobs=2), None, None),
    (chat(frequency_penalty=3), "frequency_penalty", "invalid_value"),
    (chat(presence_penalty="x"), "presence_penalty", "invalid_type"),
    (chat(tools=[{"type": "function", "function": {"name": "f"}}]), "tools", "unsupported_parameter"),
    (chat(tool_choice="required"), "tool_choice", "unsupported_parameter"),
    (chat(functions=[{"name": "f"}]), "functions", "unsupported_parameter"),
    (chat(function_call={"name": "f"}), "function_call", "unsupported_parameter"),
    (chat(response_format={"type": "json_object"}), "response_format", "unsupported_parameter"),
    (chat(response_format={"type": "json_schema", "json_schema": {}}), "response_format", "unsupported_parameter"),
    (chat(response_format="text"), "response_format", "unsupported_parameter"),
    (chat(logit_bias={"5": 1}), "logit_bias", "unsupported_parameter"),
    (chat(modalities=["text", "audio"]), "modalities", "unsupported_parameter"),
    (chat(audio={"voice": "alloy", "format": "wav"}), "audio", "unsupported_parameter"),
    (chat(prediction={"type": "content", "content": ""}), "prediction", "unsupported_parameter"),
    (chat(web_search_options={}), "web_search_options", "unsupported_parameter"),
    (chat(reasoning_effort="low"), "reasoning_effort", "unsupported_parameter"),
    (chat(verbosity="low"), "verbosity", "unsupported_parameter"),
    (chat(store=True), "store", "unsupported_parameter"),
    (chat(service_tier="flex"), "service_tier", "unsupported_parameter"),
    (chat(top_k=40), "top_k", "unsupported_parameter"),
    (chat(min_p=0.1), "min_p", "unsupported_parameter"),
    (chat(repetition_penalty=1.1), "repetition_penalty", "unsupported_parameter"),
    (chat(best_of=3), "best_of", "unsupported_parameter"),
    (chat(chat_template_kwargs={"a": 1}), "chat_template_kwargs", "unsupported_parameter"),
    (chat(temprature=1), "temprature", "unknown_parameter"),
    (chat(**{"x" * 500: 1}), None, "unknown_parameter"),
    (chat(**{"__class__": 1}), "__class__", "unknown_parameter"),
    (chat(prompt="Hi"), "prompt", "unknown_parameter"),
    (chat(persona=3), "persona", "invalid_type"),
    (chat(persona={"plan": 3}), "persona.plan", "invalid_type"),
    (chat(persona={"plan": "/etc/passwd"}), "persona.plan", "unknown_plan"),
    (chat(persona={"plan": "__import__('os')"}), "persona.plan", "unknown_plan"),
    (chat(persona={"plans": "none"}), "persona.plans", "unknown_parameter"),
    (chat(persona={"percentile": 75}), "persona.percentile", "not_allowed"),
    (chat(persona={"percentile": 101}), "persona.percentile", "invalid_value"),
    (chat(persona={"percentile": "75"}), "persona.percentile", "invalid_type"),
    (chat(persona={"layers": [1]}), "persona.layers", "not_allowed"),
    (chat(persona={"layers": []}), "persona.layers", None),
    (chat(persona={"layers": "1-2"}), "persona.layers", "invalid_type"),
    (chat(persona={"projections": "yes"}), "persona.projections", "invalid_type"),
    (chat(persona={"clean": 1}), "persona.clean", "invalid_type"),
]  # fmt: skip

TEXTS: list[tuple[object, str | None, str | None]] = [
    ({"model": "tiny"}, "prompt", "missing_required_parameter"),
    ({**TEXT, "prompt": None}, None, None),
    ({**TEXT, "prompt": 3}, None, None),
    ({**TEXT, "prompt": []}, None, None),
    ({**TEXT, "prompt": [[]]}, None, None),
    ({**TEXT, "prompt": [-1]}, None, None),
    ({**TEXT, "prompt": [10**9]}, "prompt", "invalid_value"),
    ({**TEXT, "prompt": [1, "a"]}, None, None),
    ({**TEXT, "prompt": {"text": "Hi"}}, None, None),
    ({**TEXT, "prompt": ["Hi"] * 17}, "n", "invalid_value"),
    ({**TEXT, "prompt": "x" * 600}, "prompt", "context_length_exceeded"),
    ({**TEXT, "echo": True, "logprobs": 1}, None, None),
    ({**TEXT, "echo": "yes"}, "echo", "invalid_type"),
    ({**TEXT, "logprobs": True}, "logprobs", "invalid_type"),
    ({**TEXT, "suffix": "!"}, "suffix", "unsupported_parameter"),
    ({**TEXT, "messages": HI}, "messages", "unknown_parameter"),
]


def check(response: httpx.Response, param: str | None, code: str | None) -> None:
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].strip()
    assert len(error["message"]) < 1000
    if param is not None:
        assert error["param"] == param, error
    if code is not None:
        assert error["code"] == code, error
